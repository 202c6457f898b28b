"""Files written whole or not at all, and files that are not what they seem."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


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


def is_lfs_pointer(path: str | Path) -> bool:
    """True for the short text that git-lfs leaves where the real file was not fetched."""
    with Path(path).open("rb") as file:
        return file.read(24) == b"version https://git-lfs."
