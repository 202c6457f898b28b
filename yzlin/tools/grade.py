"""Runs again what a class handed in, with other numbers, and writes grades.csv and a page that says who needs which hint."""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import secrets
from collections import Counter
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from yzlin import ROOT
from yzlin.tools.files import whole_file
from yzlin.tools.submit import Answer, answers, code_cells

LARGEST = 50_000_000  # bytes of a file that is looked at
OURS = ("grades.csv", "grades.html")
MARKS = {"ok": "✓", "not yet": "✗", "not attempted yet": "–", "not handed in": "–"}


@dataclass
class Submission:
    """What one student handed in: a file or a folder."""

    file: str
    name: str
    answers: dict[str, Answer] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)  # with its files
    said: dict[str, str] = field(default_factory=dict)

    def done(self) -> int:
        return sum(standing(line) == "ok" for line in self.said.values())


def plain(text: object) -> str:
    """The text as UTF-8 can hold it: half a character, from a file or its name, becomes a question mark."""
    return str(text).encode("utf-8", "replace").decode("utf-8")


def standing(line: str) -> str:
    """The word before the colon: ok, not yet, not attempted yet, not handed in."""
    return line.split(":")[0]


def hint_of(line: str) -> str:
    return line.partition(": ")[2] if standing(line) == "not yet" else ""


def submissions(folder: Path) -> list[Submission]:
    """One for each file and each folder that lies in `folder`, whatever they are. Raises ValueError where there is none."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder: name the folder that holds what was handed in.")
    entries = [path for path in sorted(folder.iterdir()) if path.name not in OURS and not path.name.startswith(".")]
    if not entries:
        raise ValueError(f"{folder} is empty: put the .submission.json files of your students into it, or their notebooks.")
    return [read(path) for path in entries]


def read(entry: Path) -> Submission:
    """Reads a .submission.json, a notebook, or a folder of such files. What is wrong with them is in `problems`."""
    found = Submission(entry.name, entry.name.split(".")[0])
    files = [entry]
    if entry.is_dir():
        files = [path for path in sorted(entry.rglob("*")) if path.suffix in (".ipynb", ".json")]
        files = [path for path in files if ".ipynb_checkpoints" not in path.parts]
        if not files:
            found.problems.append("there is no notebook in this folder.")
    for path in files:
        try:
            if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST:
                raise ValueError(f"{path.name} is not a file of at most {LARGEST // 1_000_000} MB.")
            if path.suffix == ".json":
                found.name, packed = unpack(path)
                found.answers |= packed
            else:
                found.answers |= answers(code_cells(path))
        except (ValueError, OSError) as error:
            found.problems.append(str(error))
    if not found.answers and not found.problems:
        found.problems.append("there are no exercises in it.")
    return found


def unpack(path: Path) -> tuple[str, dict[str, Answer]]:
    """The name and the answers in a file that `submit` made. What it says about itself is read, and not believed."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = {}
        for exercise, parts in content["answers"].items():
            source, call, said = (str(parts[key])[:LARGEST] for key in ("source", "call", "said"))
            found[exercise] = Answer(source, call, " ".join(said.split())[:500])
        return str(content["name"])[:100], found
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"{path.name} is not a file that `python -m yzlin submit` made.") from None


def grade(folder: Path, seed: int, seconds: float) -> list[Submission]:
    """Judges each submission, with a line on the terminal for each."""
    from yzlin.tools.grading import judged  # imports torch

    found = submissions(folder)  # all are read before the first answer runs
    for submission in found:
        submission.said = judged(submission.answers, seed, seconds)
        done = f"{submission.done()} of {len(submission.said)} done"
        print(plain(f"{submission.file}: {' '.join([done, *submission.problems])}"), flush=True)
    return found


