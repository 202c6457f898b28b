"""`python -m yzlin doctor`: is this machine ready? A line each: ok, or what to do."""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from yzlin import ROOT
from yzlin.tools.files import is_lfs_pointer

NEEDED_PACKAGES = ("torch", "numpy", "tiktoken", "regex", "tqdm", "jupyterlab", "matplotlib", "ipywidgets")
Finding = tuple[bool, str]  # ok or not, and the line to print


def look() -> Iterator[Finding]:
    """Every check in turn. False stands for what must be mended; advice alone is not a failure."""
    yield (
        sys.version_info >= (3, 10),
        f"Python {platform.python_version()}" + ("" if sys.version_info >= (3, 10) else ": install Python 3.10 or newer"),
    )
    yield from packages()
    yield from device()
    yield from tokenizer()
    free = shutil.disk_usage(ROOT).free / 2**30
    yield free > 1, f"disk: {free:.0f} GB free" + ("" if free > 1 else ": free at least 1 GB")
    yield from files()


def pinned() -> dict[str, str]:
    """The versions in constraints.txt, for this Python."""
    pins = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        pin, _, marker = line.partition(";")
        old_python = 'python_version < "3.11"' in marker
        if "==" in pin and (not marker or old_python == (sys.version_info < (3, 11))):
            name, _, number = pin.partition("==")
            pins[name.strip()] = number.strip()
    return pins


def packages() -> Iterator[Finding]:
    pins = pinned()
    for name in NEEDED_PACKAGES:
        try:
            number = version(name).partition("+")[0]
        except PackageNotFoundError:
            yield False, f"{name} is missing: run `make lab`, or `pip install -c constraints.txt -e .`"
            continue
        same = number == pins.get(name)
        yield True, f"{name} {number}" + ("" if same else f" (the course was made with {pins.get(name)})")


def device() -> Iterator[Finding]:
    try:
        import torch

        from yzlin.device import bfloat16_gain, pick_device
    except ImportError:
        return
    kind = pick_device().type
    if kind == "cuda":
        card = torch.cuda.get_device_properties(0)
        yield True, f"device: CUDA, {torch.cuda.device_count()} x {card.name}, {card.total_memory / 2**30:.0f} GB"
        half = torch.cuda.is_bf16_supported(including_emulation=False)
        yield True, "bfloat16: yes" if half else "bfloat16: no, float16 with a GradScaler is used"
    elif kind == "mps":
        yield True, "device: Apple MPS; float32"
    else:
        gain = bfloat16_gain()
        yield True, f"device: CPU, {os.cpu_count()} cores, {torch.get_num_threads()} threads (no GPU is needed)"
        yield (
            True,
            f"bfloat16: a matrix product takes 1/{gain:.1f} of float32's time"
            + ("" if gain > 1.2 else ", no gain: float32 is used"),
        )


def tokenizer() -> Iterator[Finding]:
    try:
        from yzlin.tokenizer import GPT2_SHA256
    except ImportError:  # a package is missing: said above
        return

    path = ROOT / "data" / "gpt2.tiktoken"
    if not path.is_file():
        yield False, "data/gpt2.tiktoken is missing: run `git checkout data/gpt2.tiktoken`"
    elif hashlib.sha256(path.read_bytes()).hexdigest() != GPT2_SHA256:
        yield False, "data/gpt2.tiktoken is damaged: run `git checkout data/gpt2.tiktoken` (line ends must stay as they are)"
    else:
        yield True, "tokenizer file data/gpt2.tiktoken: intact"


def files() -> Iterator[Finding]:
    """Which data and checkpoints are there, and whether any is only a git-lfs pointer."""
    found = [path for folder in ("data", "checkpoint") for path in sorted((ROOT / folder).glob("*/*"))]
    for path in found:
        if path.name in ("train.bin", "val.bin", "checkpoint.pt", "last.pt"):
            name = path.relative_to(ROOT).as_posix()
            if is_lfs_pointer(path):
                yield False, f"{name} is only a git-lfs pointer: run `git lfs pull`"
            else:
                yield True, f"{name}: {path.stat().st_size / 2**20:.1f} MB"
    if not any(path.name == "checkpoint.pt" for path in found):
        yield True, "no trained model yet: `python -m yzlin prepare storybook`, then `python -m yzlin train`"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The doctor takes no options."""


def main(options: argparse.Namespace) -> int:
    findings = list(look())
    for ok, line in findings:
        print(("ok   " if ok else "MEND ") + line)
    bad = sum(not ok for ok, _ in findings)
    print("This machine is ready." if not bad else f"{bad} to mend, see above.")
    return 1 if bad else 0
