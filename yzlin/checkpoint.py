"""Checkpoints: written whole or not at all, read without ever running code from the file."""

from __future__ import annotations

import pickle
from dataclasses import fields
from pathlib import Path
from typing import Any

import tiktoken
import torch
from torch import Tensor

from yzlin.model import ModelArgs, yzlinGPT
from yzlin.tokenizer import load_tokenizer, tokenizer_from_text
from yzlin.tools.files import is_lfs_pointer, whole_file


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


def load_checkpoint(path: str | Path, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Reads a checkpoint of this course or of the original project, with `weights_only=True`: data, never code.

    Raises FileNotFoundError or ValueError, one sentence each.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: train one with `python -m yzlin train`.")
    if is_lfs_pointer(path):
        raise ValueError(f"{path} is only a git-lfs pointer, not the checkpoint: run `git lfs pull`.")
    try:
        checkpoint = torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than tensors and plain values, or is damaged, so it was not loaded: use a checkpoint that "
            "you trust and that is whole."
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise ValueError(f"{path} is damaged or no checkpoint: take another copy of it.") from error
    missing = [key for key in ("model", "model_args") if not isinstance(checkpoint, dict) or key not in checkpoint]
    if missing:
        raise ValueError(f"{path} has no {' and no '.join(missing)}: it is no yzlinGPT checkpoint.")
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
    """The model in evaluation mode, its tokenizer, and the whole checkpoint."""
    checkpoint = load_checkpoint(path, device)
    known = {field.name for field in fields(ModelArgs)}
    args = ModelArgs(**{key: value for key, value in dict(checkpoint["model_args"]).items() if key in known})
    model = yzlinGPT(args)
    try:
        model.load_state_dict(checkpoint["model"])
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit its own model_args {args}: {str(error).splitlines()[-1].strip()}") from error
    # The original project has no "tokenizer" key: it always used GPT-2's.
    name, text = checkpoint.get("tokenizer", ("gpt2", None))
    tokenizer = tokenizer_from_text(name, text) if text else load_tokenizer(name)
    return model.to(device).eval(), tokenizer, checkpoint
