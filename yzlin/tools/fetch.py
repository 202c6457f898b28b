"""One file over HTTP, resumable: what has come stays, and never becomes a mixture of two files. For download.py."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import requests
import urllib3
from tqdm.auto import tqdm

from yzlin.tools.files import NO_ROOM, whole_file

OVERLAP = 2**16  # bytes at the end of a half file that are fetched again, to see that it is the same file
TIMEOUT = (10, 30)  # seconds: to connect, and of silence
TRIES = 4  # failures in a row, with no new byte between them
WAIT = 1.0  # seconds before the second try; doubled at each


class BrokenOff(Exception):
    """A try failed in a way that another may mend."""


@dataclass(frozen=True)
class Job:
    """What is fetched, where to, and what is known of it before."""

    url: str
    path: Path
    length: int | None  # fetch so many bytes; None: all
    size: int | None  # bytes of the whole file there; None: not known
    hash_is_known: bool  # a wrong byte would show at the end

    @property
    def half(self) -> Path:
        """What has come so far."""
        return self.path.with_name(self.path.name + ".part")

    @property
    def record(self) -> Path:
        """A JSON file beside the half one: the address it comes from, and the validator of that file there."""
        return self.path.with_name(self.path.name + ".part.json")

    def drop_half(self) -> None:
        self.half.unlink(missing_ok=True)
        self.record.unlink(missing_ok=True)


def fetch(job: Job, progress: bool) -> None:
    """Fetches a job's file into its half file.

    Tries again, from where it broke off, until TRIES failures in a row brought nothing new.
    """
    failures, best = 0, file_size(job.half)
    with tqdm(desc=job.path.name, unit="B", unit_scale=True, disable=not progress, dynamic_ncols=True) as bar:
        while True:
            try:
                return fetch_once(job, bar)
            except (BrokenOff, requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
                failures = 1 if file_size(job.half) > best else failures + 1
                best = max(best, file_size(job.half))
                if failures == TRIES:
                    raise OSError(
                        f"{job.url} cannot be fetched ({reason(error)}). Three ways out: a mirror (--mirror modelscope, "
                        f"--mirror https://hf-mirror.com, or HF_ENDPOINT); copy the file by hand to {job.path}; or use the "
                        "storybook (python -m yzlin prepare storybook). The same command goes on from where it stopped."
                    ) from error
                time.sleep(WAIT * 2 ** (failures - 1))
            except requests.TooManyRedirects as error:
                raise ValueError(
                    f"{job.url} sends on from one address to the next without an end (more than 30 redirects): check the "
                    "--mirror or --url, or log in to this network first."
                ) from error
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                raise ValueError(f"{job.url} cannot be fetched ({reason(error)}): check the --mirror or --url.") from error
            except OSError as error:
                if error.errno in NO_ROOM:
                    where = job.half.parent
                    raise OSError(f"{where} has no room left: make room on that disk, and the same command goes on.") from error
                raise


def fetch_once(job: Job, bar: tqdm) -> None:
    """One try. Nothing of the half file is lost before the answer is known to be the file.

    The half file is gone on with only if it cannot become a mixture of two files: the server says that the file is the same,
    or the hash at the end would tell. Else the answer is read from its first byte, and compared with what is there.
    """
    have, known = file_size(job.half), read_json(job.record)
    validator = known.get("validator") if known.get("url") == job.url else None
    start = max(0, have - OVERLAP) if validator or job.hash_is_known else 0
    headers = {"Range": f"bytes={start}-{job.length - 1 if job.length else ''}", "Accept-Encoding": "identity"}
    if start and validator:
        headers["If-Range"] = validator
    with requests.get(job.url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        start, total = check_answer(answer, job, start)
        if validator and validator_of(answer) != validator:
            job.drop_half()
            if start:
                raise BrokenOff("the file has changed there")
            have = 0
        if job.size and total is not None and total != job.size:
            raise ValueError(f"{job.url} has {total:,} bytes and should have {job.size:,}: it is another file. Try a --mirror.")
        end = min(filter(None, (job.length, total or job.size)), default=None)
        if end and shutil.disk_usage(job.half.parent).free < end - have:
            raise OSError(f"{job.half.parent} lacks room for {(end - have) / 1e6:.0f} MB: make room on that disk.")
        pieces = answer.iter_content(2**13)  # small: what was read of a piece when the line breaks is lost
        first = next(pieces, b"")
        if start == 0 and first.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
            raise_web_page(job.url)
        if not first and not end:
            raise ValueError(f"{job.url} is an empty file: check the --url.")
        bar.total = end
        record = {"url": job.url, "validator": validator_of(answer)}
        with job.half.open("r+b" if have else "w+b") as file:
            position = write(job, record, chain([first], pieces), file, start, end, bar)
    if end and position < end:
        raise BrokenOff(f"it broke off after {position:,} of {end:,} bytes")


def write(
    job: Job, record: dict[str, str], pieces: Iterable[bytes], file: IO[bytes], position: int, end: int | None, bar: tqdm
) -> int:
    """Writes the pieces of an answer, from `position` on, to the half file; returns the position behind the last."""
    is_recorded = False
    for data in pieces:
        data = data[: end - position] if end else data
        file.seek(position)
        there = file.read(len(data))
        if not data.startswith(there):
            file.truncate(0)
            raise BrokenOff("the half file beside was another one")
        if len(there) < len(data) and not is_recorded:  # from here on the half file is one of this answer
            write_json(job.record, record)
            is_recorded = True
        file.write(data[len(there) :])
        position += len(data)
        bar.update(position - bar.n)
        if position == end:
            break
    if end in (None, position):
        file.truncate(position)
    file.flush()
    os.fsync(file.fileno())
    return position


def check_answer(answer: requests.Response, job: Job, start: int) -> tuple[int, int | None]:
    """Where the answer's bytes begin, and how long the whole file is (None: not told). Raises what an answer deserves."""
    status, url, headers = answer.status_code, job.url, answer.headers
    host, asked = urlsplit(answer.url).hostname, urlsplit(url).hostname
    who = host if host == asked else f"{host}, to which {asked} sends on,"
    if status == 404:
        raise FileNotFoundError(f"{url} is not there ({who} answers 404): check the --mirror or --url.")
    if status in (401, 403):
        raise PermissionError(f"{who} refuses access to {url} ({status}): try a --mirror, or another network.")
    if status == 416 and job.half.exists():
        job.drop_half()
        raise BrokenOff("the half file beside was longer than the whole")
    if status == 429 or status >= 500:
        raise BrokenOff(f"{who} answers {status}")
    if status not in (200, 206):
        raise ValueError(f"{who} answers {status}, which is not a file, for {url}: check the --mirror or --url.")
    if headers.get("Content-Type", "").startswith("text/html"):
        raise_web_page(url)
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        packed = headers["Content-Encoding"]
        raise ValueError(f"{who} sends {url} packed ({packed}) though it was asked not to: try a --mirror or another --url.")
    length, is_chunked = headers.get("Content-Length"), "chunked" in headers.get("Transfer-Encoding", "")
    if length is not None and not (length.isascii() and length.isdecimal()):
        raise ValueError(f"{who} gives {length!r} as the length of {url}: try a --mirror or another --url.")
    if status == 206 or "Content-Range" in headers:  # ModelScope sends a part with the status 200
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
        if not match or int(match[1]) != start:
            raise BrokenOff(f"{who} sends another part than it was asked for")
        return start, None if match[2] == "*" else int(match[2])
    if length is None and not is_chunked and not job.size:
        raise ValueError(f"{who} does not say how long {url} is, so nobody could tell when it is whole: use another --url.")
    return 0, None if length is None else int(length)


