"""`python -m yzlin doctor`: is this machine ready? A line each: ok, or what to fix."""

from __future__ import annotations

import argparse
import hashlib
import importlib
import os
import platform
import shutil
import sys
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from yzlin import ROOT

SHIPPED_MODELS = ("storyteller", "tinystories")  # the folders of checkpoint/ that come with the course
INSTALL = "run `make lab`, or `pip install -c constraints.txt -e .`"
CUDA_BUILD = "renew the driver, or take the build of PyTorch that pytorch.org names for your system"
Finding = tuple[bool, str]  # ok or not, and the line to print


def look() -> Iterator[Finding]:
    """Every check in turn. False stands for what must be fixed; advice alone is not a failure. Raises nothing."""
    for check in (python, packages, device, processor, disk, tokenizers, models, data):
        try:
            yield from check()
        except Exception as error:  # whatever a machine has in store: a line, and the next check
            yield False, f"{check.__name__}: the check itself failed ({short(error)})"


def short(error: BaseException) -> str:
    """The first line of an error, with its type where the line is empty or only a word."""
    line = (str(error).strip().splitlines() or [""])[0]
    return line if " " in line else f"{type(error).__name__} {line}".strip()


def python() -> Iterator[Finding]:
    good = sys.version_info >= (3, 10)
    yield good, f"Python {platform.python_version()}" + ("" if good else ": install Python 3.10 or newer")


def packages() -> Iterator[Finding]:
    """Each package that pyproject.toml names: is it there, new enough, and does it import?"""
    try:
        needed = requires("yzlin") or []
        from packaging.requirements import Requirement
    except (PackageNotFoundError, ImportError) as error:
        yield False, f"{getattr(error, 'name', None) or 'yzlin'} is not installed: {INSTALL}"
        return
    pins = pinned()
    for requirement in map(Requirement, needed):
        if not requirement.marker or requirement.marker.evaluate({"extra": ""}):
            yield package(requirement, pins)


def package(requirement: Any, pins: dict[str, str]) -> Finding:
    """Whether a packaging.requirements.Requirement is met."""
    name = requirement.name
    try:
        number = version(name)
    except PackageNotFoundError:
        return False, f"{name} is missing: {INSTALL}"
    if not requirement.specifier.contains(number, prereleases=True):
        return False, f"{name} {number} is installed, and {name}{requirement.specifier} is needed: {INSTALL}"
    try:
        importlib.import_module(name.replace("-", "_"))
    except (Exception, SystemExit) as error:
        return False, f"{name} {number} does not import ({short(error)}): `pip install --force-reinstall {name}`"
    pin = pins.get(name.lower().replace("_", "-"))
    other = "" if number.partition("+")[0] == pin else f" (the course was made with {pin or 'none'})"
    return True, f"{name} {number.partition('+')[0]}{other}"


def pinned() -> dict[str, str]:
    """The versions in constraints.txt that hold on this machine, by the packages' names in small letters with hyphens."""
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    path = ROOT / "constraints.txt"
    pins = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            requirement = Requirement(line.partition(" #")[0].strip(" \\"))
        except InvalidRequirement:  # a comment, an option, a hash
            continue
        if not requirement.marker or requirement.marker.evaluate({"extra": ""}):
            for specifier in requirement.specifier:
                pins[canonicalize_name(requirement.name)] = specifier.version
    return pins


def device() -> Iterator[Finding]:
    """What computes. Says nothing if torch does not import: `packages` says why."""
    try:
        import torch

        from yzlin.device import Threads, bfloat16_gain, pick_device
    except (Exception, SystemExit):
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
        if shutil.which("nvidia-smi"):
            reason = "its driver may be too old"
            if torch.version.cuda is None:
                reason = "this PyTorch was built without CUDA"
            elif torch.cuda.is_available():
                reason = "this build has no code for this card; for one of before 2018 the builds for CUDA 12.6 have"
            yield True, f"device: an NVIDIA card, and PyTorch {torch.__version__} cannot use it ({reason}): {CUDA_BUILD}"
        gain, threads = bfloat16_gain(), torch.get_num_threads()
        yield True, f"device: CPU, {os.cpu_count()} cores, PyTorch uses {threads} of them (no GPU is needed)"
        if Threads(pick_device()).adapts:
            chosen = "training takes fewer while other programs are busy and fewer are faster"
        else:
            chosen = "always, because OMP_NUM_THREADS says so" if "OMP_NUM_THREADS" in os.environ else "there is no more"
        yield True, f"threads: {threads}; {chosen}"
        share = f"1/{gain:.1f} of" if gain > 1.2 else f"{1 / gain:.1f} times"
        yield True, f"bfloat16: a matrix product takes {share} float32's time" + ("" if gain > 1.2 else ": float32 is used")


