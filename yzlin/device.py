"""What this machine can do: which device, which dtype, and how its memory is best kept."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn


def pick_device(wanted: str = "auto") -> torch.device:
    """CUDA where there is one, else Apple's MPS, else the CPU; or the one that is asked for, if it is there."""
    if wanted != "auto":
        try:
            device = torch.device(wanted)
        except RuntimeError as error:  # a word that PyTorch does not know
            raise ValueError(f"device {wanted} is not known: use auto, cpu, cuda, cuda:1 or mps.") from error
        there = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}
        if (device.index or 0) >= there.get(device.type, 0):
            raise ValueError(f"device {wanted} is not there on this machine: use --device auto.")
        return device
    if cuda_works():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


@functools.cache
def cuda_works() -> bool:
    """Whether PyTorch can compute on the NVIDIA card: a build for newer cards sees an old one and has no code for it."""
    if not torch.cuda.is_available():
        return False
    # Of several processes each asks its own card: it would keep some hundred megabytes on another one.
    number = int(os.environ.get("LOCAL_RANK", 0)) % max(1, torch.cuda.device_count())
    try:
        return torch.ones(1, device=f"cuda:{number}").add(1).item() == 2
    except RuntimeError as error:  # a card that is full or busy is one that works: what comes next says so aloud
        return not any(words in str(error) for words in ("no kernel image", "invalid device function"))


def pick_dtype(wanted: str, device: torch.device) -> str:
    """The name of the dtype to compute in: bfloat16 where it is fast, else float16 on CUDA, else float32."""
    if wanted != "auto":
        if wanted not in ("float32", "bfloat16", "float16"):
            raise ValueError(f"dtype {wanted} is not known: use auto, float32, bfloat16 or float16.")
        return wanted
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    if device.type == "cpu" and bfloat16_gain() > 1.2:
        return "bfloat16"
    return "float32"


def bfloat16_gain(size: int = 512, rounds: int = 20) -> float:
    """How many times faster a bfloat16 matrix product is than a float32 one on this CPU: a probe of some milliseconds."""
    factors = {dtype: torch.randn(size, size).to(dtype) for dtype in (torch.float32, torch.bfloat16)}
    seconds = dict.fromkeys(factors, float("inf"))
    for turn in range(rounds + 1):  # in turns: a busy moment then slows both; the first round warms up and is never the fastest
        if turn > 3 and seconds[torch.bfloat16] > 3 * seconds[torch.float32]:
            break  # no chance, and each product may take a fifth of a second
        for dtype, a in factors.items():
            start = time.perf_counter()
            a @ a
            seconds[dtype] = min(seconds[dtype], time.perf_counter() - start)
    return seconds[torch.float32] / seconds[torch.bfloat16]


def autocast(device: torch.device, dtype: str):
    """The context in which a forward pass runs: mixed precision (Micikevicius et al., 2018), or none for float32."""
    if dtype == "float32":
        return nullcontext()
    return torch.autocast(device_type=device.type, dtype=getattr(torch, dtype))


def compiled(model: nn.Module, batches: list[tuple[Tensor, Tensor]], dtype: str) -> nn.Module:
    """The model through torch.compile, or the model itself, with one sentence, where that does not work.

    batches: two or more of x and y, int64 ids (B, T), as training draws them. Compiles now, forward and backward, in
    training mode and under the autocast of `dtype`, so that what is missing shows now and the first step is as fast as
    the others: it runs the graph that is compiled here. Leaves no gradient behind, and the random state as it was.
    On a GPU, and on a CPU with several threads, compiled code adds up in any order: two runs are then equal to rounding,
    not to the bit. Raises torch.OutOfMemoryError, for uncompiled the model would need even more.
    """
    device = batches[0][0].device
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.compiler.reset()  # what earlier runs in this process compiled must not count against PyTorch's limit
            fast = torch.compile(model)
            for x, y in batches:  # what differs from batch to batch is compiled anew, once, and here
                with autocast(device, dtype):
                    loss = fast(x, y)[1]
                loss.backward()
        return fast
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a missing compiler shows in many forms
        if "OutOfMemoryError" in str(error):  # as the compiler wraps it
            traceback.clear_frames(error.__traceback__)  # they hold the model
            raise torch.OutOfMemoryError(str(error)) from None
        print(f"torch.compile does not work here ({type(error).__name__}), so the model runs uncompiled: slower, but equal.")
        return model
    finally:
        model.zero_grad(set_to_none=True)


