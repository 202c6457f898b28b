"""The folder of a run: its lock, its log, its two checkpoints, and the signals that end it."""

from __future__ import annotations

import csv
import math
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from yzlin.checkpoint import load_checkpoint, save_checkpoint
from yzlin.distributed import World
from yzlin.presets import TrainArgs
from yzlin.tools.files import locked, made_folder, whole_file

LOG_COLUMNS = [
    "iter", "tokens", "train_loss", "val_loss", "lr", "grad_norm", "tokens_per_s", "seconds", "coherence", "story"
]  # fmt: skip

# what a checkpoint must hold for training to go on from it, and of which type
RESUMED = {
    "optimizer": dict, "rng": list, "scaler": dict, "data": dict, "train_args": dict, "iter_num": int,
    "best_val_loss": float, "seconds": float, "loss_sum": float, "loss_count": int, "dtype": str,
}  # fmt: skip


class LossNotFinite(RuntimeError):
    """The loss or a weight is nan or infinite, so training cannot go on; the message says what to do."""


class Run:
    """A run's folder. Only rank 0 writes into it.

    last.pt: the state to resume from. checkpoint.pt: the best state on val loss. log.csv: one row per log interval.
    """

    def __init__(self, out: str | Path, world: World, on_save: Callable[[Path], None] | None = None) -> None:
        self.out, self.world, self.on_save = Path(out), world, on_save
        self.last, self.best, self.log_path = (self.out / name for name in ("last.pt", "checkpoint.pt", "log.csv"))

    def saved(self) -> Path | None:
        """The checkpoint that training can go on from: last.pt, or checkpoint.pt where it stands alone."""
        return next((path for path in (self.last, self.best) if path.exists()), None)

    def to_resume(self, init_from: str) -> dict[str, Any] | None:
        """The checkpoint to go on from, or None to begin afresh. Raises FileExistsError, FileNotFoundError, ValueError."""
        saved = self.saved()
        if init_from == "scratch" and saved:
            raise FileExistsError(
                f"{self.out} holds a run already: go on with --init_from resume, or choose another --out, or delete the folder."
            )
        if init_from == "resume" and not saved:
            raise FileNotFoundError(f"{self.last} is missing: there is no run in {self.out} to go on with. Begin one without "
                                    "--init_from resume.")  # fmt: skip
        if init_from == "scratch" or not saved:
            return None
        checkpoint = load_checkpoint(saved)
        missing = [key for key in RESUMED if key not in checkpoint]
        if missing:
            raise ValueError(
                f"{saved} has no {' and no '.join(missing)}, so training cannot go on from it: choose another --out."
            )
        wrong = [key for key, kind in RESUMED.items() if not isinstance(checkpoint[key], kind)]
        wrong += [key for key in ("iter_num", "loss_count") if key not in wrong and not 0 <= checkpoint[key] <= 10**9]
        if wrong:
            raise ValueError(f"{saved} is damaged (the value of {' and '.join(wrong)}): choose another --out.")
        return checkpoint

    def need_room(self, size: int) -> None:
        """Raises OSError where both checkpoints, of `size` bytes each, and one that is being written do not fit on the disk."""
        there = sum(path.stat().st_size for path in (self.last, self.best) if path.exists())
        free = shutil.disk_usage(self.out).free
        if free + there < 3 * size:
            raise OSError(
                f"{self.out} needs {3 * size / 1e9:.1f} GB for its checkpoints, and {free / 1e9:.1f} GB are free there: "
                "free some space, or choose another --out."
            )

    def open_log(self, resumed_at: int | None) -> None:
        """A new log, or the old one up to the resumed iteration: the rows after it come again."""
        if self.world.rank:
            return
        rows = []
        if resumed_at is not None and self.log_path.exists():
            rows = [row for row in read_log(self.log_path) if row["iter"] <= resumed_at]
        with whole_file(self.log_path, "w") as file:
            writer = csv.DictWriter(file, LOG_COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    def log(self, row: dict[str, Any]) -> None:
        """Appends a row to log.csv."""
        with self.log_path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, LOG_COLUMNS, lineterminator="\n").writerow(row)

    def save(self, state: dict[str, Any], best: bool = False) -> None:
        """Writes last.pt, and before it checkpoint.pt where the state is the best one.

        Raises LossNotFinite, and leaves both files as they are, where a weight is nan or infinite.
        """
        if not all(torch.isfinite(weight).all() for weight in state["model"].values()):
            raise LossNotFinite(self.advice(state["iter_num"], math.nan))
        if self.world.rank:
            return
        for path in (self.best, self.last)[not best :]:
            save_checkpoint(path, state)
            if self.on_save:
                self.on_save(path)

    def advice(self, iteration: int, loss: float) -> str:
        there = f"{self.last} is the last good state" if self.last.exists() else "nothing was saved yet"
        return (
            f"the loss is {loss} at iteration {iteration}, so training stopped; {there}: resume with a lower learning_rate, "
            "a longer warmup_iters, or --dtype float32."
        )


