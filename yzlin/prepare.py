"""Text -> train.bin, val.bin and meta.json, block by block: memory does not grow with the text.

train.bin and val.bin are flat uint16 token ids, little-endian; each story ends with the id of `<|endoftext|>`.
"""

from __future__ import annotations

import argparse
import codecs
import errno
import gzip
import hashlib
import json
import os
import re
import shutil
import signal
import sys
import zlib
from array import array
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import tiktoken
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from yzlin import __version__
from yzlin.files import is_lfs_pointer
from yzlin.tokenizer import EOT, load_tokenizer, save_tokenizer, train_bpe

BLOCK = 2**20  # bytes of text in a block, about
BPE_SAMPLE = 32 * 2**20  # characters that train:N learns from, at most
KINDS = (".txt", ".jsonl", ".gz", ".zst")
OUTPUTS = {"train.bin", "val.bin", "meta.json", "tokenizer.tiktoken"}

# What separates the stories of a file, and the bytes after which a block of it may end. PIECE: nothing does.
BLANK_LINES, JSON_LINES, PIECE = "blank lines", "JSON lines", "none"
ENDS = {EOT: (EOT.encode(),), BLANK_LINES: (b"\n\n", b"\n\r\n"), JSON_LINES: (b"\n",)}


@dataclass
class Block:
    """Some of the text, still as bytes, that ends where a story ends."""

    data: bytes
    separator: str
    path: Path | str
    offset: int  # of the block in its file, in bytes
    line: int  # the number of its first line, from 1
    read: int  # how much of the source was read for it, in the unit of the progress bar


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

    source: a .txt, .jsonl (its `field`), .gz or .zst file, a folder of such files, or "storybook" (`count` stories).
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
            if not sum(counts.sum() for counts in tokens.counts.values()):
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
            "source": str(source) if not reader.separators.keys() - {"storybook"} else Path(source).resolve().name,
            "sha256": reader.digest.hexdigest(),
            "yzlin": __version__,
        }
        if encoding.name != "gpt2":
            save_tokenizer(encoding, folder / "tokenizer.tiktoken")
        (folder / "meta.json").write_text(json.dumps(meta, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
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


class Source:
    """A text to prepare, read as often as needed, in blocks that end where a story ends."""

    def __init__(self, source: str | Path, field: str, count: int, seed: int) -> None:
        path = Path(source)
        self.field, self.count, self.seed, self.paths = field, count, seed, [path]
        self.separators: dict[Path | str, str] = {}
        self.digest = hashlib.sha256()  # of the text last read, its files unpacked and one after another
        if path.is_dir():
            files = (p for p in path.rglob("*") if p.suffix.lower() in KINDS and not p.name.startswith("."))
            self.paths = sorted(p for p in files if p.is_file())
            if not self.paths:
                raise FileNotFoundError(f"{path} holds no {', '.join(KINDS)} file: name a file or another folder.")
        elif not path.is_file():
            if str(source) != "storybook":
                raise FileNotFoundError(f"{path} is missing: name a text file, a folder of them, or the word storybook.")
            self.paths, self.separators = [], {"storybook": EOT}
        sizes = [(p.stat().st_size, p.suffix.lower() in (".gz", ".zst")) for p in self.paths]
        self.total = sum(size for size, _ in sizes) if self.paths else count  # what Block.read runs up to
        self.text_bytes = sum(4 * size if packed else size for size, packed in sizes) if self.paths else 700 * count
        for p in self.paths:
            if is_lfs_pointer(p):
                raise ValueError(f"{p} is only a git-lfs pointer, not the text: run `git lfs pull`.")
            self.separators[p] = find_separator(p)

    def blocks(self) -> Iterator[Block]:
        self.digest = hashlib.sha256()
        if not self.paths:
            yield from self._storybook()
        before = 0
        for path in self.paths:
            yield from self._file(path, self.separators[path], before)
            before += path.stat().st_size

    def _storybook(self) -> Iterator[Block]:
        from yzlin.storybook import stories

        held: list[str] = []
        for number, story in enumerate(stories(self.count, self.seed), 1):
            held.append(story.text + EOT)
            if number % 1000 == 0 or number == self.count:
                data = "".join(held).encode()
                self.digest.update(data)
                yield Block(data, EOT, "storybook", 0, 1, number)
                held = []

    def _file(self, path: Path, separator: str, before: int) -> Iterator[Block]:
        held, offset, line = bytearray(), 0, 1
        for data, read in chunks(path):
            self.digest.update(data)
            held += data
            if len(held) < BLOCK:
                continue
            if separator == PIECE:
                cut = between_words(held)
            else:
                start = max(0, len(held) - len(data) - len(EOT))
                cut = max(held.rfind(end, start) + len(end) if end in held[start:] else 0 for end in ENDS[separator])
            if cut:
                yield Block(bytes(held[:cut]), separator, path, offset, line, before + read)
                offset, line = offset + cut, line + held.count(b"\n", 0, cut)
                del held[:cut]
        if separator == PIECE and offset == 0:  # a piece of less than a block is a story like any other
            separator = EOT
        elif separator == PIECE:
            held += EOT.encode()
        if held:
            yield Block(bytes(held), separator, path, offset, line, before + path.stat().st_size)


def between_words(held: bytearray) -> int:
    """Where to cut a long piece: before the blank between two words, where its ids stay those of the uncut text."""
    start = max(0, len(held) - 2**16)
    cut = max((match.end() for match in re.finditer(rb"\S(?=[ \n]\S)", held[start:])), default=0)
    if cut:
        return start + cut
    cut = len(held) - 1  # a script without blanks: before the last character, which may not be all there
    while cut and held[cut] & 0xC0 == 0x80:
        cut -= 1
    return cut or len(held)


def find_separator(path: Path) -> str:
    """What separates the stories of a file: `<|endoftext|>` where it occurs, else blank lines, else nothing."""
    if ".jsonl" in [suffix.lower() for suffix in path.suffixes]:
        return JSON_LINES
    blank, tail = False, b""
    for data, _ in chunks(path):
        data = tail + data
        if EOT.encode() in data:
            return EOT
        blank = blank or any(end in data for end in ENDS[BLANK_LINES])
        tail = data[-len(EOT) :]
    return BLANK_LINES if blank else PIECE


def chunks(path: Path) -> Iterator[tuple[bytes, int]]:
    """The bytes of a file, unpacked, some at a time, and how many bytes of it were read so far."""
    with path.open("rb") as raw:
        try:
            if path.suffix.lower() == ".zst":
                yield from ((data, raw.tell()) for data in unzstd(raw, path))
            else:
                file = gzip.GzipFile(fileobj=raw) if path.suffix.lower() == ".gz" else raw
                while data := file.read(BLOCK):
                    yield data, raw.tell()
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path} is damaged or cut off ({error}): get it again.") from error


def unzstd(raw: IO[bytes], path: Path) -> Iterator[bytes]:
    """The unpacked bytes of a .zst file, of all its frames. Raises EOFError where the last is not complete."""
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd

            new_frame, zstd_error = zstd.ZstdDecompressor, zstd.ZstdError
        else:
            import zstandard

            new_frame, zstd_error = zstandard.ZstdDecompressor().decompressobj, zstandard.ZstdError
    except ImportError as error:
        raise ImportError(f"{path} needs the package zstandard: `pip install zstandard`, or unpack it first.") from error
    frame = None
    while data := raw.read(BLOCK // 16):
        while data:
            frame = frame or new_frame()
            try:
                yield frame.decompress(data)
            except zstd_error as error:
                raise EOFError(error) from error
            data = frame.unused_data if frame.eof else b""
            frame = None if frame.eof else frame
    if frame:
        raise EOFError("the last frame is not complete")


def block_text(block: Block) -> str:
    try:
        text = block.data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{block.path} is not UTF-8 at byte {block.offset + error.start}: save it as UTF-8 first.") from error
    return (text if block.offset else text.removeprefix("\ufeff")).replace("\r\n", "\n")


def block_stories(block: Block, field: str) -> list[str]:
    """The stories of a block, without the blanks around them; empty ones are left out."""
    texts = [block_text(block)]
    if block.separator == BLANK_LINES:
        texts = texts[0].split("\n\n")
    elif block.separator == JSON_LINES:
        lines = enumerate(texts[0].split("\n"), block.line)
        texts = [json_text(line, field, f"{block.path} line {number}") for number, line in lines if line.strip()]
    return [story for text in texts for part in text.split(EOT) if (story := part.strip())]


def json_text(line: str, field: str, where: str) -> str:
    try:
        text = json.loads(line)[field]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{where} is no JSON object with the field {field!r}: name another --field.") from error
    if not isinstance(text, str):
        raise ValueError(f"{where}: the field {field!r} is no text: name another --field.")
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # \ud83d alone is half a character


def encode_block(
    block: Block, field: str, encoding: tiktoken.Encoding, val_share: float
) -> tuple[dict[str, np.ndarray], dict[str, list[int]]]:
    """The uint16 ids of each split, every story's with `<|endoftext|>` behind, and the hash of each story.

    Runs in many threads at once: tiktoken works without Python's lock.
    """
    parts: dict[str, list[str]] = {"train": [], "val": []}
    hashes: dict[str, list[int]] = {"train": [], "val": []}
    if block.separator == PIECE:
        text = block_text(block)
        parts["train"] = [text if text.strip() else ""]
    else:
        for story in block_stories(block, field):
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
    splits = ("train", "val")
    tokens = Tokens({split: np.zeros(encoding.n_vocab, np.int64) for split in splits}, {split: array("Q") for split in splits})
    files = {split: (folder / f"{split}.bin").open("wb") for split in splits}
    waiting: deque = deque()  # (block's place in the source, its ids to come), in order
    known: set[int] = set()
    unit = "B" if source.paths else " stories"
    bar = tqdm(total=source.total, desc="tokens", unit=unit, unit_scale=True, disable=not progress, dynamic_ncols=True)

    def write_oldest() -> None:
        read, future = waiting.popleft()
        ids, hashes = future.result()
        if once:
            ids["train"] = first_of_equals(ids["train"], hashes["train"], known, encoding.eot_token)
        for split in splits:
            files[split].write(ids[split].tobytes())
            tokens.counts[split] += np.bincount(ids[split], minlength=encoding.n_vocab)
            tokens.hashes[split].extend(hashes[split])
        bar.update(read - bar.n)

    with ThreadPoolExecutor(workers) as pool, bar:
        try:
            for block in source.blocks():
                waiting.append((block.read, pool.submit(encode_block, block, source.field, encoding, val_share)))
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
    parts = np.array([not is_utf8(token) for token in spelt])
    counts = tokens.counts
    all_ids = counts["train"] + counts["val"]
    unique = {split: np.unique(np.frombuffer(hashes, np.uint64)) for split, hashes in tokens.hashes.items()}
    return {
        "tokens": {split: int(n.sum()) for split, n in counts.items()},
        "stories": {split: int(n[encoding.eot_token]) for split, n in counts.items()},
        "text_bytes": {split: int(n @ lengths) for split, n in counts.items()},
        "bytes_per_token": round(int(all_ids @ lengths) / int(all_ids.sum()), 4),
        "broken_characters": round(int(all_ids @ parts) / int(all_ids.sum()), 4),
        "ids_seen_100_times": int((all_ids >= 100).sum()),
        "repeated_stories": sum(len(tokens.hashes[split]) - len(unique[split]) for split in unique),
        "stories_in_both_splits": len(np.intersect1d(*unique.values(), assume_unique=True)),
    }


def is_utf8(data: bytes) -> bool:
    try:
        codecs.decode(data, "utf-8")
        return True
    except UnicodeDecodeError:
        return False


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
            for story in [block_text(block)] if block.separator == PIECE else block_stories(block, source.field):
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
        advice = "storybook --tokenizer storybook" if "storybook" in str(data_dir) else "TEXT"
        raise FileNotFoundError(f"{path} is missing: make it with `python -m yzlin prepare {advice} --out {data_dir}`.")
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        assert {"tokenizer", "vocab_size", "tokens", "text_bytes", "sha256"} <= meta.keys()
    except (ValueError, AttributeError, AssertionError) as error:
        raise ValueError(f"{path} is damaged: prepare it again with --force.") from error
    return meta


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
