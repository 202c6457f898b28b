"""Opens JupyterLab on copies of the notebooks, so that a student's answers survive every update of the course."""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

from yzlin import ROOT
from yzlin.tools.files import whole_file

GIVEN = ".given.json"  # in the workspace: which version of each original was handed out


def hand_out(originals: Path, workspace: Path) -> list[str]:
    """Copies each notebook into the workspace; returns a sentence for each thing that happened there.

    A copy that was worked on is never overwritten: a newer original is put beside it. A copy that is still as it was
    handed out is brought up to date. A file that the student deleted comes again.
    """
    workspace.mkdir(parents=True, exist_ok=True)
    record = workspace / GIVEN
    given: dict[str, str] = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    said = []
    for original in sorted(originals.rglob("*.ipynb")):
        if ".ipynb_checkpoints" in original.parts:
            continue
        name = original.relative_to(originals).as_posix()
        mine, now = workspace / name, digest(original)
        if not mine.exists():
            copy(original, mine)
        elif now != given.get(name) and now != digest(mine):
            if digest(mine) == given.get(name):
                copy(original, mine)
                said.append(f"{name} is brought up to date.")
            else:
                beside = free_name(mine)
                copy(original, beside)
                said.append(f"{name} has a newer original: it is beside yours as {beside.name}; yours is untouched.")
        given[name] = now
    with whole_file(record, "w") as file:
        json.dump(given, file, indent=1)
    return said


def copy(original: Path, to: Path) -> None:
    """Copies whole or not at all."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(to) as file, original.open("rb") as source:
        shutil.copyfileobj(source, file)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def free_name(path: Path) -> Path:
    """02_batches.newer.ipynb, or .newer2, .newer3 where the ones before are taken."""
    number = 1
    while (beside := path.with_name(f"{path.stem}.newer{number if number > 1 else ''}.ipynb")).exists():
        number += 1
    return beside


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lecture", action="store_true", help="open the originals instead of copies in workspace/")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")


def main(options: argparse.Namespace) -> int:
    folder = ROOT / "notebooks"
    if not options.lecture:
        folder = ROOT / "workspace"
        for sentence in hand_out(ROOT / "notebooks", folder):
            print(sentence)
        print(f"Your copies of the notebooks are in {folder}; no update of the course overwrites them.")
    command = [sys.executable, "-m", "jupyter", "lab", str(folder / "00_start_here.ipynb")]
    return subprocess.call(command + ["--no-browser"] * options.no_browser)
