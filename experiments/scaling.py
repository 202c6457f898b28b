"""Does a larger model learn more from the same text? Three widths, each at its own best of four learning rates.

    python experiments/scaling.py

Writes docs/tables/scaling.csv, a row per run, which notebook 11 replays: four rates with one seed, then the best rate with two
more. All runs of a seed see the same batches, and all matrices begin with spread 1 / sqrt(inputs), which suits each
width. Takes about two minutes on one core.
"""

from __future__ import annotations

import csv
import math
import platform
import time
from dataclasses import replace
from datetime import date

import torch
from torch import nn

from yzlin import ROOT
from yzlin.batches import Batches
from yzlin.distributed import World
from yzlin.model import ModelArgs, yzlinGPT
from yzlin.prepare import data_tokenizer, prepare
from yzlin.presets import PRESETS
from yzlin.tools.files import whole_file
from yzlin.train import estimate_loss, train_step

TABLE = ROOT / "docs" / "tables" / "scaling.csv"
DATA = ROOT / "data" / "scaling"
STEPS, WARMUP, BATCH, WINDOW = 400, 40, 8, 32
WIDTHS, RATES, SEEDS = (16, 32, 64), (0.004, 0.008, 0.016, 0.032), (0, 1, 2)


def build(width: int, vocab_size: int, seed: int) -> yzlinGPT:
    """A yzlinGPT of two layers whose first weights suit its width."""
    torch.manual_seed(seed)
    model = yzlinGPT(ModelArgs(block_size=WINDOW, vocab_size=vocab_size, n_layer=2, n_head=2, n_embed=width))
    for name, weight in model.transformer.blocks.named_parameters():
        if weight.dim() == 2:
            branches = 2 * model.args.n_layer if name.endswith(("context_projection.weight", "down_projection.weight")) else 1
            nn.init.normal_(weight, std=1 / math.sqrt(weight.size(1) * branches))
    return model


def run(width: int, rate: float, seed: int) -> tuple[int, float]:
    """Trains a new model down a cosine; its number of weights, and its loss on val.bin in nats per token."""
    args = replace(PRESETS["cpu"], learning_rate=rate, min_lr=0.02 * rate, warmup_iters=WARMUP, max_iters=STEPS)
    args = replace(args, dtype="float32")
    tokenizer, world = data_tokenizer(DATA), World(0, 1, torch.device("cpu"))
    batches = Batches(DATA, WINDOW, BATCH, seed=seed, align=True, eot=tokenizer.eot_token)
    model = build(width, tokenizer.n_vocab, seed)
    optimizer = model.configure_optimizers(args.weight_decay, rate, (args.beta1, args.beta2), "cpu")
    scaler, loss_sum = torch.amp.GradScaler("cpu", enabled=False), torch.zeros(())
    for step in range(STEPS):
        train_step(model, optimizer, scaler, [batches.get_batch("train", step)], step, args, world, loss_sum)
    return sum(p.numel() for p in model.parameters()), estimate_loss(model, batches, 20)["val"]


def main() -> None:
    torch.set_num_threads(1)
    prepare("storybook", DATA, "storybook", count=4000, force=True, progress=False)
    rows: list[dict] = []

    def add(width: int, rate: float, seed: int) -> float:
        begun = time.process_time()
        weights, loss = run(width, rate, seed)
        row = dict(width=width, weights=weights, rate=rate, seed=seed, val_loss=round(loss, 4))
        rows.append(row | dict(cpu_seconds=round(time.process_time() - begun, 1)))
        print(*rows[-1].values(), flush=True)
        return loss

    for width in WIDTHS:
        found = {rate: add(width, rate, SEEDS[0]) for rate in RATES}
        for seed in SEEDS[1:]:
            add(width, min(found, key=found.get), seed)
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    made = f"{date.today()}, one thread, Python {platform.python_version()}, torch {torch.__version__}"
    with whole_file(TABLE, "w") as file:
        file.write(f"# python experiments/scaling.py, {made}, {sum(row['cpu_seconds'] for row in rows):.0f} s\n")
        file.write(f"# {STEPS} steps of {BATCH} x {WINDOW} tokens, 2 layers, cosine after a warm-up of {WARMUP} steps\n")
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda row: (row["width"], row["rate"], row["seed"])))


if __name__ == "__main__":
    main()
