"""What several tests need: a small prepared storybook."""

import os

import pytest

from yzlin.prepare import prepare

os.environ.setdefault("MPLBACKEND", "agg")


@pytest.fixture(scope="session")
def book_data(tmp_path_factory):
    """A folder with train.bin, val.bin and meta.json of 400 stories."""
    out = tmp_path_factory.mktemp("data") / "book"
    prepare("storybook", out, "storybook", count=400, progress=False)
    return out
