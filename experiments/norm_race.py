"""Where should the norm stand? Pre-norm, post-norm and no residual, each at three learning rates with three seeds.

    python experiments/norm_race.py

Writes docs/tables/norm_race.csv, a row per run, which notebook 06 replays. A narrow, deep yzlinGPT (12 layers, 32 channels)
is trained on storybook stories; all matrices begin with spread 1 / sqrt(inputs). Takes about two minutes on one core.
"""

from __future__ import annotations

import csv
import platform
import statistics
import time
from datetime import date

import torch
from torch import Tensor, nn

from yzlin import ROOT
from yzlin.batches import Batches
from yzlin.model import Block, ModelArgs, yzlinGPT
from yzlin.prepare import data_tokenizer, prepare
from yzlin.tools.files import whole_file

TABLE = ROOT / "docs" / "tables" / "norm_race.csv"
DATA = ROOT / "data" / "norm_race"
STEPS, WARMUP, BATCH = 150, 30, 8
RATES, SEEDS = (0.001, 0.003, 0.01), (0, 1, 2)


class PostBlock(Block):
    """The Transformer of 2017: the norm stands on the stream, behind each addition."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention_norm(x + self.attention(x))
        return self.mlp_norm(x + self.mlp(x))


class NoResidual(Block):
    """Each part replaces what it read."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention(self.attention_norm(x))
        return self.mlp(self.mlp_norm(x))


KINDS = {"pre-norm": Block, "post-norm": PostBlock, "no residual": NoResidual}


def build(kind: type[Block], seed: int, args: ModelArgs) -> yzlinGPT:
    """A yzlinGPT with blocks of this kind; equal first weights for the same seed."""
    torch.manual_seed(seed)
    model = yzlinGPT(args)
    model.transformer.blocks = nn.ModuleList([kind(args) for _ in range(args.n_layer)])
    for weight in model.transformer.blocks.parameters():
        if weight.dim() == 2:
            nn.init.normal_(weight, std=weight.size(1) ** -0.5)
    return model


def run(model: yzlinGPT, highest: float, seed: int) -> float:
    """Trains for STEPS steps, the rate rising over WARMUP of them; the loss on val.bin (nats a token)."""
    eot = data_tokenizer(DATA).eot_token
    batches = Batches(DATA, model.args.block_size, BATCH, seed=seed, align=True, eot=eot)
    optimizer = model.configure_optimizers(0.01, highest, (0.9, 0.99), "cpu")
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = highest * min(1.0, (step + 1) / WARMUP)
        model(*batches.get_batch("train", step))[1].backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    test = Batches(DATA, model.args.block_size, BATCH, seed=99, align=True, eot=eot)
    with torch.no_grad():
        return statistics.mean(model(*test.get_batch("val", number))[1].item() for number in range(20))


def main() -> None:
    torch.set_num_threads(1)
    prepare("storybook", DATA, "storybook", count=2000, force=True, progress=False)
    args = ModelArgs(block_size=32, vocab_size=data_tokenizer(DATA).n_vocab, n_layer=12, n_head=2, n_embed=32)
    rows: list[dict] = []
    for name, kind in KINDS.items():
        for highest in RATES:
            for seed in SEEDS:
                begun = time.process_time()
                loss = run(build(kind, seed, args), highest, seed)
                seconds = round(time.process_time() - begun, 1)
                rows.append(dict(kind=name, learning_rate=highest, seed=seed, loss=round(loss, 4), cpu_seconds=seconds))
            print(name, highest, [row["loss"] for row in rows[-len(SEEDS) :]], flush=True)
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    made = f"{date.today()}, one thread, Python {platform.python_version()}, torch {torch.__version__}"
    with whole_file(TABLE, "w") as file:
        file.write(f"# python experiments/norm_race.py, {made}, {sum(row['cpu_seconds'] for row in rows):.0f} s\n")
        file.write(f"# {STEPS} steps of {BATCH} x {args.block_size} tokens, 12 layers of 32 channels\n")
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
