"""Files and folders written whole or not at all, locks, and files that are not what they seem."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

LFS_POINTER = b"version https://git-lfs."
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk is full, or the user's share of it


@contextmanager
def whole_file(path: str | Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Opens a file beside `path`; at the end of the block it is flushed to the disk and takes the name `path`.

    Whatever goes wrong before that, the file that stood at `path` is as it was.
    """
    path = Path(path)
    beside = path.with_name(path.name + ".part")
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    try:
        with beside.open(mode, **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


@contextmanager
def whole_folder(out: str | Path, force: bool, need: int, ours: set[str]) -> Iterator[Path]:
    """Yields a folder beside `out`, which takes its name at the end of the block: `out` is never half, nor lost.

    need: bytes that must be free. ours: the names of the files that `force` may replace. Of several processes that
    want the same `out`, one has it until its folder has the name. Raises FileExistsError if `out` is there, and even
    with `force` if it holds anything else; OSError if there is no room.
    """
    out = as_path(out).resolve()
    if not out.name:
        raise FileExistsError(f"{out} is the whole disk: name a new folder with --out.")
    beside, old, lock = (out.with_name(f".{out.name}.{end}") for end in ("part", "old", "lock"))
    refusal = f"another run is preparing {out} just now: wait for it, or choose another --out."
    with made_folder(out.parent), locked(lock, refusal):
        if old.exists() and not out.exists():
            os.replace(old, out)  # a run was killed between the two renames below
        check_free(out, force, ours)
        free = shutil.disk_usage(out.parent).free
        if free < need:
            raise OSError(f"{out} may take {need / 1e6:.0f} MB and {free / 1e6:.0f} MB are free: make room on that disk.")
        try:
            shutil.rmtree(beside, ignore_errors=True)  # what a killed run left
            beside.mkdir()
            yield beside
            shutil.rmtree(old, ignore_errors=True)
            if out.exists():
                os.replace(out, old)
            os.replace(beside, out)
            shutil.rmtree(old, ignore_errors=True)
        except OSError as error:
            if error.errno in NO_ROOM:
                message = f"no room left for {out}: make room on that disk and prepare again. Nothing was changed."
                raise OSError(message) from error
            raise
        finally:
            shutil.rmtree(beside, ignore_errors=True)
            if old.exists() and not out.exists():
                os.replace(old, out)


def as_path(out: str | Path) -> Path:
    """--out as a path. Raises ValueError for a name that no system knows."""
    if "\0" in str(out):
        raise ValueError(f"--out is {str(out)!r}: no file name may hold the character \\0.")
    return Path(out)


def check_free(out: Path, force: bool, ours: set[str]) -> None:
    """Raises FileExistsError if the folder `out` must not be replaced."""
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out} is a file, not a folder: choose another --out.")
    found = {path.name for path in out.iterdir()} if out.exists() else set()
    if found - ours:
        raise FileExistsError(f"{out} is there already and holds other things ({min(found - ours)}): choose another --out.")
    if found and not force:
        raise FileExistsError(f"{out} is there already: use --force to make it again, or another --out.")


@contextmanager
def made_folder(folder: str | Path) -> Iterator[None]:
    """Makes a folder and its parents. If the block fails, those that it made and that are empty are removed again."""
    folder = Path(folder)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise FileExistsError(f"{folder} is not a folder: choose another --out.") from error
        yield
    except BaseException:
        for path in made:
            with suppress(OSError):  # it is not empty, or was never made
                path.rmdir()
        raise


@contextmanager
def locked(path: str | Path, refusal: str) -> Iterator[None]:
    """Holds the lock file `path` during the block and removes it afterwards; the lock of a killed process is free.

    Raises FileExistsError with the sentence `refusal` if another process (or thread) holds it.
    """
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise FileExistsError(refusal) from error
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes it at the release
            Path(path).unlink()  # while it is held: whoever opened it before sees that it has no name any more
        lock.release()


def need_file(path: str | Path, what: str, advice: str) -> Path:
    """The path, if a file is there and it is not a git-lfs pointer.

    what: what the file should be, as in "the data". Raises FileNotFoundError, IsADirectoryError or ValueError: a sentence
    that ends in the advice.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not {what}: {advice}.")
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {advice}.")
    if is_lfs_pointer(path):
        raise ValueError(f"{path} is only a git-lfs pointer, not {what}: run `git lfs pull`, or {advice}.")
    return path


def is_lfs_pointer(path: str | Path) -> bool:
    """True for the short text that git-lfs leaves where the real file was not fetched."""
    with Path(path).open("rb") as file:
        return file.read(len(LFS_POINTER)) == LFS_POINTER


def sha256_of(path: str | Path) -> str:
    """The sha256 of a file, read in small pieces: 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while data := file.read(2**20):
            digest.update(data)
    return digest.hexdigest()