@contextmanager
def open_run(out: str | Path, world: World, on_save: Callable[[Path], None] | None = None) -> Iterator[Run]:
    """Makes the folder of a run and holds it for this process alone; the lock goes with the process, however it ends.

    A folder that was made here and in which nothing was saved is removed again where the block fails.
    """
    run = Run(out, world, on_save)
    if world.rank:
        yield run
        return
    with ExitStack() as stack:
        try:
            stack.enter_context(made_folder(run.out))
        except OSError as error:
            raise OSError(f"{run.out} cannot be written to ({error.strerror or error}): choose another --out.") from error
        try:
            stack.enter_context(locked(run.out / ".lock", f"{run.out} is in use by another training run"))
        except FileExistsError as error:
            raise RuntimeError(f"{error}: wait for it, or choose another --out.") from error
        except OSError as error:
            raise OSError(f"{run.out} cannot be written to ({error.strerror}): choose another --out.") from error
        yield run


def check_same_run(resumed: dict[str, Any], args: TrainArgs, model_args: Any, meta: dict[str, Any], path: Path) -> None:
    """Raises ValueError where a checkpoint is of another model, of another optimizer or of other data."""
    was, now = resumed["model_args"], asdict(model_args)
    differ = [f"{key} was {was.get(key)} and is {now[key]}" for key in now if was.get(key) != now[key]]
    if differ:
        raise ValueError(f"{path} is of another model ({'; '.join(differ)}): give the same numbers, or another --out.")
    optimizer = resumed["train_args"].get("optimizer", "adamw")  # what there was before one could choose
    if optimizer != args.optimizer:
        raise ValueError(f"{path} was trained with {optimizer}: give --optimizer {optimizer}, or another --out.")
    differ = [key for key, value in resumed["data"].items() if key in meta and meta[key] != value]
    if differ:
        raise ValueError(
            f"{path} was trained on other data ({', '.join(differ)} differ): name the same --data, or another --out."
        )


def changes(resumed: dict[str, Any], args: TrainArgs) -> str:
    """What differs from the run so far, as one line: "learning_rate 0.004 -> 0.001; weight_decay 0.01 -> 0.1"."""
    was, now = {**resumed["train_args"], "dtype": resumed["dtype"]}, asdict(args)
    quiet = ("out", "data", "init_from", "device")  # where things lie does not change what comes out
    differ = [key for key in now if key in was and key not in quiet and was[key] != now[key]]
    return "; ".join(f"{key} {was[key]} -> {now[key]}" for key in differ)


def saved_args(out: str | Path) -> dict[str, Any]:
    """The numbers of the run in a folder, for `TrainArgs`: what the command line resumes with. Empty: there is no run."""
    checkpoint = Run(out, World(0, 1, torch.device("cpu"))).to_resume("auto")
    if checkpoint is None:
        return {}
    known = TrainArgs.__dataclass_fields__
    return {key: value for key, value in checkpoint["train_args"].items() if key in known}


def read_log(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a log.csv: iter and tokens as int, story as it is, the rest as float, None where there is no value.

    A last row that a crash cut off is left out. Raises ValueError where the file is not a log of this course.
    """
    rows = []
    with Path(path).open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(line.replace("\0", "") for line in file)
        if reader.fieldnames and set(LOG_COLUMNS[:8]) - set(reader.fieldnames):
            raise ValueError(f"{path} is not a log of a run (its first line is wrong): put it right, or move the file away.")
        for row in reader:
            if None in row.values():
                continue
            story = row.pop("story", None) or None
            try:
                numbers = {key: float(value) if value else None for key, value in row.items()}
                rows.append({**numbers, "iter": int(row["iter"]), "tokens": int(row["tokens"]), "story": story})
            except (ValueError, TypeError, OverflowError) as error:
                where = f"{path} is damaged in line {reader.line_num} (a word where a number belongs)"
                raise ValueError(f"{where}: put it right, or move the file away.") from error
    return rows


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Ctrl-C, a notebook's stop button, SIGTERM and SIGHUP ask the loop to stop after this iteration.

    Yields a list that is empty until then. A second Ctrl-C interrupts at once.
    """
    stopped: list[int] = []

    def ask(number: int, frame: Any) -> None:
        if stopped and number == signal.SIGINT:
            raise KeyboardInterrupt
        stopped.append(number)

    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    try:
        before = {number: signal.signal(number, ask) for number in numbers if signal.getsignal(number) != signal.SIG_IGN}
    except ValueError:  # not in the main thread: signals go elsewhere
        before = {}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
