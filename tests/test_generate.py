"""Telling stories: the cache against the whole window, many at once against one by one, what is refused."""

import copy
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from tiny import TINY

from yzlin.batches import Batches
from yzlin.checkpoint import load_model
from yzlin.generate import Decoder, generate, in_fast_dtype, stream, stream_ids, tell_stories
from yzlin.model import FlashAttention, ModelArgs, yzlinGPT
from yzlin.prepare import data_tokenizer
from yzlin.train import train


@pytest.fixture(scope="module")
def little(book_data, tmp_path_factory):
    out = str(tmp_path_factory.mktemp("little") / "run")
    train(replace(TINY, data=str(book_data), out=out, dropout=0.0, max_iters=4), progress=False)
    return out + "/checkpoint.pt", *load_model(out + "/checkpoint.pt")[:2]


def test_the_cache_gives_the_logits_of_the_whole_window(little):
    _, model, tokenizer = little
    torch.manual_seed(0)
    idx = torch.randint(tokenizer.n_vocab, (3, 80))
    for first in (1, 5, 32, 40):
        decoder = Decoder(model, 3)
        got = decoder(idx[:, :first][:, -32:])
        for t in range(first, 80):
            want = model(idx[:, max(0, t - 32) : t])[0][:, -1]
            torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)
            got = decoder(idx[:, t : t + 1])


@pytest.mark.parametrize("length", [3, 30, 50])
def test_greedy_text_is_that_of_the_plain_way_before_and_past_the_window(little, length):
    _, model, tokenizer = little
    torch.manual_seed(1)
    ids = torch.randint(tokenizer.eot_token, (length,)).tolist()
    plain = model.generate(torch.tensor([ids]), 40, temperature=0)[0, length:].tolist()
    assert tokenizer.eot_token not in plain
    assert list(stream_ids(model, tokenizer, ids, max_tokens=40, temperature=0)) == plain


def test_bfloat16_weights_give_nearly_the_same_logits(little):
    _, model, _ = little
    idx = torch.randint(3000, (1, 20))
    want = model(idx)[0][:, -1].softmax(-1)
    got = Decoder(copy.deepcopy(model).bfloat16())(idx)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float().softmax(-1), want, atol=2e-3, rtol=0.1)


def test_a_large_model_is_told_in_bfloat16_where_that_is_fast_and_a_small_one_never(little, monkeypatch):
    _, model, _ = little
    assert in_fast_dtype(copy.deepcopy(model)).lm_head.weight.dtype == torch.float32
    large = yzlinGPT(ModelArgs(n_layer=1, n_head=2, n_embed=96))
    for fast, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        monkeypatch.setattr("yzlin.generate.pick_dtype", lambda *_, fast=fast: fast)
        assert in_fast_dtype(large).lm_head.weight.dtype == dtype


def test_a_story_goes_on_past_the_window(little):
    _, model, tokenizer = little
    prompt = "Once upon a time there was a little girl named Mia. " * 5
    text = generate(model, tokenizer, prompt, max_tokens=60, temperature=1.0, seed=1)
    assert text.startswith(prompt) and len(tokenizer.encode_ordinary(text)) > 60
    assert text == generate(model, tokenizer, prompt, max_tokens=60, temperature=1.0, seed=1)
    assert text != generate(model, tokenizer, prompt, max_tokens=60, temperature=1.0, seed=2)


def test_a_story_stops_when_asked(little):
    _, model, tokenizer = little
    pieces = []
    for piece in stream(model, tokenizer, "a", max_tokens=50, temperature=0, should_stop=lambda: len(pieces) >= 3):
        pieces.append(piece)
    assert len(pieces) == 3


def test_a_story_stops_at_its_end(little, monkeypatch):
    _, model, tokenizer = little
    told = iter([300, 301, tokenizer.eot_token, 302])
    monkeypatch.setattr("yzlin.generate.sample_next", lambda *_: torch.tensor([[next(told)]]))
    assert "".join(stream(model, tokenizer, "")) == tokenizer.decode([300, 301])


def test_no_half_characters(little, monkeypatch):
    _, model, tokenizer = little
    wanted = iter(tokenizer.encode_ordinary("\u732b\U0001f600 ok") + [tokenizer.eot_token])
    monkeypatch.setattr("yzlin.generate.sample_next", lambda *_: torch.tensor([[next(wanted)]]))
    pieces = list(stream(model, tokenizer, ""))
    assert "".join(pieces) == "\u732b\U0001f600 ok" and all("\ufffd" not in piece for piece in pieces)


