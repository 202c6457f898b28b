"""The checkers of the exercises: the stub is told from an answer, likely mistakes get the right hint, solutions pass.

The wrong answers stand in tests/wrong_answers. The right ones are the solution notebooks, whose outputs nbval holds true.
"""

import importlib
import json
import re
import sys
from pathlib import Path

import pytest

from yzlin import ROOT

sys.path.insert(0, str(Path(__file__).parent / "wrong_answers"))
NUMBERS = sorted(path.stem for path in (ROOT / "yzlin" / "checks").glob("n*.py"))
WRONG = [(number, *wrong) for number in NUMBERS for wrong in importlib.import_module(number).WRONG]


def checkers(number: str) -> dict:
    module = importlib.import_module(f"yzlin.checks.{number}")
    return {name: check for name, check in vars(module).items() if re.fullmatch(r"check_\w+", name)}


def said(number: str, folder: str) -> dict[str, str]:
    """What each checker printed in the notebook of that number."""
    (path,) = (ROOT / "notebooks" / folder).glob(f"{number[1:]}_*.ipynb")
    printed = {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        call = re.search(r"^(check_\w+)\(\w+\)$", "".join(cell["source"]), re.M)
        if call and call[1] in checkers(number):
            printed[call[1]] = "".join("".join(output.get("text", "")) for output in cell["outputs"])
    return printed


@pytest.mark.parametrize(("number", "name", "answer", "hint"), WRONG, ids=[f"{w[0]}-{w[1]}-{w[3]}" for w in WRONG])
def test_a_wrong_answer_gets_the_right_hint(number, name, answer, hint, capsys):
    checkers(number)[f"check_{name}"](answer)
    printed = capsys.readouterr().out
    assert printed.startswith("not yet: ") and hint in printed


@pytest.mark.parametrize("number", NUMBERS)
def test_every_checker_has_three_wrong_answers(number):
    for name in checkers(number):
        assert sum(f"check_{wrong[1]}" == name for wrong in WRONG if wrong[0] == number) >= 3, name


@pytest.mark.parametrize("number", NUMBERS)
def test_stubs_say_not_attempted_and_solutions_say_ok(number):
    stubs, solutions = said(number, "."), said(number, "solutions")
    assert stubs.keys() == solutions.keys() == checkers(number).keys() and len(stubs) >= 3
    assert set(stubs.values()) == {"not attempted yet\n"}
    assert all(re.fullmatch(r"ok: .+\n", text) for text in solutions.values()), solutions


def test_there_are_enough_exercises():
    assert sum(len(checkers(number)) for number in NUMBERS) >= 24
