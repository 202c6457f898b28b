"""Notebook 08 from top to bottom, twice, with other parameters than its own: what a GPU owner will see is executed too.

The storybook, with a run that is stopped and gone on with (test_notebooks has the page as it stands); and the `cuda` preset
in short on a text that lies where TinyStories would: fetched by hand, prepared by the notebook with GPT-2's tokenizer. On a
CPU; what only CUDA has is not run here.
"""

import copy
import hashlib
import os
import re

import nbformat
import pytest
from bad_server import TEXT, serve  # noqa: F401
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

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


def up_to(cell_id: str):
    """For `run`: the cells up to this one."""
    return lambda cells: cells[: 1 + next(number for number, cell in enumerate(cells) if cell.id == cell_id)]


def test_a_text_that_is_missing_is_named_before_anything_is_trained(tmp_path):
    with pytest.raises(CellExecutionError, match="tinystories.* is missing"):
        run(tmp_path, up_to("08-007"), preset="cuda", short=True, fetch=False)
    notebook = run(tmp_path, up_to("08-fe1"), preset="cuda", short=True, fetch=False)
    assert printed(notebook, "08-fe1").startswith("The cuda preset needs TinyStories: set fetch = True at the top")
    assert not list(tmp_path.iterdir()), "nothing was fetched, nothing was made"


SMALL = """
from yzlin.tools import download as module

module.FILES[1, "train"] = module.Remote("small.txt", {size}, "{sha256}")
module.FIRST = 100_000
"""


def test_the_text_is_fetched_and_prepared_where_that_is_asked_for(tmp_path, server, monkeypatch):
    """From a server of this machine that stands for the mirror; only the size of the data set is another one."""
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    source = SMALL.format(size=len(TEXT), sha256=hashlib.sha256(TEXT).hexdigest())

    def change(cells):
        cells = up_to("08-007")(cells)
        return [*cells[:1], nbformat.v4.new_code_cell(source), *cells[1:]]

    notebook = run(tmp_path, change, preset="cuda", short=True, fetch=True)
    assert server.asked == ["bytes=0-99999"]
    assert TEXT.startswith((tmp_path / "data" / "download" / "tinystories.txt").read_bytes())
    assert load_meta(tmp_path / "data" / "tinystories")["tokenizer"] == "gpt2"
    assert "preset: cuda, short (as asked for)" in printed(notebook, "08-007")


def test_weeks_of_work_on_a_cpu_are_refused(tmp_path):
    with pytest.raises(CellExecutionError, match="takes weeks without a GPU"):
        run(tmp_path, up_to("08-dv1"), preset="cuda", short=False)


STOP = """
import _thread, threading

def stop():
    while not Path(log).exists() or not any(row["iter"] >= 20 for row in read_log(log)):
        time.sleep(0.1)
    _thread.interrupt_main()  # as the square button does

threading.Thread(target=stop, daemon=True).start()
"""


def test_with_the_storybook_a_stopped_run_says_so_and_goes_on(tmp_path):
    """The run is interrupted after 20 iterations, some cells behind it are run, it is run again, and again, then the rest."""
    prepare("storybook", tmp_path / "data" / "storybook", "storybook", count=1000, progress=False)

    def change(cells):
        at = {cell.id: number for number, cell in enumerate(cells)}
        again = [copy.deepcopy(cells[at[name]]) for name in ("08-014", "08-016", "08-014", "08-018", "08-ch1")]
        for cell, name in zip(again, ("again", "checks", "third", "story", "coherent"), strict=True):
            cell.id = name
        less = "args = replace(args, max_iters=60, warmup_iters=10, eval_interval=30, eval_iters=2, log_interval=5)"
        end = at["08-ch1"] + 1
        parts = (cells[: at["08-014"]], [less, STOP], cells[at["08-014"] : end], again, cells[end:])
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
    assert "coherent at the last evaluation" in printed(notebook, "coherent")
    assert printed(notebook, "08-012").startswith("blind guess: ln 3198 = 8.07")
    rows = read_log(tmp_path / "checkpoint" / "lesson_08_cpu" / "log.csv")
    numbers = [row["iter"] for row in rows]
    assert numbers == sorted(set(numbers)) and numbers[-1] == 60 and rows[-1]["coherence"] is not None