def keep_heap() -> bool:
    """Asks glibc to keep freed memory instead of giving it back after each step; returns whether it does now.

    A training step on a CPU frees and takes gigabytes; each page given back costs a page fault when it is taken again.
    Only Linux with glibc knows these switches (mallopt(3)); elsewhere nothing is done. Costs 20 to 40% more peak memory.
    """
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return False
    M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, -1) and mallopt(M_TOP_PAD, 512 * 2**20))


class Threads:
    """Runs training steps with as many CPU threads as are fast, while other programs come and go. A context manager.

    The threads of a matrix product wait for each other, and GNU's OpenMP, which PyTorch's Linux builds use, waits by
    spinning. Where a browser holds one of two cores, two threads run at a third of their speed, and one at its full speed.
    So when the process gets less than 90% of the time of its threads' cores for `patience` seconds, or runs with fewer
    threads than it could, the next steps are a race between numbers of threads, and the fastest stays. Races cost at
    most a fiftieth of the time; a number that takes twice as long as another has one turn in it. On a machine that does
    nothing else there is none, so that runs repeat to the bit.

    Off, so that nothing changes: on a GPU, beside other processes of the same run, and where OMP_NUM_THREADS is set.
    """

    TURNS = 3  # steps with each number of threads in a race, at most

    def __init__(self, device: torch.device, processes: int = 1, patience: float = 10.0) -> None:
        self.most, self.patience = torch.get_num_threads(), patience
        self.adapts = device.type == "cpu" and self.most > 1 and processes == 1 and "OMP_NUM_THREADS" not in os.environ
        self.choices = sorted({1, self.most // 2, self.most - 1, self.most} - {0})
        self.turns: list[int] = []  # what is left of a race
        self.seconds: dict[int, list[float]] = {}  # of each turn with each number of threads; empty while there is no race
        self.wait, self.wall, self.used = patience, 0.0, 0.0

    def __enter__(self) -> Threads:
        return self

    def __exit__(self, *_: object) -> None:
        if self.adapts:
            torch.set_num_threads(self.most)

    def run(self, step: Callable[[], None]) -> None:
        """One step, and what it tells about the machine."""
        if not self.adapts:
            return step()
        if self.turns:
            torch.set_num_threads(self.turns.pop())
        threads, wall, used = torch.get_num_threads(), time.perf_counter(), time.process_time()
        step()
        self.wall, self.used = self.wall + time.perf_counter() - wall, self.used + time.process_time() - used
        if self.seconds:
            self.seconds[threads].append(time.perf_counter() - wall)
            if all(self.seconds.values()):  # each had a turn
                limit = 2 * min(min(laps) for laps in self.seconds.values())
                self.turns = [number for number in self.turns if self.seconds[number][0] < limit]
            if not self.turns:
                self._end_race()
        elif self.wall > self.wait:
            if threads < self.most or self.used < 0.9 * threads * self.wall:
                self.turns, self.seconds = self.choices * self.TURNS, {number: [] for number in self.choices}
            self.wall, self.used = 0.0, 0.0

    def _end_race(self) -> None:
        mean = {number: sum(laps) / len(laps) for number, laps in self.seconds.items()}
        fastest = min(mean, key=mean.__getitem__)
        close = mean[self.most] < 1.05 * mean[fastest]  # the same, but for chance
        torch.set_num_threads(self.most if close else fastest)
        lost = self.wall - mean[fastest] * sum(map(len, self.seconds.values()))  # to the slower ones
        self.wait = max(self.patience, 50 * lost)
        self.seconds, self.wall, self.used = {}, 0.0, 0.0

    def __str__(self) -> str:
        """For a line of progress: empty while all threads run."""
        threads = torch.get_num_threads()
        return "" if threads == self.most else f", other programs are busy: {threads} of {self.most} threads"
