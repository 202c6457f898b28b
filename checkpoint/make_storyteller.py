"""Makes the model that comes with the course, and the record of what it had learnt when.

    python checkpoint/make_storyteller.py

Trains the cpu preset for longer (24 minutes by the log of the shipped run, on two cores that were not idle), then lets each
saved snapshot tell stories and counts which facts they keep. Leaves checkpoint/storyteller: checkpoint.pt (without
optimizer state), log.csv, milestones.csv.
"""

import csv
import shutil
from dataclasses import replace
from pathlib import Path

from yzlin import ROOT
from yzlin.checkpoint import load_checkpoint, load_model, save_checkpoint
from yzlin.generate import tell_stories
from yzlin.prepare import prepare
from yzlin.presets import PRESETS
from yzlin.storybook import check_story
from yzlin.tools.files import whole_file
from yzlin.train import train

RUN, SHIPPED = ROOT / "checkpoint" / "long", ROOT / "checkpoint" / "storyteller"


def keep_snapshot(path: Path) -> None:
    """Keeps a copy of each last.pt that is saved."""
    if path.name == "last.pt":
        shutil.copy(path, RUN / "copy.pt")
        (RUN / "copy.pt").replace(RUN / f"snapshot_{load_checkpoint(path)['iter_num']:05}.pt")


def milestone(path: Path, count: int) -> dict[str, float]:
    """The share of new stories that keep each fact, and that keep them all."""
    model, tokenizer, checkpoint = load_model(path)
    checks = [check_story(text) for text in tell_stories(model, tokenizer, count, temperature=0.7, seed=7)]
    shares = {flag: sum(check.flags[flag] for check in checks) / count for flag in checks[0].flags}
    return {"iter": checkpoint["iter_num"], "stories": count, "coherent": sum(check.ok for check in checks) / count, **shares}


def main() -> None:
    args = replace(PRESETS["cpu"], data=str(ROOT / "data" / "storybook"), out=str(RUN), max_iters=12000, init_from="auto")
    if not (ROOT / "data" / "storybook" / "meta.json").exists():
        prepare("storybook", args.data, "storybook")
    print(train(args, on_save=keep_snapshot)["message"])

    rows = [milestone(path, 200) for path in sorted(RUN.glob("snapshot_*.pt"))]
    with whole_file(SHIPPED / "milestones.csv", "w") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    checkpoint = load_checkpoint(RUN / "checkpoint.pt")
    for key in ("optimizer", "rng", "scaler"):  # needed to go on with the training alone
        checkpoint.pop(key)
    checkpoint["train_args"].update(data="data/storybook", out="checkpoint/long")
    save_checkpoint(SHIPPED / "checkpoint.pt", checkpoint)
    shutil.copy(RUN / "log.csv", SHIPPED / "log.csv")
    print(rows[-1])


if __name__ == "__main__":
    main()