def processor() -> Iterator[Finding]:
    """How much of the cores other processes take: every core hashes for a moment, and counts the time that it really got."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def share_of_a_core(seconds: float = 0.3) -> float:
        data, start, used = bytes(2**20), time.perf_counter(), time.thread_time()
        while time.perf_counter() - start < seconds:
            hashlib.sha256(data).digest()  # Python's lock is free meanwhile
        return (time.thread_time() - used) / (time.perf_counter() - start)

    with ThreadPoolExecutor(cores) as pool:
        free = sum(pool.map(lambda _: share_of_a_core(), range(cores))) / cores
    if free > 0.85:
        yield True, f"processor: {cores} cores, {min(free, 1):.0%} of their time is free"
    else:
        yield (
            True,
            f"processor: other programs take {1 - free:.0%} of the {cores} cores, so training takes about "
            f"{1 / max(free, 0.01):.1f} times as long: close them if you can",
        )


def disk() -> Iterator[Finding]:
    free = shutil.disk_usage(ROOT).free / 2**30
    yield free > 1, f"disk: {free:.0f} GB free" + ("" if free > 1 else ": free at least 1 GB")


def tokenizers() -> Iterator[Finding]:
    """Both tokenizers of the course, loaded: load_tokenizer compares their sha256."""
    try:
        from yzlin.tokenizer import BUILT_IN, load_tokenizer
    except (Exception, SystemExit):  # `packages` says why
        return
    for name in BUILT_IN:
        try:
            yield True, f"tokenizer {name}: intact, {load_tokenizer(name).n_vocab:,} ids"
        except Exception as error:
            yield False, short(error)


def models() -> Iterator[Finding]:
    """The models of the course, loaded as a whole; the reader's own runs, as far as a look at the file tells."""
    try:
        from yzlin.checkpoint import load_model
        from yzlin.tools.files import need_file
    except (Exception, SystemExit):  # `packages` says why
        return
    shipped = [ROOT / "checkpoint" / name / "checkpoint.pt" for name in SHIPPED_MODELS]
    for path in shipped:
        name = path.relative_to(ROOT).as_posix()
        try:
            yield True, f"{name}: intact, {sum(weight.numel() for weight in load_model(path)[0].parameters()):,} weights"
        except Exception as error:
            yield False, f"{name} does not load: restore it with `git checkout {name}` ({short(error)})"
    own = [folder / name for folder in sorted((ROOT / "checkpoint").glob("*/")) for name in ("checkpoint.pt", "last.pt")]
    for path in (path for path in own if os.path.lexists(path) and path not in shipped):  # a dangling link too
        name, advice = path.relative_to(ROOT).as_posix(), "delete it, or train again"
        try:
            if not zipfile.is_zipfile(need_file(path, "a checkpoint", advice)):
                raise ValueError("it is not whole")
            yield True, f"{name}: {path.stat().st_size / 2**20:.1f} MB"
        except Exception as error:
            yield False, f"{name} is not a checkpoint: {advice} ({short(error)})"


def data() -> Iterator[Finding]:
    """The prepared data that is there: whole, and as its meta.json says."""
    try:
        from yzlin.tools.meta import check_data
    except (Exception, SystemExit):  # `packages` says why
        return
    names = ("meta.json", "train.bin", "val.bin")
    for folder in sorted((ROOT / "data").glob("*/")) if (ROOT / "data").is_dir() else []:
        try:
            if is_prepared := any(os.path.lexists(folder / name) for name in names):
                tokens = check_data(folder)["tokens"]
        except Exception as error:
            yield False, short(error)
            continue
        if is_prepared:
            yield True, f"data/{Path(folder).name}: {tokens['train']:,} tokens to train, {tokens['val']:,} to validate"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The doctor takes no options."""


def main(options: argparse.Namespace) -> int:
    if hasattr(sys.stdout, "reconfigure"):  # a terminal that lacks a letter of a path must not end it
        sys.stdout.reconfigure(errors="backslashreplace")
    bad = 0
    for ok, line in look():
        print(("ok   " if ok else "FIX  ") + line, flush=True)
        bad += not ok
    print("This machine is ready." if not bad else f"{bad} to fix, see above.")
    return 1 if bad else 0