@pytest.mark.parametrize("bad", [dict(temperature=-1), dict(top_k=0), dict(top_p=2), dict(max_tokens=0)])
def test_bad_generation_numbers_are_refused(little, bad):
    _, model, tokenizer = little
    with pytest.raises(ValueError, match=next(iter(bad))):
        list(stream(model, tokenizer, "a", **bad))


@pytest.mark.parametrize("prompt", ["", " ", "<|endoftext|>", "\u4ece\u524d", "\U0001f600" * 100, "x" * 10_000])
def test_any_beginning_is_handled(little, prompt):
    _, model, tokenizer = little
    assert generate(model, tokenizer, prompt, max_tokens=3).startswith(prompt)


def test_many_stories_at_once(little):
    _, model, tokenizer = little
    texts = tell_stories(model, tokenizer, 5, temperature=1.0)
    assert len(texts) == 5 and len(set(texts)) == 5 and not any("<|endoftext|>" in text for text in texts)


def test_many_beginnings_at_once_are_as_one_by_one(little):
    _, model, tokenizer = little
    beginnings = ["Once", "", "Once upon a time there was a little girl", "x" * 60]
    together = tell_stories(model, tokenizer, beginnings, temperature=0, max_tokens=40)
    alone = [generate(model, tokenizer, text, temperature=0, max_tokens=40) for text in beginnings]
    assert together == alone
    assert tell_stories(model, tokenizer, []) == [] and not model.training


def run(*words: str, stdin: str = "") -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "yzlin", *words], input=stdin, capture_output=True, text=True, encoding="utf-8", timeout=120
    )


def test_command_line_generate(little):
    done = run("generate", "--checkpoint", little[0], "--max_tokens", "5", "--seed", "1", "Once upon")
    assert done.returncode == 0 and done.stdout.startswith("Once upon")
    dialogue = run("generate", "--checkpoint", little[0], "--max_tokens", "60", "--seed", "1", stdin="Once upon a time\n\nq\n")
    assert dialogue.returncode == 0 and dialogue.stdout.count("[Enter goes on, q ends]") >= 1
    for bad in (["--temperature", "-1"], ["--checkpoint", "nowhere.pt"], ["--max_tokens", "0"]):
        refused = run("generate", "--checkpoint", little[0], *bad, "Once")
        assert refused.returncode == 2 and refused.stderr.startswith("yzlin generate:") and "Traceback" not in refused.stderr


class RoPE(FlashAttention):
    """Attention that turns queries and keys by their position (Su et al., 2021), written here alone."""

    def heads(self, x, start=0):
        q, k, v = super().heads(x, start)
        half = q.size(-1) // 2
        angle = torch.arange(start, start + x.size(1))[:, None] * 100.0 ** (-torch.arange(half) / half)

        def turn(a):
            one, other = a.split(half, dim=-1)
            return torch.cat((one * angle.cos() - other * angle.sin(), one * angle.sin() + other * angle.cos()), dim=-1)

        return turn(q), turn(k), v


def test_another_attention_is_one_class_and_the_cache_follows(book_data):
    """A model with RoPE trains, and tells the same ids with the cache and without; without RoPE it tells others."""
    torch.manual_seed(0)
    tokenizer = data_tokenizer(book_data)
    model = yzlinGPT(ModelArgs(block_size=32, vocab_size=tokenizer.n_vocab, n_layer=2, n_head=2, n_embed=16))
    plain = copy.deepcopy(model)
    for block in model.transformer.blocks:
        turned = RoPE(model.args)
        turned.load_state_dict(block.attention.state_dict())
        block.attention = turned
    optimizer = model.configure_optimizers(0.0, 1e-2, (0.9, 0.99), "cpu")
    batches = Batches(book_data, 32, 4, align=True, eot=tokenizer.eot_token)
    losses = []
    for step in range(30):
        loss = model(*batches.get_batch("train", step))[1]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 1
    plain.load_state_dict(model.state_dict())
    ids = tokenizer.encode_ordinary("Once upon a time there was")
    for length in (20, 50):  # inside the window, and past it
        told = list(stream_ids(model, tokenizer, ids, max_tokens=length, temperature=0))
        assert told == model.generate(torch.tensor([ids]), length, temperature=0)[0, len(ids) :].tolist()[: len(told)]
        assert len(told) == length
    logits = Decoder(model)(torch.tensor([ids]))
    torch.testing.assert_close(logits, model(torch.tensor([ids]))[0][:, -1])
    assert (logits - Decoder(plain)(torch.tensor([ids]))).abs().max() > 1e-3, "the turning matters"
