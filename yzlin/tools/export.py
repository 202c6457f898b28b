"""`python -m yzlin export`: a trained model as a Hugging Face folder, and such a folder back as a run of the course.

Weights are written and read as safetensors, never as pickles. GGUF, the format of llama.cpp, is not offered: NOT_GGUF says why.
"""

from __future__ import annotations

import argparse
import base64
import json
import logging
import math
import os
import shutil
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import tiktoken
import torch
from torch import Tensor, nn

from yzlin.checkpoint import load_model, save_checkpoint
from yzlin.generate import tell_stories
from yzlin.model import ModelArgs, yzlinGPT
from yzlin.prepare import load_meta
from yzlin.storybook import coherence, stories
from yzlin.tokenizer import EOT, SPLIT_PATTERN, save_tokenizer, tokenizer_from_text
from yzlin.tools.html import ASSETS, asset

NOT_GGUF = (
    "There is no GGUF file: of the models that llama.cpp knows, none has a ReLU gate together with learned positions "
    "(its llama graph has SiLU built in, its GPT-2 has no gate)."
)
UNSEEN_SEED = 1_000_000  # of storybook stories that no training has seen


@contextmanager
def whole_folder(folder: str | Path) -> Iterator[Path]:
    """A new folder beside `folder`; at the end of the block it takes that name. Whatever goes wrong: nothing is left.

    Raises FileExistsError if there is anything at `folder`: nothing is ever overwritten.
    """
    folder = Path(folder)
    if folder.exists() or folder.is_symlink():
        raise FileExistsError(f"{folder} is there already: choose another --to, or delete it first.")
    beside = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    beside.mkdir(parents=True)
    try:
        yield beside
        beside.rename(folder)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


@contextmanager
def extra() -> Iterator[None]:
    """A package of the extra that is not installed is one sentence."""
    try:
        yield
    except ImportError as error:
        raise ImportError(f"this needs packages that are not installed ({error}): pip install '.[export]'") from error


def export(run: str | Path, folder: str | Path, onnx: bool = False) -> None:
    """Writes the model of a run as a Hugging Face folder, whole or not at all. With `onnx`, model.onnx as well."""
    with extra():
        import transformers  # noqa: F401  (before any work is done: is it there?)
        from safetensors.torch import save
    model, tokenizer, checkpoint = load_model(run)
    with whole_folder(folder) as beside:
        # The head is the token embedding: it is stored once.
        weights = {name: weight.float().contiguous() for name, weight in model.state_dict().items() if name != "lm_head.weight"}
        (beside / "model.safetensors").write_bytes(save(weights, metadata={"format": "pt"}))
        write_json(beside / "config.json", config(model.args, tokenizer, checkpoint))
        write_json(beside / "generation_config.json", generation_config(model.args, tokenizer))
        shutil.copy(ASSETS / "modeling_yzlin.py", beside)
        write_tokenizer(beside, tokenizer, model.args)
        if onnx:
            write_onnx(beside / "model.onnx", model)
        card = model_card(Path(folder).resolve().name, model, tokenizer, checkpoint, onnx)
        (beside / "README.md").write_text(card, encoding="utf-8", newline="\n")


def write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, allow_nan=False) + "\n", encoding="utf-8", newline="\n")


def config(args: ModelArgs, tokenizer: tiktoken.Encoding, checkpoint: dict[str, Any]) -> dict[str, Any]:
    """config.json: the shape of the model, where its code lies, and what the way back needs to know of the run."""
    kept: dict[str, Any] = {}
    if "iter_num" in checkpoint:
        kept["iter_num"] = int(checkpoint["iter_num"])
    if math.isfinite(loss := float(checkpoint.get("best_val_loss", math.inf))):  # JSON has no infinity
        kept["best_val_loss"] = loss  # the original project keeps a tensor
    if "data" in checkpoint:
        kept["data"] = dict(checkpoint["data"])
    return {
        "architectures": ["YzlinForCausalLM"],
        "auto_map": {
            "AutoConfig": "modeling_yzlin.YzlinConfig",
            "AutoModelForCausalLM": "modeling_yzlin.YzlinForCausalLM",
        },
        "model_type": "yzlin",
        **asdict(args),
        "dtype": "float32",
        "tie_word_embeddings": True,
        "use_cache": False,
        "bos_token_id": tokenizer.eot_token,
        "eos_token_id": tokenizer.eot_token,
        "yzlin": {"tokenizer": tokenizer.name, **kept},
    }


def generation_config(args: ModelArgs, tokenizer: tiktoken.Encoding) -> dict[str, Any]:
    """How the course tells a story. The ids that only pad the vocabulary mean nothing and are never drawn."""
    padding = list(range(tokenizer.n_vocab, args.vocab_size))
    return {
        "bos_token_id": tokenizer.eot_token,
        "eos_token_id": tokenizer.eot_token,
        "pad_token_id": tokenizer.eot_token,
        "do_sample": True,
        "temperature": 0.7,
        "top_k": 40,
        "max_new_tokens": 300,
        "use_cache": False,
        **({"suppress_tokens": padding} if padding else {}),
    }


