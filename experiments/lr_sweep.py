"""The learning rate of a small yzlinGPT: AdamW with and without warm-up and cosine, SGD with and without momentum, and Muon.

    python experiments/lr_sweep.py

Writes docs/tables/lr_sweep.csv, a row per run, which notebook 07 replays. Seed 0 tries each rate, three other seeds judge the
best one; the long runs have one rate and one seed. All runs of a seed see the same batches. "Blocks at a fifth": the
matrices of the blocks, those that Muon moves, have a fifth of the rate. Takes about six minutes on one core.
"""

from __future__ import annotations

import csv
import math
import platform
import time
from dataclasses import replace
from datetime import date

import torch

from yzlin import ROOT
from yzlin.batches import Batches
from yzlin.distributed import World
from yzlin.model import ModelArgs, yzlinGPT
from yzlin.optimizer import make_optimizer
from yzlin.prepare import data_tokenizer, prepare
from yzlin.presets import PRESETS, TrainArgs
from yzlin.tools.files import whole_file
from yzlin.train import estimate_loss, train_step

TABLE = ROOT / "docs" / "tables" / "lr_sweep.csv"
DATA = ROOT / "data" / "lr_sweep"
WARMUP, BATCH, JUDGES = 30, 8, (1, 2, 3)
SHAPE = dict(block_size=32, n_layer=2, n_head=2, n_embed=32)
RATES = (0.002, 0.004, 0.008, 0.016, 0.032, 0.064)
SWEEPS = {
    (200, "AdamW", "constant"): RATES,
    (200, "AdamW", "warm-up"): RATES,
    (200, "AdamW, blocks at a fifth", "warm-up"): RATES,
    (200, "Muon", "warm-up"): RATES,
    (200, "SGD", "constant"): (0.1, 0.3, 1.0, 3.0),
    (200, "SGD with momentum", "constant"): (0.03, 0.1, 0.3),
    (500, "AdamW", "warm-up"): (0.004, 0.008, 0.016),
    (500, "AdamW", "warm-up, cosine"): (0.004, 0.008, 0.016),
    (2000, "AdamW", "warm-up"): (0.008,),
    (2000, "AdamW", "warm-up, cosine"): (0.008,),
}


class SlowerBlocks(torch.optim.AdamW):
    """AdamW of the package, with a fifth of the rate for the matrices of the blocks."""

    def __init__(self, model: yzlinGPT, args: TrainArgs) -> None:
        both = make_optimizer(model, replace(args, optimizer="muon"), "cpu")  # it knows which those are
        groups, matrices = both.adamw.param_groups, both.muon.param_groups[0]["params"]
        super().__init__([*groups, {**groups[0], "params": matrices, "times": 0.2}])

    def step(self) -> None:
        for group in self.param_groups:
            group["lr"] *= group.get("times", 1)  # train_step sets it anew at each step
        super().step()


def run(steps: int, optimizer_name: str, schedule: str, rate: float, seed: int) -> float:
    """Trains a new model for that many steps, without clipping; the loss on val.bin in nats per token (nan: diverged)."""
    warmup, min_lr = (0 if schedule == "constant" else WARMUP), (0.02 * rate if "cosine" in schedule else rate)
    args = replace(PRESETS["cpu"], learning_rate=rate, min_lr=min_lr, warmup_iters=warmup, max_iters=steps)
    args = replace(args, grad_clip=0, dtype="float32")
    tokenizer, world = data_tokenizer(DATA), World(0, 1, torch.device("cpu"))
    batches = Batches(DATA, SHAPE["block_size"], BATCH, seed=seed, align=True, eot=tokenizer.eot_token)
    torch.manual_seed(seed)
    model = yzlinGPT(ModelArgs(vocab_size=tokenizer.n_vocab, **SHAPE))
    if "SGD" in optimizer_name:
        optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9 if "momentum" in optimizer_name else 0.0)
    elif "fifth" in optimizer_name:
        optimizer = SlowerBlocks(model, args)
    else:
        optimizer = make_optimizer(model, replace(args, optimizer=optimizer_name.lower()), "cpu")
    scaler, loss_sum = torch.amp.GradScaler("cpu", enabled=False), torch.zeros(())
    for step in range(steps):
        train_step(model, optimizer, scaler, [batches.get_batch("train", step)], step, args, world, loss_sum)
    return estimate_loss(model, batches, 20)["val"]


def main() -> None:
    torch.set_num_threads(1)
    prepare("storybook", DATA, "storybook", count=2000, force=True, progress=False)
    rows: list[dict] = []

    def add(kind: tuple[int, str, str], rate: float, seed: int) -> float:
        begun = time.process_time()
        loss = run(*kind, rate, seed)
        row = dict(zip(("steps", "optimizer", "schedule"), kind, strict=True), rate=rate, seed=seed, val_loss=round(loss, 4))
        rows.append(row | dict(cpu_seconds=round(time.process_time() - begun, 1)))
        print(*rows[-1].values(), flush=True)
        return loss

    for kind, rates in SWEEPS.items():
        found = {rate: add(kind, rate, 0) for rate in rates}
        best = min(rates, key=lambda rate: (math.isnan(found[rate]), found[rate]))
        for seed in JUDGES if len(rates) > 1 else ():
            add(kind, best, seed)
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    made = f"{date.today()}, one thread, Python {platform.python_version()}, torch {torch.__version__}"
    with whole_file(TABLE, "w") as file:
        file.write(f"# python experiments/lr_sweep.py, {made}, {sum(row['cpu_seconds'] for row in rows):.0f} s\n")
        file.write(f"# {BATCH} x 32 tokens a step, warm-up {WARMUP} steps, 2 layers of 32 channels, no clipping\n")
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda row: list(row.values())[:5]))


if __name__ == "__main__":
    main()
