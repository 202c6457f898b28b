"""The reader's copies of the notebooks: handed out, kept, brought up to date cell by cell, never overwritten."""

import json
import os

import pytest

from yzlin import ROOT
from yzlin.tools import lab
from yzlin.tools.lab import GIVEN, hand_out, lay_out, news
from yzlin.tools.merge import read_notebook, without_outputs

PRINTED = {"output_type": "stream", "name": "stdout", "text": ["printed\n"]}


def cell(name, source, **more):
    common = {"id": name, "metadata": {}, "source": source, **more}
    if str(name).startswith("m-"):
        return {"cell_type": "markdown", **common}
    return {"cell_type": "code", "outputs": [PRINTED], "execution_count": 1, **common}


def notebook(*cells):
    return {"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def write(path, *sources):
    """A notebook with these cells, c0, c1, ..., each with an output."""
    cells = [cell(f"c{i}", source) if isinstance(source, str) else source for i, source in enumerate(sources)]
    path.write_text(json.dumps(notebook(*cells)), encoding="utf-8")


def sources(path):
    return ["".join(one["source"]) for one in read_notebook(path)["cells"]]


@pytest.fixture
def course(tmp_path):
    """Two originals, one of them a solution, handed out once."""
    originals, workspace = tmp_path / "notebooks", tmp_path / "workspace"
    (originals / "solutions").mkdir(parents=True)
    write(originals / "02_batches.ipynb", "original")
    write(originals / "solutions" / "02_batches.ipynb", "solution")
    assert hand_out(originals, workspace) == []
    return originals, workspace


def texts(workspace):
    return {path.relative_to(workspace).as_posix(): "\n".join(sources(path)) for path in workspace.rglob("*.ipynb")}


def test_everything_is_handed_out(course):
    assert texts(course[1]) == {"02_batches.ipynb": "original", "solutions/02_batches.ipynb": "solution"}


def test_copies_have_no_outputs_and_the_originals_keep_theirs(course):
    originals, workspace = course
    (mine,) = read_notebook(workspace / "02_batches.ipynb")["cells"]
    assert mine["outputs"] == [] and mine["execution_count"] is None
    assert read_notebook(originals / "02_batches.ipynb")["cells"][0]["outputs"] == [PRINTED]


def test_an_answer_stays_when_nothing_is_new(course):
    originals, workspace = course
    write(workspace / "02_batches.ipynb", "my answer")
    assert hand_out(originals, workspace) == []
    assert texts(workspace)["02_batches.ipynb"] == "my answer" and len(texts(workspace)) == 2


def test_a_newer_original_is_put_beside_an_answer_and_said_once(course):
    originals, workspace = course
    write(workspace / "02_batches.ipynb", "my answer")
    write(originals / "02_batches.ipynb", "version 2")
    (said,) = hand_out(originals, workspace)
    assert "02_batches.ipynb has a newer original" in said and "02_batches.newer.ipynb" in said
    assert texts(workspace)["02_batches.ipynb"] == "my answer"
    assert texts(workspace)["02_batches.newer.ipynb"] == "version 2"
    assert hand_out(originals, workspace) == []
    write(originals / "02_batches.ipynb", "version 3")
    assert "newer2" in hand_out(originals, workspace)[0]
    assert texts(workspace)["02_batches.newer.ipynb"] == "version 2"


def test_an_untouched_copy_is_brought_up_to_date(course):
    originals, workspace = course
    write(originals / "02_batches.ipynb", "version 2")
    assert hand_out(originals, workspace) == ["02_batches.ipynb is brought up to date."]
    assert texts(workspace)["02_batches.ipynb"] == "version 2" and len(texts(workspace)) == 2


def test_a_copy_that_was_opened_run_and_saved_is_simply_brought_up_to_date(course):
    """JupyterLab rewrites the file: another layout, outputs, an empty cell at the end, more metadata."""
    originals, workspace = course
    mine = read_notebook(workspace / "02_batches.ipynb")
    mine["cells"][0] |= {"source": ["original"], "outputs": [PRINTED], "execution_count": 7}
    mine["cells"].append(cell("new", ""))
    mine["metadata"] = {"language_info": {"name": "python", "version": "3.12.1"}}
    (workspace / "02_batches.ipynb").write_text(json.dumps(mine, indent=4))
    write(originals / "02_batches.ipynb", "version 2", "one more")
    assert hand_out(originals, workspace) == ["02_batches.ipynb is brought up to date."]
    assert sources(workspace / "02_batches.ipynb") == ["version 2", "", "one more"] and len(texts(workspace)) == 2


def test_an_answer_stays_in_a_notebook_that_is_brought_up_to_date(course):
    originals, workspace = course
    write(originals / "02_batches.ipynb", "text", "stub", "last")
    hand_out(originals, workspace)
    write(workspace / "02_batches.ipynb", "text", "my answer", cell("mine", "my own cell"), cell("c2", "last"))
    write(originals / "02_batches.ipynb", "better text", "stub", "last", "new at the end")
    (said,) = hand_out(originals, workspace)
    assert said == "02_batches.ipynb is brought up to date in 2 cells; what you wrote is as it was."
    assert sources(workspace / "02_batches.ipynb") == ["better text", "my answer", "my own cell", "last", "new at the end"]
    kept = read_notebook(workspace / "02_batches.ipynb")["cells"]
    assert [one["outputs"] for one in kept] == [[], [PRINTED], [PRINTED], [PRINTED], []]
    assert len(texts(workspace)) == 2 and hand_out(originals, workspace) == []


def test_a_clash_leaves_the_other_cells_up_to_date(course):
    originals, workspace = course
    write(originals / "02_batches.ipynb", "text", "stub")
    hand_out(originals, workspace)
    write(workspace / "02_batches.ipynb", "text", "my answer")
    write(originals / "02_batches.ipynb", "better text", "better stub")
    (said,) = hand_out(originals, workspace)
    assert "In 1 cell it says" in said
    assert sources(workspace / "02_batches.ipynb") == ["better text", "my answer"]
    assert sources(workspace / "02_batches.newer.ipynb") == ["better text", "better stub"]


def test_without_the_record_nothing_is_overwritten(course):
    originals, workspace = course
    (workspace / GIVEN).unlink()
    write(workspace / "02_batches.ipynb", "my answer")
    (said,) = hand_out(originals, workspace)
    assert "beside yours" in said and texts(workspace)["02_batches.ipynb"] == "my answer"
    assert set(json.loads((workspace / GIVEN).read_text())) == {"02_batches.ipynb", "solutions/02_batches.ipynb"}


DAMAGED = ["", "{", "[]", "7", '{"02_batches.ipynb": "a hash"}', '{"02_batches.ipynb": {"c0": 1}}', "[" * 100_000, "\x00\xff"]


@pytest.mark.parametrize("record", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_record_is_a_sentence_and_costs_nothing(course, record):
    originals, workspace = course
    (workspace / GIVEN).write_bytes(record.encode("latin-1"))
    write(workspace / "02_batches.ipynb", "my answer")
    first, second = hand_out(originals, workspace)
    assert first.startswith(".given.json was damaged") and "beside yours as 02_batches.newer.ipynb" in second
    assert texts(workspace)["02_batches.ipynb"] == "my answer"
    assert (workspace / ".given.json.damaged").read_bytes() == record.encode("latin-1")
    assert hand_out(originals, workspace) == [] and len(texts(workspace)) == 3


NO_NOTEBOOKS = ['{"cells": [{"sour', "", "[]", '{"cells": 3}', '{"cells": [3]}', '{"cells": [{"id": "c0"}]}', "\x00\xff"]
NO_NOTEBOOKS += [json.dumps(notebook(cell("c0", "a"), cell("c0", "b"))), json.dumps(notebook(cell(["c0"], "a")))]
NO_NOTEBOOKS += [json.dumps(notebook({**cell("c0", "a"), "source": 3})), json.dumps(notebook({**cell("c0", "a"), "id": 3}))]


@pytest.mark.parametrize("damaged", NO_NOTEBOOKS, ids=range(len(NO_NOTEBOOKS)))
def test_a_copy_that_is_not_a_notebook_any_more_stays_as_it_is(course, damaged):
    originals, workspace = course
    (workspace / "02_batches.ipynb").write_bytes(damaged.encode("latin-1"))
    write(originals / "02_batches.ipynb", "version 2")
    (said,) = hand_out(originals, workspace)
    assert "cannot be read as a notebook" in said and sources(workspace / "02_batches.newer.ipynb") == ["version 2"]
    assert (workspace / "02_batches.ipynb").read_bytes() == damaged.encode("latin-1")


def test_one_notebook_that_fails_does_not_keep_the_others(course):
    originals, workspace = course
    (originals / "01_text.ipynb").write_text("<<<<<<< HEAD")
    (workspace / "02_batches.ipynb").unlink()
    (workspace / "02_batches.ipynb").mkdir()
    write(originals / "02_batches.ipynb", "version 2")
    write(originals / "03_new.ipynb", "three")
    one, two, three = hand_out(originals, workspace)
    assert one.startswith("01_text.ipynb could not be handed out: 01_text.ipynb is damaged")
    assert two.startswith("02_batches.ipynb could not be handed out") and three == "03_new.ipynb is new."
    assert sources(workspace / "03_new.ipynb") == ["three"]


def test_what_stops_in_the_middle_is_done_by_the_next_start(course, monkeypatch):
    """The copy and the one beside it are written, the record is not: nothing is lost and nothing comes twice."""
    originals, workspace = course
    write(workspace / "02_batches.ipynb", "my answer")
    write(originals / "02_batches.ipynb", "version 2", "new")
    with monkeypatch.context() as broken, pytest.raises(OSError):
        broken.setattr(lab, "write_record", lambda *_: (_ for _ in ()).throw(OSError("No space left on device")))
        hand_out(originals, workspace)
    assert "beside yours as 02_batches.newer.ipynb" in hand_out(originals, workspace)[0]
    assert sources(workspace / "02_batches.ipynb") == ["my answer", "new"] and len(texts(workspace)) == 3


def test_the_news_stay_until_there_are_newer_ones(course):
    originals, workspace = course
    assert news(workspace) == "No update has come since the notebooks were handed out."
    write(originals / "02_batches.ipynb", "version 2")
    hand_out(originals, workspace)
    first, second = news(workspace).splitlines()
    assert first.startswith("News of 20") and second == "- 02_batches.ipynb is brought up to date."
    hand_out(originals, workspace)
    assert news(workspace) == f"{first}\n{second}"


def test_a_lecturer_gets_fresh_copies_with_outputs(course, tmp_path):
    originals, lecture = course[0], tmp_path / "lecture"
    assert lay_out(originals, lecture) == []
    copied = lecture / "02_batches.ipynb"
    assert copied.read_bytes() == (originals / "02_batches.ipynb").read_bytes()
    write(copied, "original", cell("empty", ""))  # run and saved
    assert lay_out(originals, lecture) == []
    write(copied, "written in the lecture")
    (originals / "01_text.ipynb").write_text("<<<<<<< HEAD")
    damaged, said = lay_out(originals, lecture)
    assert damaged.startswith("01_text.ipynb could not be laid out: 01_text.ipynb is damaged")
    (originals / "01_text.ipynb").unlink()
    assert said == "02_batches.ipynb was changed in the last lecture: that copy is kept as 02_batches.kept.ipynb."
    assert texts(lecture) == {
        **texts(originals),
        "02_batches.kept.ipynb": "written in the lecture",
    }


def test_the_courses_own_notebooks_are_handed_out(tmp_path):
    assert hand_out(ROOT / "notebooks", tmp_path) == []
    for path in (ROOT / "notebooks").rglob("*.ipynb"):
        mine = read_notebook(tmp_path / path.relative_to(ROOT / "notebooks"))
        assert mine == without_outputs(read_notebook(path)) and mine["cells"]
    assert hand_out(ROOT / "notebooks", tmp_path) == []


def test_the_server_is_told_where_the_course_is(tmp_path, monkeypatch):
    monkeypatch.setattr(lab, "ROOT", tmp_path)
    arguments = lab.server_arguments("workspace", ["--port", "9999"])
    assert f"--ServerApp.root_dir={tmp_path}" in arguments
    assert "--LabApp.default_url=/lab/tree/workspace/00_start_here.ipynb" in arguments and arguments[-2:] == ["--port", "9999"]
    assert "--log-level=WARN" in arguments
    assert "--log-level=WARN" not in lab.server_arguments("workspace", ["--log-level=INFO"])  # the reader's own goes before
    assert ("--allow-root" in arguments) == (hasattr(os, "geteuid") and os.geteuid() == 0)
    (settings,) = (tmp_path / ".jupyter").rglob("overrides.json")
    assert json.loads(settings.read_text())["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"
