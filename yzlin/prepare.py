"""Text -> train.bin, val.bin and meta.json, block by block: memory does not grow with the text.

train.bin and val.bin are flat uint16 token ids, little-endian; each story ends with the id of `<|endoftext|>`.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import os
import signal
import sys
import threading
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import tiktoken
from tqdm.auto import tqdm

from yzlin import __version__
from yzlin.tokenizer import EOT, load_tokenizer, save_tokenizer, train_bpe
from yzlin.tools.files import whole_file, whole_folder
from yzlin.tools.meta import SPLITS, check_data, data_tokenizer, describe, load_meta, tokenizer_sha256
from yzlin.tools.texts import BLOCK, PIECE, Block, Source

__all__ = ["check_data", "data_tokenizer", "describe", "load_meta", "prepare"]

OUTPUTS = {"train.bin", "val.bin", "meta.json", "tokenizer.tiktoken"}
BPE_SAMPLE = 32 * 2**20  # characters that train:N learns from, at most

# Each number of prepare(): its option, its lowest and highest value, what it is.
NUMBERS = {
    "count": ("--stories", 1, 10**7, "how many stories, for the storybook"),
    "seed": ("--seed", 0, 2**63 - 1, "of the storybook"),
    "block_size": ("--block_size", 1, 2**20, "the window that train and val must be able to fill"),
    "workers": ("--workers", 1, 1024, "threads; by default one per core"),
}


@dataclass
class Tokens:
    """What blocks became: for train and val, how often each id occurs (vocab_size,) and the hash of each story."""

    counts: dict[str, np.ndarray]
    hashes: dict[str, array]


Encoded = tuple[dict[str, np.ndarray], dict[str, list[int]]]
"""Of a block, for train and val: the ids, and the hash of each story."""


def prepare(
    source: str | Path,
    out: str | Path,
    tokenizer: str = "gpt2",
    *,
    workers: int | None = None,
    force: bool = False,
    block_size: int = 128,
    val_share: float = 0.1,
    field: str = "text",
    count: int = 20000,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, Any]:
    """Writes the folder `out` (train.bin, val.bin, meta.json), whole or not at all, and returns what is in meta.json.

    source: a .txt, .jsonl (its `field`), .gz or .zst file, a folder of such files, or "storybook" (`count` stories of seed).
    Stories are what stands between two `<|endoftext|>`, else between blank lines, else a file is one piece.

    A story goes to val by its hash alone: stories added later move none, and equal stories share a split, so nothing of
    val was seen in training. Where that leaves a split too short for a window of block_size tokens and its target (one
    book, a handful of stories), each different story stands once and val is the last val_share of all tokens.
    A piece longer than a block goes to train whole, unhashed. The result does not depend on `workers`.

    Memory: some blocks per worker, and 8 bytes per story. Errors: ValueError, FileNotFoundError, FileExistsError, OSError.
    """
    check_numbers(count=count, seed=seed, block_size=block_size, workers=cores() if workers is None else workers)
    if not isinstance(val_share, Real) or not 0 < val_share < 1:
        raise ValueError(f"val_share is {val_share}: it must lie between 0 and 1.")
    reader = Source(source, field, count, seed)
    with whole_folder(out, force, reader.text_bytes, OUTPUTS) as folder:
        encoding = learn_or_load(str(tokenizer), reader)
        if encoding.n_vocab > 2**16:
            raise ValueError(f"{tokenizer} has {encoding.n_vocab} ids, and uint16 holds 65,536: use a smaller vocabulary.")
        encode = partial(encode_all, reader, encoding, folder, workers=workers or cores(), progress=progress)
        split, tokens = encode_and_split(encode, source, folder, encoding.eot_token, val_share, block_size)
        meta = {
            "tokenizer": encoding.name,
            "tokenizer_sha256": tokenizer_sha256(encoding),
            "vocab_size": encoding.n_vocab,
            **statistics(tokens, encoding),
            "separator": ", ".join(sorted(set(reader.separators.values()))),
            "split": split,
            "val": {"hash": "by each story's hash", "tail": "the last part of the tokens"}[split],
            "source": reader.name,
            "sha256": reader.digest.hexdigest(),
            "yzlin": __version__,
        }
        if encoding.name != "gpt2":
            save_tokenizer(encoding, folder / "tokenizer.tiktoken")
        with whole_file(folder / "meta.json", "w") as file:
            file.write(json.dumps(meta, indent=1, ensure_ascii=False) + "\n")
    return meta


def check_numbers(**numbers: int) -> None:
    """Raises ValueError, with option, value and range, for a number outside of NUMBERS."""
    for name, value in numbers.items():
        option, low, high, _ = NUMBERS[name]
        if not isinstance(value, Integral) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"{option} is {value!r}: it must be a whole number from {low:,} to {high:,}.")


def encode_and_split(
    encode: Callable[..., Tokens], source: str | Path, folder: Path, eot: int, val_share: float, block_size: int
) -> tuple[str, Tokens]:
    """Runs encode(val_share=..., once=...) once, or twice for a short text; how the text was split, "hash" or "tail"."""
    tokens = encode(val_share=val_share)
    if all(counts.sum() > block_size for counts in tokens.counts.values()):
        return "hash", tokens
    if not sum(counts[:eot].sum() for counts in tokens.counts.values()):
        raise ValueError(f"{source} is empty: give a text with stories in it.")
    tokens = encode(val_share=0, once=True)
    if not cut_tail(tokens, folder, val_share, block_size):
        raise ValueError(
            f"{source} is too short: it has {tokens.counts['train'].sum()} tokens, and train and val need a window of "
            f"{block_size + 1} each. Give a longer text, or a smaller --block_size."
        )
    return "tail", tokens


def encode_block(block: Block, field: str, encoding: tiktoken.Encoding, val_share: float) -> Encoded:
    """The uint16 ids of each split, every story's followed by `<|endoftext|>`, and the hash of each story.

    Runs in many threads at once: tiktoken works without Python's lock.
    """
    parts: dict[str, list[str]] = {split: [] for split in SPLITS}
    hashes: dict[str, list[int]] = {split: [] for split in SPLITS}
    if block.separator == PIECE:
        text = block.text()
        parts["train"] = [text if text.removesuffix(EOT).strip() else text.strip()]
    else:
        for story in block.stories(field):
            value = int.from_bytes(hashlib.blake2b(story.encode(), digest_size=8).digest(), "little")
            split = "val" if value < val_share * 2**64 else "train"
            hashes[split].append(value)
            parts[split] += (story, EOT)
    ids = {
        split: encoding.encode_to_numpy("".join(texts), allowed_special={EOT}).astype("<u2") for split, texts in parts.items()
    }
    return ids, hashes


def encode_blocks(source: Source, encoding: tiktoken.Encoding, workers: int, val_share: float) -> Iterator[tuple[int, Encoded]]:
    """Each block's place in the source and what it became, in order; `workers` blocks are encoded at a time."""
    # Each thread has an encoding of its own: in one that is shared they wait for each other's scratch memory.
    own = threading.local()
    waiting: deque = deque()  # (block's place in the source, its ids to come), in order

    def encode(block: Block) -> Encoded:
        return encode_block(block, source.field, own.encoding, val_share)

    with ThreadPoolExecutor(workers, initializer=lambda: setattr(own, "encoding", copy.copy(encoding))) as pool:
        try:
            for block in source.blocks():
                waiting.append((block.read, pool.submit(encode, block)))
                if len(waiting) > workers + 2:  # never more than some blocks in memory
                    read, future = waiting.popleft()
                    yield read, future.result()
            while waiting:
                read, future = waiting.popleft()
                yield read, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def encode_all(
    source: Source,
    encoding: tiktoken.Encoding,
    folder: Path,
    *,
    workers: int,
    progress: bool,
    val_share: float,
    once: bool = False,
) -> Tokens:
    """Encodes the source into folder/train.bin and val.bin. once: of equal stories, only the first is written."""
    tokens = Tokens({split: np.zeros(encoding.n_vocab, np.int64) for split in SPLITS}, {split: array("Q") for split in SPLITS})
    known: set[int] = set()
    unit = "B" if source.paths else " stories"
    with ExitStack() as stack:
        bar = tqdm(total=source.total, desc="tokens", unit=unit, unit_scale=True, disable=not progress, dynamic_ncols=True)
        stack.enter_context(bar)
        files = {split: stack.enter_context((folder / f"{split}.bin").open("wb")) for split in SPLITS}
        blocks = stack.enter_context(closing(encode_blocks(source, encoding, workers, val_share)))
        for read, (ids, hashes) in blocks:
            if once:
                ids["train"] = first_of_equals(ids["train"], hashes["train"], known, encoding.eot_token)
            for split in SPLITS:
                files[split].write(ids[split].tobytes())
                tokens.counts[split] += np.bincount(ids[split], minlength=encoding.n_vocab)
                tokens.hashes[split].extend(hashes[split])
            bar.update(read - bar.n)
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
    return tokens


