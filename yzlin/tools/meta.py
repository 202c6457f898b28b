"""meta.json, the description that `prepare` writes beside train.bin and val.bin: read, checked, put into words."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import tiktoken

from yzlin.tokenizer import load_tokenizer, tokenizer_text
from yzlin.tools.files import need_file

SPLITS = ("train", "val")
BLOCK = 2**20  # bytes that are looked at together
WHOLE = 2**28  # bytes: a larger file of ids is looked at in 256 blocks, not as a whole
AGAIN = "prepare it again with --force"

# What meta.json must hold. Numbers: the lowest and the highest; a pair of them, one for each split, in PAIRS.
NEEDED = ("tokenizer", "vocab_size", "tokens", "text_bytes", "sha256")
TEXTS = ("tokenizer", "separator", "val", "source", "yzlin")
PAIRS = {"tokens": (1, 2**53), "stories": (0, 2**53), "text_bytes": (1, 2**53)}
COUNTS = {
    "vocab_size": (257, 2**16),
    "ids_seen_100_times": (0, 2**16),
    "repeated_stories": (0, 2**53),
    "stories_in_both_splits": (0, 2**53),
}
SHARES = {"bytes_per_token": (0, 2**16), "broken_characters": (0, 1)}
HASHES = ("sha256", "tokenizer_sha256")
IDENTITY = ("tokenizer", "tokenizer_sha256", "vocab_size", "sha256", "split", "tokens")


def load_meta(data_dir: str | Path) -> dict[str, Any]:
    """meta.json of a prepared folder, checked: every number has its type and its range, and they agree.

    Raises FileNotFoundError or ValueError: which file, what is wrong, what to do.
    """
    path = need_file(Path(data_dir) / "meta.json", "meta.json", f"make it with `{command_for(data_dir)} --out {data_dir}`")
    try:
        if path.stat().st_size > BLOCK:
            raise ValueError("it is much too long")
        meta = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}): {AGAIN}.") from error
    wrong = what_is_wrong(meta)
    if wrong:
        raise ValueError(f"{path} is damaged ({wrong}): {AGAIN}.")
    if "split" not in meta:  # it was written before there was this key
        meta["split"] = "hash" if "hash" in meta.get("val", "hash") else "tail"
    return meta


def command_for(data_dir: str | Path) -> str:
    """The command that makes this folder, as far as its name tells."""
    if "tinystories" in str(data_dir):
        return "python -m yzlin download tinystories && python -m yzlin prepare data/download/tinystories.txt"
    return "python -m yzlin prepare storybook" if "storybook" in str(data_dir) else "python -m yzlin prepare TEXT"


def what_is_wrong(meta: Any) -> str:
    """What is wrong with the content of a meta.json, in some words; nothing is wrong: an empty string."""
    if not isinstance(meta, dict):
        return "it is not a JSON object"
    if missing := [key for key in NEEDED if key not in meta]:
        return f"it lacks {', '.join(missing)}"
    if wrong := [key for key in TEXTS if not isinstance(meta.get(key, "-"), str) or not meta.get(key, "-")]:
        return f"{wrong[0]} is not a text, or is empty"
    for key in (key for key in HASHES if key in meta):
        if not isinstance(meta[key], str) or not re.fullmatch("[0-9a-f]{64}", meta[key]):
            return f"{key} is not 64 hexadecimal digits"
    if meta.get("split", "hash") not in ("hash", "tail"):
        return "split is neither hash nor tail"
    for key, (low, high) in PAIRS.items():
        pair = meta.get(key, dict.fromkeys(SPLITS, low))
        if not isinstance(pair, dict) or set(pair) != set(SPLITS):
            return f"{key} does not hold a number for each of {' and '.join(SPLITS)}"
        if wrong := [pair[split] for split in SPLITS if not is_number(pair[split], low, high, whole=True)]:
            return f"{key} holds {wrong[0]!r:.40}, not a whole number from {low:,} to {high:,}"
    for key, (low, high) in (COUNTS | SHARES).items():
        whole = key in COUNTS
        if not is_number(meta.get(key, low), low, high, whole):
            return f"{key} is {meta[key]!r:.40}, not a {'whole ' if whole else ''}number from {low:,} to {high:,}"
    if "stories" in meta and any(meta["stories"][split] > meta["tokens"][split] for split in SPLITS):
        return "there are more stories than tokens"
    return ""


def is_number(value: Any, low: float, high: float, whole: bool) -> bool:
    """True for a number in its range; a bool is not a number, nor is nan in any range."""
    return isinstance(value, int if whole else (int, float)) and not isinstance(value, bool) and low <= value <= high


def data_tokenizer(data_dir: str | Path) -> tiktoken.Encoding:
    """The tokenizer that a prepared folder was made with. Raises ValueError if it is another one than meta.json tells."""
    meta = load_meta(data_dir)
    path = Path(data_dir) / "tokenizer.tiktoken"
    encoding = load_tokenizer("gpt2") if meta["tokenizer"] == "gpt2" else load_tokenizer(path, meta["tokenizer"])
    if encoding.n_vocab != meta["vocab_size"]:
        raise ValueError(f"{path} has {encoding.n_vocab} ids, and meta.json says {meta['vocab_size']}: {AGAIN}.")
    if meta.get("tokenizer_sha256", sha := tokenizer_sha256(encoding)) != sha:
        raise ValueError(f"{path} is not the tokenizer that this data was made with (its sha256 differs): {AGAIN}.")
    return encoding


def tokenizer_sha256(encoding: tiktoken.Encoding) -> str:
    """The sha256 of a tokenizer's file: equal for two tokenizers that give every token the same id."""
    return hashlib.sha256(tokenizer_text(encoding).encode()).hexdigest()


