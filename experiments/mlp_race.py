"""The race of notebook 05: plain and gated MLPs at equal weights, each with its own learning rate.

    python experiments/mlp_race.py

Writes docs/tables/mlp_race.csv, a row per run, which the notebook replays. A small yzlinGPT (2 layers, 64 channels) is
trained on 4,000 stories. Each racer tries four learning rates with seed 0; the best of them then runs with the seeds 1 to 6,
which alone count. Two rules for the first weights of the whole model: "0.02", the model's own, and "fan-in",
1 / sqrt(inputs), which suits any width; both make the last matrix of each branch smaller by sqrt(2 n_layer). A third, the
control, is "0.02" with one matrix of the gated MLP larger, so that it begins as loud as the plain one. Takes about six
minutes on one idle core.
"""

from __future__ import annotations

import csv
import math
import platform
import statistics
import time
from datetime import date
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yzlin import ROOT
from yzlin.batches import Batches
from yzlin.model import ModelArgs, yzlinGPT
from yzlin.prepare import data_tokenizer, prepare
from yzlin.tools.files import whole_file

TABLE = ROOT / "docs" / "tables" / "mlp_race.csv"
DATA = ROOT / "data" / "mlp_race"
STEPS, WARMUP, BATCH = 300, 30, 4
RATES = (0.0025, 0.005, 0.01, 0.02)
CHOOSE, JUDGE = 0, (1, 2, 3, 4, 5, 6)  # the seed that chooses the rate, and those that count
TESTS = 20  # batches of val.bin that the loss is measured on, the same stories for all
LOUDER = 7.4  # with 0.02 the plain MLP begins so many times as loud as the gated one (notebook 05 measures it)

# name -> (bend, gated, hidden width in units of C). Equal weights within a class: 12 C^2 or 8 C^2.
RACERS = {
    "12 C^2": {"ReLU": (F.relu, False, 6), "gated ReLU": (F.relu, True, 4)},
    "8 C^2": {"ReLU": (F.relu, False, 4), "gated ReLU": (F.relu, True, 8 / 3)},
}
ENTRIES = [
    ("12 C^2", "ReLU", "0.02"),
    ("12 C^2", "gated ReLU", "0.02"),
    ("12 C^2", "gated ReLU", "0.02 louder"),
    ("12 C^2", "ReLU", "fan-in"),
    ("12 C^2", "gated ReLU", "fan-in"),
    ("8 C^2", "ReLU", "fan-in"),
    ("8 C^2", "gated ReLU", "fan-in"),
]


class RaceMLP(nn.Module):
    """down(bend(up(x))), or gated: down(bend(gate(x)) * up(x)). (B, T, C) -> (B, T, C)."""

    def __init__(self, C: int, bend, gated: bool, width: float) -> None:
        super().__init__()
        hidden = round(width * C)
        self.bend = bend
        self.up_projection = nn.Linear(C, hidden, bias=False)
        self.gate = nn.Linear(C, hidden, bias=False) if gated else None
        self.down_projection = nn.Linear(hidden, C, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        up = self.up_projection(x)
        return self.down_projection(self.bend(up) if self.gate is None else self.bend(self.gate(x)) * up)


def first_weights(model: yzlinGPT, rule: str) -> None:
    """Draws every matrix anew, with spread 0.02 or 1 / sqrt(inputs). An embedding, which is the head too, has C inputs."""
    for name, weight in model.named_parameters():
        if weight.dim() == 2:
            spread = weight.size(1) ** -0.5 if rule == "fan-in" else 0.02
            if rule == "0.02 louder" and name.endswith("up_projection.weight"):
                spread *= LOUDER
            last = name.endswith(("context_projection.weight", "down_projection.weight"))
            nn.init.normal_(weight, std=spread / math.sqrt(2 * model.args.n_layer) if last else spread)


def build(racer: tuple, rule: str, seed: int, args: ModelArgs) -> yzlinGPT:
    """A yzlinGPT with this MLP in every block."""
    torch.manual_seed(seed)
    model = yzlinGPT(args)
    for block in model.transformer.blocks:
        block.mlp = RaceMLP(args.n_embed, *racer)
    first_weights(model, rule)
    return model


def rate(step: int, highest: float) -> float:
    """Up in a line for WARMUP steps, then down a cosine to a twentieth."""
    if step < WARMUP:
        return highest * (step + 1) / WARMUP
    progress = (step - WARMUP) / (STEPS - WARMUP)
    return highest * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress)))


