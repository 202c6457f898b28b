"""The TinyStories dataset (Eldan and Li, 2023, arXiv:2305.07759; licence CDLA-Sharing-1.0), resumable, from three places.

One way serves the hub, its mirrors, ModelScope and any other address: HTTP ranges. The hub's own library cannot stop after
the first 180 MB, nor fetch from a plain address.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from yzlin.tokenizer import EOT
from yzlin.tools.fetch import Job, fetch, read_json, write_json
from yzlin.tools.files import as_path, locked, made_folder, sha256_of

HUB = "https://huggingface.co"
PATH = "/datasets/roneneldan/TinyStories/resolve/f54c09fd23315a6f9c86f9dc80f725de7d8f9c64/"  # a revision: it cannot change
MODELSCOPE = "https://www.modelscope.cn"  # in China
MODELSCOPE_PATH = "/datasets/AI-ModelScope/TinyStories/resolve/master/"  # it can change: sizes and hashes tell
FIRST = 180_000_000  # bytes of --part 0.1, as in the original project


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
ENDINGS = {"0.1": "", "valid": "-valid", "full": "-full"}  # of the name of each --part


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
    mirror: "modelscope", or an address that stands for the hub's; else $HF_ENDPOINT, else the hub. url: any other file;
    nothing is known of its size and hash. What was fetched of a file stays beside it as .part, and the next call goes on
    from there, if the file is still the same there (its ETag or Last-Modified, sent as If-Range, RFC 9110 13.1.5).
    Raises ValueError (the wrong file), FileNotFoundError, FileExistsError, PermissionError, OSError (no network, no space).
    """
    part = part or ("full" if url else "0.1")
    if part not in ENDINGS or version not in (1, 2):
        raise ValueError(f"part {part} of version {version} is not known: use 0.1, valid or full, of version 1 or 2.")
    remote = None if url else FILES[version, "valid" if part == "valid" else "train"]
    name = file_name(url) if url else f"tinystories{'2' if version == 2 else ''}{ENDINGS[part]}.txt"
    path = as_path(f"data/download/{name}" if out is None else out)
    length = FIRST if part == "0.1" else None
    job = Job(address(url, mirror, remote), path, length, remote and remote.size, hash_is_known=bool(remote and not length))
    if path.is_dir() or not path.name:
        raise IsADirectoryError(f"{path} is a folder: name a file with --out.")
    if path.exists() and not force:
        check_there(job, remote)
        print(f"{path} is there already: nothing to do (--force fetches it again).")
        return path
    refusal = f"another run is fetching {path} just now: wait for it, or choose another --out."
    with made_folder(path.parent), locked(f"{job.half}.lock", refusal):
        fetch(job, progress)
        check_fetched(job, remote)
        source_of(path).unlink(missing_ok=True)
        os.replace(job.half, path)
        if not remote:
            write_json(source_of(path), {"url": job.url})
        job.record.unlink(missing_ok=True)
    return path


def source_of(path: Path) -> Path:
    """A JSON file beside one that came from a --url: the address."""
    return path.with_name(path.name + ".source.json")


def address(url: str | None, mirror: str | None, remote: Remote | None) -> str:
    """Where a file is fetched from. Raises ValueError for what is not a web address."""
    if url and mirror:
        raise ValueError("--url is a whole address, and --mirror stands for the hub's: give one of them.")
    if mirror == "modelscope":
        return MODELSCOPE + MODELSCOPE_PATH + remote.name
    given = {"--url": url, "--mirror": mirror, "HF_ENDPOINT": os.environ.get("HF_ENDPOINT")}
    option, base = next(((option, base) for option, base in given.items() if base), ("", HUB))
    try:
        parts = urlsplit(base)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not re.search(r"[\s\0]", base)
    except ValueError:  # as in http://[
        good = False
    if not good:
        others = ", or modelscope" if option == "--mirror" else ""
        raise ValueError(f"{option} is {base!r}: write an address that begins with https://{others}.")
    return base if url else base.rstrip("/") + PATH + remote.name


def file_name(url: str) -> str:
    """A name for what comes from an address: another one for each address."""
    last = re.sub(r"[^\w.-]", "-", unquote(urlsplit(url).path).rpartition("/")[2] if "[" not in url else "")[-80:]
    return f"{hashlib.sha256(url.encode(errors='replace')).hexdigest()[:8]}-{last or 'text.txt'}"


def check_there(job: Job, remote: Remote | None) -> None:
    """Raises FileExistsError if the file at job.path is not known to be the one that is asked for."""
    came_from = read_json(source_of(job.path)).get("url")
    if not remote:
        same = came_from == job.url
    elif job.hash_is_known:
        same = job.path.stat().st_size == remote.size and sha256_of(job.path) == remote.sha256
    else:
        with job.path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - len(EOT)))
            same = not came_from and job.length - 2**20 < size <= job.length and file.read() == EOT.encode()
    if not same:
        raise FileExistsError(
            f"{job.path} is there already, and it is not {job.url}{f' but {came_from}' if came_from else ''}: choose another "
            "--out, or replace it with --force."
        )


def check_fetched(job: Job, remote: Remote | None) -> None:
    """Raises ValueError, and removes the half file, if what was fetched is not what it should be."""
    advice = "Try again, or a --mirror."
    if job.hash_is_known and sha256_of(job.half) != remote.sha256:
        job.drop_half()
        raise ValueError(f"{job.url} has the right size but not the known sha256: it is damaged. {advice}")
    if job.length and not cut_at_story(job.half):
        job.drop_half()
        raise ValueError(f"{job.url} holds no {EOT}: it is not TinyStories. {advice}")


def cut_at_story(path: Path) -> bool:
    """Shortens a text to its last `<|endoftext|>`. False: there is none in its last megabyte."""
    with path.open("r+b") as file:
        start = max(0, file.seek(0, os.SEEK_END) - 2**20)
        file.seek(start)
        place = file.read().rfind(EOT.encode())
        if place >= 0:
            file.truncate(start + place + len(EOT))
    return place >= 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", choices=["tinystories"], help="the dataset")
    parser.add_argument(
        "--part", choices=["0.1", "valid", "full"], help="its first 180 MB (the default), its 20 MB for validation, or 2 GB"
    )
    parser.add_argument("--version", type=int, choices=[1, 2], default=1, help="2: the stories by GPT-4 alone")
    parser.add_argument(
        "--mirror", help="modelscope, or an address in place of the hub's, as https://hf-mirror.com; else HF_ENDPOINT"
    )
    parser.add_argument("--url", help="any other text file")
    parser.add_argument("--out", help="the file to write; by default in data/download/, with a name of its own for each source")
    parser.add_argument("--force", action="store_true", help="fetch again what is there")


def main(options: argparse.Namespace) -> int:
    try:
        path = download(options.part, options.version, options.out, options.mirror, options.url, options.force)
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on from here.", file=sys.stderr)
        return 130
    data = "data/mine" if options.url else "data/tinystories"
    print(f"{path}: {path.stat().st_size / 1e6:,.1f} MB. Next: python -m yzlin prepare {path} --out {data}")
    return 0
