"""Opens JupyterLab on copies of the notebooks, so that a student's answers survive every update of the course."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from yzlin import ROOT
from yzlin.tools.files import whole_file
from yzlin.tools.merge import (
    Given,
    Notebook,
    edited,
    fingerprints,
    merge,
    read_notebook,
    without_outputs,
    write_notebook,
)

GIVEN = ".given.json"  # beside the copies: for each notebook, what stood in its cells when it was handed out
NEWS = ".news.txt"  # beside the copies: what the last update brought
FIRST_PAGE = "00_start_here.ipynb"
# JupyterLab's defaults for this course; what a reader chose in JupyterLab itself goes before them
SETTINGS = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}
IDLE = 20 * 60  # seconds after which a kernel without an open tab is ended: eleven of them fill a laptop's memory


def hand_out(originals: Path, workspace: Path) -> list[str]:
    """Copies each notebook, without outputs, into the workspace; returns a sentence for each thing that happened there.

    What the reader wrote is never overwritten. A copy of an older notebook is brought up to date cell by cell (`merge`);
    where the reader and the update changed the same cell, the newer notebook is put beside the reader's. A file that
    the reader deleted comes again.
    """
    workspace.mkdir(parents=True, exist_ok=True)
    given, said = read_record(workspace / GIVEN)
    begun = bool(given)
    for original, name in notebooks(originals):
        try:
            newer = read_notebook(original)
            now = fingerprints(newer)
            if not (workspace / name).exists():
                write_notebook(without_outputs(newer), workspace / name)
                if begun and name not in given:
                    said.append(f"{name} is new.")
            elif now != given.get(name):
                said += bring_up_to_date(workspace / name, newer, given.get(name, {}), name)
        except (OSError, ValueError) as error:  # the other notebooks are handed out all the same
            said.append(f"{name} could not be handed out: {error}.")
            continue
        given[name] = now
    write_record(given, workspace / GIVEN)
    if said:
        with whole_file(workspace / NEWS, "w") as file:
            file.write(f"News of {datetime.date.today()}:\n" + "".join(f"- {sentence}\n" for sentence in said))
    return said


def bring_up_to_date(mine: Path, newer: Notebook, given: Given, name: str) -> Iterator[str]:
    """The newer one goes into the reader's copy, or beside it; a sentence on what was done, if anything."""
    try:
        old = read_notebook(mine)
    except ValueError:
        beside = put_beside(mine, newer)
        yield f"{name} has a newer original: it is beside yours as {beside.name}; yours cannot be read as a notebook."
        return
    merged = merge(old, newer, given)
    if merged.clashes:
        beside = put_beside(mine, newer)
    if merged.new:
        write_notebook(merged.notebook, mine)
    if merged.clashes:
        yield (
            f"{name} has a newer original. In {number_of_cells(merged.clashes)} it says something else than what you wrote: "
            f"yours stays, and the newer notebook is beside yours as {beside.name}."
        )
    elif merged.new and edited(merged.notebook, fingerprints(newer)):
        yield f"{name} is brought up to date in {number_of_cells(merged.new)}; what you wrote is as it was."
    elif merged.new:
        yield f"{name} is brought up to date."


def number_of_cells(count: int) -> str:
    return f"{count} cell" + "s" * (count != 1)


def put_beside(mine: Path, newer: Notebook) -> Path:
    """Beside the reader's copy, unless it is there already."""
    newer = without_outputs(newer)
    for path in mine.parent.glob(f"{mine.stem}.newer*.ipynb"):
        try:
            if read_notebook(path) == newer:
                return path
        except (OSError, ValueError):
            continue
    beside = free_name(mine, "newer")
    write_notebook(newer, beside)
    return beside


def free_name(path: Path, word: str) -> Path:
    """02_batches.newer.ipynb, or .newer2, .newer3 where the ones before are taken."""
    number = 1
    while (beside := path.with_name(f"{path.stem}.{word}{number if number > 1 else ''}.ipynb")).exists():
        number += 1
    return beside


