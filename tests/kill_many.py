"""Kills a training run a hundred times at random moments and compares its end with an unbroken run's. Not part of the tests.

    python tests/kill_many.py [kills]

Prints how many kills fell into the writing of a file, and how often the run lost anything (0 is right).
"""

import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from tiny import TINY

from yzlin.checkpoint import load_checkpoint
from yzlin.prepare import prepare
from yzlin.runs import read_log
from yzlin.train import train


def main(kills: int) -> int:
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        data, whole, broken = (Path(folder) / name for name in ("data", "whole", "broken"))
        prepare("storybook", data, "storybook", count=400, progress=False)
        args = replace(
            TINY, data=str(data), out=str(whole), n_embed=64, max_iters=140 * kills, warmup_iters=20, learning_rate=4e-3,
            eval_interval=20, eval_iters=1, log_interval=10,
        )  # fmt: skip
        train(args, progress=False)
        args = replace(args, out=str(broken), init_from="auto")
        code = f"from yzlin.train import *; train({args!r}, progress=False)"
        done = in_write = lost = 0
        reached = -1
        while True:
            process = subprocess.Popen([sys.executable, "-c", code])
            if done < kills:
                before = time.monotonic()  # the clock begins when training goes on, not when Python starts
                while process.poll() is None and time.monotonic() - before < 60 and not moved(broken, reached):
                    time.sleep(0.005)
                time.sleep(rng.uniform(0, 0.5))
                process.send_signal(signal.SIGKILL)
            code_of_exit = process.wait()
            in_write += any(path.name != ".lock" and ("part" in path.name or "tmp" in path.name) for path in broken.iterdir())
            state = load_checkpoint(broken / "last.pt")["iter_num"] if (broken / "last.pt").exists() else -1
            lost += state < reached
            reached = max(reached, state)
            if code_of_exit == 0:
                break
            done += 1
        a, b = (load_checkpoint(out / "last.pt") for out in (whole, broken))
        same = all(torch.equal(a["model"][key], b["model"][key]) for key in a["model"])
        for one, other in zip(a["optimizer"]["state"].values(), b["optimizer"]["state"].values(), strict=True):
            same &= all(torch.equal(one[key], other[key]) for key in one)
        logs = [
            [(row["iter"], row["train_loss"], row["val_loss"]) for row in read_log(out / "log.csv")] for out in (whole, broken)
        ]
    print(f"{done} kills, {in_write} of them while a file was written; progress lost: {lost} times")
    print(f"weights and optimizer state as in the unbroken run: {same}; log: {logs[0] == logs[1]}")
    return int(lost > 0 or not same or logs[0] != logs[1])


def moved(out: Path, reached: int) -> bool:
    """Whether the run has gone on from where it stood."""
    log = out / "log.csv"
    return log.exists() and any(row["iter"] > max(reached, 0) for row in read_log(log))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100))
