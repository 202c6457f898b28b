"""`python -m yzlin bench`: tokens per second of one training step done in several ways, in turns, each in its own process.

A process of its own, because the allocator and the number of threads cannot be changed back. The ways take turns, so that
a machine that slows down slows all of them; a ratio is the median over the rounds.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from yzlin.batches import Batches
from yzlin.device import Threads, keep_heap, pick_device, pick_dtype
from yzlin.distributed import World
from yzlin.generate import Decoder
from yzlin.model import ModelArgs, sample_next, yzlinGPT
from yzlin.presets import CPU, check_value
from yzlin.tools.peak import flops_per_token, peak_flops, peak_memory
from yzlin.train import model_args, train_step

CPU_VOCAB = 3198  # of the cpu preset
PARTS = ("data", "forward", "backward", "optimizer")
SIZES = {
    "cpu": model_args(CPU, {"vocab_size": CPU_VOCAB}),
    "width128": ModelArgs(block_size=128, vocab_size=50304, n_layer=4, n_head=4, n_embed=128),
    "full": ModelArgs(),
}


@dataclass
class Way:
    """One way to do a step."""

    name: str
    dtype: str = "float32"
    tf32: bool = True  # on a GPU that has it, for products in float32
    fused: bool = True
    kept_heap: bool = True
    gather: bool = True  # a batch by one gather from a file that stays open; else as the original: reopened, slice by slice
    compiled: bool = False
    threads: str = "all"  # all, one, or as training chooses
    busy: bool = False  # beside another program that takes a whole core
    batch_size: int = 32
    vocab_size: int = 0  # 0: that of the model


def ways(args: ModelArgs, batch_size: int, with_compile: bool) -> list[Way]:
    """The ways to compare. The first is a plain loop as the original project writes it; the ratios are to it."""
    device = pick_device()
    gpu = device.type == "cuda"
    tf32 = gpu and torch.cuda.get_device_capability() >= (8, 0)
    half = pick_dtype("auto", device)
    best = Way("yzlin", dtype=half, batch_size=batch_size)
    plain = half if gpu else "float32"  # on a GPU the original computes in mixed precision and fuses AdamW
    listed = [
        Way("original", dtype=plain, tf32=False, fused=gpu, kept_heap=False, gather=False, batch_size=batch_size),
        replace(best, name="yzlin, float32" + " (TF32)" * tf32, dtype="float32"),
        replace(best, name="yzlin, unfused AdamW", fused=False),
        best,
        replace(best, name="yzlin, half the micro-batch", batch_size=max(1, batch_size // 2)),
    ]
    if device.type == "cpu":
        listed.append(replace(best, name="yzlin, default allocator", kept_heap=False))
    if tf32:
        listed.append(replace(best, name="yzlin, float32 without TF32", dtype="float32", tf32=False))
    if gpu and half != "float16":
        listed.append(replace(best, name="yzlin, float16", dtype="float16"))
    if args.vocab_size > CPU_VOCAB:
        listed.append(replace(best, name=f"yzlin, vocabulary {CPU_VOCAB:,}", vocab_size=CPU_VOCAB))
    if with_compile:
        listed.append(replace(best, name="yzlin, compiled", compiled=True))
    return listed


def thread_ways(batch_size: int) -> list[Way]:
    """All threads, one, and as training chooses; on a machine that does nothing else, then beside a busy program."""
    best = Way("", dtype=pick_dtype("auto", pick_device()), batch_size=batch_size)
    names = {"all": "all threads", "one": "one thread", "chosen": "as training chooses"}
    return [
        replace(best, name=name + ", beside a busy program" * busy, threads=threads, busy=busy)
        for busy in (False, True)
        for threads, name in names.items()
    ]


def original_batch(data_dir: str, block_size: int, batch_size: int, device: torch.device) -> Callable[[int], Any]:
    """Batches as the original draws them: the file opened again for each, and each window cut and stacked by itself."""

    def draw(number: int) -> Any:
        tokens = np.memmap(Path(data_dir) / "train.bin", dtype=np.uint16, mode="r")
        starts = torch.randint(len(tokens) - block_size, (batch_size,))
        x = torch.stack([torch.from_numpy(tokens[i : i + block_size].astype(np.int64)) for i in starts])
        y = torch.stack([torch.from_numpy(tokens[i + 1 : i + 1 + block_size].astype(np.int64)) for i in starts])
        if device.type == "cuda":
            x, y = x.pin_memory(), y.pin_memory()
        return x.to(device, non_blocking=True), y.to(device, non_blocking=True)

    return draw


def clock(device: torch.device) -> float:
    """Seconds, once the device has done all that it was asked for: a GPU works while the program goes on."""
    if device.type in ("cuda", "mps"):
        getattr(torch, device.type).synchronize()
    return time.perf_counter()


class Stopwatch(nn.Module):
    """The model, and the seconds that each part of a step took.

    Each part is waited for, which training does not do: there a GPU is a little faster. `record` has training's own speed.
    """

    def __init__(self, forward: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        super().__init__()
        self.inner, self.device, self.parts = forward, device, dict.fromkeys(PARTS, 0.0)
        optimizer.register_step_pre_hook(lambda *_: self.mark("backward"))
        self.last = time.perf_counter()

    def mark(self, part: str) -> None:
        """All since the mark before was this part."""
        now = clock(self.device)
        self.parts[part] += now - self.last
        self.last = now

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        self.mark("data")
        result = self.inner(x, y)
        self.mark("forward")
        return result


def measure(way: Way, model_args: ModelArgs, data_dir: str, seconds: float) -> dict[str, Any]:
    """Steps for about `seconds` after two that do not count. Milliseconds of each part, tokens per second, peak memory."""
    device = pick_device()
    if way.kept_heap and device.type == "cpu":
        keep_heap()
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high" if way.tf32 else "highest")
    model = yzlinGPT(replace(model_args, vocab_size=way.vocab_size or model_args.vocab_size)).to(device)
    optimizer = model.configure_optimizers(0.1, 1e-4, (0.9, 0.95), device.type if way.fused else "none")
    scaler = torch.amp.GradScaler("cuda" if device.type == "cuda" else "cpu", enabled=way.dtype == "float16")
    forward = Stopwatch(torch.compile(model) if way.compiled else model, optimizer, device)
    args = replace(CPU, learning_rate=1e-4, dtype=way.dtype)
    if way.gather:
        batches = Batches(data_dir, model_args.block_size, way.batch_size, device=device)
        draw = partial(batches.get_batch, "train")
    else:
        draw = original_batch(data_dir, model_args.block_size, way.batch_size, device)

    laps: list[dict[str, float]] = []

    def step() -> None:
        batch = draw(len(laps))
        train_step(forward, optimizer, scaler, [batch], 0, args, World(0, 1, device), torch.zeros((), device=device))

    if way.threads == "one":
        torch.set_num_threads(1)
    processes = 1 if way.threads == "chosen" else 2  # Threads is off beside other processes; patience: training has 10 s
    with busy_program(way.busy), Threads(device, processes, patience=1.0) as threads:
        forward.mark("optimizer")
        while len(laps) < 4 or sum(sum(lap.values()) for lap in laps[2:]) < seconds:
            forward.parts = dict.fromkeys(PARTS, 0.0)
            threads.run(step)
            forward.mark("optimizer")
            laps.append(forward.parts)
    medians = {part: statistics.median(lap[part] for lap in laps[2:]) for part in PARTS}
    step = sum(medians.values())
    return {
        **{f"{part}_ms": 1000 * value for part, value in medians.items()},
        "step_ms": 1000 * step,
        "tokens_per_s": way.batch_size * model_args.block_size / step,
        "peak_mb": peak_memory(device) / 2**20,
    }


@contextmanager
def busy_program(wanted: bool) -> Iterator[None]:
    """Another process that takes a whole core while the block runs."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if wanted else None
    try:
        yield
    finally:
        if process:
            process.kill()
            process.wait()