def validator_of(answer: requests.Response) -> str:
    """What tells that a file is still the same: a strong ETag, else Last-Modified, else nothing."""
    etag = answer.headers.get("ETag", "")
    return etag if etag.startswith('"') else answer.headers.get("Last-Modified", "")


def raise_web_page(url: str) -> None:
    raise ValueError(f"{url} answers with a web page, not a text: log in to this network first, or try a --mirror.")


def reason(error: BaseException) -> str:
    """The first cause, in short (requests wraps it several times), with the host that it concerns."""
    request = getattr(error, "request", None)
    host = urlsplit(request.url).hostname if request is not None and request.url else None
    inner: BaseException | None = error
    while inner is not None:
        cause = inner
        below = (*cause.args[:1], getattr(cause, "reason", None), cause.__cause__)
        inner = next((one for one in below if isinstance(one, BaseException)), None)
    text = str(cause) or type(cause).__name__
    return f"{host}: {text}" if host and host not in text else text


def file_size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def read_json(path: Path) -> dict:
    """A small record; an empty one if it is missing or damaged."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        record = {}
    return record if isinstance(record, dict) and all(isinstance(value, str) for value in record.values()) else {}


def write_json(path: Path, record: dict[str, str]) -> None:
    with whole_file(path, "w") as file:
        json.dump(record, file)
