"""One tiny run for all tests, and how two runs are compared."""

from dataclasses import replace
from pathlib import Path

import torch

from yzlin.checkpoint import load_checkpoint
from yzlin.presets import CPU
from yzlin.runs import read_log

TINY = replace(
    CPU, n_layer=2, n_head=2, n_embed=16, block_size=32, dropout=0.1, batch_size=4, max_iters=12, warmup_iters=3,
    learning_rate=1e-2, min_lr=1e-3, eval_interval=4, eval_iters=2, eval_stories=0, log_interval=2, device="cpu",
    dtype="float32",
)  # fmt: skip


def weights(path: str | Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(path)["model"]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def timeless(path: str | Path) -> list[dict]:
    """The rows of a log without what a clock says."""
    return [{k: v for k, v in row.items() if k not in ("tokens_per_s", "seconds")} for row in read_log(path)]


def assert_same_end(a: str | Path, b: str | Path) -> None:
    """Both runs ended in the same weights, optimizer state and best loss."""
    a, b = (load_checkpoint(f"{out}/last.pt") for out in (a, b))
    assert a["iter_num"] == b["iter_num"] and a["best_val_loss"] == b["best_val_loss"]
    assert all(torch.equal(a["model"][key], b["model"][key]) for key in a["model"])
    for one, other in zip(a["optimizer"]["state"].values(), b["optimizer"]["state"].values(), strict=True):
        assert all(torch.equal(one[key], other[key]) for key in one)
