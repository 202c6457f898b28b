"""Text -> train.bin, val.bin and meta.json, in one pass over blocks: memory does not grow with the text.

train.bin and val.bin are flat uint16 token ids, little-endian; each story ends with the id of `<|endoftext|>`.
"""

from __future__ import annotations

import argparse
import codecs
import errno
import gzip
import hashlib
import io
import json
import os
import re
import shutil
from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import tiktoken
from tqdm.auto import tqdm

from yzlin import __version__
from yzlin.files import is_lfs_pointer
from yzlin.storybook import stories as storybook_stories
from yzlin.tokenizer import EOT, load_tokenizer, save_tokenizer, train_bpe

BLOCK = 2**20  # characters in a block, about
BPE_SAMPLE = 32 * 2**20  # characters that train:N learns from, at most
BLANK_LINES = "\n\n"
KINDS = (".txt", ".jsonl", ".gz", ".zst")


@dataclass
class Block:
    """What one block of text became: uint16 ids, stories and utf-8 bytes of each split, and each story's hash."""

    ids: dict[str, np.ndarray]
    stories: dict[str, int]
    text_bytes: dict[str, int]
    hashes: list[int]


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
    A story goes to val by its hash alone, so that stories added later move none; equal stories share a split.
    The result does not depend on `workers`. Errors are ValueError, FileNotFoundError, FileExistsError or OSError.
    """
    out = Path(out)
    if out.exists() and not force:
        raise FileExistsError(f"{out} is there already: use --force to make it again, or another --out.")
    reader = Source(source, field, count, seed)
    separator, digest, characters = survey(reader, progress)
    room = shutil.disk_usage(nearest_folder(out)).free
    if room < characters:
        raise OSError(
            errno.ENOSPC, f"{out} may need {characters / 2**20:.0f} MB, and {room / 2**20:.0f} MB are free: make room"
        )
    beside = out.with_name(f".{out.name}.part")
    shutil.rmtree(beside, ignore_errors=True)  # what a killed run left
    beside.mkdir(parents=True)
    try:
        encoding = learn_or_load(tokenizer, reader, separator)
        if encoding.n_vocab > 2**16:
            raise ValueError(f"{tokenizer} has {encoding.n_vocab} ids, and uint16 holds 65,536: use a smaller vocabulary.")
        options = (beside, encoding, characters, val_share, workers or os.cpu_count() or 1, progress)
        counts = write_bins(reader.pieces(), separator, *options)
        if separator and not all(counts["stories"].values()):
            separator = None  # too few stories to share out: the last tenth of the text is val
            counts = write_bins(reader.pieces(), separator, *options)
        for split, tokens in counts["tokens"].items():
            if tokens <= block_size:
                raise ValueError(
                    f"{source} is too short: {split} would hold {tokens} tokens, a window needs {block_size + 1}. "
                    "Give a longer text, or a smaller --block_size."
                )
        meta = {
            "tokenizer": encoding.name,
            "vocab_size": encoding.n_vocab,
            **counts,
            "separator": {EOT: EOT, BLANK_LINES: "blank lines", None: "none: the last part of the text is val"}[separator],
            "source": str(source) if source == "storybook" else Path(source).name,
            "sha256": digest,
            "yzlin": __version__,
        }
        if encoding.name != "gpt2":
            save_tokenizer(encoding, beside / "tokenizer.tiktoken")
        (beside / "meta.json").write_text(json.dumps(meta, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        old = out.with_name(f".{out.name}.old")
        if out.exists():
            os.replace(out, old)
        os.replace(beside, out)
        shutil.rmtree(old, ignore_errors=True)
        return meta
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise OSError(errno.ENOSPC, f"the disk of {out} is full: make room and prepare again; nothing was changed") from error
        raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


class Source:
    """A text to prepare, read as often as needed, a piece of some 100 kB to 1 MB at a time."""

    def __init__(self, source: str | Path, field: str, count: int, seed: int) -> None:
        self.name, self.field, self.count, self.seed = str(source), field, count, seed
        path = Path(source)
        self.paths: list[Path] = []
        if path.is_dir():
            self.paths = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix in KINDS)
            if not self.paths:
                raise FileNotFoundError(f"{path} holds no {', '.join(KINDS)} file: name a file or another folder.")
        elif path.is_file():
            self.paths = [path]
        elif self.name != "storybook":
            raise FileNotFoundError(f"{path} is missing: name a text file, a folder of them, or the word storybook.")

    def pieces(self) -> Iterator[str]:
        """The text in order; where one file or jsonl line or story ends, `<|endoftext|>` stands."""
        if not self.paths:
            for story in storybook_stories(self.count, self.seed):
                yield story.text + EOT
        for path in self.paths:
            if is_lfs_pointer(path):
                raise ValueError(f"{path} is only a git-lfs pointer, not the text: run `git lfs pull`.")
            with open_file(path) as file:
                is_lines = ".jsonl" in path.suffixes
                yield from self._json_lines(path, file) if is_lines else decoded(path, file)
            if len(self.paths) > 1:
                yield EOT

    def _json_lines(self, path: Path, file: IO[bytes]) -> Iterator[str]:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    text = json.loads(line)[self.field]
                except (ValueError, KeyError, TypeError, IndexError) as error:
                    raise ValueError(f"{path} line {number} is no JSON object with {self.field!r}: name --field.") from error
                if not isinstance(text, str):
                    raise ValueError(f"{path} line {number}: {self.field!r} is no text: name another --field.")
                yield text + EOT


def open_file(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return gzip.open(path)  # type: ignore[return-value]
    if path.suffix == ".zst":
        try:
            import zstandard
        except ImportError as error:
            raise ImportError(f"{path} needs the package zstandard: `pip install zstandard`, or unpack it first.") from error
        return io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(path.open("rb"), closefd=True))
    return path.open("rb")


def decoded(path: Path, file: IO[bytes]) -> Iterator[str]:
    """The file's text, a block at a time. Raises ValueError where it is not UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    position = 0
    try:
        while data := file.read(BLOCK):
            yield decoder.decode(data).replace("\r\n", "\n")
            position += len(data)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 near byte {position + error.start}: save it as UTF-8 first.") from error
    except (EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is damaged or cut off ({error}): get it again.") from error


def survey(reader: Source, progress: bool) -> tuple[str | None, str, int]:
    """A first quick look: what separates the stories, the sha256 of the text, and its length in characters."""
    digest, characters, found, any_text = hashlib.sha256(), 0, None, False
    tail = ""
    for piece in tqdm(reader.pieces(), "looking", disable=not progress, unit=" pieces", leave=False):
        digest.update(piece.encode())
        characters += len(piece)
        any_text = any_text or bool(piece.replace(EOT, "").strip())
        joined, tail = tail + piece, piece[-len(EOT) :]
        if EOT in joined:
            found = EOT
        elif found is None and BLANK_LINES in joined:
            found = BLANK_LINES
    if not any_text:
        raise ValueError(f"{reader.name} is empty: give a file with text in it.")
    return found, digest.hexdigest(), characters


def blocks(pieces: Iterable[str], separator: str | None) -> Iterator[str]:
    """The text in blocks of about a million characters that end where a story ends (or a word, with no separator)."""
    held: list[str] = []
    length = 0
    for piece in pieces:
        held.append(piece)
        length += len(piece)
        if length >= BLOCK:
            text = "".join(held)
            cut = text.rfind(separator or " ")
            cut = cut + len(separator or "") if cut > 0 else 0
            if not cut and not separator:
                cut = len(text)
            if cut:
                yield text[:cut]
            held, length = [text[cut:]], len(text) - cut
    if length:
        yield "".join(held)


def encode_block(text: str, separator: str | None, encoding: tiktoken.Encoding, val_share: float) -> Block:
    """The ids of one block's stories, each with the separator's id behind it. tiktoken works without the GIL."""
    if separator is None:
        parts: dict[str, list[str]] = {"train": [text], "val": []}  # write_bins decides where val begins
        hashes: list[int] = []
    else:
        parts, hashes = {"train": [], "val": []}, []
        for story in text.split(EOT) if separator == EOT else re.split(r"\n\s*\n", text):
            if story := story.strip():
                value = int.from_bytes(hashlib.blake2b(story.encode(), digest_size=8).digest(), "little")
                hashes.append(value)
                parts["val" if value < val_share * 2**64 else "train"].append(story)
    end = EOT if separator else ""
    ids = {
        split: encoding.encode_to_numpy("".join(story + end for story in some), allowed_special={EOT}).astype("<u2")
        for split, some in parts.items()
    }
    return Block(
        ids,
        {split: len(some) for split, some in parts.items()},
        {split: sum(len(story.encode()) for story in some) for split, some in parts.items()},
        hashes,
    )


def write_bins(
    pieces: Iterable[str],
    separator: str | None,
    folder: Path,
    encoding: tiktoken.Encoding,
    characters: int,
    val_share: float,
    workers: int,
    progress: bool,
) -> dict[str, Any]:
    """Encodes block by block, `workers` at a time, and writes them in order. Returns the counts of meta.json."""
    tokens, stories, text_bytes = ({"train": 0, "val": 0} for _ in range(3))
    hashes = array("Q")
    seen = np.zeros(encoding.n_vocab, dtype=np.int64)
    files = {split: (folder / f"{split}.bin").open("wb") for split in tokens}
    done = 0
    with (
        ThreadPoolExecutor(workers) as pool,
        tqdm(total=characters, desc="tokens", unit="B", unit_scale=True, disable=not progress) as bar,
    ):
        waiting: deque = deque()

        def write_oldest() -> None:
            nonlocal done
            length, future = waiting.popleft()
            block = future.result()
            if separator is None:
                block = move_tail_to_val(block, done, length, characters, val_share)
            for split, ids in block.ids.items():
                files[split].write(ids.tobytes())
                tokens[split] += len(ids)
                stories[split] += block.stories[split]
                text_bytes[split] += block.text_bytes[split]
                seen[:] += np.bincount(ids, minlength=len(seen))
            hashes.extend(block.hashes)
            done += length
            bar.update(length)

        try:
            for text in blocks(pieces, separator):
                waiting.append((len(text), pool.submit(encode_block, text, separator, encoding, val_share)))
                if len(waiting) > 2 * workers:  # never more than some blocks in memory
                    write_oldest()
            while waiting:
                write_oldest()
        finally:
            for _, future in waiting:
                future.cancel()
            for file in files.values():
                file.close()
    single = [len(encoding.decode_single_token_bytes(i)) == 1 and i != encoding.eot_token for i in range(encoding.n_vocab)]
    high = [is_single and encoding.decode_single_token_bytes(i)[0] >= 0x80 for i, is_single in enumerate(single)]
    return {
        "tokens": tokens,
        "stories": stories,
        "text_bytes": text_bytes,
        "bytes_per_token": round(sum(text_bytes.values()) / max(1, sum(tokens.values())), 4),
        "broken_characters": round(float(seen[high].sum() / max(1, seen.sum())), 4),
        "ids_seen_100_times": int((seen >= 100).sum()),
        "repeated_stories": len(hashes) - len(np.unique(np.frombuffer(hashes, dtype=np.uint64))) if hashes else 0,
    }


def move_tail_to_val(block: Block, done: int, length: int, characters: int, val_share: float) -> Block:
    """For a text in one piece: what lies behind (1 - val_share) of its characters is val."""
    ids = block.ids["train"]
    share = min(1.0, max(0.0, ((1 - val_share) * characters - done) / length))  # of this block, the part that is train
    cut = round(share * len(ids))
    byte_cut = round(share * block.text_bytes["train"])
    return Block(
        {"train": ids[:cut], "val": ids[cut:]},
        {"train": 1 if done == 0 else 0, "val": 1 if share < 1 <= share + length else 0},
        {"train": byte_cut, "val": block.text_bytes["train"] - byte_cut},
        [],
    )


def learn_or_load(name: str, reader: Source, separator: str | None) -> tiktoken.Encoding:
    """The tokenizer by its name; `train:4096` learns one of 4,096 ids from the text (its first 32 million characters)."""
    if not name.startswith("train:"):
        return load_tokenizer(name)
    try:
        vocab_size = int(name.removeprefix("train:"))
    except ValueError as error:
        raise ValueError(f"tokenizer {name}: write train: and the number of ids, as in train:4096.") from error

    def sample() -> Iterator[str]:
        length = 0
        for text in blocks(reader.pieces(), separator):
            yield text
            length += len(text)
            if length >= BPE_SAMPLE:
                return

    return train_bpe(sample(), vocab_size, name=f"bpe{vocab_size}")


def nearest_folder(path: Path) -> Path:
    """The closest folder above that is there."""
    path = path.resolve().parent
    while not path.exists():
        path = path.parent
    return path


def load_meta(data_dir: str | Path) -> dict[str, Any]:
    """meta.json of a prepared folder."""
    path = Path(data_dir) / "meta.json"
    if not path.is_file():
        advice = "python -m yzlin prepare storybook --tokenizer storybook" if "storybook" in str(data_dir) else (
            "python -m yzlin prepare TEXT"
        )  # fmt: skip
        raise FileNotFoundError(f"{path} is missing: make it with `{advice} --out {data_dir}`.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
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
    meta = prepare(
        options.source,
        options.out or f"data/{Path(options.source).name.split('.')[0]}",
        options.tokenizer or ("storybook" if is_book else "gpt2"),
        workers=options.workers,
        force=options.force,
        block_size=options.block_size,
        field=options.field,
        count=options.stories,
        seed=options.seed,
    )
    print(describe(meta))
    return 0


def describe(meta: dict[str, Any]) -> str:
    """What was prepared, in some lines, with advice where the tokenizer does not suit the text."""
    tokens, stories = meta["tokens"], meta["stories"]
    lines = [
        f"train: {tokens['train']:,} tokens, {stories['train']:,} stories; val: {tokens['val']:,} tokens, {stories['val']:,} stories",
        f"{meta['bytes_per_token']:.2f} bytes a token; {meta['repeated_stories']:,} stories stand more than once, "
        "and equal stories share a split, so none of val was seen in training",
        f"{meta['ids_seen_100_times']:,} of the {meta['vocab_size']:,} ids occur 100 times or more: a vocabulary much larger "
        "than that cannot be learnt from this text",
    ]
    if meta["bytes_per_token"] < 1.7:
        lines.append(
            f"{meta['broken_characters']:.0%} of the tokens are only a part of a character: this tokenizer was made for "
            "another language. Learn one from your text: --tokenizer train:4096"
        )
    return "\n".join(lines)
