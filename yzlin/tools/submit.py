"""Packs a student's answers, and what the checkers say to them, into one file for the lecturer."""

from __future__ import annotations

import argparse
import ast
import getpass
import json
import re
import symtable
from dataclasses import asdict, dataclass
from pathlib import Path

from yzlin import ROOT, __version__
from yzlin.tools.files import whole_file

LONGEST = 100_000  # characters of a cell: nobody types more, and Python's parser is safe from deep nests below it


@dataclass
class Answer:
    """One exercise as it was handed in: a program that defines the answer, and the expression given to the checker."""

    source: str
    call: str
    said: str = ""  # what the checker said; without a call it is why the answer cannot be run


def code_cells(notebook: Path) -> list[str]:
    """The code cells of a notebook file. Raises ValueError where it is not one."""
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (ValueError, LookupError, TypeError, RecursionError, AttributeError):
        raise ValueError(f"{notebook.name} is not a notebook: hand in the .ipynb file that Jupyter saved.") from None


@dataclass
class Statement:
    """A statement of a notebook: its text, the names that it binds, and those that it (or a function in it) looks up."""

    text: str
    cell: int
    binds: set[str]
    uses: set[str]
    later: bool  # a function or a class: it looks most names up when it is called, at the end
    call: tuple[str, str] | None  # ("check_shift", "shift") for `check_shift(shift)`


def statement_of(node: ast.stmt, cell: int, text: str) -> Statement:
    """Reads one statement of a cell whose text is given."""
    segment = "".join(f"@{ast.get_source_segment(text, each)}\n" for each in getattr(node, "decorator_list", []))
    segment += ast.get_source_segment(text, node) or ""
    top = symtable.symtable(segment, "answer", "exec")
    binds = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    uses = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_referenced()}
    inner = list(top.get_children())
    while inner:
        table = inner.pop()
        uses |= {symbol.get_name() for symbol in table.get_symbols() if symbol.is_global()}
        inner += table.get_children()
    call = node.value if isinstance(node, ast.Expr) else None
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id.startswith("check_") and call.args:
        checked = call.func.id, ast.get_source_segment(text, call.args[0]) or ""
    else:
        checked = None
    return Statement(segment, cell, binds, uses, isinstance(node, (ast.FunctionDef, ast.ClassDef)), checked)


def statements(cells: list[str]) -> tuple[list[Statement], dict[int, str]]:
    """The statements in order, and {number of a cell: what is wrong with it} for cells that are not Python."""
    found: list[Statement] = []
    wrong: dict[int, str] = {}
    for number, cell in enumerate(cells):
        text = re.sub(r"^[%!].*$", "", cell, flags=re.M)  # IPython's own commands
        try:
            if len(text) > LONGEST:
                raise ValueError(f"it has {len(text):,} characters")
            found += [statement_of(node, number, text) for node in ast.parse(text).body]
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            line = f" (line {error.lineno})" if isinstance(error, SyntaxError) else ""
            wrong[number] = f"not yet: this cell is not Python{line}: {getattr(error, 'msg', None) or error or 'too deep'}."
    return found, wrong


def answers(cells: list[str]) -> dict[str, Answer]:
    """{"02 shift": Answer} for each exercise of a notebook, its last check alone. Nothing is run.

    The program of an answer is what the checked expression needs: for each name the last statement that binds it.
    A cell that is not Python counts as an answer where it calls a checker.
    """
    imports = re.findall(r"^\s*from yzlin\.checks\.n(\d\d) import (\([^)]*\)|.*)", "\n".join(cells), re.M)
    exercises = {
        name: f"{number} {name.removeprefix('check_')}"
        for number, imported in imports
        for name in re.findall(r"check_\w+", imported)
    }
    lines, broken = statements(cells)
    found = {}
    for number, what in broken.items():
        for name in set(re.findall(r"^(check_\w+)\(", cells[number], re.M)) & exercises.keys():
            found[exercises[name]] = Answer("", "", what)
    for place, line in enumerate(lines):
        if line.call and line.call[0] in exercises:
            kept = sorted(needed(lines, line.uses - {line.call[0]}, place))
            found[exercises[line.call[0]]] = Answer("\n\n".join(lines[i].text for i in kept) + "\n", line.call[1])
    return found


def needed(lines: list[Statement], wanted: set[str], end: int) -> set[int]:
    """The places of the statements that define these names before `end`, and whatever those need."""
    kept: set[int] = set()
    missing = [(name, end) for name in wanted]
    while missing:
        name, limit = missing.pop()
        before = [i for i in range(limit) if name in lines[i].binds]
        after = [i for i in range(limit, len(lines)) if name in lines[i].binds]
        for i in before[-1:] or after[:1]:
            if i not in kept and not lines[i].text.startswith("from yzlin.checks.n"):
                kept.add(i)
                missing += [(use, end if lines[i].later else i) for use in lines[i].uses]
    return kept


def handed_in(folder: Path) -> dict[str, Answer]:
    """The answers of all notebooks in a folder, not of what lies deeper. Raises ValueError where there is none."""
    found: dict[str, Answer] = {}
    for path in sorted(folder.glob("*.ipynb")):
        if ".newer" not in path.name:  # what `lab` put beside the student's own copy
            found |= answers(code_cells(path))
    if not found:
        raise ValueError(f"there is no notebook with exercises in {folder}: name the folder with --folder.")
    return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default=None, help="your name, as your lecturer knows it (default: the name you log in with)")
    parser.add_argument("--folder", type=Path, default=ROOT / "workspace", help="where your notebooks are")
    parser.add_argument("--out", type=Path, default=Path("."), help="the folder to put the file into")


def main(options: argparse.Namespace) -> int:
    from yzlin.tools.grading import judged  # imports torch

    found, name = handed_in(options.folder), options.name or getpass.getuser()
    said = judged(found)
    for exercise, answer in found.items():
        answer.said = said[exercise]
        print(f"{exercise:16} {answer.said}")
    done = sum(line.startswith("ok") for line in said.values())
    path = options.out / (re.sub(r"[^\w-]+", "_", name) + ".submission.json")
    with whole_file(path, "w") as file:
        parts = {exercise: asdict(answer) for exercise, answer in found.items()}
        json.dump({"yzlin": __version__, "name": name, "answers": parts}, file, indent=1)
    print(f"{done} of {len(found)} done. Hand in {path}: it holds your answers and these lines, nothing else.")
    return 0