def write_tokenizer(folder: Path, tokenizer: tiktoken.Encoding, args: ModelArgs) -> None:
    """tokenizer.json and tokenizer_config.json. As `encode_prompt` does, it puts the end-of-story id before each text."""
    with extra():
        from tokenizers.processors import TemplateProcessing
        from transformers.convert_slow_tokenizer import TikTokenConverter

    ranks, cache = folder / "ranks.tiktoken", os.environ.get("TIKTOKEN_CACHE_DIR")
    save_tokenizer(tokenizer, ranks)
    os.environ["TIKTOKEN_CACHE_DIR"] = ""  # else tiktoken keeps a copy in a shared folder, where it is found by its path alone
    try:
        names = dict.fromkeys(("extra_special_tokens", "additional_special_tokens"), [EOT])  # the second before transformers 5
        converted = TikTokenConverter(str(ranks), pattern=SPLIT_PATTERN, **names).converted()
    finally:
        os.environ.pop("TIKTOKEN_CACHE_DIR") if cache is None else os.environ.update(TIKTOKEN_CACHE_DIR=cache)
        ranks.unlink()
    start = [(EOT, tokenizer.eot_token)]
    converted.post_processor = TemplateProcessing(single=f"{EOT} $A", pair=f"{EOT} $A {EOT} $B", special_tokens=start)
    converted.save(str(folder / "tokenizer.json"))
    names = dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), EOT)
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            **names,
            "model_max_length": args.block_size,
            "clean_up_tokenization_spaces": False,
            "split_special_tokens": True,  # <|endoftext|> typed by a user is plain text, as in the course
        },
    )


class Logits(nn.Module):
    """The forward pass without `embed`'s check of the ids: it looks at values, which an ONNX graph cannot do."""

    def __init__(self, model: yzlinGPT) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor) -> Tensor:
        parts = self.model.transformer
        position = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = parts.token_embedding(input_ids) + parts.position_embedding(position)
        for block in parts.blocks:
            x = block(x)
        return self.model.lm_head(parts.norm(x))


def write_onnx(path: Path, model: yzlinGPT) -> None:
    """One file: input_ids (batch, length) int64 -> logits (batch, length, V) float32, for any batch, length <= block_size."""
    with extra():
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=model.args.block_size)}
    example = torch.zeros((2, min(8, model.args.block_size)), dtype=torch.int64)
    logging.disable(logging.WARNING)  # the exporter names packages that nobody needs here
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                Logits(model), (example,), dynamo=True, input_names=["input_ids"], output_names=["logits"],
                dynamic_shapes={"input_ids": sizes}, verbose=False,
            )  # fmt: skip
    finally:
        logging.disable(logging.NOTSET)
    # ONNX holds 2 GB in one file; no model of the course comes near.
    program.save(str(path), external_data=False)


def bits_per_byte(model: yzlinGPT, tokenizer: tiktoken.Encoding, texts: list[str]) -> float:
    """How surprised the model is by stories that each fit the window, each read from its start to its end mark."""
    nats, size = 0.0, 0
    with torch.inference_mode():
        for text in texts:
            ids = [tokenizer.eot_token, *tokenizer.encode_ordinary(text), tokenizer.eot_token]
            ids = torch.tensor([ids])[:, : model.args.block_size + 1]
            nats += model(ids[:, :-1], ids[:, 1:])[1].item() * (ids.shape[1] - 1)
            size += len(tokenizer.decode_bytes([token for token in ids[0, 1:].tolist() if token != tokenizer.eot_token]))
    return nats / math.log(2) / size


def measured(model: yzlinGPT, tokenizer: tiktoken.Encoding, checkpoint: dict[str, Any], count: int = 100) -> tuple[str, str]:
    """Bits per byte and coherence, each a sentence that says where the number is from, or why there is none."""
    if tokenizer.name == "storybook":
        unseen = [story.text for story in stories(count, UNSEEN_SEED)]
        share = coherence(tell_stories(model, tokenizer, count, temperature=0.7, seed=11))
        return (
            f"{bits_per_byte(model, tokenizer, unseen):.3f}, computed by the export on {count} storybook stories that no "
            f"training has seen (seed {UNSEEN_SEED:,}).",
            f"{share:.0%} of {count} stories keep all their facts; told by the export at temperature 0.7, seed 11, and "
            "checked by `yzlin.storybook.check_story`.",
        )
    no_check = "not measured: only the storybook's stories can be checked."
    loss, source = checkpoint.get("best_val_loss"), checkpoint.get("train_args", {}).get("data")
    if loss is None:
        return "not known: the checkpoint keeps no validation loss.", no_check
    nats = f"the best validation loss of the run, {float(loss):.4f} nats per token,"
    try:
        meta = load_meta(source or "")
        if meta["sha256"] != checkpoint["data"]["sha256"]:
            raise ValueError("other data")
    except (OSError, ValueError, KeyError):
        return f"not known: {nats} cannot be turned into bytes without the data that it was measured on.", no_check
    bits = float(loss) / math.log(2) * meta["tokens"]["val"] / meta["text_bytes"]["val"]
    return f"{bits:.3f}, read from the run: {nats} and the tokens and bytes of its val split in meta.json.", no_check


