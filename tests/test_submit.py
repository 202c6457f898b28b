"""What `submit` takes of a notebook: each answer with what it needs, and nothing else. Nothing of it is run."""

import json

import pytest

from yzlin import ROOT
from yzlin.tools.submit import answers, code_cells, handed_in, main


def cell(*lines: str) -> str:
    return "\n".join(lines)


SHIFT = cell(
    "from yzlin.checks.n02 import check_shift",
    "",
    "",
    "def shift(ids):",
    "    # mine",
    "    return cut(ids)",
    "",
    "check_shift(shift)",
)


def test_an_answer_comes_with_what_it_needs_and_with_nothing_else():
    helper = cell(
        "%matplotlib inline",
        "!pip list",
        "LAST = -1",
        "x = open('/nothing')",
        "def cut(ids):",
        "    return ids[:, :LAST], ids[:, 1:]",
    )
    found = answers(["import math\nimport torch", helper, "1 / 0", SHIFT, "LAST = 7"])
    assert found.keys() == {"02 shift"} and found["02 shift"].call == "shift"
    want = (
        "LAST = -1\n\ndef cut(ids):\n    return ids[:, :LAST], ids[:, 1:]\n\ndef shift(ids):\n    # mine\n    return cut(ids)\n"
    )
    assert found["02 shift"].source == want


def test_a_local_name_is_not_taken_for_one_of_the_notebook():
    cells = [
        "x, y = train_for_hours()",
        cell("def rms(x):", "    return [y for y in x]", "from yzlin.checks.n03 import check_rms", "check_rms(rms)"),
    ]
    assert answers(cells)["03 rms"].source == "def rms(x):\n    return [y for y in x]\n"


def test_of_two_definitions_the_last_before_the_check_counts_and_of_two_checks_the_last():
    cells = ["def shift(ids):\n    return 1", SHIFT.replace("cut(ids)", "2"), "def shift(ids):\n    return 3"]
    assert "return 2" in answers(cells)["02 shift"].source and "3" not in answers(cells)["02 shift"].source
    cells.append("check_shift(shift)")
    assert answers(cells)["02 shift"].source == "def shift(ids):\n    return 3\n"


def test_a_chain_of_definitions_a_decorator_a_lambda_and_a_helper_below():
    cells = [
        "from yzlin.checks.n02 import (\n    check_bits,\n    check_shift,\n)\nimport functools",
        "@functools.cache\ndef shift(ids):\n    return below(ids)",
        "shift = turned(shift)\ndef turned(f): return f\ncheck_shift(shift)",
        "def below(ids): return ids",
        "check_bits(lambda *a: a)",
    ]
    found = answers(cells)
    lines = found["02 shift"].source.splitlines()
    assert "@functools.cache" in lines and "import functools" in lines and "def below(ids): return ids" in lines
    assert lines.index("@functools.cache") < lines.index("shift = turned(shift)")
    assert (found["02 bits"].source, found["02 bits"].call) == ("\n", "lambda *a: a")


def test_a_cell_that_is_not_python_is_named_and_costs_only_itself():
    found = answers(
        [
            SHIFT.replace("def", "de f"),
            cell("from yzlin.checks.n02 import check_bits", "bits = 3", "check_bits(bits)"),
            "(" * 150_000,
        ]
    )
    assert found["02 shift"].said.startswith("not yet: this cell is not Python (line 4)") and not found["02 shift"].call
    assert found["02 bits"].source == "bits = 3\n"


def test_every_exercise_of_the_course_is_found_in_the_notebooks_and_in_the_solutions():
    stubs, solutions = handed_in(ROOT / "notebooks"), handed_in(ROOT / "notebooks" / "solutions")
    assert stubs.keys() == solutions.keys() and len(stubs) >= 30
    assert all("NotImplementedError" in answer.source for answer in stubs.values())
    assert "def causal_mask" in solutions["04 head"].source and "import math" in solutions["04 head"].source


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\xff", b"{}", b"[1, 2]", b'{"cells": [{"source": 3}]}', b"[" * 100_000, b""])
def test_what_is_not_a_notebook_is_refused_in_a_sentence(tmp_path, content):
    (tmp_path / "x.ipynb").write_bytes(content)
    with pytest.raises(ValueError, match="x.ipynb is not a notebook: hand in"):
        code_cells(tmp_path / "x.ipynb")


def test_a_folder_without_exercises_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no notebook with exercises"):
        handed_in(tmp_path)


class Options:
    def __init__(self, **values):
        vars(self).update(values)


def test_the_file_holds_the_answers_and_what_the_checkers_say_and_nothing_else(tmp_path, capsys):
    stub = ("from yzlin.checks.n03 import check_rms", "def rms(x):", "    raise NotImplementedError", "check_rms(rms)")
    cells = ["secret = 'my diary'", SHIFT.replace("cut(ids)", "ids[:, :-1], ids[:, 1:]"), cell(*stub)]
    book = {"cells": [{"cell_type": "code", "source": each.splitlines(keepends=True)} for each in cells]}
    (tmp_path / "mine.ipynb").write_text(json.dumps(book))
    (tmp_path / "mine.newer.ipynb").write_text("what `lab` put there")
    assert main(Options(name="Ada L. /../猫", folder=tmp_path, out=tmp_path)) == 0
    (path,) = tmp_path.glob("*.submission.json")
    assert path.name == "Ada_L_猫.submission.json"
    held = json.loads(path.read_text(encoding="utf-8"))
    assert held["name"] == "Ada L. /../猫" and "diary" not in path.read_text()
    said = {exercise: answer["said"] for exercise, answer in held["answers"].items()}
    assert said == {"02 shift": "ok: T + 1 ids hold T examples.", "03 rms": "not attempted yet"}
    assert "1 of 2 done" in capsys.readouterr().out