def check_data(data_dir: str | Path, block_size: int | None = None) -> dict[str, Any]:
    """Returns meta.json of a prepared folder, if its files are what it says: for the start of a training.

    Checked are the sizes of train.bin and val.bin, the tokenizer's ids and hash, that no id is beyond the vocabulary
    (of a file over 256 MB in 256 blocks spread over it), and that each split fills a window of block_size and its target.
    Raises FileNotFoundError, IsADirectoryError or ValueError.
    """
    meta = load_meta(data_dir)
    data_tokenizer(data_dir)
    for split in SPLITS:
        path = need_file(Path(data_dir) / f"{split}.bin", "the data", AGAIN)
        size, count = path.stat().st_size, meta["tokens"][split]
        if size != 2 * count:
            raise ValueError(f"{path} has {size:,} bytes, and {count:,} tokens of meta.json need {2 * count:,}: {AGAIN}.")
        if (largest := largest_id(path)) >= meta["vocab_size"]:
            raise ValueError(f"{path} holds the id {largest}, and the vocabulary ends at {meta['vocab_size'] - 1}: {AGAIN}.")
        if block_size is not None and count <= block_size:
            raise ValueError(
                f"{path} holds {count:,} tokens, too few for a window of {block_size:,} and its target: prepare a longer "
                "text, or choose a smaller block_size."
            )
    return meta


def largest_id(path: Path) -> int:
    """The largest id of a .bin file: of all of it, or of 256 blocks spread over one that is larger than 256 MB."""
    size = path.stat().st_size
    starts = range(0, size, BLOCK) if size <= WHOLE else np.linspace(0, size - BLOCK, 256).astype(int) // 2 * 2
    largest = 0
    with path.open("rb") as file:
        for start in starts:
            file.seek(int(start))
            largest = max(largest, int(np.frombuffer(file.read(BLOCK), "<u2").max()))
    return largest


def data_identity(meta: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint keeps of meta.json, to know its data again. Data prepared long ago lacks some of the keys."""
    return {key: meta[key] for key in IDENTITY if key in meta}


def describe(meta: dict[str, Any]) -> str:
    """What was prepared, in some lines, with advice where the tokenizer does not suit the text."""
    tokens, stories, seen = meta["tokens"], meta["stories"], meta["ids_seen_100_times"]
    lines = [
        *(f"{split}: {tokens[split]:,} tokens, {stories[split]:,} stories" for split in SPLITS),
        "val is chosen by each story's hash"
        if meta["split"] == "hash"
        else "val is the last part of the tokens: the stories are too few to be divided by their hashes",
        f"{meta['repeated_stories']:,} stories repeat an earlier one; {meta['stories_in_both_splits']:,} are in both splits",
        f"{meta['bytes_per_token']:.2f} bytes per token; {meta['broken_characters']:.1%} of the tokens are part of a character",
        f"{seen:,} of the {meta['vocab_size']:,} ids occur 100 times or more: a much larger vocabulary cannot be learnt from "
        "this text",
    ]
    if meta["bytes_per_token"] < 1.7:
        lines.append("This tokenizer was made for another language. Learn one from your text: --tokenizer train:4096")
    return "\n".join(lines)
