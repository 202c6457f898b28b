"""The TinyStories dataset (Eldan and Li, 2023, arXiv:2305.07759; licence CDLA-Sharing-1.0), resumable, through a mirror too.

One way serves the hub, its mirrors and any other address: HTTP ranges. The hub's own library cannot stop after the first
180 MB, nor fetch from a plain address.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import requests
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from yzlin.tokenizer import EOT

HUB = "https://huggingface.co"
PATH = "/datasets/roneneldan/TinyStories/resolve/f54c09fd23315a6f9c86f9dc80f725de7d8f9c64/"  # a revision: it cannot change
FIRST = 180_000_000  # bytes of --part 0.1, as in the original project
OVERLAP = 2**16  # bytes at the end of a half file that are fetched again, to see that it is the same file
TIMEOUT = (10, 30)  # seconds: to connect, and of silence
TRIES = 4  # failures in a row, with no new byte between them
WAIT = 1.0  # seconds before the second try; doubled at each


@dataclass(frozen=True)
class Remote:
    """A file of the dataset: its size in bytes and its sha256."""

    name: str
    size: int
    sha256: str


# Version 1 was written by GPT-3.5 and GPT-4, version 2 by GPT-4 alone.
FILES = {
    (1, "train"): Remote(
        "TinyStories-train.txt", 1_924_281_556, "c5cf5e22ff13614e830afbe61a99fbcbe8bcb7dd72252b989fa1117a368d401f"
    ),
    (1, "valid"): Remote(
        "TinyStories-valid.txt", 19_447_282, "94e431816c4cce81ff71e4408ff8d3bda9a42e8d2663986697c3954288cb38b4"
    ),
    (2, "train"): Remote(
        "TinyStoriesV2-GPT4-train.txt", 2_227_753_162, "6418d412de72888f52b5142c761ac21a582f7d1166f0bfbdb5f03ccfdec90443"
    ),
    (2, "valid"): Remote(
        "TinyStoriesV2-GPT4-valid.txt", 22_502_601, "6874bae9a4c1a4e7edcf0e53b86c17817e9cf881fc75ff2368da457b80c0585d"
    ),
}


class BrokenOff(Exception):
    """A try failed in a way that another may mend."""


def download(
    part: str | None = None,
    version: int = 1,
    out: str | Path | None = None,
    mirror: str | None = None,
    url: str | None = None,
    force: bool = False,
    progress: bool = True,
) -> Path:
    """Fetches a text file and returns where it lies: whole, or not there at all.

    part: "0.1" (the first 180 MB, cut at a whole story), "valid" or "full"; by default 0.1, and full where a url is given.
    mirror: an address that stands for the hub's; else $HF_ENDPOINT, else the hub. url: any other file; nothing is known
    of its size and hash. What was fetched of a file stays beside it as .part, and the next call goes on from there.
    Raises ValueError (the wrong file), FileNotFoundError, PermissionError, OSError (no network, no space).
    """
    part = part or ("full" if url else "0.1")
    remote = None if url else FILES[version, "valid" if part == "valid" else "train"]
    url = url or (mirror or os.environ.get("HF_ENDPOINT") or HUB).rstrip("/") + PATH + remote.name
    ending = {"0.1": "", "valid": "-valid", "full": "-full"}[part]
    path = Path(out or f"data/download/tinystories{'2' if version == 2 else ''}{ending}.txt")
    if path.exists() and not force:
        print(f"{path} is there already: nothing to do (--force fetches it again).")
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    try:
        with FileLock(f"{beside}.lock", timeout=0):
            fetch(url, beside, FIRST if part == "0.1" else None, remote.size if remote else None, path, progress)
            if remote and part != "0.1" and sha256(beside) != remote.sha256:
                beside.unlink()
                raise ValueError(f"{url} has the right size but not the known sha256: it is damaged. Try again, or a --mirror.")
            if part == "0.1" and not cut_at_story(beside):
                beside.unlink()
                raise ValueError(f"{url} holds no {EOT}: it is not TinyStories.")
            os.replace(beside, path)
    except Timeout as error:
        raise FileExistsError(f"another run is fetching {path} just now: wait for it, or choose another --out.") from error
    Path(f"{beside}.lock").unlink(missing_ok=True)
    return path


def fetch(url: str, beside: Path, length: int | None, size: int | None, path: Path, progress: bool) -> None:
    """Fetches the first `length` bytes of a url (None: all of it, `size` where that is known) into the file `beside`.

    Tries again, from where it broke off, until TRIES failures in a row brought nothing new.
    """
    failures, best = 0, file_size(beside)
    with tqdm(desc=path.name, unit="B", unit_scale=True, disable=not progress, dynamic_ncols=True) as bar:
        while True:
            try:
                return fetch_on(url, beside, length, size, bar)
            except (BrokenOff, requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
                failures = 1 if file_size(beside) > best else failures + 1
                best = max(best, file_size(beside))
                if failures == TRIES:
                    raise OSError(
                        f"{url} cannot be fetched ({reason(error)}). Three ways out: a mirror (--mirror https://hf-mirror.com, "
                        f"or HF_ENDPOINT); copy the file by hand to {path}; or use the storybook (python -m yzlin prepare "
                        "storybook). The same command goes on from where it stopped."
                    ) from error
                time.sleep(WAIT * 2 ** (failures - 1))


def fetch_on(url: str, beside: Path, length: int | None, size: int | None, bar: tqdm) -> None:
    """One try. Nothing of `beside` is lost before the answer is known to be the file."""
    have = file_size(beside)
    start = max(0, have - OVERLAP)
    asked = f"bytes={start}-{length - 1 if length else ''}"
    with requests.get(url, headers={"Range": asked, "Accept-Encoding": "identity"}, stream=True, timeout=TIMEOUT) as answer:
        start, total = check_answer(answer, url, start, beside)
        if size and total and total != size:
            raise ValueError(f"{url} has {total:,} bytes and should have {size:,}: it is another file. Try a --mirror.")
        end = min(filter(None, (length, total or size)), default=None)
        pieces = answer.iter_content(2**13)  # small: what was read of a piece when the line breaks is lost
        data = next(pieces, b"")
        if start == 0 and data.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
            raise_web_page(url)
        if end and shutil.disk_usage(beside.parent).free < end - have:
            raise OSError(f"{beside.parent} lacks room for {(end - have) / 1e6:.0f} MB: make room on that disk.")
        bar.total = end
        with beside.open("r+b" if have else "w+b") as file:
            position = start
            while data:
                data = data[: end - position] if end else data
                file.seek(position)
                known = file.read(len(data))
                if not data.startswith(known):
                    file.truncate(0)
                    raise BrokenOff("the half file beside was another one")
                file.write(data[len(known) :])
                position += len(data)
                bar.update(position - bar.n)
                data = b"" if position == end else next(pieces, b"")
            if end in (None, position):
                file.truncate(position)
            file.flush()
            os.fsync(file.fileno())
    if end and position < end:
        raise BrokenOff(f"it broke off after {position:,} of {end:,} bytes")


def check_answer(answer: requests.Response, url: str, start: int, beside: Path) -> tuple[int, int | None]:
    """Where the answer's bytes begin, and how long the whole file is (None: not told). Raises what an answer deserves."""
    status = answer.status_code
    if status == 404:
        raise FileNotFoundError(f"{url} is not there (404): check the --mirror or --url.")
    if status in (401, 403):
        raise PermissionError(f"{url} refuses access ({status}): try a --mirror, or another network.")
    if status == 416 and beside.exists():
        beside.unlink()
        raise BrokenOff("the half file beside was longer than the whole")
    if status == 429 or status >= 500:
        raise BrokenOff(f"the server answers {status}")
    if status not in (200, 206):
        raise ValueError(f"{url} answers {status}, which is not a file: check the --mirror or --url.")
    if answer.headers.get("Content-Type", "").startswith("text/html"):
        raise_web_page(url)
    if status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if not match or int(match[1]) != start:
            raise BrokenOff("the server sends another part than it was asked for")
        return start, None if match[2] == "*" else int(match[2])
    length = answer.headers.get("Content-Length")
    return 0, int(length) if length else None