def test_batches(data: Path, block_size: int) -> list[tuple[Tensor, Tensor]]:
    """What every loss is measured on: TESTS batches of val.bin, the same for all."""
    test = Batches(data, block_size, BATCH, seed=99, align=True, eot=data_tokenizer(data).eot_token)
    return [test.get_batch("val", number) for number in range(TESTS)]


def run(model: yzlinGPT, highest: float, seed: int, data: Path = DATA) -> float:
    """Trains for STEPS steps; the loss on val.bin in nats a token."""
    batches = Batches(data, model.args.block_size, BATCH, seed=seed, align=True, eot=data_tokenizer(data).eot_token)
    optimizer = model.configure_optimizers(0.01, highest, (0.9, 0.99), "cpu")
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, highest)
        model(*batches.get_batch("train", step))[1].backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        return statistics.mean(model(x, y)[1].item() for x, y in test_batches(data, model.args.block_size))


def bigram(args: ModelArgs, data: Path = DATA) -> float:
    """The loss of notebook 02's bigram guesser on the same batches: it mixes 3 parts of the unigram's shares into each row."""
    V, ids = args.vocab_size, np.fromfile(data / "train.bin", dtype=np.uint16).astype(np.int64)
    counts = np.bincount(ids, minlength=V) + 0.1  # as there: a token that never occurred counts a tenth
    pairs = np.bincount(ids[:-1] * V + ids[1:], minlength=V * V).reshape(V, V)
    shares = pairs + 3 * counts / counts.sum()
    shares /= shares.sum(axis=1, keepdims=True)
    return statistics.mean(-np.log(shares[x.numpy(), y.numpy()]).mean() for x, y in test_batches(data, args.block_size))


def machine() -> str:
    """What the run was made on, for the head of the table."""
    names = Path("/proc/cpuinfo")  # on Linux; platform.processor() is empty there
    lines = names.read_text().splitlines() if names.exists() else []
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return f"{cpu}, one thread, Python {platform.python_version()}, torch {torch.__version__}"


def race(size: str, name: str, rule: str, args: ModelArgs) -> list[dict]:
    """One racer: every rate with the seed that chooses, then the best with the seeds that count."""
    racer = RACERS[size][name]

    def row(highest: float, seed: int) -> dict:
        model = build(racer, rule, seed, args)
        weights = sum(p.numel() for p in model.transformer.blocks[0].mlp.parameters())
        begun = time.process_time()
        loss = run(model, highest, seed)
        key = dict(size=size, mlp=name, weights=weights, init=rule, learning_rate=highest, seed=seed)
        return {
            **key,
            "counts": int(seed != CHOOSE),
            "loss_300": round(loss, 4),
            "cpu_seconds": round(time.process_time() - begun, 1),
        }

    tried = [row(highest, CHOOSE) for highest in RATES]
    best = min(tried, key=lambda found: found["loss_300"])["learning_rate"]
    return tried + [row(best, seed) for seed in JUDGE]


def main() -> None:
    torch.set_num_threads(1)
    prepare("storybook", DATA, "storybook", count=4000, force=True, progress=False)
    args = ModelArgs(block_size=64, vocab_size=data_tokenizer(DATA).n_vocab, n_layer=2, n_head=4, n_embed=64)
    table_of_pairs = bigram(args)
    rows: list[dict] = []
    for entry in ENTRIES:
        rows += race(*entry, args)
        counted = [found["loss_300"] for found in rows[-len(JUDGE) :]]
        error = statistics.stdev(counted) / len(counted) ** 0.5
        print(*entry, rows[-1]["learning_rate"], f"{statistics.mean(counted):.3f} +- {error:.3f}", flush=True)
        write_table(rows, table_of_pairs)


def write_table(rows: list[dict], table_of_pairs: float) -> None:
    """All runs so far, below three lines that say how they were made."""
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    seconds = sum(row["cpu_seconds"] for row in rows)
    with whole_file(TABLE, "w") as file:
        file.write(f"# python experiments/mlp_race.py, {date.today()}, {machine()}, {seconds:.0f} s\n")
        file.write(f"# {STEPS} steps of {BATCH} x 64 tokens; rates chosen with seed {CHOOSE}, judged with seeds {JUDGE}\n")
        file.write(f"# loss of a table of pairs (the bigram guesser) on the same windows: {table_of_pairs:.2f}\n")
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