def first_of_equals(ids: np.ndarray, hashes: list[int], known: set[int], eot: int) -> np.ndarray:
    """The ids of the stories that are not known yet; adds them to `known`. A part of a long piece has no hash: it stays."""
    stories = np.split(ids, np.flatnonzero(ids == eot) + 1)
    new = []
    for i, story in enumerate(stories):
        if i >= len(hashes) or hashes[i] not in known:
            new.append(story)
        known.update(hashes[i : i + 1])
    return np.concatenate(new)


def cut_tail(tokens: Tokens, folder: Path, val_share: float, block_size: int) -> bool:
    """Moves the last val_share of the tokens, at least a window, from train.bin to val.bin. False: there are too few."""
    total = int(tokens.counts["train"].sum())
    length = max(block_size + 1, round(val_share * total))
    if total - length <= block_size:
        return False
    with (folder / "train.bin").open("r+b") as train, (folder / "val.bin").open("wb") as val:
        train.seek(2 * (total - length))
        while data := train.read(2 * BLOCK):
            val.write(data)
            moved = np.bincount(np.frombuffer(data, "<u2"), minlength=len(tokens.counts["train"]))
            tokens.counts["train"] -= moved
            tokens.counts["val"] += moved
        train.truncate(2 * (total - length))
    return True


