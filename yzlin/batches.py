"""Token files -> batches. A batch is a function of (seed, split, number) alone, so a resumed run sees the same ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from yzlin.tools.files import need_file
from yzlin.tools.meta import SPLITS


class Batches:
    """Reads data_dir/train.bin and val.bin (flat uint16 token ids) as memory maps and cuts windows out of them.

    align: windows begin where a story begins, with the `eot` id that ended the one before it, instead of anywhere.
    """

    def __init__(
        self,
        data_dir: str | Path,
        block_size: int,
        batch_size: int,
        seed: int = 0,
        align: bool = False,
        eot: int | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        if align and eot is None:
            raise ValueError("align needs eot, the id that ends a story.")
        self.batch_size, self.seed, self.device = batch_size, seed, torch.device(device)
        self.windows: dict[str, np.ndarray] = {}  # (tokens - T, T + 1): views of the file, nothing is copied
        self.starts: dict[str, np.ndarray | int] = {}  # the windows to choose from, or how many there are
        for split in SPLITS:
            tokens = open_tokens(Path(data_dir) / f"{split}.bin")
            if len(tokens) <= block_size:
                raise ValueError(
                    f"{Path(data_dir) / split}.bin holds {len(tokens)} tokens, too few for a window of {block_size} and its "
                    f"target: prepare a longer text or choose a smaller block_size."
                )
            self.windows[split] = sliding_window_view(tokens, block_size + 1)
            self.starts[split] = len(tokens) - block_size
            if align:
                starts = np.flatnonzero(tokens == eot)
                self.starts[split] = starts[starts < len(tokens) - block_size]
                if not len(self.starts[split]):
                    raise ValueError(f"{data_dir} has no story that fills a window of {block_size}: use --no-align.")

    def get_batch(self, split: str, number: int) -> tuple[Tensor, Tensor]:
        """Batch `number` of a split: x and y, both (B, T) int64, y shifted by one. The same number is the same batch."""
        rng = np.random.default_rng((self.seed, SPLITS.index(split), number))
        starts = rng.choice(self.starts[split], self.batch_size)
        window = torch.from_numpy(self.windows[split][starts].astype(np.int64))  # one gather: (B, T + 1)
        if self.device.type == "cuda":
            window = window.pin_memory().to(self.device, non_blocking=True)
        else:
            window = window.to(self.device)
        return window[:, :-1], window[:, 1:]


def open_tokens(path: str | Path) -> np.ndarray:
    """Maps a .bin file of uint16 token ids into memory, read-only: (number of tokens,). Reading it costs no RAM."""
    path = need_file(path, "the data", "make it with `python -m yzlin prepare`")
    size = path.stat().st_size
    if size == 0 or size % 2:
        raise ValueError(f"{path} has {size} bytes, not a whole number of uint16 tokens: prepare it again with --force.")
    return np.memmap(path, dtype="<u2", mode="r")
