"""Where should the norm stand? Pre-norm, post-norm and no residual, each with two kinds of first weights.

    python experiments/norm_race.py

Writes docs/tables/norm_race.csv, a row per run, which notebook 06 replays. A narrow, deep yzlinGPT (12 layers, 32 channels)
is trained on storybook stories. All matrices begin with spread 1 / sqrt(inputs) ("equal"), or the last one of each branch
with less, divided by sqrt(2 layers) ("with the rule"), as in yzlinGPT and GPT-2. Seed 0 chooses each one's learning rate,
three other seeds judge it. Beside them stands the loss of counting: how common each token is in such windows. Takes about
three minutes on one core.
"""

from __future__ import annotations

import csv
import math
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
RATES, JUDGES = (0.001, 0.003, 0.005, 0.01, 0.02), (1, 2, 3)
LAST = ("context_projection.weight", "down_projection.weight")  # of each branch


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


def build(kind: type[Block], rule: bool, seed: int, args: ModelArgs) -> yzlinGPT:
    """A yzlinGPT with blocks of this kind; the same first weights for the same seed."""
    torch.manual_seed(seed)
    model = yzlinGPT(args)
    model.transformer.blocks = nn.ModuleList([kind(args) for _ in range(args.n_layer)])
    for name, weight in model.transformer.blocks.named_parameters():
        if weight.dim() == 2:
            smaller = math.sqrt(2 * args.n_layer) if rule and name.endswith(LAST) else 1
            nn.init.normal_(weight, std=weight.size(1) ** -0.5 / smaller)
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
    with torch.no_grad():
        return statistics.mean(model(*batch)[1].item() for batch in test_batches(model.args))


def test_batches(args: ModelArgs) -> list[tuple[Tensor, Tensor]]:
    """What all are judged on: the first tokens of stories of val.bin."""
    test = Batches(DATA, args.block_size, BATCH, seed=99, align=True, eot=data_tokenizer(DATA).eot_token)
    return [test.get_batch("val", number) for number in range(20)]


def loss_of_counting(args: ModelArgs) -> float:
    """The loss of giving each token the share that it has in windows of train.bin, wherever it stands in them."""
    batches = Batches(DATA, args.block_size, BATCH, seed=0, align=True, eot=data_tokenizer(DATA).eot_token)
    counts = torch.ones(args.vocab_size)
    for number in range(1000):
        counts += torch.bincount(batches.get_batch("train", number)[1].flatten(), minlength=args.vocab_size)
    surprise = -torch.log(counts / counts.sum())
    return statistics.mean(surprise[y].mean().item() for _, y in test_batches(args))


def main() -> None:
    torch.set_num_threads(1)
    prepare("storybook", DATA, "storybook", count=2000, force=True, progress=False)
    args = ModelArgs(block_size=32, vocab_size=data_tokenizer(DATA).n_vocab, n_layer=12, n_head=2, n_embed=32)
    rows: list[dict] = []

    def add(name: str, rule: bool, highest: float, seed: int) -> float:
        begun = time.process_time()
        loss = run(build(KINDS[name], rule, seed, args), highest, seed)
        row = dict(kind=name, first_weights="with the rule" if rule else "equal", learning_rate=highest, seed=seed)
        rows.append(row | dict(loss=round(loss, 4), cpu_seconds=round(time.process_time() - begun, 1)))
        print(*rows[-1].values(), flush=True)
        return loss

    for rule in (False, True):
        for name in KINDS:
            found = {highest: add(name, rule, highest, 0) for highest in RATES}
            for seed in JUDGES:
                add(name, rule, min(found, key=found.__getitem__), seed)
    counted = dict.fromkeys(rows[0], "") | dict(kind="counting", loss=round(loss_of_counting(args), 4), cpu_seconds=0)
    rows.append(counted)
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    made = f"{date.today()}, one thread, Python {platform.python_version()}, torch {torch.__version__}"
    with whole_file(TABLE, "w") as file:
        file.write(f"# python experiments/norm_race.py, {made}, {sum(row['cpu_seconds'] for row in rows):.0f} s\n")
        shape = f"{STEPS} steps of {BATCH} x {args.block_size} tokens, 12 layers of 32 channels"
        file.write(f"# {shape}, a warm-up of {WARMUP} steps for all\n")
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
