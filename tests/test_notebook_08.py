"""Notebook 08 from top to bottom, twice, with other parameters than its own: what a GPU owner will see is executed too.

The storybook, and the `cuda` preset in short on a text that lies where TinyStories would: fetched by hand, prepared by the
notebook with GPT-2's tokenizer. On a CPU; what only CUDA has is not run here.
"""

import re

import nbformat
import pytest
from nbclient import NotebookClient

from yzlin import ROOT
from yzlin.prepare import load_meta, prepare
from yzlin.runs import read_log
from yzlin.storybook import write_storybook

PATH = ROOT / "notebooks" / "08_full_training_run.ipynb"


def run(home, **parameters) -> nbformat.NotebookNode:
    """The notebook after a run; `parameters` stand in a cell behind the tagged one, as papermill puts them."""
    notebook = nbformat.read(PATH, as_version=4)
    tagged = [i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    lines = [f"{name} = {value!r}" for name, value in parameters.items()]
    source = "\n".join(["from pathlib import Path", f"home = Path({str(home)!r})", *lines])
    notebook.cells.insert(tagged[0] + 1, nbformat.v4.new_code_cell(source))
    NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(home)}}).execute()
    return notebook


def printed(notebook, cell_id: str) -> str:
    """What a cell printed."""
    cell = next(cell for cell in notebook.cells if cell.id == cell_id)
    return "".join(output.text for output in cell.outputs if output.output_type == "stream" and output.name == "stdout")


def test_with_the_storybook(tmp_path):
    prepare("storybook", tmp_path / "data" / "storybook", "storybook", count=3000, progress=False)
    notebook = run(tmp_path, preset="cpu", short=True)
    out = tmp_path / "checkpoint" / "lesson_08_cpu"
    rows = read_log(out / "log.csv")
    assert rows[-1]["iter"] == 300 and rows[-1]["coherence"] is not None
    assert "coherent at the last evaluation" in printed(notebook, "08-ch1")
    assert printed(notebook, "08-012").startswith("blind guess: ln 3198 = 8.07")
    assert printed(notebook, "08-014").startswith("Finished")


def test_the_cuda_preset_with_a_text_of_its_own(tmp_path):
    text = tmp_path / "data" / "download" / "tinystories.txt"
    text.parent.mkdir(parents=True)
    write_storybook(text, 1500)
    notebook = run(tmp_path, preset="cuda", short=True, fetch=True)
    meta = load_meta(tmp_path / "data" / "tinystories")
    assert meta["tokenizer"] == "gpt2" and meta["tokens"]["val"] > 10_000
    assert "preset: cuda, short" in printed(notebook, "08-007")
    assert printed(notebook, "08-012").startswith("blind guess: ln 50304 = 10.83")
    rows = read_log(next((tmp_path / "checkpoint").iterdir()) / "log.csv")
    assert rows[-1]["iter"] >= 100 and all(row["coherence"] is None for row in rows)
    assert rows[0]["val_loss"] == pytest.approx(10.83, abs=0.1)
    assert printed(notebook, "08-014").startswith("Finished")
    found = re.search(r"bits per byte of val: ([\d.]+); at the beginning ([\d.]+)", printed(notebook, "08-ch1"))
    bits = rows[-1]["val_loss"] / 0.693147 * meta["tokens"]["val"] / meta["text_bytes"]["val"]
    assert float(found[1]) == pytest.approx(bits, abs=0.006) and float(found[1]) < float(found[2])
    assert "steps left out: [" in printed(notebook, "08-sc2")
