"""What this machine can do: which device, which dtype, and how its memory is best kept."""

from __future__ import annotations

import ctypes
import platform
import sys
import time
from contextlib import nullcontext

import torch


def pick_device(wanted: str = "auto") -> torch.device:
    """CUDA where there is one, else Apple's MPS, else the CPU; or the one that is asked for, if it is there."""
    if wanted != "auto":
        device = torch.device(wanted)
        there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
        if not there.get(device.type, False):
            raise ValueError(f"device {wanted} is not there on this machine: use --device auto.")
        return device
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


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
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.randn(size, size).to(dtype)
        a @ a  # warm-up
        laps = []
        for _ in range(rounds):
            start = time.perf_counter()
            a @ a
            laps.append(time.perf_counter() - start)
        seconds[dtype] = min(laps)
    return seconds[torch.float32] / seconds[torch.bfloat16]


def autocast(device: torch.device, dtype: str):
    """The context in which a forward pass runs: mixed precision (Micikevicius et al., 2018), or none for float32."""
    if dtype == "float32":
        return nullcontext()
    return torch.autocast(device_type=device.type, dtype=getattr(torch, dtype))


def keep_heap() -> str:
    """Asks glibc to keep freed memory instead of giving it back after each step; says what it did.

    A training step on a CPU frees and takes gigabytes; each page given back costs a page fault when it is taken again.
    Only Linux with glibc knows these switches (mallopt(3)); elsewhere nothing is done. Costs 20 to 40% more peak memory.
    """
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return "allocator: left as it is (no glibc)"
    M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
    mallopt = ctypes.CDLL(None).mallopt
    done = mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, -1) and mallopt(M_TOP_PAD, 512 * 2**20)
    return "allocator: glibc keeps the heap" if done else "allocator: left as it is (mallopt refused)"
