"""Seeded attacks on every door of the package. By hand: `python tests/fuzz.py --minutes 60`; test_fuzz.py makes a few rounds.

Only one sentence (exit 2), or a success that is true, may come of an attack. The attacks on data stand in fuzz_data.py;
here are those on runs: the options of train, generate and bench, log.csv, the checkpoints, and the record of what `lab`
handed out.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path

import fuzz_data
import torch
from fuzz_data import JUNK, NUMBERS, damage_bytes, judge_call
from tiny import TINY

from yzlin.checkpoint import load_checkpoint, load_model
from yzlin.generate import tell_stories
from yzlin.prepare import prepare
from yzlin.presets import TrainArgs
from yzlin.runs import read_log
from yzlin.tools.lab import GIVEN, hand_out
from yzlin.train import train

ODD = [*NUMBERS, "0.5", "3", "1e-320", "\ud800", "cuda:99", "cpu:7", "meta", "float8", "nowhere", "\0", "x" * 5000]


def make_run(room: Path) -> Path:
    """A tiny finished run, to be attacked."""
    run = room / "run"
    if not run.exists():
        prepare("storybook", room / "data", "train:300", count=60, block_size=16, progress=False)
        args = replace(TINY, data=str(room / "data"), out=str(run), block_size=16, n_layer=1, max_iters=4, eval_interval=2)
        train(args, progress=False)
    return run


# ---- attacks


def train_options(rng: random.Random, room: Path, out: Path) -> list[str]:
    """Words for a run of two iterations, some of them odd."""
    small = {"data": room / "data", "n_layer": 1, "n_head": 2, "n_embed": 8, "block_size": 8, "batch_size": 2, "max_iters": 2,
             "eval_iters": 1, "eval_stories": 0, "eval_interval": 1, "device": "cpu", "dtype": "float32"}  # fmt: skip
    options = [word for name, value in small.items() for word in (f"--{name}", str(value))]
    for field in rng.sample(fields(TrainArgs), rng.randint(1, 3)):
        if field.name in ("out", "compile", "align", "bias"):
            continue
        options += [f"--{field.name}", rng.choice(ODD)]
    return ["train", *options, "--out", str(out)]


def generate_options(rng: random.Random, run: Path) -> list[str]:
    options = ["--checkpoint", str(run), "--max_tokens", "3"]
    for name in rng.sample(["max_tokens", "temperature", "top_k", "top_p", "seed", "device", "checkpoint"], rng.randint(1, 3)):
        options += [f"--{name}", rng.choice([word for word in ODD if word != "1e3"])]
    return ["generate", *options, rng.choice(["Once", "", "\u732b", "\0", "<|endoftext|>", "x" * 3000])]


def attack_checkpoint(rng: random.Random, path: Path) -> str:
    """Bytes damaged, or a value of the checkpoint replaced."""
    if rng.random() < 0.4:
        return damage_bytes(rng, path)
    checkpoint = torch.load(path, weights_only=True)
    inner = rng.choice([checkpoint, *(checkpoint[name] for name in ("model", "model_args", "train_args", "data"))])
    key = rng.choice(list(inner))
    kind = rng.choice(["junk", "delete", "shape", "nan"])
    if kind == "delete":
        del inner[key]
    elif kind == "shape" and isinstance(inner[key], torch.Tensor) and inner[key].dim():
        inner[key] = inner[key][:1]
    elif kind == "nan" and isinstance(inner[key], torch.Tensor) and inner[key].is_floating_point():
        inner[key] = inner[key] * torch.nan
    else:
        inner[key] = rng.choice([junk for junk in JUNK if not (isinstance(junk, int) and abs(junk) > 2**62)])
    try:
        torch.save(checkpoint, path)
    except Exception:  # what cannot be written is not an attack
        return damage_bytes(rng, path)
    return f"{path.name}: {kind} of {key}"


def attack_log(rng: random.Random, path: Path) -> str:
    if rng.random() < 0.5:
        return damage_bytes(rng, path)
    lines = path.read_text(encoding="utf-8").splitlines()
    place = rng.randrange(len(lines))
    cells = lines[place].split(",")
    cells[rng.randrange(len(cells))] = rng.choice(["", "x", "nan", "1e999", '"', "\0", "-1", "9" * 5000, ",,"])
    lines[place] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return f"log.csv: line {place + 1} becomes {lines[place]!r:.80}"


def attack_given(rng: random.Random, path: Path) -> str:
    if rng.random() < 0.5:
        return damage_bytes(rng, path)
    record = json.loads(path.read_text(encoding="utf-8"))
    key = rng.choice(list(record))
    record[key] = rng.choice(JUNK)
    path.write_text(json.dumps(record), encoding="utf-8")
    return f"{GIVEN}: {key} is {str(record[key])[:40]}"


# ---- what came of them


def judge_command(argv: list[str], room: Path, out: Path) -> tuple[str, str]:
    """A command: refused in a sentence, leaving nothing behind, or done."""
    ended, wrong = fuzz_data.judge_command(argv, room, out)
    return ("done", "") if wrong == "exit 0" else (ended, wrong)


def judge_model(path: Path) -> tuple[str, str]:
    """A checkpoint after an attack: refused, or a model that tells a story."""

    def what_is_false() -> str:
        model, tokenizer, _ = load_model(path)
        finite = all(torch.isfinite(weight).all() for weight in model.parameters())
        return "" if not finite or isinstance(tell_stories(model, tokenizer, 1, max_tokens=2)[0], str) else "no story"

    return judge_call(lambda: load_model(path), what_is_false)


def judge_train(argv: list[str], room: Path, out: Path) -> tuple[str, str]:
    """A training: refused, or a run that is whole and finite."""
    ended, wrong = judge_command(argv, room, out)
    if ended == "done":
        saved, rows = load_checkpoint(out / "last.pt"), read_log(out / "log.csv")
        finite = all(torch.isfinite(weight).all() for weight in saved["model"].values())
        if not finite or saved["iter_num"] < 1 or rows[-1]["iter"] != saved["iter_num"]:
            return ended, f"not a whole run: {saved['iter_num']} iterations, finite: {finite}"
    return ended, wrong


def judge_resume(run: Path, room: Path) -> tuple[str, str]:
    """A damaged run that is gone on with: refused with every file as it was, or finished."""
    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file() and path.name != ".lock"}
    ended, wrong = judge_train(["train", "--init_from", "auto", "--out", str(run), "--max_iters", "6"], room, run)
    if ended == "refused" and any(path.read_bytes() != data for path, data in before.items()):
        return ended, "refused, and changed a file"
    return ended, wrong


def judge_lab(originals: Path, workspace: Path, answer: bytes) -> tuple[str, str]:
    """The lab after an attack on its record: the reader's answer is still there."""

    def what_is_false() -> str:
        copies = [path.read_bytes() for path in workspace.glob("*.ipynb")]
        return "" if any(answer in copy for copy in copies) else "the answer is lost"

    return judge_call(lambda: hand_out(originals, workspace), what_is_false)