def write_csv(path: Path, found: list[Submission]) -> None:
    """One row for each submission, one column for each exercise. No cell begins like a formula of a spreadsheet."""
    exercises = list(found[0].said)
    with whole_file(path, "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "name", "done", "of", *exercises, "problems"])
        for one in found:
            words = [standing(one.said[exercise]) for exercise in exercises]
            texts = map(plain, [one.file, one.name, one.done(), len(exercises), *words, " ".join(one.problems)])
            writer.writerow([f"'{text}" if text[:1] in tuple("=+-@\t\r") else text for text in texts])


STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { border: 1px solid #8888; padding: 0.2rem 0.5rem; text-align: left; vertical-align: top; }
th { white-space: nowrap; }
thead th.exercise { writing-mode: vertical-rl; }
td.mark { text-align: center; }
td.ok { background: #0a03; } td.not-yet { background: #d003; }
pre { overflow-x: auto; margin: 0; }
"""


def page(found: list[Submission], notes: list[str]) -> str:
    """The page as HTML: a table of all, the hints that were told most, and each submission with its answers.

    Its columns are the exercises that anybody handed in: a class hands in a notebook a week.
    """
    exercises = [exercise for exercise in found[0].said if any(exercise in one.answers for one in found)]
    head = "".join(f'<th class="exercise" scope="col">{escape(exercise)}</th>' for exercise in exercises)
    rows = []
    for number, one in enumerate(found):
        marks = "".join(mark(one.said[exercise]) for exercise in exercises)
        name = f'<th scope="row"><a href="#s{number}">{escape(one.name)}</a></th>'
        rows.append(f"<tr>{name}<td>{escape(one.file)}</td><td>{one.done()}</td>{marks}</tr>")
    hints = Counter((exercise, hint_of(line)) for one in found for exercise, line in one.said.items() if hint_of(line))
    told = "".join(
        f"<tr><td>{times}</td><td>{escape(exercise)}</td><td>{escape(hint)}</td></tr>"
        for (exercise, hint), times in hints.most_common()
    )
    parts = "".join(section(f"s{number}", one) for number, one in enumerate(found))
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Grades</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>\n<h1>Grades</h1>\n'
        + "".join(f"<p>{escape(note)}</p>\n" for note in notes)
        + f'<h2>Who</h2>\n<div class="wide"><table><thead><tr><th scope="col">name</th><th scope="col">file</th>'
        f'<th scope="col">done of {len(exercises)}</th>{head}</tr></thead>\n<tbody>{"".join(rows)}</tbody></table></div>\n'
        f'<h2>Which hint, how often</h2>\n<table><thead><tr><th scope="col">times</th><th scope="col">exercise</th>'
        f'<th scope="col">hint</th></tr></thead>\n<tbody>{told}</tbody></table>\n{parts}</body></html>\n'
    )


def mark(line: str) -> str:
    """A cell of the table: a sign, and in words for those who hear the page or point at the sign."""
    word = standing(line)
    spoken = escape(line, quote=True)
    return f'<td class="mark {word.replace(" ", "-")}" title="{spoken}" aria-label="{escape(word)}">{MARKS.get(word, "?")}</td>'


def section(anchor: str, one: Submission) -> str:
    """One submission: each exercise that was handed in, what the checker says now, what it said there, and the program."""
    rows = []
    for exercise, line in one.said.items():
        answer = one.answers.get(exercise)
        if answer:
            there = answer.said if answer.said and standing(answer.said) != standing(line) else ""
            program = f"<details><summary>program</summary><pre>{escape(answer.source)}{escape(answer.call)}</pre></details>"
            cells = "".join(f"<td>{cell}</td>" for cell in (escape(line), escape(there), program))
            rows.append(f'<tr><th scope="row">{escape(exercise)}</th>{cells}</tr>')
    problems = "".join(f"<p>{escape(problem)}</p>" for problem in one.problems)
    head = "".join(f'<th scope="col">{word}</th>' for word in ("exercise", "now", "then, where it differs", "answer"))
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>" if rows else ""
    return f'<h2 id="{anchor}">{escape(one.name)}</h2>\n<p>{escape(one.file)}</p>{problems}\n<div class="wide">{table}</div>\n'


def course_files() -> str:
    """A digest of the course's own programs: an answer runs as you, and could change them."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "yzlin").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="what was handed in: for each student a file or a folder")
    parser.add_argument("--out", type=Path, default=None, help="where grades.csv and grades.html go (default: that folder)")
    parser.add_argument("--seed", type=int, default=None, help="of the numbers (default: new ones; the page names the seed)")
    parser.add_argument("--seconds", type=float, default=20.0, help="for one exercise")


def main(options: argparse.Namespace) -> int:
    from yzlin.tools.grading import isolation

    seed = options.seed if options.seed is not None else 1 + secrets.randbelow(1_000_000)
    before, out = course_files(), options.out or options.folder
    limits = isolation()[1]
    print(limits)
    found = grade(options.folder, seed, options.seconds)
    notes = [f"Checked with seed {seed}, {options.seconds:g} seconds for each exercise. {limits}"]
    if course_files() != before:
        notes.append("The course's own programs were changed in the meantime, perhaps by an answer: look at `git status`.")
        print(notes[-1])
    out.mkdir(parents=True, exist_ok=True)
    write_csv(out / "grades.csv", found)
    with whole_file(out / "grades.html", "w") as file:
        file.write(plain(page(found, notes)))
    print(f"{len(found)} submissions: {out / 'grades.csv'} for a spreadsheet, {out / 'grades.html'} for the hints.")
    return 0
