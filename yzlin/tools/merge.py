"""A newer notebook and a reader's copy of an older one, put together cell by cell."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from yzlin.tools.files import whole_file

Notebook = dict[str, Any]
Given = dict[str, str]  # {the id of a cell: the fingerprint of what stood in it when it was handed out}


def read_notebook(path: Path) -> Notebook:
    """ValueError where the file is not a notebook whose cells have ids, each its own."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        known = fingerprints(notebook)
        sound = len(known) == len(notebook["cells"]) and all(isinstance(name, str) for name in known)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        sound = False
    if not sound:
        raise ValueError(f"{path.name} is damaged: it cannot be read as a notebook")
    return notebook


def write_notebook(notebook: Notebook, path: Path) -> None:
    """In nbformat's own layout, as JupyterLab saves it; whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path, "w") as file:
        json.dump(notebook, file, ensure_ascii=False, indent=1, sort_keys=True)
        file.write("\n")


def text(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def without_outputs(notebook: Notebook) -> Notebook:
    """As it is handed out: what a cell prints is seen by running it."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    return notebook


def fingerprint(cell: dict[str, Any]) -> str:
    return hashlib.sha256(f"{cell['cell_type']}\n{text(cell)}".encode("utf-8", "surrogatepass")).hexdigest()[:16]


def fingerprints(notebook: Notebook) -> Given:
    return {cell["id"]: fingerprint(cell) for cell in notebook["cells"]}


def edited(notebook: Notebook, given: Given) -> bool:
    """True where a cell holds something else than what was handed out. An empty cell does not count."""
    return any(given.get(cell["id"]) != fingerprint(cell) for cell in notebook["cells"] if text(cell).strip())


class Merged(NamedTuple):
    notebook: Notebook
    new: int  # cells that the update brought, changed or took away
    clashes: int  # cells that the reader and the update changed, each in its own way: the reader's stands


def merge(mine: Notebook, newer: Notebook, given: Given) -> Merged:
    """`mine` brought up to date with `newer`, where `given` is what was handed out for `mine`.

    A cell that still is as it was handed out becomes the newer one. What the reader wrote stays, changed cells and cells of
    the reader's own; what the reader deleted stays away. A cell that neither changed keeps its outputs.
    """
    here, was, now = {cell["id"]: cell for cell in mine["cells"]}, fingerprints(mine), fingerprints(newer)
    cells, new, clashes = {}, 0, 0
    for cell in without_outputs(newer)["cells"]:
        name = cell["id"]
        same = now[name] == given.get(name)  # the update did not touch it
        if name in here and (same or was[name] == now[name]):
            cells[name] = here[name]
        elif was.get(name) == given.get(name):  # as it was handed out; or in neither, then it is a new one
            cells[name] = cell
            new += 1
        elif name in here:
            cells[name] = here[name]
            clashes += 1
        elif not same:  # deleted by the reader, changed by the update
            clashes += 1
    order, place = list(cells), 0
    for name in here:
        if name in cells:
            place = order.index(name) + 1
        elif was[name] == given.get(name):  # the update took it away
            new += 1
        else:  # the reader's own: it stays behind the cell that it stood behind
            order.insert(place, name)
            place += 1
    return Merged({**mine, "cells": [cells.get(name) or here[name] for name in order]}, new, clashes)
