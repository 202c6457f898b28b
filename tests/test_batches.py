"""Batches against slices taken one by one from the file."""

import numpy as np
import pytest
import torch

from yzlin.batches import Batches, open_tokens

T, B, EOT = 7, 5, 0


@pytest.fixture
def data(tmp_path):
    """Tokens that count up, with an end-of-story id at every 11th place: a window shows where it was cut."""
    for split, size in (("train", 1000), ("val", 100)):
        tokens = np.arange(1, size + 1, dtype="<u2")
        tokens[10::11] = EOT
        tokens.tofile(tmp_path / f"{split}.bin")
    return tmp_path


def test_x_and_y_are_slices_of_the_file_shifted_by_one(data):
    tokens = np.fromfile(data / "train.bin", dtype="<u2").astype(np.int64)
    rows = {tuple(tokens[i : i + T + 1]) for i in range(len(tokens) - T)}
    for number in range(20):
        x, y = Batches(data, T, B).get_batch("train", number)
        assert x.shape == y.shape == (B, T) and x.dtype == y.dtype == torch.int64
        assert torch.equal(x[:, 1:], y[:, :-1])
        for row_x, row_y in zip(x.tolist(), y.tolist(), strict=True):
            assert tuple(row_x + row_y[-1:]) in rows


def test_every_window_can_come_and_the_last_one_too(data):
    batches = Batches(data, T, 200)
    seen = {tuple(row) for number in range(20) for row in batches.get_batch("val", number)[0].tolist()}
    assert len(seen) == 100 - T  # all starts 0 .. size - T - 1


def test_a_batch_depends_on_seed_split_and_number_alone(data):
    a, b = Batches(data, T, B, seed=1), Batches(data, T, B, seed=1)
    a.get_batch("train", 0)  # another history
    assert torch.equal(a.get_batch("train", 3)[0], b.get_batch("train", 3)[0])
    assert not torch.equal(a.get_batch("train", 3)[0], a.get_batch("train", 4)[0])
    assert not torch.equal(a.get_batch("train", 3)[0], Batches(data, T, B, seed=2).get_batch("train", 3)[0])


def test_aligned_windows_begin_at_a_story_start(data):
    tokens = np.fromfile(data / "train.bin", dtype="<u2")
    seconds = {int(tokens[i + 1]) for i in range(len(tokens) - 1) if tokens[i] == EOT}
    batches = Batches(data, T, 64, align=True, eot=EOT)
    rows = [row for number in range(30) for row in batches.get_batch("train", number)[0].tolist()]
    assert all(row[0] == EOT for row in rows)  # as a prompt begins, too
    assert {row[1] for row in rows} <= seconds and len({row[1] for row in rows}) > 80


def test_clear_errors(data, tmp_path):
    with pytest.raises(ValueError, match="too few for a window of 100"):
        Batches(data, 100, B)
    with pytest.raises(FileNotFoundError, match="prepare"):
        Batches(tmp_path / "nowhere", T, B)
    with pytest.raises(ValueError, match="eot"):
        Batches(data, T, B, align=True)
    (tmp_path / "odd.bin").write_bytes(b"abc")
    with pytest.raises(ValueError, match="3 bytes"):
        open_tokens(tmp_path / "odd.bin")
    (tmp_path / "folder.bin").mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder, not the data"):
        open_tokens(tmp_path / "folder.bin")
    (tmp_path / "pointer.bin").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ValueError, match="git-lfs"):
        open_tokens(tmp_path / "pointer.bin")


def test_reading_copies_nothing(data):
    assert isinstance(open_tokens(data / "train.bin"), np.memmap)
    windows = Batches(data, T, B).windows["train"]
    assert not windows.flags.owndata and windows.shape == (1000 - T, T + 1)
