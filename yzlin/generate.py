"""Telling a story: tokens one by one, with a KV cache, as text that never breaks inside a character."""

from __future__ import annotations

import argparse
import codecs
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import tiktoken
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yzlin.checkpoint import load_model
from yzlin.device import pick_device, pick_dtype
from yzlin.model import FlashAttention, sample_next, yzlinGPT
from yzlin.presets import check_value


class Decoder:
    """Gives the next token's logits for texts that grow: the keys and values of tokens already seen are kept.

    Inside the window a new token costs one token's work. Past the window the learned positions of all tokens shift,
    so nothing kept is right any more: the last block_size tokens are computed afresh, as without a cache.
    """

    def __init__(self, model: yzlinGPT, batch_size: int = 1) -> None:
        self.model, args = model, model.args
        weight = model.lm_head.weight
        shape = (args.n_layer, batch_size, args.n_head, args.block_size, args.n_embed // args.n_head)
        self.keys, self.values = (torch.empty(shape, dtype=weight.dtype, device=weight.device) for _ in range(2))
        # A CPU reads a large float32 matrix twice as fast for a single row if it is stored transposed.
        turn = batch_size == 1 and weight.device.type == "cpu" and weight.dtype == torch.float32
        self.head = weight.detach().t().contiguous().t() if turn else weight
        self.idx = torch.empty((batch_size, 0), dtype=torch.int64, device=weight.device)
        self.length = 0  # tokens in the cache

    @torch.inference_mode()
    def __call__(self, idx: Tensor) -> Tensor:
        """Appends idx (B, t) and returns the logits (B, V) of the token that comes next."""
        block_size = self.model.args.block_size
        self.idx = torch.cat((self.idx, idx), dim=1)[:, -block_size:]
        if self.length + idx.shape[1] > block_size:
            return F.linear(self.model.features(self.idx)[:, -1], self.head)
        past, self.length = self.length, self.length + idx.shape[1]
        parts = self.model.transformer
        x = self.model.embed(idx, past)
        for block, keys, values in zip(parts.blocks, self.keys, self.values, strict=True):
            x = x + self._attend(block.attention, block.attention_norm(x), keys, values, past)
            x = x + block.mlp(block.mlp_norm(x))
        return F.linear(parts.norm(x[:, -1]), self.head)

    def _attend(self, attention: FlashAttention, x: Tensor, keys: Tensor, values: Tensor, past: int) -> Tensor:
        """The attention of new tokens x (B, t, C), which see the kept keys and values too."""
        now, t = self.length, x.shape[1]
        q, keys[:, :, past:now], values[:, :, past:now] = attention.heads(x, past)
        # One new token sees all that is kept; several at once see what stands before each.
        mask = torch.ones(t, now, dtype=torch.bool, device=x.device).tril(past) if t > 1 else None
        return attention.join(F.scaled_dot_product_attention(q, keys[:, :, :now], values[:, :, :now], attn_mask=mask))


def encode_prompt(tokenizer: tiktoken.Encoding, prompt: str) -> list[int]:
    """The prompt as a new story: the end-of-story id, then its text. A `<|endoftext|>` typed by a user is plain text."""
    return [tokenizer.eot_token, *tokenizer.encode_ordinary(prompt)]


def stream_ids(
    model: yzlinGPT,
    tokenizer: tiktoken.Encoding,
    ids: list[int],
    max_tokens: int = 300,
    temperature: float = 0.7,
    top_k: int | None = 40,
    top_p: float | None = None,
    seed: int | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[int]:
    """Yields the ids that come after `ids`, one by one, until the story ends, max_tokens are made or should_stop() is true.

    The model sees the last block_size tokens. The same seed gives the same story; None gives another each time.
    """
    if max_tokens < 1:
        raise ValueError(f"max_tokens is {max_tokens}: ask for 1 token or more.")
    device = model.lm_head.weight.device
    generator = torch.Generator(device=device)
    generator.seed() if seed is None else generator.manual_seed(seed)
    decoder = Decoder(model)
    idx = torch.tensor([ids[-model.args.block_size :]], device=device)
    for _ in range(max_tokens):
        if should_stop():
            return
        logits = decoder(idx)[:, : tokenizer.n_vocab]  # a padded vocabulary has ids that mean nothing
        idx = sample_next(logits, temperature, top_k, top_p, generator)
        if idx.item() == tokenizer.eot_token:
            return
        yield idx.item()


def stream(model: yzlinGPT, tokenizer: tiktoken.Encoding, prompt: str = "", **how) -> Iterator[str]:
    """Yields the story after the prompt, piece by piece; `how` is as in `stream_ids`.

    A character that spans several tokens comes when it is whole.
    """
    characters = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for token in stream_ids(model, tokenizer, encode_prompt(tokenizer, prompt), **how):
        if piece := characters.decode(tokenizer.decode_single_token_bytes(token)):
            yield piece
    if rest := characters.decode(b"", final=True):
        yield rest


def generate(model: yzlinGPT, tokenizer: tiktoken.Encoding, prompt: str = "", **how) -> str:
    """The prompt and the story after it, in one string; `how` is as in `stream_ids`."""
    return prompt + "".join(stream(model, tokenizer, prompt, **how))


def tell_stories(
    model: yzlinGPT,
    tokenizer: tiktoken.Encoding,
    beginnings: int | list[str],
    temperature: float = 0.7,
    top_k: int | None = None,
    seed: int = 0,
    max_tokens: int | None = None,
) -> list[str]:
    """Many stories made together, one for each beginning; a number asks for that many without a beginning.

    All rows walk in step: a row whose beginning is longer is given its own tokens while others make theirs already.
    A story ends at its end mark, or after max_tokens (None: block_size) of its own.
    """
    if isinstance(beginnings, str):
        raise ValueError("beginnings is a text: give a list of texts, or a number.")
    prompts = [encode_prompt(tokenizer, text) for text in ([""] * beginnings if isinstance(beginnings, int) else beginnings)]
    if not prompts:
        return []
    max_tokens = max_tokens or model.args.block_size
    device = model.lm_head.weight.device
    generator = torch.Generator(device=device).manual_seed(seed)
    lengths = torch.tensor([[len(prompt)] for prompt in prompts], device=device)
    shortest, longest = int(lengths.min()), int(lengths.max())
    given = torch.tensor([prompt + [0] * (longest - len(prompt)) for prompt in prompts], device=device)
    idx, columns = given[:, :shortest], [given[:, :shortest]]
    ended = torch.zeros_like(lengths, dtype=torch.bool)
    with evaluation_mode(model):
        decoder = Decoder(model, len(prompts))
        for t in range(shortest, longest + max_tokens):
            idx = sample_next(decoder(idx)[:, : tokenizer.n_vocab], temperature, top_k, None, generator)
            if t < longest:
                idx = torch.where(t < lengths, given[:, t : t + 1], idx)
            columns.append(idx)
            ended |= (t >= lengths) & ((idx == tokenizer.eot_token) | (t + 1 >= lengths + max_tokens))
            if ended.all():
                break
    rows = torch.cat(columns, dim=1).tolist()
    return [_told(tokenizer, prompt, row[len(prompt) :][:max_tokens]) for prompt, row in zip(prompts, rows, strict=True)]


def _told(tokenizer: tiktoken.Encoding, prompt: list[int], new: list[int]) -> str:
    """The text of a prompt and of the new ids up to their end mark."""
    if tokenizer.eot_token in new:
        new = new[: new.index(tokenizer.eot_token)]
    return tokenizer.decode(prompt[1:] + new)


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """No dropout in this block; after it, also after an error, the model is in the mode that it was in."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def in_fast_dtype(model: yzlinGPT) -> yzlinGPT:
    """The model in bfloat16 where it tells stories faster so, else as it is.

    A new token reads each weight once: half the bytes, half the time. A small model fits the cache and gains nothing.
    """
    large = sum(p.numel() for p in model.parameters()) > 4e6
    return model.bfloat16() if large and pick_dtype("auto", model.lm_head.weight.device) == "bfloat16" else model


def dialogue(model: yzlinGPT, tokenizer: tiktoken.Encoding, words: int = 20, **how) -> None:
    """The original project's dialogue: a beginning from the reader, then `words` words at each Enter; q ends."""
    while True:
        story = input("Give a beginning (q ends): ")
        if story.strip().lower() == "q":
            return
        going_on = True
        while going_on:
            print(story, end="", flush=True)
            made = ""
            for piece in stream(model, tokenizer, story, **how):
                if len(made.split()) >= words and piece[0].isspace():  # a word ends where the next one begins
                    break
                made += piece
                print(piece, end="", flush=True)
            else:
                print("\n(the end)")
                break
            story += made
            going_on = input("\n[Enter goes on, q ends] ").strip().lower() != "q"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prompt", nargs="?", help="the beginning of a story; without it, a dialogue")
    parser.add_argument(
        "--checkpoint", default="storyteller", help="a run's folder, its checkpoint.pt, or the name of a folder in checkpoint/"
    )
    parser.add_argument("--max_tokens", type=int, default=300, help="the longest story, in tokens")
    parser.add_argument("--temperature", type=float, default=0.7, help="0: always the likeliest token; higher: more surprises")
    parser.add_argument("--top_k", type=int, default=40, help="choose among the k likeliest tokens; 0: among all")
    parser.add_argument("--top_p", type=float, help="choose among the likeliest tokens that together have this share")
    parser.add_argument("--seed", type=int, help="the same seed gives the same story")
    parser.add_argument("--dtype", choices=["auto", "float32"], default="auto", help="auto: bfloat16 where that is faster")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")


def main(options: argparse.Namespace) -> int:
    check_value("max_tokens", options.max_tokens, "tokens of a story", 1, 1_000_000)
    check_value("temperature", options.temperature, "0: always the likeliest token", 0, 100)
    check_value("top_k", options.top_k, "0: the whole vocabulary", 0, 1_000_000)
    if options.top_p is not None:
        check_value("top_p", options.top_p, "share of probability", 1e-6, 1)
    if options.seed is not None:
        check_value("seed", options.seed, "of the random draws", 0, 2**63 - 1)
    model, tokenizer, _ = load_model(options.checkpoint, pick_device(options.device))
    if options.dtype == "auto":
        model = in_fast_dtype(model)
    how = {key: getattr(options, key) for key in ("max_tokens", "temperature", "top_p", "seed")}
    how["top_k"] = options.top_k or None
    if options.prompt is None:
        if not sys.stdin.isatty():
            print("Reading beginnings from standard input.")
        try:
            dialogue(model, tokenizer, **how)
        except EOFError:
            print()
        return 0
    print(options.prompt, end="", flush=True)
    for piece in stream(model, tokenizer, options.prompt, **how):
        print(piece, end="", flush=True)
    print()
    return 0
