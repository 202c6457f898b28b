"""What several tests need: a small prepared storybook, and a tiny run on it."""

import os
import signal
from dataclasses import replace

import pytest
from tiny import TINY

from yzlin.prepare import prepare

os.environ.setdefault("MPLBACKEND", "agg")
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a shell that starts the tests in the background has it so
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def book_data(tmp_path_factory):
    """A folder with train.bin, val.bin and meta.json of 400 stories."""
    out = tmp_path_factory.mktemp("data") / "book"
    prepare("storybook", out, "storybook", count=400, progress=False)
    return out


@pytest.fixture
def args(book_data, tmp_path):
    """A tiny run on the small storybook, not started yet."""
    return replace(TINY, data=str(book_data), out=str(tmp_path / "run"))