def model_card(name: str, model: yzlinGPT, tokenizer: tiktoken.Encoding, checkpoint: dict[str, Any], with_onnx: bool) -> str:
    """README.md of the folder."""
    bits, share = measured(model, tokenizer, checkpoint)
    args, values = model.args, {"name": name, "bits": bits, "share": share, "not_gguf": NOT_GGUF}
    values["parameters"] = f"{sum(weight.numel() for weight in model.parameters()):,}"
    values |= {key: f"{value:,}" for key, value in asdict(args).items()}
    values |= {"n_vocab": f"{tokenizer.n_vocab:,}", "tokenizer": tokenizer.name}
    values["iterations"] = f"{int(checkpoint['iter_num']):,}" if "iter_num" in checkpoint else "an unknown number of"
    values["onnx"] = (
        "`model.onnx` takes `input_ids` (batch, length) and gives `logits`; both sizes are free, up to the window."
        if with_onnx
        else "There is no ONNX file: `--onnx` writes one."
    )
    card = asset("model_card.md")
    for key, value in values.items():
        card = card.replace("{" + key + "}", value)
    return card


def import_folder(source: str | Path, folder: str | Path) -> None:
    """The way back: a folder made by `export` (also one fine-tuned and saved by transformers) becomes a run of the course.

    Reads data alone: JSON and safetensors; the folder's code is not run. The optimizer's state is not in such a folder, so
    the run tells stories, and training cannot be resumed from it.
    """
    with extra():
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    source = Path(source)
    try:
        values = json.loads((source / "config.json").read_text(encoding="utf-8"))
        if values.get("model_type") != "yzlin":
            raise ValueError(f"its model_type is {values.get('model_type')}, not yzlin")
        args = ModelArgs(**{field.name: values[field.name] for field in fields(ModelArgs)})
        state = {name: weight.float() for name, weight in load_file(source / "model.safetensors").items()}
        state.setdefault("lm_head.weight", state["transformer.token_embedding.weight"])
        yzlinGPT(args).load_state_dict(state)  # does it fit?
        run = {key: value for key, value in values.get("yzlin", {}).items() if key in ("iter_num", "best_val_loss", "data")}
        name, text = str(values.get("yzlin", {}).get("tokenizer", "exported")), ranks_text(source / "tokenizer.json")
        tokenizer_from_text(name, text)
    except KeyError as error:
        raise ValueError(f"{source} is not a folder that this course can read: it lacks {error}.") from error
    except (OSError, ValueError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise ValueError(f"{source} is not a folder that this course can read: {reason}.") from error
    with whole_folder(folder) as beside:
        checkpoint = {"model": state, "model_args": asdict(args), "tokenizer": [name, text], **run}
        save_checkpoint(beside / "checkpoint.pt", checkpoint)


def ranks_text(path: Path) -> str:
    """The tokenizer's file as the course has it, from a tokenizer.json: its letters stand for bytes, as in GPT-2's."""
    vocabulary = json.loads(path.read_text(encoding="utf-8"))["model"]["vocab"]
    byte_of = {letter: byte for byte, letter in enumerate(byte_letters())}
    tokens = sorted((rank, bytes(byte_of[letter] for letter in token)) for token, rank in vocabulary.items() if token != EOT)
    return "".join(f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in tokens)


def byte_letters() -> list[str]:
    """The letter that stands for each byte in a byte-level tokenizer.json: itself if it can be seen, else 256, 257, ..."""
    seen = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    unseen = [byte for byte in range(256) if byte not in seen]
    return [chr(byte) if byte in seen else chr(256 + unseen.index(byte)) for byte in range(256)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = textwrap.fill(
        "Writes a Hugging Face folder: AutoModelForCausalLM.from_pretrained(FOLDER, trust_remote_code=True) reads it. "
        "Given such a folder instead of a run, it goes the other way and writes a run. " + NOT_GGUF,
        width=80,
    )
    parser.add_argument("run", help="a run: its name under checkpoint/, its folder or checkpoint.pt; or an exported folder")
    parser.add_argument("--to", required=True, metavar="FOLDER", help="the folder to make; it must not be there yet")
    parser.add_argument("--onnx", action="store_true", help="write model.onnx as well, with free batch and length")


def main(options: argparse.Namespace) -> int:
    if (Path(options.run) / "config.json").is_file():
        import_folder(options.run, options.to)
        print(f"{options.to} is a run now: python -m yzlin generate --checkpoint {Path(options.to) / 'checkpoint.pt'}")
    else:
        export(options.run, options.to, options.onnx)
        size = sum(file.stat().st_size for file in Path(options.to).iterdir()) / 1e6
        print(f"{options.to}: {size:.1f} MB; README.md says how to use it.")
    return 0
