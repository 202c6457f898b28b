"""The second cliff of the storyteller's run: which head forms when the loss falls from its plateau at 0.51?

    python experiments/second_cliff.py

Begins the shipped storyteller's run again (same seed, but in float32 where that run took bfloat16, so it is another run after
some hundred iterations), trains 2,000 iterations (about five minutes on one thread of an idle machine) and keeps a snapshot
every 250 in checkpoint/second_cliff. Each is measured on 60 stories that no training used.
Writes docs/tables/second_cliff.csv, which notebook 10 draws. A run that was interrupted goes on.

For each head L.H the table has
  write_L.H   the share of attention that a stop right behind the hero's name gives to the name;
  fetch_L.H   the share that the token before a later mention gives to the stops right behind earlier mentions;
  off_L.H     how much the loss on later mentions rises when the head is switched off (nats).
"""

import csv
import platform
import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yzlin import ROOT
from yzlin.checkpoint import load_model
from yzlin.generate import tell_stories
from yzlin.plots import attention_shares
from yzlin.prepare import prepare
from yzlin.presets import PRESETS
from yzlin.runs import read_log
from yzlin.storybook import check_story, stories
from yzlin.tools.files import whole_file
from yzlin.train import train

RUN, TABLE = ROOT / "checkpoint" / "second_cliff", ROOT / "docs" / "tables" / "second_cliff.csv"
LAST = 2000
STORIES = list(stories(60, seed=5_000_000))


class Enough(Exception):
    """The last snapshot is there: the rest of the shipped run's 12,000 iterations is not needed."""


def keep_snapshot(path: Path) -> None:
    """Puts aside the state that was saved just now."""
    if path.name == "last.pt":
        iteration = torch.load(path, weights_only=True)["iter_num"]
        if iteration % PRESETS["cpu"].eval_interval == 0:  # not where the run was interrupted
            shutil.copy(path, RUN / f"snapshot_{iteration:05}.pt")
        if iteration >= LAST:
            raise Enough


def make_snapshots() -> None:
    if (RUN / f"snapshot_{LAST:05}.pt").exists():
        return
    data = ROOT / "data" / "storybook"
    if not (data / "meta.json").exists():
        prepare("storybook", str(data), "storybook")
    # max_iters as in make_storyteller.py: the learning rate follows the same cosine.
    args = replace(PRESETS["cpu"], data=str(data), out=str(RUN), max_iters=12000, init_from="auto", device="cpu",
                   dtype="float32", eval_stories=0)  # fmt: skip
    try:
        train(args, on_save=keep_snapshot)
    except Enough:
        pass


class Texts:
    """The stories as ids for one tokenizer, and where later mentions of the facts and stops behind names stand."""

    def __init__(self, tokenizer, block_size: int) -> None:
        self.ids = [[tokenizer.eot_token, *tokenizer.encode_ordinary(story.text)][:block_size] for story in STORIES]
        self.rows = torch.full((len(STORIES), block_size), tokenizer.eot_token)
        for row, ids in zip(self.rows, self.ids, strict=True):
            row[: len(ids)] = torch.tensor(ids)
        words = [[tokenizer.decode([i]).strip() for i in row] for row in self.rows.tolist()]
        facts = [{**story.facts, "look": story.facts["thing"].split()[0]} for story in STORIES]
        self.named = self.where(words, facts, "hero")
        kinds = {"name": "hero", "thing": "noun", "look": "look", "place": "place", "helper": "helper"}
        self.later = {kind: (w := self.where(words, facts, key)) & (w.cumsum(1) > 1) for kind, key in kinds.items()}
        stop = torch.tensor([[word != "" and set(word) <= set(".,?!") for word in row] for row in words])
        self.behind = stop & F.pad(self.named, (1, 0))[:, :-1]

    @staticmethod
    def where(words: list[list[str]], facts: list[dict[str, str]], key: str) -> Tensor:
        return torch.tensor([[word == fact[key] for word in row] for row, fact in zip(words, facts, strict=True)])


