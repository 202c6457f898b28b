"""The student's copies of the notebooks: handed out, kept, brought up to date, never overwritten."""

import json

import pytest

from yzlin.tools.lab import GIVEN, hand_out


@pytest.fixture
def course(tmp_path):
    """Two originals, one of them a solution, handed out once."""
    originals, workspace = tmp_path / "notebooks", tmp_path / "workspace"
    (originals / "solutions").mkdir(parents=True)
    (originals / "02_batches.ipynb").write_text("original")
    (originals / "solutions" / "02_batches.ipynb").write_text("solution")
    assert hand_out(originals, workspace) == []
    return originals, workspace


def texts(workspace):
    return {path.relative_to(workspace).as_posix(): path.read_text() for path in workspace.rglob("*.ipynb")}


def test_everything_is_handed_out(course):
    assert texts(course[1]) == {"02_batches.ipynb": "original", "solutions/02_batches.ipynb": "solution"}


def test_an_answer_stays_when_nothing_is_new(course):
    originals, workspace = course
    (workspace / "02_batches.ipynb").write_text("my answer")
    assert hand_out(originals, workspace) == []
    assert texts(workspace)["02_batches.ipynb"] == "my answer" and len(texts(workspace)) == 2


def test_a_newer_original_is_put_beside_an_answer_and_said_once(course):
    originals, workspace = course
    (workspace / "02_batches.ipynb").write_text("my answer")
    (originals / "02_batches.ipynb").write_text("version 2")
    (said,) = hand_out(originals, workspace)
    assert "02_batches.ipynb has a newer original" in said and "02_batches.newer.ipynb" in said
    assert texts(workspace)["02_batches.ipynb"] == "my answer"
    assert texts(workspace)["02_batches.newer.ipynb"] == "version 2"
    assert hand_out(originals, workspace) == []
    (originals / "02_batches.ipynb").write_text("version 3")
    assert "newer2" in hand_out(originals, workspace)[0]
    assert texts(workspace)["02_batches.newer.ipynb"] == "version 2"


def test_an_untouched_copy_is_brought_up_to_date(course):
    originals, workspace = course
    (originals / "02_batches.ipynb").write_text("version 2")
    assert hand_out(originals, workspace) == ["02_batches.ipynb is brought up to date."]
    assert texts(workspace)["02_batches.ipynb"] == "version 2" and len(texts(workspace)) == 2


def test_without_the_record_nothing_is_overwritten(course):
    originals, workspace = course
    (workspace / GIVEN).unlink()
    (workspace / "02_batches.ipynb").write_text("my answer")
    (said,) = hand_out(originals, workspace)
    assert "beside yours" in said and texts(workspace)["02_batches.ipynb"] == "my answer"
    assert set(json.loads((workspace / GIVEN).read_text())) == {"02_batches.ipynb", "solutions/02_batches.ipynb"}
