"""Rules that every notebook keeps and that can be read off its file."""

import json
import math
import re
from pathlib import Path

import pytest

from yzlin import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").rglob("*.ipynb"))
SOLUTIONS = [path for path in NOTEBOOKS if path.parent.name == "solutions"]
BARE = re.compile(r": *(True|False)\b|^(True|False)$")  # a claim whose number is not shown
NAMES = [path.relative_to(ROOT).as_posix() for path in NOTEBOOKS]


def cells(path: Path, kind: str) -> list[dict]:
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def test_the_notebooks_are_there():
    lessons = [path for path in NOTEBOOKS if path not in SOLUTIONS]
    assert [path.name[:2] for path in lessons] == [f"{number:02}" for number in range(12)]
    assert {path.name for path in SOLUTIONS} == {path.name for path in lessons if 1 <= int(path.name[:2]) <= 7}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
class TestNotebook:
    def test_begins_with_title_promise_and_times(self, path):
        first = source(cells(path, "markdown")[0])
        assert first.startswith(f"# {path.name[:2]} "), "the title begins with the notebook's number"
        assert "At the end of this page" in first
        assert re.search(r"Read: \d+ minutes?\. Run: \d+( to \d+)? (seconds?|minutes?) on 2 CPU cores.*Before: ", first, re.S)

    def test_ends_with_what_you_can_do_now(self, path):
        if path in SOLUTIONS:
            pytest.skip("a solution ends with its last exercise")
        assert source(cells(path, "markdown")[-1]).startswith("## What you can do now")

    def test_is_executed_in_order_without_errors(self, path):
        counts = [cell["execution_count"] for cell in cells(path, "code")]
        assert counts == list(range(1, len(counts) + 1))
        for cell in cells(path, "code"):
            for output in cell["outputs"]:
                assert output["output_type"] != "error" and output.get("name") != "stderr", source(cell)

    def test_cells_are_short(self, path):
        for cell in cells(path, "code"):
            lines = [line for line in source(cell).splitlines() if line.strip()]
            assert len(lines) <= 15 or source(cell).lstrip().startswith("class "), source(cell)

    def test_checks_itself(self, path):
        assert sum("assert" in source(cell) or "check_" in source(cell) for cell in cells(path, "code")) >= 1

    def test_breaks_something_on_purpose(self, path):
        if path in SOLUTIONS:
            pytest.skip("the wrong answers are in tests/wrong_answers")
        assert any(re.search(r"break it|went wrong", source(cell), re.I) for cell in cells(path, "markdown"))

    def test_what_fails_under_strict_nbval_is_not_used(self, path):
        for cell in cells(path, "code"):
            text = source(cell)
            assert not re.search(r"clear_output|@interact|%%time|%time\b|with Output\(|savefig\([^)]*svg", text), text
            assert not text.rstrip().endswith(";"), text
            assert "NBVAL_SKIP" not in text and "skip-execution" not in str(cell["metadata"].get("tags", [])), text
            assert not re.search(r"torch\.manual_seed\([^)]*\)\s*$", text), text

    def test_outputs_hold_no_addresses_and_no_paths_of_this_machine(self, path):
        for cell in cells(path, "code"):
            for output in cell["outputs"]:
                text = json.dumps(output.get("text", "")) + json.dumps(output.get("data", {}).get("text/plain", ""))
                assert not re.search(r"0x[0-9a-f]{6,}", text), text
                assert "/home/" not in text and "/Users/" not in text and str(ROOT) not in text, text

    def test_every_figure_has_an_alt_text(self, path):
        for cell in cells(path, "code"):
            for output in cell["outputs"]:
                assert "image/svg+xml" not in output.get("data", {})
                if "image/png" in output.get("data", {}):
                    assert len(output["metadata"].get("image/png", {}).get("alt", "")) > 20, source(cell)
        for cell in cells(path, "markdown"):
            assert "![](" not in source(cell)

    def test_every_figure_is_there(self, path):
        """A notebook that was executed with MPLBACKEND=agg has lost its pictures."""
        for cell in cells(path, "code"):
            text = source(cell)
            if re.search(r"^(show|curves|attention_map)\(", text, re.M) and "axis=" not in text:
                assert any("image/png" in output.get("data", {}) for output in cell["outputs"]), text

    def test_every_axis_has_a_name(self, path):
        for cell in cells(path, "code"):
            if "plt.subplots" in source(cell) and 'axis("off")' not in source(cell):
                assert "xlabel" in source(cell) and "ylabel" in source(cell), source(cell)

    def test_nothing_is_linked_hot_from_the_web(self, path):
        for cell in cells(path, "markdown"):
            assert not re.search(r"!\[[^]]*\]\(https?:|<img[^>]*https?:|<script|<iframe", source(cell))

    def test_metadata_is_clean(self, path):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        assert "widgets" not in notebook["metadata"]
        assert notebook["metadata"]["kernelspec"]["name"] == "python3"
        assert b"\r" not in path.read_bytes()

    def test_terms_are_explained_once(self, path):
        bold = re.findall(r"\*\*([^*]+)\*\*", "\n".join(source(cell) for cell in cells(path, "markdown")))
        spoken = {"Break it.", "Break it:", "break it", "Think:", "Check it another way.", "short"}
        terms = [term for term in bold if term not in spoken and not re.match(r"\d\d ", term)]
        assert len(terms) == len(set(terms)), sorted(term for term in terms if terms.count(term) > 1)

    def test_lessons_are_marked(self, path):
        """A lesson has 25 minutes at most: between two of them stands a line that begins with Break:"""
        if path in SOLUTIONS:
            pytest.skip("a solution is not a lesson")
        words = [source(cell) for cell in cells(path, "markdown")]
        minutes = int(re.search(r"Read: (\d+) minute", words[0])[1])
        breaks = sum(len(re.findall(r"^(?:> )?\**Break:", text, re.M)) for text in words)
        assert breaks >= math.ceil(minutes / 25) - 1, f"{minutes} minutes and {breaks} breaks"

    def test_it_can_be_read_from_the_third_row(self, path):
        for cell in cells(path, "code"):
            assert max(map(len, source(cell).splitlines()), default=0) <= 100, source(cell)
            for size in re.findall(r"\b(?:fontsize|labelsize|size)=(\d+(?:\.\d+)?)\b", source(cell)):
                assert float(size) >= 11 or "markersize" in source(cell), source(cell)

    def test_claims_have_numbers(self, path):
        """Neither a bare True or False nor a verdict without a digit is printed. The tag `plain-words` says: on purpose."""
        if path in SOLUTIONS:
            pytest.skip("what a checker says is held by test_checks")
        for cell in cells(path, "code"):
            if "plain-words" in cell["metadata"].get("tags", []) or "yzlin.checks" in source(cell):
                continue
            for output in cell["outputs"]:
                for line in "".join(output.get("text", "")).splitlines():
                    assert not BARE.search(line), line
                    assert not line.startswith("ok") or re.search(r"\d", line), line

    def test_it_stays_where_it_is_and_names_models(self, path):
        for cell in cells(path, "code"):
            assert "os.chdir" not in source(cell) and "storyteller/checkpoint.pt" not in source(cell), source(cell)
            assert "NBVAL_IGNORE_OUTPUT" not in source(cell), "use the tag nbval-ignore-output"


def test_the_rule_about_claims_can_fail():
    """What the rule above looks for is what it is meant to see."""
    assert BARE.search("the largest difference is below 1e-6: True") and BARE.search("False")
    assert not BARE.search("compile        cpu  False   cuda   True   this run  False")
    assert not re.search(r"\d", "ok: the names are lost")
