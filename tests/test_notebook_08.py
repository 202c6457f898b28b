"""Notebook 08 from top to bottom, twice, with other parameters than its own: what a GPU owner will see is executed too.

The storybook, and the `cuda` preset in short on a text that lies where TinyStories would: fetched by hand, prepared by the
notebook with GPT-2's tokenizer. On a CPU; what only CUDA has is not run here.
"""

import copy
import os
import re

import nbformat
import pytest
from nbclient import NotebookClient

from yzlin import ROOT
from yzlin.prepare import load_meta, prepare
from yzlin.runs import read_log
from yzlin.storybook import write_storybook

PATH = ROOT / "notebooks" / "08_full_training_run.ipynb"


def run(home, change=lambda cells: cells, **parameters) -> nbformat.NotebookNode:
    """The notebook after a run; `parameters` stand in a cell behind the tagged one, as papermill puts them.

    change: takes the list of cells and gives the one to run.
    """
    notebook = nbformat.read(PATH, as_version=4)
    notebook.cells = change(notebook.cells)
    tagged = [i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    lines = [f"{name} = {value!r}" for name, value in parameters.items()]
    source = "\n".join(["from pathlib import Path", f"home = Path({str(home)!r})", *lines])
    notebook.cells.insert(tagged[0] + 1, nbformat.v4.new_code_cell(source))
    client = NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(home)}})
    client.execute(env={**os.environ, "MPLBACKEND": "module://matplotlib_inline.backend_inline"})  # pictures, as in Jupyter
    return notebook


def printed(notebook, cell_id: str) -> str:
    """What a cell printed, on both streams."""
    cell = next(cell for cell in notebook.cells if cell.id == cell_id)
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


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
    assert rows[0]["val_loss"] == pytest.approx(10.83, abs=0.3)  # 0.15 above at full width
    assert printed(notebook, "08-014").startswith("Finished")
    found = re.search(r"bits per byte of val: ([\d.]+); at the beginning ([\d.]+)", printed(notebook, "08-ch1"))
    bits = rows[-1]["val_loss"] / 0.693147 * meta["tokens"]["val"] / meta["text_bytes"]["val"]
    assert float(found[1]) == pytest.approx(bits, abs=0.006) and float(found[1]) < float(found[2])
    assert "steps left out: [" in printed(notebook, "08-sc2")


STOP = """
import _thread, threading

def stop():
    while not Path(log).exists() or not any(row["iter"] >= 20 for row in read_log(log)):
        time.sleep(0.1)
    _thread.interrupt_main()  # as the square button does

threading.Thread(target=stop, daemon=True).start()
"""


def test_a_stopped_run_says_so_and_goes_on(tmp_path):
    """The run is interrupted after 20 iterations, the cells behind it are run, then it is run again, and again."""
    prepare("storybook", tmp_path / "data" / "storybook", "storybook", count=1000, progress=False)

    def change(cells):
        at = {cell.id: number for number, cell in enumerate(cells)}
        again = [copy.deepcopy(cells[at[name]]) for name in ("08-014", "08-016", "08-014")]
        for cell, name in zip(again, ("again", "checks", "third"), strict=True):
            cell.id = name
        less = "args = replace(args, max_iters=60, warmup_iters=10, eval_interval=30, eval_iters=2, log_interval=5)"
        parts = (cells[: at["08-014"]], [less, STOP], cells[at["08-014"] : at["08-ch1"] + 1], again)
        return [nbformat.v4.new_code_cell(cell) if isinstance(cell, str) else cell for part in parts for cell in part]

    notebook = run(tmp_path, change, preset="cpu", short=True)  # an error in any cell would end it
    stopped = re.fullmatch(r"Stopped at iteration (\d+): run this cell again, and it goes on\.\n", printed(notebook, "08-014"))
    assert stopped and 20 <= int(stopped[1]) < 60
    for name in ("08-016", "08-018", "08-ch1"):
        assert printed(notebook, name) in ("", "The run is not finished: run the cell with the curves again, then this one.\n")
    assert "not finished" in printed(notebook, "08-016")
    assert printed(notebook, "again").startswith("Finished: best val loss")
    assert "it ended at" in printed(notebook, "checks")
    assert printed(notebook, "third").startswith("Finished before. To start afresh:")
    numbers = [row["iter"] for row in read_log(tmp_path / "checkpoint" / "lesson_08_cpu" / "log.csv")]
    assert numbers == sorted(set(numbers)) and numbers[-1] == 60
