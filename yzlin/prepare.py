"""Text -> train.bin, val.bin and meta.json, block by block: memory does not grow with the text.

train.bin and val.bin are flat uint16 token ids, little-endian; each story ends with the id of `<|endoftext|>`.
"""

from __future__ import annotations

import argparse
import copy
import errno
import hashlib
import json
import os
import shutil
import signal
import sys
import threading
from array import array
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tiktoken
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from yzlin import __version__
from yzlin.tokenizer import EOT, load_tokenizer, save_tokenizer, train_bpe
from yzlin.tools.files import whole_file
from yzlin.tools.texts import BLOCK, PIECE, Block, Source

SPLITS = ("train", "val")
OUTPUTS = {"train.bin", "val.bin", "meta.json", "tokenizer.tiktoken"}
BPE_SAMPLE = 32 * 2**20  # characters that train:N learns from, at most


@dataclass
class Tokens:
    """What blocks became: for train and val, how often each id occurs (vocab_size,) and the hash of each story."""

    counts: dict[str, np.ndarray]
    hashes: dict[str, array]


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

    Memory: some blocks a worker, and 8 bytes a story. Errors: ValueError, FileNotFoundError, FileExistsError, OSError.
    """
    if not 0 < val_share < 1:
        raise ValueError(f"val_share is {val_share}: it must lie between 0 and 1.")
    if workers is not None and workers < 1:
        raise ValueError(f"workers is {workers}: it must be at least 1.")
    reader = Source(source, field, count, seed)
    with whole_folder(Path(out), force, reader.text_bytes) as folder:
        encoding = learn_or_load(tokenizer, reader)
        if encoding.n_vocab > 2**16:
            raise ValueError(f"{tokenizer} has {encoding.n_vocab} ids, and uint16 holds 65,536: use a smaller vocabulary.")
        how = (reader, encoding, folder, workers or cores(), progress)
        tokens = encode_all(*how, val_share)
        by_hash = all(counts.sum() > block_size for counts in tokens.counts.values())
        if not by_hash:
            if not sum(counts[: encoding.eot_token].sum() for counts in tokens.counts.values()):
                raise ValueError(f"{source} is empty: give a text with stories in it.")
            tokens = encode_all(*how, val_share=0, once=True)
            if not cut_tail(tokens, folder, val_share, block_size):
                raise ValueError(
                    f"{source} is too short: it has {tokens.counts['train'].sum()} tokens, and train and val need a window "
                    f"of {block_size + 1} each. Give a longer text, or a smaller --block_size."
                )
        meta = {
            "tokenizer": encoding.name,
            "vocab_size": encoding.n_vocab,
            **statistics(tokens, encoding),
            "separator": ", ".join(sorted(set(reader.separators.values()))),
            "val": "by each story's hash" if by_hash else "the last part of the tokens",
            "source": reader.name,
            "sha256": reader.digest.hexdigest(),
            "yzlin": __version__,
        }
        if encoding.name != "gpt2":
            save_tokenizer(encoding, folder / "tokenizer.tiktoken")
        with whole_file(folder / "meta.json", "w") as file:
            file.write(json.dumps(meta, indent=1, ensure_ascii=False) + "\n")
    return meta


@contextmanager
def whole_folder(out: Path, force: bool, need: int) -> Iterator[Path]:
    """Yields a folder beside `out`, which takes its name at the end of the block: `out` is never half, nor lost.

    need: bytes that must be free. Raises FileExistsError where `out` is there, and even with `force` where it holds
    anything but prepared data.
    """
    out = out.resolve()
    beside, old = (out.with_name(f".{out.name}.{end}") for end in ("part", "old"))
    if old.exists() and not out.exists():
        os.replace(old, out)  # a run was killed between the two renames below
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out} is a file, not a folder: choose another --out.")
    found = {path.name for path in out.iterdir()} if out.exists() else set()
    if found and (not force or found - OUTPUTS):
        others = f" and holds other things ({min(found - OUTPUTS)})" if found - OUTPUTS else ""
        advice = "choose another --out" if others else "use --force to make it again, or another --out"
        raise FileExistsError(f"{out} is there already{others}: {advice}.")
    beside.mkdir(parents=True, exist_ok=True)
    lock = FileLock(beside / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise FileExistsError(f"another run is preparing {out} just now: wait for it, or choose another --out.") from error
    try:
        for path in beside.iterdir():  # what a killed run left
            if path.name != "lock":
                path.unlink()
        free = shutil.disk_usage(beside).free
        if free < need:
            raise OSError(f"{out} may take {need / 1e6:.0f} MB and {free / 1e6:.0f} MB are free: make room on that disk.")
        yield beside
        lock.release()
        (beside / "lock").unlink(missing_ok=True)
        shutil.rmtree(old, ignore_errors=True)
        if out.exists():
            os.replace(out, old)
        os.replace(beside, out)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OSError(f"no room left for {out}: make room on that disk and prepare again. Nothing was changed.") from error
        raise
    finally:
        lock.release()
        shutil.rmtree(beside, ignore_errors=True)
        if old.exists() and not out.exists():
            os.replace(old, out)


def encode_block(
    block: Block, field: str, encoding: tiktoken.Encoding, val_share: float
) -> tuple[dict[str, np.ndarray], dict[str, list[int]]]:
    """The uint16 ids of each split, every story's with `<|endoftext|>` behind, and the hash of each story.

    Runs in many threads at once: tiktoken works without Python's lock.
    """
    parts: dict[str, list[str]] = {"train": [], "val": []}
    hashes: dict[str, list[int]] = {"train": [], "val": []}
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


def encode_all(
    source: Source,
    encoding: tiktoken.Encoding,
    folder: Path,
    workers: int,
    progress: bool,
    val_share: float,
    once: bool = False,
) -> Tokens:
    """Encodes the source into folder/train.bin and val.bin, `workers` blocks at a time, in order.

    once: of equal stories, only the first is written.
    """
    tokens = Tokens({split: np.zeros(encoding.n_vocab, np.int64) for split in SPLITS}, {split: array("Q") for split in SPLITS})
    files = {split: (folder / f"{split}.bin").open("wb") for split in SPLITS}
    waiting: deque = deque()  # (block's place in the source, its ids to come), in order
    known: set[int] = set()
    unit = "B" if source.paths else " stories"
    bar = tqdm(total=source.total, desc="tokens", unit=unit, unit_scale=True, disable=not progress, dynamic_ncols=True)

    def write_oldest() -> None:
        read, future = waiting.popleft()
        ids, hashes = future.result()
        if once:
            ids["train"] = first_of_equals(ids["train"], hashes["train"], known, encoding.eot_token)
        for split in SPLITS:
            files[split].write(ids[split].tobytes())
            tokens.counts[split] += np.bincount(ids[split], minlength=encoding.n_vocab)
            tokens.hashes[split].extend(hashes[split])
        bar.update(read - bar.n)

    # Each thread has an encoding of its own: in one that is shared they wait for each other's scratch memory.
    own = threading.local()

    def encode(block: Block) -> tuple[dict[str, np.ndarray], dict[str, list[int]]]:
        return encode_block(block, source.field, own.encoding, val_share)

    with ThreadPoolExecutor(workers, initializer=lambda: setattr(own, "encoding", copy.copy(encoding))) as pool, bar:
        try:
            for block in source.blocks():
                waiting.append((block.read, pool.submit(encode, block)))
                if len(waiting) > workers + 2:  # never more than some blocks in memory
                    write_oldest()
            while waiting:
                write_oldest()
            for file in files.values():
                file.flush()
                os.fsync(file.fileno())
        finally:
            for _, future in waiting:
                future.cancel()
            for file in files.values():
                file.close()
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
    if not size.isdecimal() or not 257 <= int(size) <= 2**16:
        raise ValueError(f"tokenizer {name}: write train: and the number of ids, 257 to 65536, as in train:4096.")

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


def load_meta(data_dir: str | Path) -> dict[str, Any]:
    """meta.json of a prepared folder."""
    path = Path(data_dir) / "meta.json"
    if not path.is_file():
        how = "python -m yzlin prepare TEXT"
        if "tinystories" in str(data_dir):
            how = "python -m yzlin download tinystories && python -m yzlin prepare data/download/tinystories.txt"
        elif "storybook" in str(data_dir):
            how = "python -m yzlin prepare storybook"
        raise FileNotFoundError(f"{path} is missing: make it with `{how} --out {data_dir}`.")
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        return meta | {key: meta[key] for key in ("tokenizer", "vocab_size", "tokens", "text_bytes", "sha256")}  # all there?
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: prepare it again with --force.") from error


def data_tokenizer(data_dir: str | Path) -> tiktoken.Encoding:
    """The tokenizer that a prepared folder was made with."""
    name = load_meta(data_dir)["tokenizer"]
    if name == "gpt2":
        return load_tokenizer("gpt2")
    encoding = load_tokenizer(Path(data_dir) / "tokenizer.tiktoken")
    encoding.name = name
    return encoding


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", help="a .txt, .jsonl, .gz or .zst file, a folder of them, or the word storybook")
    parser.add_argument("--out", help="the folder to make, as in data/NAME; by default named after the source")
    parser.add_argument("--tokenizer", help="gpt2, storybook, a .tiktoken file, or train:4096 to learn one from the text")
    parser.add_argument("--stories", type=int, default=20000, help="how many, for the storybook")
    parser.add_argument("--seed", type=int, default=0, help="of the storybook")
    parser.add_argument("--field", default="text", help="of a .jsonl file")
    parser.add_argument("--block_size", type=int, default=128, help="the window that train and val must be able to fill")
    parser.add_argument("--workers", type=int, help="threads; by default one a core")
    parser.add_argument("--force", action="store_true", help="replace a folder that is there")


def main(options: argparse.Namespace) -> int:
    is_book = options.source == "storybook"
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the half-made folder is removed
    try:
        meta = prepare(
            options.source,
            options.out or f"data/{Path(options.source).resolve().name.split('.')[0]}",
            options.tokenizer or ("storybook" if is_book else "gpt2"),
            workers=options.workers,
            force=options.force,
            block_size=options.block_size,
            field=options.field,
            count=options.stories,
            seed=options.seed,
        )
    finally:
        signal.signal(signal.SIGTERM, before)
    print(describe(meta))
    return 0


def describe(meta: dict[str, Any]) -> str:
    """What was prepared, in some lines, with advice where the tokenizer does not suit the text."""
    tokens, stories, seen = meta["tokens"], meta["stories"], meta["ids_seen_100_times"]
    lines = [
        *(f"{split}: {tokens[split]:,} tokens, {stories[split]:,} stories" for split in ("train", "val")),
        f"val is chosen {meta['val']}"
        if "hash" in meta["val"]
        else f"val is {meta['val']}: the stories are too few to share out",
        f"{meta['repeated_stories']:,} stories repeat an earlier one; {meta['stories_in_both_splits']:,} stand in both splits",
        f"{meta['bytes_per_token']:.2f} bytes a token; {meta['broken_characters']:.1%} of the tokens are a part of a character",
        f"{seen:,} of the {meta['vocab_size']:,} ids occur 100 times or more: a vocabulary much larger cannot be learnt from "
        "this text",
    ]
    if meta["bytes_per_token"] < 1.7:
        lines.append("This tokenizer was made for another language. Learn one from your text: --tokenizer train:4096")
    return "\n".join(lines)
