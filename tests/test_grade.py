"""A class is graded: each submission by itself, whatever it is; the table and the page hold what was said, as text."""

import csv
import json
import re
from html.parser import HTMLParser

import pytest

from yzlin import ROOT
from yzlin.__main__ import main
from yzlin.tools.grade import Submission, page, read, submissions, write_csv
from yzlin.tools.grading import known

SPOOF = "</pre><script>alert(1)</script>"
RMS = "from yzlin.checks.n03 import check_rms\ndef rms(x):\n    return x.pow(2).mean(-1){}\ncheck_rms(rms)"


def notebook(*cells: str) -> str:
    return json.dumps({"cells": [{"cell_type": "code", "source": cell} for cell in cells]})


def submission(name: str, **answer: str) -> str:
    return json.dumps({"name": name, "answers": {"03 rms": {"source": "", "call": "", "said": "", **answer}}})


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """A class of eight, graded by the command."""
    folder = tmp_path_factory.mktemp("handed_in")
    (folder / "ada.ipynb").write_text(notebook(RMS.format(".sqrt()")))
    (folder / "ben_123").mkdir()  # as a learning platform hands them on: a folder for each student
    (folder / "ben_123" / "03.ipynb").write_text(notebook(RMS.format("")))
    (folder / "ben_123" / "04.ipynb").write_text("not JSON")
    source = f"# {SPOOF}\nprint('ok: done')\n"
    (folder / "eve.submission.json").write_text(submission("=1+1", source=source, call="len", said="ok: " + SPOOF))
    (folder / "liar.submission.json").write_text(submission("Liar", said="ok: believe me"))
    (folder / "holiday.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    (folder / "list.json").write_text("[[]]")
    (folder / "deep.json").write_text("[" * 200_000)
    (folder / "empty").mkdir()
    assert main(["grade", str(folder), "--seed", "7", "--seconds", "60"]) == 0
    with (folder / "grades.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    return rows, (folder / "grades.html").read_text(encoding="utf-8")


def test_each_has_a_row_with_what_the_checkers_say_now(graded):
    stands = {file: (row["name"], row["done"], row["03 rms"]) for file, row in graded[0].items()}
    assert stands == {
        "ada.ipynb": ("ada", "1", "ok"),
        "ben_123": ("ben_123", "0", "not yet"),
        "deep.json": ("deep", "0", "not handed in"),
        "empty": ("empty", "0", "not handed in"),
        "eve.submission.json": ("'=1+1", "0", "not yet"),
        "holiday.jpg": ("holiday", "0", "not handed in"),
        "liar.submission.json": ("Liar", "0", "not attempted yet"),
        "list.json": ("list", "0", "not handed in"),
    }
    assert all(row["of"] == str(len(known())) and row["07 adamw"] == "not handed in" for row in graded[0].values())


def test_what_is_wrong_with_a_file_is_said(graded):
    problems = {file: row["problems"] for file, row in graded[0].items()}
    assert problems["ada.ipynb"] == problems["eve.submission.json"] == ""
    assert problems["ben_123"].startswith("04.ipynb is not a notebook")
    assert "holiday.jpg is not a notebook" in problems["holiday.jpg"]
    assert problems["list.json"].startswith("list.json is not a file that `python -m yzlin submit` made")
    assert "deep.json is not a file that" in problems["deep.json"] and "no notebook in this folder" in problems["empty"]


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.open_, self.texts, self.addresses = set(), [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.addresses += [value for name, value in attributes if name in ("href", "src")]
        if tag != "meta":
            self.open_.append(tag)

    def handle_endtag(self, tag):
        assert self.open_.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_the_page_is_whole_names_the_hints_and_runs_nothing_of_what_was_handed_in(graded):
    reader = Reader()
    reader.feed(graded[1])
    assert not reader.open_ and "script" not in reader.tags and all(address.startswith("#") for address in reader.addresses)
    text = "\n".join(reader.texts)
    assert SPOOF in text and "the root is missing" in text and "seed 7" in text
    assert re.search(r"holiday.jpg is not a notebook", text) and "believe me" not in text.split("Which hint")[0]


def test_hints_are_counted():
    lines = {"03 rms": "not yet: root", "03 mended": "ok: fine"}
    found = [Submission("a", "a", said=lines), Submission("b", "b", said=lines)]
    assert "<tr><td>2</td><td>03 rms</td><td>root</td></tr>" in page(found, [])


def test_half_a_character_and_formulas_do_no_harm(tmp_path):
    found = [Submission("x\udcff.ipynb", name, said={"03 rms": "ok: \ud800"}) for name in ("@SUM(A1)", "-1", "猫")]
    write_csv(tmp_path / "grades.csv", found)
    rows = list(csv.reader((tmp_path / "grades.csv").read_text(encoding="utf-8").splitlines()))
    assert [row[1] for row in rows[1:]] == ["'@SUM(A1)", "'-1", "猫"] and rows[1][0] == "x?.ipynb"


def test_a_link_to_a_file_of_the_lecturer_is_not_read(tmp_path):
    (tmp_path / "target.ipynb").write_text(notebook(RMS.format("")))
    try:
        (tmp_path / "link.ipynb").symlink_to(tmp_path / "target.ipynb")
    except OSError:
        pytest.skip("this system lets nobody make a link")
    assert not read(tmp_path / "link.ipynb").answers and read(tmp_path / "target.ipynb").answers


@pytest.mark.parametrize("name", ["nothing", "README.md", "."])
def test_a_folder_that_is_none_or_empty_is_refused_in_a_sentence(tmp_path, name, capsys):
    folder = tmp_path if name == "." else ROOT / name
    with pytest.raises(ValueError, match="is not a folder|is empty"):
        submissions(folder)
    assert main(["grade", str(folder)]) == 2 and capsys.readouterr().err.startswith("yzlin grade: ")
    assert not list(tmp_path.iterdir())
