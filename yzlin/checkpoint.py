"""Checkpoints: written whole or not at all, read without ever running code from the file."""

from __future__ import annotations

import pickle
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import tiktoken
import torch
from torch import Tensor

from yzlin import ROOT
from yzlin.model import ModelArgs, yzlinGPT
from yzlin.tokenizer import load_tokenizer, tokenizer_from_text
from yzlin.tools.files import need_file, whole_file


def save_checkpoint(path: str | Path, checkpoint: dict[str, Any]) -> None:
    """Writes beside `path`, flushes to the disk, then renames: a crash or a full disk leaves the old file as it was."""
    try:
        with whole_file(path) as file:
            torch.save(checkpoint, file)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        raise OSError(
            f"{path} could not be written ({error}): free some space or choose another folder; the checkpoint that was "
            "there is untouched."
        ) from error


def checkpoint_path(name: str | Path) -> Path:
    """The file that is meant: a file, a run's folder, or the name of a folder in checkpoint/, as "storyteller"."""
    path = Path(name)
    if path.is_dir():
        return path / "checkpoint.pt"
    named = ROOT / "checkpoint" / path / "checkpoint.pt"
    return named if not path.exists() and len(path.parts) == 1 and named.is_file() else path


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Reads a checkpoint of this course or of the original project onto the CPU, with `weights_only=True`: data, never code.

    path: see `checkpoint_path`. Raises FileNotFoundError or ValueError, one sentence each.
    """
    path = need_file(checkpoint_path(path), "a checkpoint", "train one with `python -m yzlin train`")
    try:
        with zipfile.ZipFile(path) as file:
            broken = file.testzip()  # PyTorch itself does not compare the checksums in its files
        if broken:
            raise ValueError(f"{broken} has another checksum")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than tensors and plain values, or is damaged, so it was not loaded: use a checkpoint that "
            "you trust and that is whole."
        ) from error
    except MemoryError as error:
        raise OSError(f"{path} does not fit into this machine's memory: close other programs.") from error
    except Exception as error:  # a damaged file breaks in many ways
        raise ValueError(f"{path} is damaged or not a checkpoint: take another copy of it.") from error
    missing = [key for key in ("model", "model_args") if not isinstance(checkpoint, dict) or key not in checkpoint]
    if missing:
        raise ValueError(f"{path} has no {' and no '.join(missing)}: it is not a yzlinGPT checkpoint.")
    if not all(isinstance(checkpoint[key], dict) for key in ("model", "model_args")):
        raise ValueError(f"{path} has a model or model_args of the wrong type: it is not a yzlinGPT checkpoint.")
    checkpoint["model"] = convert_keys(checkpoint["model"])
    return checkpoint


def convert_keys(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names as this course has them.

    Drops torch.compile's `_orig_mod.`. A block of the original project has one norm: it is copied to both norms here.
    """
    converted = {}
    for key, value in state.items():
        key = key.removeprefix("_orig_mod.")
        if ".blocks." in key and key.endswith(".norm.weight"):
            start = key.removesuffix("norm.weight")
            converted[start + "attention_norm.weight"] = value
            converted[start + "mlp_norm.weight"] = value.clone()
        else:
            converted[key] = value
    return converted


def load_model(path: str | Path, device: str | torch.device = "cpu") -> tuple[yzlinGPT, tiktoken.Encoding, dict[str, Any]]:
    """The model in evaluation mode, its tokenizer, and the whole checkpoint. path: see `checkpoint_path`.

    `load_model("storyteller")` loads the model that comes with the course.
    """
    path = checkpoint_path(path)
    checkpoint = load_checkpoint(path)
    known = {field.name for field in fields(ModelArgs)}
    args = {key: value for key, value in checkpoint["model_args"].items() if key in known}
    try:
        args = ModelArgs(**args)
        check_shapes(args, checkpoint["model"])
        model = yzlinGPT(args)
        model.load_state_dict(checkpoint["model"])
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not fit its own model_args {args}: {str(error).splitlines()[-1].strip()}") from error
    tokenizer = checkpoint_tokenizer(checkpoint, path)
    if tokenizer.n_vocab > args.vocab_size:
        raise ValueError(f"{path} has {args.vocab_size} ids, but its tokenizer {tokenizer.name} has {tokenizer.n_vocab}: "
                         "take another copy of it.")  # fmt: skip
    return model.to(device).eval(), tokenizer, checkpoint


def check_shapes(args: ModelArgs, weights: dict[str, Any]) -> None:
    """Raises ValueError where the numbers are not those of the weights: before a model of ten million layers is built."""
    blocks = {key.split(".")[2] for key in weights if key.startswith("transformer.blocks.")}
    table = weights.get("transformer.token_embedding.weight")
    if strange := [key for key, value in weights.items() if not isinstance(value, Tensor)]:
        raise ValueError(f"{strange[0]} is not a tensor.")
    if not isinstance(table, Tensor) or table.shape != (args.vocab_size, args.n_embed) or len(blocks) != args.n_layer:
        shape = tuple(table.shape) if isinstance(table, Tensor) else "missing"
        raise ValueError(f"the token embedding is {shape} and there are {len(blocks)} blocks.")


def checkpoint_tokenizer(checkpoint: dict[str, Any], path: Path) -> tiktoken.Encoding:
    """The tokenizer that a checkpoint carries. The original project has no such key: it always used GPT-2's."""
    try:
        name, text = checkpoint.get("tokenizer", ("gpt2", None))
        return tokenizer_from_text(name, text) if text else load_tokenizer(name)
    except (TypeError, AttributeError):
        raise ValueError(f"{path} carries a damaged tokenizer (not a name and a text): take another copy of it.") from None
    except ValueError as error:
        raise ValueError(f"{path} carries a damaged tokenizer ({error}): take another copy of it.") from error