def raise_web_page(url: str) -> None:
    raise ValueError(f"{url} answers with a web page, not a text: log in to this network first, or try a --mirror.")


def reason(error: BaseException) -> str:
    """The first cause, in short: requests wraps it several times."""
    for inner in (*error.args[:1], getattr(error, "reason", None), error.__cause__):
        if isinstance(inner, BaseException):
            return reason(inner)
    return str(error) or type(error).__name__


def cut_at_story(path: Path) -> bool:
    """Shortens a text to its last `<|endoftext|>`. False: there is none in its last megabyte."""
    with path.open("r+b") as file:
        start = max(0, file.seek(0, os.SEEK_END) - 2**20)
        file.seek(start)
        place = file.read().rfind(EOT.encode())
        if place >= 0:
            file.truncate(start + place + len(EOT))
    return place >= 0


def file_size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(2**20):
            digest.update(data)
    return digest.hexdigest()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", choices=["tinystories"], help="the dataset")
    parser.add_argument(
        "--part", choices=["0.1", "valid", "full"], help="its first 180 MB (the default), its 20 MB for validation, or 2 GB"
    )
    parser.add_argument("--version", type=int, choices=[1, 2], default=1, help="2: the stories by GPT-4 alone")
    parser.add_argument("--mirror", help="an address in place of the hub's, as https://hf-mirror.com; else HF_ENDPOINT")
    parser.add_argument("--url", help="any other text file")
    parser.add_argument("--out", help="where to; by default in data/download/")
    parser.add_argument("--force", action="store_true", help="fetch again what is there")


def main(options: argparse.Namespace) -> int:
    try:
        path = download(options.part, options.version, options.out, options.mirror, options.url, options.force)
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on from here.", file=sys.stderr)
        return 130
    print(f"{path}: {path.stat().st_size / 1e6:,.1f} MB. Next: python -m yzlin prepare {path} --out data/tinystories")
    return 0