def bench(size: str, batch_size: int, rounds: int, seconds: float, listed: list[Way]) -> dict[str, Any]:
    """All ways in turns, `rounds` times. Returns the medians, and of each way its ratio to the first in tokens a second."""
    args = SIZES[size]
    peak, source = peak_flops(pick_device())
    found: dict[str, dict[int, dict[str, Any]]] = {way.name: {} for way in listed}  # by the number of the round
    with tempfile.TemporaryDirectory() as folder:
        tokens = np.random.default_rng(0).integers(0, CPU_VOCAB, 2_000_000).astype("<u2")
        for split in ("train", "val"):
            tokens.tofile(Path(folder) / f"{split}.bin")
        for number in range(rounds):
            for way in listed:
                print(f"round {number + 1} of {rounds}: {way.name}", file=sys.stderr)
                job = json.dumps({"way": asdict(way), "args": asdict(args), "data": folder, "seconds": seconds})
                done = subprocess.run([sys.executable, "-m", "yzlin.tools.bench", job], capture_output=True, text=True)
                if done.returncode:
                    print(f"  did not run: {(done.stderr.strip().splitlines() or ['?'])[-1]}", file=sys.stderr)
                    continue
                found[way.name][number] = json.loads(done.stdout.splitlines()[-1])
    first = found[listed[0].name]
    rows = []
    for way in listed:
        if laps := found[way.name]:
            row = {key: statistics.median(lap[key] for lap in laps.values()) for key in next(iter(laps.values()))}
            ratios = [lap["tokens_per_s"] / first[number]["tokens_per_s"] for number, lap in laps.items() if number in first]
            flops = flops_per_token(replace(args, vocab_size=way.vocab_size or args.vocab_size))
            mfu = row["tokens_per_s"] * flops / peak
            rows.append({"way": way.name, **row, "mfu": mfu, "ratio": statistics.median(ratios or [math.nan])})
    return {
        "size": size,
        "model": asdict(args),
        "batch_size": batch_size,
        "peak_flops": peak,
        "peak_from": source,
        "kept_heap": keep_heap(),
        "rows": rows,
    }


