"""Any text, read in blocks that end where a story ends: memory does not grow with it. For prepare.py."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from yzlin.tokenizer import EOT
from yzlin.tools.files import need_file

BLOCK = 2**20  # bytes of text in a block, about
KINDS = (".txt", ".jsonl", ".gz", ".zst")
ADVICE = "name a text file, a folder of them, or the word storybook"

# What separates the stories of a file, and the bytes after which a block of it may end. PIECE: nothing does.
BLANK_LINES, JSON_LINES, PIECE = "blank lines", "JSON lines", "none"
ENDS = {EOT: (EOT.encode(),), BLANK_LINES: (b"\n\n", b"\n\r\n"), JSON_LINES: (b"\n",)}


@dataclass
class Block:
    """Some of a text, still as bytes."""

    data: bytes
    separator: str
    name: Path | str  # of its file
    offset: int  # of the block in its file, in bytes
    line: int  # the number of its first line, from 1
    read: int  # how much of the source was read for it: bytes of its files, or stories of the storybook

    def text(self) -> str:
        """Raises ValueError where it is not UTF-8."""
        try:
            text = self.data.decode()
        except UnicodeDecodeError as error:
            place = self.offset + error.start
            raise ValueError(f"{self.name} is not UTF-8 at byte {place}: save it as UTF-8 first.") from error
        return (text if self.offset else text.removeprefix("\ufeff")).replace("\r\n", "\n")

    def stories(self, field: str) -> list[str]:
        """Its stories, without the blanks around them; empty ones are left out. field: the text's key in JSON lines."""
        texts = [self.text()]
        if self.separator == BLANK_LINES:
            texts = texts[0].split("\n\n")
        elif self.separator == JSON_LINES:
            lines = enumerate(texts[0].split("\n"), self.line)
            texts = [json_text(line, field, f"{self.name} line {number}") for number, line in lines if line.strip()]
        return [story for text in texts for part in text.split(EOT) if (story := part.strip())]


def json_text(line: str, field: str, where: str) -> str:
    try:
        text = json.loads(line)[field]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{where} is not a JSON object with the field {field!r}: name another --field.") from error
    if not isinstance(text, str):
        raise ValueError(f"{where}: the field {field!r} is not a text: name another --field.")
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # "\ud83d" alone is half a character


class Source:
    """A text to prepare, read as often as needed.

    source: a .txt, .jsonl (its `field`), .gz or .zst file, a folder of such files, or "storybook" (`count` stories).
    Raises FileNotFoundError, ValueError (damaged, git-lfs pointer), ImportError (.zst without zstandard).
    """

    def __init__(self, source: str | Path, field: str = "text", count: int = 0, seed: int = 0) -> None:
        path = Path(source)
        self.field, self.count, self.seed, self.paths = field, count, seed, [path]
        self.digest = hashlib.sha256()  # of the text last read, unpacked, its files one after another
        if path.is_dir():
            files = (p for p in path.rglob("*") if p.suffix.lower() in KINDS and not p.name.startswith("."))
            self.paths = sorted(p for p in files if p.is_file())
            if not self.paths:
                raise FileNotFoundError(f"{path} holds no {', '.join(KINDS)} file: name a file or another folder.")
        elif str(source) == "storybook" and not path.is_file():
            self.paths = []
        self.separators = {p: find_separator(p) for p in self.paths} or {path: EOT}
        self.name = path.resolve().name if self.paths else "storybook"
        sizes = [(p.stat().st_size, p.suffix.lower() in (".gz", ".zst")) for p in self.paths]
        self.total = sum(size for size, _ in sizes) if self.paths else count  # what Block.read runs up to
        self.text_bytes = sum(4 * size if packed else size for size, packed in sizes) if self.paths else 700 * count  # about

    def blocks(self) -> Iterator[Block]:
        self.digest = hashlib.sha256()
        before = 0
        for path in self.paths:
            yield from self._file(path, self.separators[path], before)
            before += path.stat().st_size
        if not self.paths:
            yield from self._storybook()

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
            new = max(0, len(held) - len(data) - len(EOT))  # where no end was looked for yet
            cut = last_word(held) if separator == PIECE else last_end(held, new, ENDS[separator])
            if cut:
                yield Block(bytes(held[:cut]), separator, path, offset, line, before + read)
                offset, line = offset + cut, line + held.count(b"\n", 0, cut)
                del held[:cut]
        if separator == PIECE:
            if offset:
                held += EOT.encode()
            else:
                separator = EOT  # a piece of less than a block is a story like any other
        yield Block(bytes(held), separator, path, offset, line, before + path.stat().st_size)


def last_end(held: bytearray, start: int, ends: tuple[bytes, ...]) -> int:
    """The place behind the last of these ends at or after start; 0 where there is none."""
    return max((place + len(end) for end in ends if (place := held.rfind(end, start)) >= 0), default=0)


def last_word(held: bytearray) -> int:
    """Where to cut a long piece: before the blank between two words, where its ids stay those of the uncut text."""
    start = max(0, len(held) - 2**16)
    if places := [match.end() for match in re.finditer(rb"\S(?=[ \n]\S)", held[start:])]:
        return start + places[-1]
    cut = len(held) - 1  # a script without blanks: before the last character, which may not be all there
    while cut and held[cut] & 0xC0 == 0x80:
        cut -= 1
    return cut or len(held)


def find_separator(path: Path) -> str:
    """What separates the stories of a file: `<|endoftext|>` where it occurs, else blank lines, else nothing."""
    need_file(path, "the text", ADVICE)
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
    """The bytes of a file, unpacked, some at a time, and how many of the file were read so far."""
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
        raise EOFError("its end is missing")