@torch.no_grad()
def fact_losses(model: nn.Module, texts: Texts) -> dict[str, float]:
    """The mean loss in nats on the later mentions of each fact."""
    logits = torch.cat([model(rows)[0][:, :-1] for rows in texts.rows.split(10)])
    loss = F.cross_entropy(logits.flatten(0, 1), texts.rows[:, 1:].flatten(), reduction="none").view(len(logits), -1)
    return {kind: loss[where[:, 1:]].mean().item() for kind, where in texts.later.items()}


def name_loss_without(model: nn.Module, texts: Texts, layer: int, head: int) -> float:
    """The loss on later names when one head brings nothing."""
    size = model.args.n_embed // model.args.n_head

    def silence(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        y = inputs[0].clone()
        y[..., head * size : (head + 1) * size] = 0
        return (y,)

    hook = model.transformer.blocks[layer].attention.context_projection.register_forward_pre_hook(silence)
    try:
        return fact_losses(model, texts)["name"]
    finally:
        hook.remove()


def head_scores(model: nn.Module, texts: Texts) -> tuple[Tensor, Tensor]:
    """write and fetch of each head, (layers, heads) each: see above."""
    write, fetch, writes, fetches = 0, 0, 0, 0
    for ids, named, behind in zip(texts.ids, texts.named, texts.behind, strict=True):
        shares = attention_shares(model, ids)
        stops, places = behind.nonzero()[:, 0], named.nonzero()[:, 0]
        write, writes = write + shares[:, :, stops, stops - 1].sum(-1), writes + len(stops)
        for place in places[1:].tolist():
            keys = stops[stops < place - 1]
            fetch, fetches = fetch + shares[:, :, place - 1, keys].sum(-1), fetches + 1
    return write / writes, fetch / fetches


def measure(path: Path) -> dict[str, float]:
    """One row of the table."""
    val_loss = {row["iter"]: row["val_loss"] for row in read_log(RUN / "log.csv")}
    model, tokenizer, checkpoint = load_model(path)
    texts, iteration = Texts(tokenizer, model.args.block_size), checkpoint["iter_num"]
    checks = [check_story(text) for text in tell_stories(model, tokenizer, 100, temperature=0.7, seed=7)]
    losses, (write, fetch) = fact_losses(model, texts), head_scores(model, texts)
    row = {"iter": iteration, "val_loss": val_loss[iteration]}
    row |= {"coherent": sum(check.ok for check in checks) / 100}
    row |= {"name_kept": sum(check.flags["name_kept"] for check in checks) / 100}
    row |= {f"loss_{kind}": loss for kind, loss in losses.items()}
    heads = [(layer, head) for layer in range(model.args.n_layer) for head in range(model.args.n_head)]
    row |= {f"write_{i}.{j}": write[i, j].item() for i, j in heads}
    row |= {f"fetch_{i}.{j}": fetch[i, j].item() for i, j in heads}
    row |= {f"off_{i}.{j}": name_loss_without(model, texts, i, j) - losses["name"] for i, j in heads}
    return {key: round(value, 4) for key, value in row.items()}


def write_table(rows: list[dict[str, float]]) -> None:
    """Leaves the rows in docs/tables, with what made them at the head."""
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(TABLE, "w") as file:
        file.write(f"# python experiments/second_cliff.py, {date.today()}\n")
        file.write(f"# {platform.system()} {platform.machine()}, one thread, float32, torch {torch.__version__}\n")
        file.write("# training seed 1337, measured on 60 stories of seed 5000000, coherence on 100 stories told\n")
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{TABLE}: {len(rows)} snapshots")


def main() -> None:
    torch.set_num_threads(1)
    make_snapshots()
    write_table([measure(path) for path in sorted(RUN.glob("snapshot_*.pt"))])


if __name__ == "__main__":
    main()
