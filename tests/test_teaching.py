"""The lecturer's pages agree with the notebooks: minutes, numbers, questions, the recipe, and the memory of a small hub."""

import argparse
import inspect
import json
import re
from pathlib import Path

import pytest
from plan_of_lessons import PAGE, plan, written

from yzlin import ROOT, checks
from yzlin.tools.grade import add_arguments
from yzlin.tools.grading import judged, known, other_numbers
from yzlin.tools.pupil import packed

TEACHING = PAGE.read_text(encoding="utf-8")
QUIZ = (ROOT / "docs" / "quiz.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
NOTEBOOKS = {path.name[:2]: path for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))}


def test_the_plan_is_what_the_notebooks_say():
    assert plan() in TEACHING and written(TEACHING) == TEACHING, "run: python tests/plan_of_lessons.py"


@pytest.mark.parametrize("number", NOTEBOOKS)
def test_the_readme_gives_the_minutes_that_the_notebook_asks_for(number):
    asked = re.search(r"^Read: (\d+) minutes", whole_text(NOTEBOOKS[number]), re.M)[1]
    assert re.search(rf"^\| \[{number} .*?\]\(.*?\) \|.*?\| (\d+) \|", README, re.M)[1] == asked


def test_no_lesson_is_longer_than_an_hour_allows():
    for row in plan().splitlines()[2:]:
        total, lessons = int(row.split("|")[2]), [int(number) for number in row.split("|")[3].split(",")]
        assert sum(lessons) == total and min(lessons) > 0


def sections(text: str, mark: str) -> dict[str, str]:
    """{"02": what stands below its heading}"""
    found = re.split(rf"^{mark} (\d\d) .*$", text, flags=re.M)
    return {number: re.split(r"^## ", body, flags=re.M)[0] for number, body in zip(found[1::2], found[2::2], strict=True)}


def whole_text(path: Path) -> str:
    """All that a reader of the notebook sees: text, code, and what was printed."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        parts.append("".join(cell["source"]))
        for output in cell.get("outputs", []):
            parts.append("".join(output.get("text", []) or output.get("data", {}).get("text/plain", [])))
    return "\n".join(parts)


def numbers(text: str) -> set[str]:
    return {number.rstrip(".,").replace(",", "") for number in re.findall(r"\d[\d,]*(?:\.\d+)?", text)}


def without_code(text: str) -> str:
    return re.sub(r"```.*?```|`[^`]*`|^    .*$|\]\([^)]*\)", "", text, flags=re.S | re.M)


@pytest.mark.parametrize("number", NOTEBOOKS)
@pytest.mark.parametrize(("page", "mark"), [(TEACHING, "###"), (QUIZ, "##")], ids=["teaching", "quiz"])
def test_every_number_is_one_that_the_notebook_or_the_readme_states(page, mark, number):
    text = re.sub(r"<summary>\d\.", "", without_code(sections(page, mark)[number]))
    stated = numbers(whole_text(NOTEBOOKS[number])) | numbers(README) | set(NOTEBOOKS)
    assert not numbers(text) - stated, (number, numbers(text) - stated)


def test_each_notebook_has_six_questions_with_answers():
    for number in NOTEBOOKS:
        asked = re.findall(r"<details><summary>(\d)\. (.+?)</summary>(.+?)</details>", sections(QUIZ, "##")[number])
        assert [digit for digit, *_ in asked] == list("123456"), number
        assert all("?" in question and len(answer) > 2 for _, question, answer in asked), number


def test_each_notebook_has_what_to_say_what_goes_wrong_and_what_is_asked():
    found = sections(TEACHING, "###")
    assert found.keys() == NOTEBOOKS.keys()
    assert all(f"**{word}.**" in text for text in found.values() for word in ("Say", "Goes wrong", "Asked"))


def test_links_lead_somewhere():
    for page in (TEACHING, QUIZ):
        for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", page):
            assert (PAGE.parent / link).exists(), link


def test_the_recipe_for_other_graders_tells_right_from_wrong(capsys):
    recipe = re.search(r"```python\n(.*?)```", TEACHING, re.S)[1]
    before = checks.OTHER
    try:
        exec(recipe, {"shift": lambda ids: (ids[:, :-1], ids[:, 1:])})
        assert checks.OTHER != before
        with pytest.raises(AssertionError):
            exec(recipe, {"shift": lambda ids: (ids, ids)})
    finally:
        checks.OTHER = before


class Seen(BaseException):
    """The inputs are noted; the checker need not go on."""


def first_inputs(exercise: str, seed: int) -> str:
    """What the checker gives an answer first, with the numbers of that seed."""
    noted = []

    def answer(*inputs):
        noted.append(json.dumps([packed(each, []) for each in inputs]))
        raise Seen

    made = type("Made", (), {"__init__": lambda self, *inputs: answer(*inputs)})
    with other_numbers(seed), pytest.raises(Seen):
        known()[exercise](made if exercise == "06 one_norm" else answer)
    return noted[0]


def test_the_exercises_without_random_numbers_are_named():
    fixed = {exercise for exercise in known() if first_inputs(exercise, 0) == first_inputs(exercise, 5)}
    paragraph = re.search(r"only fixed cases:\n(.*?)\n", TEACHING)[1]
    assert set(re.findall(r"`(\d\d \w+)`", paragraph)) == fixed


def test_the_limits_are_those_of_grade():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert f"`--seconds` ({parser.parse_args(['.']).seconds:g} for each exercise)" in TEACHING
    memory = inspect.signature(judged).parameters["memory"].default
    assert f"Linux also the memory ({memory / 1e9:g} GB)" in TEACHING


def test_every_notebook_fits_a_hub_of_one_gigabyte():
    rows = re.findall(r"^\| \[(\d\d) .*\| *(\d+) *\|$", README, re.M)
    assert {number for number, _ in rows} == NOTEBOOKS.keys()
    for number, megabytes in rows:
        assert int(megabytes) < 900, number