def statistics(tokens: Tokens, encoding: tiktoken.Encoding) -> dict[str, Any]:
    """The counts of meta.json. text_bytes: utf-8 bytes of the stories, the ends not counted (for bits per byte)."""
    spelt = [encoding.decode_single_token_bytes(i) for i in range(encoding.n_vocab - 1)] + [b""]
    lengths = np.array([len(token) for token in spelt])
    parts = np.array(["\ufffd" in token.decode(errors="replace") for token in spelt])  # no whole characters
    counts = tokens.counts
    all_ids = counts["train"] + counts["val"]
    train, val = (np.asarray(tokens.hashes[split]) for split in SPLITS)
    train.sort()  # in place: there may be millions
    val.sort()
    return {
        "tokens": {split: int(n.sum()) for split, n in counts.items()},
        "stories": {split: int(n[encoding.eot_token]) for split, n in counts.items()},
        "text_bytes": {split: int(n @ lengths) for split, n in counts.items()},
        "bytes_per_token": round(int(all_ids @ lengths) / int(all_ids.sum()), 4),
        "broken_characters": round(int(all_ids @ parts) / int(all_ids.sum()), 4),
        "ids_seen_100_times": int((all_ids >= 100).sum()),
        "repeated_stories": sum(int((hashes[1:] == hashes[:-1]).sum()) for hashes in (train, val)),
        "stories_in_both_splits": int((np.searchsorted(train, val) < np.searchsorted(train, val, "right")).sum()),
    }


def learn_or_load(name: str, source: Source) -> tiktoken.Encoding:
    """The tokenizer by its name; `train:4096` learns one of 4,096 ids from the text (its first 32 million characters)."""
    if not name.startswith("train:"):
        return load_tokenizer(name)
    size = name.removeprefix("train:")
    if not size.isdecimal() or len(size) > 5 or not 257 <= int(size) <= 2**16:
        raise ValueError(f"--tokenizer is {name}: write train: and the number of ids, 257 to 65,536, as in train:4096.")

    def sample() -> Iterator[str]:
        length = 0
        for block in source.blocks():
            for story in [block.text()] if block.separator == PIECE else block.stories(source.field):
                yield story
                length += len(story)
            if length >= BPE_SAMPLE:
                return

    return train_bpe(sample(), int(size), name=f"bpe{size}")


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", help="a .txt, .jsonl, .gz or .zst file, a folder of them, or the word storybook")
    parser.add_argument("--out", help="the folder to make, as in data/NAME; by default named after the source")
    parser.add_argument("--tokenizer", help="gpt2, storybook, a .tiktoken file, or train:4096 to learn one from the text")
    defaults = prepare.__kwdefaults__
    for name, (option, low, high, words) in NUMBERS.items():
        words += f" ({low:,} to {high:,})"
        parser.add_argument(option, dest=name, type=int, metavar="N", default=defaults[name], help=words)
    parser.add_argument("--field", default="text", help="the key of the text in a .jsonl file")
    parser.add_argument("--force", action="store_true", help="replace a folder that is there")


def main(options: argparse.Namespace) -> int:
    is_book = options.source == "storybook"
    out = options.out
    if out is None:
        out = f"data/{os.path.basename(os.path.abspath(options.source)).split('.')[0]}"
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the half-made folder is removed
    try:
        meta = prepare(
            options.source,
            out,
            options.tokenizer or ("storybook" if is_book else "gpt2"),
            force=options.force,
            field=options.field,
            **{name: getattr(options, name) for name in NUMBERS},
        )
    finally:
        signal.signal(signal.SIGTERM, before)
    print(describe(meta))
    return 0