def plain_story(model: yzlinGPT, idx: torch.Tensor, count: int) -> None:
    """As the original project generates: the whole window and the whole head for each token."""
    with torch.no_grad():
        for _ in range(count):
            logits = model(idx[:, -model.args.block_size :])[0][:, -1]
            logits[logits < logits.topk(10).values[:, -1:]] = -torch.inf
            idx = torch.cat((idx, torch.multinomial(logits.softmax(-1), 1)), dim=1)


def cached_story(model: yzlinGPT, idx: torch.Tensor, count: int) -> None:
    decoder = Decoder(model)
    for _ in range(count):
        idx = sample_next(decoder(idx), 1.0, top_k=10)


def bench_stories(size: str, rounds: int) -> dict[str, Any]:
    """Tokens a second of telling a story, batch 1: 100 tokens after 20, then 20 past the window; in turns, medians."""
    torch.manual_seed(0)
    device = pick_device()
    model = yzlinGPT(SIZES[size]).to(device).eval()
    half = copy.deepcopy(model).bfloat16()
    ways = {
        "original": (plain_story, model),
        "no cache, head on the last token": (lambda model, idx, count: model.generate(idx, count, 1.0, 10), model),
        "cache": (cached_story, model),
        "cache, bfloat16": (cached_story, half),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    lengths = ((20, 100), (model.args.block_size, 20))  # tokens given, and told after them
    for tell, weights in ways.values():  # what a shape costs the first time does not count
        for given, _ in lengths:
            tell(weights, torch.zeros(1, given, dtype=torch.long, device=device), 2)
    for _ in range(rounds):
        for name, (tell, weights) in ways.items():
            speeds = []
            for given, count in lengths:
                idx = torch.randint(model.args.vocab_size, (1, given), device=device)
                start = clock(device)
                tell(weights, idx, count)
                speeds.append(count / (clock(device) - start))
            found[name].append(tuple(speeds))
    rows = []
    for name, laps in found.items():
        within, past = (statistics.median(lap[i] for lap in laps) for i in (0, 1))
        ratios = [statistics.median(a[i] / b[i] for a, b in zip(laps, found["original"], strict=True)) for i in (0, 1)]
        rows.append({"way": name, "within": within, "within_ratio": ratios[0], "past": past, "past_ratio": ratios[1]})
    return {"size": size, "model": asdict(SIZES[size]), "rows": rows}


def story_table(result: dict[str, Any]) -> str:
    """The result of bench_stories for a reader."""
    lines = [
        f"{result['size']}: {result['model']}; torch {torch.__version__}",
        f"{'tokens/s of a story':34}{'in the window':>15}{'ratio':>7}{'past it':>10}{'ratio':>7}",
    ]
    for row in result["rows"]:
        lines.append(
            f"{row['way']:34}{row['within']:>15,.0f}{row['within_ratio']:>7.2f}{row['past']:>10,.0f}{row['past_ratio']:>7.2f}"
        )
    return "\n".join(lines)


def table(result: dict[str, Any]) -> str:
    """The result for a reader."""
    lines = [
        f"{result['size']}: {result['model']}, micro-batch {result['batch_size']}; torch {torch.__version__}",
        f"MFU is of {result['peak_flops'] / 1e12:.2f} TFLOP/s ({result['peak_from']})",
        f"glibc keeps the heap: {'yes' if result['kept_heap'] else 'no'}; "
        f"GOMP_SPINCOUNT is {os.environ.get('GOMP_SPINCOUNT', 'not set')}",
        f"{'way':42}{'tokens/s':>10}{'ratio':>7}{'step ms':>9}{'data':>7}{'forward':>9}{'backward':>9}{'AdamW':>8}"
        f"{'MB':>7}{'MFU':>6}",
    ]
    for row in result["rows"]:
        lines.append(
            f"{row['way']:42}{row['tokens_per_s']:>10,.0f}{row['ratio']:>7.2f}{row['step_ms']:>9.1f}{row['data_ms']:>7.2f}"
            f"{row['forward_ms']:>9.1f}{row['backward_ms']:>9.1f}{row['optimizer_ms']:>8.1f}{row['peak_mb']:>7.0f}{row['mfu']:>6.0%}"
        )
    return "\n".join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", choices=SIZES, default="cpu", help="the model")
    parser.add_argument("--batch_size", type=int, default=32, help="windows in a micro-batch")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each way")
    parser.add_argument("--seconds", type=float, default=5, help="of each way in each round")
    parser.add_argument("--compile", action="store_true", help="also through torch.compile")
    parser.add_argument("--stories", action="store_true", help="telling a story instead of a training step")
    parser.add_argument(
        "--threads", action="store_true", help="all threads, one, and as training chooses, alone and beside a busy program"
    )
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")


def main(options: argparse.Namespace) -> int:
    check_value("batch_size", options.batch_size, "windows in a micro-batch", 1, 100_000)
    check_value("rounds", options.rounds, "turns of each way", 1, 1000)
    check_value("seconds", options.seconds, "of each way in each round", 0.01, 3600)
    if options.stories:
        result = bench_stories(options.size, options.rounds)
        print(json.dumps(result, indent=1) if options.json else story_table(result))
        return 0
    if options.threads:
        listed = thread_ways(options.batch_size)
    else:
        listed = ways(SIZES[options.size], options.batch_size, options.compile)
    result = bench(options.size, options.batch_size, options.rounds, options.seconds, listed)
    print(json.dumps(result, indent=1) if options.json else table(result))
    return 0


if __name__ == "__main__":  # one way, in a process of its own
    job = json.loads(sys.argv[1])
    print(json.dumps(measure(Way(**job["way"]), ModelArgs(**job["args"]), job["data"], job["seconds"])))