def attack_all(rng: random.Random, room: Path) -> tuple[Counter, list[str]]:
    """One attack of each kind, in `room`: how many were done and refused, and what is wrong."""
    counts, wrong = Counter(), []

    def note(kind: str, did: object, found: tuple[str, str]) -> None:
        counts[kind, found[0]] += 1
        if found[1] or found[0] == "crashed":
            wrong.append(f"{kind}: {did!r:.400}: {found[1]}")

    run, target = make_run(room), room / "target"
    with fuzz_data.in_folder(room):
        argv = train_options(rng, room, room / "new" / "out")
        note("train", argv, judge_train(argv, room, room / "new" / "out"))
        shutil.rmtree(room / "new", ignore_errors=True)
        argv = generate_options(rng, run)
        note("generate", argv, judge_command(argv, room, room))
        for kind, attack, name in (("checkpoint", attack_checkpoint, "checkpoint.pt"), ("last", attack_checkpoint, "last.pt"),
                                   ("log", attack_log, "log.csv")):  # fmt: skip
            shutil.copytree(run, target)
            did = attack(rng, target / name)
            note(kind, did, judge_model(target / name) if kind == "checkpoint" else judge_resume(target, room))
            shutil.rmtree(target)
    originals, workspace = room / "originals", room / "workspace"
    originals.mkdir(exist_ok=True)
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "source": "1 + 1", "outputs": [], "execution_count": None}
    page = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (originals / "00.ipynb").write_text(json.dumps(page), encoding="utf-8")
    hand_out(originals, workspace)
    cell["source"] = "my own answer"
    (workspace / "00.ipynb").write_text(json.dumps(page), encoding="utf-8")
    did = attack_given(rng, workspace / GIVEN)
    note("given", did, judge_lab(originals, workspace, b"my own answer"))
    shutil.rmtree(workspace)
    return counts, wrong


def rounds(seed: int, room: Path, most: int, minutes: float = 60.0) -> tuple[Counter, list[str], int]:
    """Rounds of all attacks, until there were `most` or the minutes are over."""
    counts, wrong, end = Counter(), [], time.monotonic() + 60 * minutes
    (room / "runs").mkdir(exist_ok=True)
    (room / "texts").mkdir(exist_ok=True)
    for number in range(most):
        if time.monotonic() > end:
            return counts, wrong, number
        rng = random.Random(f"{seed}:{number}")
        for attack, folder in ((attack_all, room / "runs"), (fuzz_data.attack_all, room / "texts")):
            found, bad = attack(rng, folder)
            counts += found
            wrong += [f"round {number}: {line}" for line in bad]
    return counts, wrong, most


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as room:
        counts, wrong, number = rounds(options.seed, Path(room), 10**9, options.minutes)
    for (kind, end), count in sorted(counts.items()):
        print(f"{count:6} {kind}: {end}")
    print(*wrong, f"{len(wrong)} wrong in {number} rounds of seed {options.seed}", sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