def lay_out(originals: Path, lecture: Path) -> list[str]:
    """Fresh copies for a lecturer, with their outputs. A copy in which something was written is kept beside its fresh one."""
    lecture.mkdir(parents=True, exist_ok=True)
    given, said = read_record(lecture / GIVEN)
    for original, name in notebooks(originals):
        copy = lecture / name
        try:
            now = fingerprints(read_notebook(original))
            if copy.exists() and written_on(copy, given.get(name, now)):
                kept = free_name(copy, "kept")
                copy.rename(kept)
                said.append(f"{name} was changed in the last lecture: that copy is kept as {kept.name}.")
            copy.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(copy) as file, original.open("rb") as source:
                shutil.copyfileobj(source, file)
        except (OSError, ValueError) as error:
            said.append(f"{name} could not be laid out: {error}.")
            continue
        given[name] = now
    write_record(given, lecture / GIVEN)
    return said


def written_on(copy: Path, given: Given) -> bool:
    try:
        return edited(read_notebook(copy), given)
    except ValueError:
        return True


def notebooks(originals: Path) -> Iterator[tuple[Path, str]]:
    """Each original, and its name in the folder of the copies."""
    for path in sorted(originals.rglob("*.ipynb")):
        if ".ipynb_checkpoints" not in path.parts:
            yield path, path.relative_to(originals).as_posix()


def read_record(path: Path) -> tuple[dict[str, Given], list[str]]:
    """(what was handed out, a sentence where the record is damaged: then it is put aside, and begun anew)."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        sound = all(isinstance(mark, str) for cells in record.values() for mark in cells.values())
    except FileNotFoundError:
        return {}, []
    except (ValueError, AttributeError, RecursionError):
        sound = False
    if sound:
        return record, []
    aside = path.with_name(path.name + ".damaged")
    os.replace(path, aside)
    return {}, [
        f"{path.name} was damaged and is now {aside.name}. Which cells are yours is not known any more: nothing is "
        "overwritten, and a notebook that differs from yours is put beside it."
    ]


def write_record(given: dict[str, Given], path: Path) -> None:
    with whole_file(path, "w") as file:
        json.dump(given, file, indent=1)


def news(workspace: Path = ROOT / "workspace") -> str:
    """What the last update of the course brought to the reader's copies."""
    try:
        return (workspace / NEWS).read_text(encoding="utf-8").rstrip()
    except FileNotFoundError:
        return "No update has come since the notebooks were handed out."


def server_arguments(folder: str, rest: list[str]) -> list[str]:
    """JupyterLab's own command line: the root is the course, the first page is 00, what it keeps is in .jupyter/.

    `rest` are the reader's own options; they go before the course's.
    """
    keep = ROOT / ".jupyter"
    (keep / "settings").mkdir(parents=True, exist_ok=True)
    with whole_file(keep / "settings" / "overrides.json", "w") as file:
        json.dump(SETTINGS, file)
    arguments = [
        f"--ServerApp.root_dir={ROOT}",
        f"--LabApp.default_url=/lab/tree/{folder}/{FIRST_PAGE}",
        f"--LabApp.app_settings_dir={keep / 'settings'}",
        f"--LabApp.workspaces_dir={keep / 'workspaces'}",
        f"--MappingKernelManager.cull_idle_timeout={IDLE}",
        "--log-level=WARN",  # in the terminal stand the news and the address, nothing else
        "--LabApp.log_level=WARN",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # as in a container; JupyterLab would refuse to start
        arguments.append("--allow-root")
    named = {option.partition("=")[0] for option in rest}  # JupyterLab refuses an option that comes twice
    return [argument for argument in arguments if argument.partition("=")[0] not in named] + rest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lecture", action="store_true", help="open fresh copies in lecture/, with all their outputs")
    only = "only print the address; all other options go on to JupyterLab, as --port 9999"
    parser.add_argument("--no-browser", action="store_true", help=only)
    parser.set_defaults(rest=[])  # the other options


def main(options: argparse.Namespace) -> int:
    folder = "lecture" if options.lecture else "workspace"
    for sentence in (lay_out if options.lecture else hand_out)(ROOT / "notebooks", ROOT / folder):
        print(sentence)
    if options.lecture:
        print("lecture/ holds fresh copies of the notebooks; the originals stay as they are.", flush=True)
    else:
        print("workspace/ holds your copies of the notebooks; no update of the course overwrites what you write.", flush=True)
    from jupyterlab.labapp import LabApp

    # the kernels import this course, also where its folder was moved after the installation
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    LabApp.launch_instance(server_arguments(folder, ["--no-browser"] * options.no_browser + options.rest))
    return 0
