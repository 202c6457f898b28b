"""`python -m yzlin record`: a run of a preset, in slices if asked, and a record of it that others can compare theirs with.

Leaves in the run's folder, beside what `train` leaves: record.json, record.md and record.png. The CUDA part (memory, and
energy through nvidia-smi) was not run on a GPU yet.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shutil
import signal
import statistics
import subprocess
import threading
import time
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from yzlin import __version__
from yzlin.device import pick_device
from yzlin.prepare import load_meta
from yzlin.presets import TrainArgs, add_options, given_options
from yzlin.runs import read_log, saved_args
from yzlin.tools.files import whole_file
from yzlin.tools.peak import flops_per_token, peak_flops, peak_memory
from yzlin.train import chosen_preset, model_args, train

MAX_GAP = 10.0  # seconds without a reading of the power that still count as one interval


class PowerMeter:
    """Adds up the energy of a GPU while it is open: `command` prints the power in watts, a line a reading.

    The command is nvidia-smi's unless another is given; without it `kwh` stays None. Only the GPU's own power counts, not
    the rest of the machine. Not run on a GPU yet.
    """

    def __init__(self, device: torch.device, command: list[str] | None = None) -> None:
        self.joules, self.readings, self.covered, self.process = 0.0, 0, 0.0, None
        self.opened = self.closed = 0.0
        if command is None and device.type == "cuda" and shutil.which("nvidia-smi"):
            card = getattr(torch.cuda.get_device_properties(device), "uuid", None)  # its number may be another one there
            which = f"GPU-{card}" if card else str(device.index or 0)
            command = ["nvidia-smi", "-i", which, "--query-gpu=power.draw", "--format=csv,noheader,nounits", "-lms", "1000"]
        self.command = command

    def __enter__(self) -> PowerMeter:
        if self.command:
            self.opened = time.monotonic()
            self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            self.thread = threading.Thread(target=self._read, daemon=True)
            self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process:
            self.process.terminate()
            self.thread.join(timeout=5)
            try:
                self.process.wait(timeout=5)
            except subprocess.TimeoutExpired:  # stuck in its driver: the record is worth more than this process
                self.process.kill()
            self.closed = time.monotonic()

    def _read(self) -> None:
        """Each reading stands for the time since the one before (trapezoids)."""
        before: tuple[float, float] | None = None
        for line in self.process.stdout:
            try:
                watts = float(line)
            except ValueError:  # "[N/A]": this card does not say
                continue
            now = time.monotonic()
            if before and now - before[0] < MAX_GAP:
                self.covered += now - before[0]
                self.joules += (now - before[0]) * (watts + before[1]) / 2
            before = (now, watts)
            self.readings += 1

    @property
    def kwh(self) -> float | None:
        """Kilowatt-hours so far, or None where nothing was read in more than a tenth of the time (and in three seconds)."""
        if self.readings < 2:
            return None
        total = (self.closed or time.monotonic()) - self.opened
        return self.joules / 3.6e6 if total - self.covered <= max(3.0, total / 10) else None


def run_slice(args: TrainArgs, minutes: float | None, meter: PowerMeter) -> dict[str, Any]:
    """Trains until the run is finished or the minutes are nearly over, and says what this slice took.

    The clock is read at each row of the log: the slice ends where another wait as long as the longest so far would be too
    long. (So the first evaluation of a slice may come on top. What comes before the first row happens once.)
    """
    began, start = datetime.now(timezone.utc), time.monotonic()
    times: list[float] = []  # of the rows

    def on_log(row: dict[str, Any]) -> None:
        times.append(time.monotonic())
        longest = max((after - before for before, after in zip(times, times[1:], strict=False)), default=0.0)
        if minutes is not None and times[-1] + longest - start >= 60 * minutes and row["iter"] < args.max_iters:
            # As `kill` does: the loop saves after this iteration, and ends. Not Ctrl-C's signal: a shell script ignores it
            # for what it starts with `&`.
            signal.raise_signal(signal.SIGTERM)

    with meter:
        result = train(args, on_log=on_log)
    memory = peak_memory(pick_device(args.device))
    return {
        "began": began.isoformat(timespec="seconds"),
        "minutes": round((time.monotonic() - start) / 60, 3),
        "from": result["from_iter"],
        "to": result["iter_num"],
        "kwh": meter.kwh,
        "peak_memory_bytes": None if math.isnan(memory) else int(memory),
        "finished": result["finished"],
    }


def machine(device: torch.device) -> dict[str, Any]:
    """What the run ran on."""
    found: dict[str, Any] = {
        "device": device.type,
        "processor": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": platform.platform(terse=True),
    }
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        found |= {"gpu": card.name, "gpu_gb": round(card.total_memory / 1e9, 1)}
    return found


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def summary(args: TrainArgs, slices: list[dict[str, Any]]) -> dict[str, Any]:
    """The record: machine, versions, numbers of the run, speed, MFU, memory, energy, the last losses."""
    device = pick_device(args.device)
    rows = read_log(Path(args.out) / "log.csv")
    speeds = [row["tokens_per_s"] for row in rows if row["tokens_per_s"]]
    losses = [row["val_loss"] for row in rows if row["val_loss"] is not None]
    peak, source = peak_flops(device)
    speed = statistics.median(speeds) if speeds else None
    energy = [part["kwh"] for part in slices]
    ends = [0] + [part["to"] for part in slices]
    if any(part["from"] != end for part, end in zip(slices, ends, strict=False)):
        energy, minutes = [None], None  # `train` made some of the run, or a slice that was killed
    else:
        minutes = round(sum(part["minutes"] for part in slices), 2)
    return {
        "date": slices[-1]["began"],
        "finished": slices[-1]["finished"],
        "machine": machine(device),
        "versions": {
            "yzlin": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
        },
        "iterations": slices[-1]["to"],
        "max_iters": args.max_iters,
        "tokens": rows[-1]["tokens"],
        "minutes_of_steps": round(rows[-1]["seconds"] / 60, 2),
        "minutes_in_all": minutes,
        "tokens_per_s": speed,
        "mfu": speed * flops_per_token(model_args(args, load_meta(args.data))) / peak if speed else None,
        "peak_flops": peak,
        "peak_from": source,
        "peak_memory_bytes": max((part["peak_memory_bytes"] for part in slices if part["peak_memory_bytes"]), default=None),
        "kwh": None if None in energy else sum(energy),
        "best_val_loss": min(losses),
        "train_args": asdict(args),
        "slices": slices,
    }


def page(record: dict[str, Any]) -> str:
    """record.md: the record for a reader."""
    there, done = record["machine"], f"{record['iterations']:,} of {record['max_iters']:,}"
    energy = "not measured" if record["kwh"] is None else f"{record['kwh']:.3f} kWh, the GPU alone"
    what = "tensors on the GPU" if there["device"] == "cuda" else "the whole process"
    memory = f"{record['peak_memory_bytes'] / 1e9:.2f} GB ({what})" if record["peak_memory_bytes"] else "not measured"
    speed, mfu, slices = record["tokens_per_s"] or 0, record["mfu"] or 0, len(record["slices"])
    minutes = f"{record['minutes_in_all']} in {slices} slice{'s' if slices > 1 else ''}"
    if record["minutes_in_all"] is None:
        minutes = "not known: some iterations were made outside of this record"
    rows = {
        "machine": f"{there.get('gpu', there['processor'])}, {there['cores']} cores, {there['threads']} threads",
        "system": there["system"],
        "versions": ", ".join(f"{name} {number}" for name, number in record["versions"].items() if number),
        "iterations": done + ("" if record["finished"] else " (not finished)"),
        "tokens": f"{record['tokens']:,}",
        "dtype, compile": f"{record['dtype']}, {record['train_args']['compile']}",
        "minutes of steps": record["minutes_of_steps"],
        "minutes in all": minutes,
        "tokens a second (median)": f"{speed:,.0f}",
        "MFU": f"{mfu:.1%} of {record['peak_flops'] / 1e12:.2f} TFLOP/s ({record['peak_from']})",
        "most memory": memory,
        "energy": energy,
        "best val loss": f"{record['best_val_loss']:.4f} nats a token",
    }
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    title = f"# A run, recorded on {record['date'][:10]}"
    return "\n".join([title, "", "| | |", "|---|---|", *lines, "", "![the curves of the run](record.png)", ""])


def write_record(args: TrainArgs, slices: list[dict[str, Any]], dtype: str) -> dict[str, Any]:
    """Writes record.json, record.md and record.png into the run's folder."""
    import matplotlib

    matplotlib.use("agg")  # a file is drawn, no window
    from yzlin.plots import LossPlot

    out, meta = Path(args.out), load_meta(args.data)
    record = {**summary(args, slices), "dtype": dtype}
    for name, text in (("record.json", json.dumps(record, indent=1) + "\n"), ("record.md", page(record))):
        with whole_file(out / name, "w") as file:
            file.write(text)
    peak_tokens = record["peak_flops"] / flops_per_token(model_args(args, meta))
    bytes_per_token = None if args.eval_stories else meta["text_bytes"]["val"] / meta["tokens"]["val"]
    how = dict(max_iters=args.max_iters, device=record["machine"]["device"], dtype=dtype)
    plot = LossPlot(out / "log.csv", bytes_per_token=bytes_per_token, peak_tokens=peak_tokens, shown=False, **how)
    plot.fig.savefig(out / "record.png", dpi=150)
    return record


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, help="train for at most so many, and go on with the same command")
    add_options(parser)


def main(options: argparse.Namespace) -> int:
    if options.minutes is not None and options.minutes <= 0:
        raise ValueError(f"minutes is {options.minutes:g}: choose a number above 0.")
    given, preset = given_options(options), chosen_preset(options)
    out = Path(given.get("out", preset.out))
    saved = saved_args(out)
    args = replace(preset, **(saved | given | {"out": str(out), "init_from": "auto"}))
    slices = []
    if saved and (out / "record.json").exists():
        slices = json.loads((out / "record.json").read_text(encoding="utf-8"))["slices"]
    if slices and slices[-1]["to"] >= args.max_iters:
        print(f"{out} is finished and recorded in {out / 'record.md'}. To record another run choose another --out.")
        return 0
    slices.append(run_slice(args, options.minutes, PowerMeter(pick_device(args.device))))
    record = write_record(args, slices, saved_args(out)["dtype"])
    print(page(record))
    if not record["finished"]:
        print("Not finished: the same command goes on from here.")
    return 0
