"""A reader in a real browser: the first five minutes, an exercise, a training run that is stopped, an update of the course.

Not part of `make test`: run `make browser`. See lab_page.py for what it needs.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from lab_page import (
    IDLE,
    THEMES,
    WRONG,
    code_cells,
    free_port,
    open_notebook,
    open_page,
    playwright,
    run_all,
    settings,
    shot,
    start_all,
    wait_for,
    wait_for_notebook,
    wait_until_run,
    write_settings,
)

from yzlin import ROOT

expect = playwright.expect


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """The course as a reader gets it: a copy of all tracked files, in a folder with a blank in its name."""
    home = tmp_path_factory.mktemp("reader") / "the course"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, home / name)
    return home


@contextmanager
def lab(course, theme=THEMES[0]):
    """`python -m yzlin lab`: (its page, the lines that it printed before JupyterLab took over)."""
    write_settings(course / "own settings", settings(theme))
    environment = os.environ | {"PYTHONPATH": str(course), "JUPYTERLAB_SETTINGS_DIR": str(course / "own settings")}
    environment["JUPYTER_CONFIG_DIR"] = str(course / "no config")
    environment.pop("MPLBACKEND", None)  # the tests' own choice would keep the kernels from showing figures
    port = free_port()
    command = [sys.executable, "-m", "yzlin", "lab", "--no-browser", f"--port={port}", "--IdentityProvider.token="]
    log = course / "lab.txt"
    with log.open("w") as out:
        server = subprocess.Popen(command, cwd=course, env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        wait_for(port)
        with open_page(f"http://127.0.0.1:{port}", theme.split()[-1].lower(), course) as page:
            yield page, log
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


ANSWER = """from yzlin.checks.n03 import check_rms


def rms(x):
    return {}


check_rms(rms)"""


def cell(page, words):
    """The code cell in which these words stand."""
    return code_cells(page).filter(has_text=words).first


def write_into(page, cell, text):
    """As a reader does: click, select all, write."""
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(text)


def run_cell(page):
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(IDLE, timeout=60_000)
    time.sleep(0.5)


@pytest.mark.parametrize("theme", THEMES)
def test_the_first_five_minutes(course, theme):
    """The address leads to 00 in the reader's own folder, without outputs and pop-ups; Shift + Enter goes through it."""
    with lab(course, theme) as (page, log):
        page.goto(page.lab)
        wait_for_notebook(page, "workspace/00_start_here")
        assert "workspace/ holds your copies" in log.read_text()
        assert page.locator(".jp-OutputArea-child").count() == 0, "predict first: a fresh copy has no outputs"
        assert page.locator(".jp-Dialog").count() == 0 and page.locator(".jp-toastContainer *").count() == 0
        shot(page, "reader_00_first_sight")
        page.locator(".jp-MarkdownCell .jp-InputPrompt").first.click()
        cells = page.locator(".jp-NotebookPanel:visible .jp-Cell").count()
        begun = time.monotonic()
        for _ in range(cells - 1):  # behind the last one there would be a new cell
            page.keyboard.press("Shift+Enter")
            time.sleep(0.3)
        wait_until_run(page)
        assert time.monotonic() - begun < 300  # the five minutes; about fifteen seconds here
        assert page.locator(WRONG).count() == 0
        story = cell(page, "beginning, seed =").locator(".jp-OutputArea-output").first
        expect(story).to_contain_text("Once upon a time there was a curious girl named Mia.")
        story.scroll_into_view_if_needed()
        shot(page, "reader_00_story")
        text = page.locator(".jp-NotebookPanel:visible .jp-Notebook").inner_text()
        assert "trained: 100% of 12" in text or re.search(r"trained: (7|8|9)\d% of 12", text)
        code_cells(page).last.scroll_into_view_if_needed()
        expect(code_cells(page).last.locator("img")).to_be_visible()
        shot(page, "reader_00_map")
        for width, height in ((1920, 1080), (390, 844)):
            page.set_viewport_size({"width": width, "height": height})
            if width == 390:
                page.keyboard.press("Control+B")  # without the file browser
            time.sleep(1)
            story.scroll_into_view_if_needed()
            shot(page, f"reader_00_{width}")
        page.set_viewport_size({"width": 1366, "height": 768})
        code_cells(page).last.scroll_into_view_if_needed()
        page.get_by_role("link", name="01 From text to tokens >").last.click()
        expect(page.locator(".lm-TabBar-tab.lm-mod-current", has_text="01_text_to_tokens.ipynb")).to_be_visible(timeout=30_000)


def test_an_exercise_wrong_then_right_and_an_update_afterwards(course):
    """A wrong answer gets a hint, a right one its ok. The next update of the course leaves it and changes the rest."""
    with lab(course) as (page, _):
        run_all(page, "workspace/03_rmsnorm")
        exercise = cell(page, "check_rms(rms)")
        expect(exercise).to_contain_text("not attempted yet")
        score = cell(page, 'score("03")')
        expect(score).to_contain_text("0 of 5")
        for answer, said in (("x.pow(2).mean().sqrt()", "which axis"), ("x.pow(2).mean(-1).sqroot()", "line 5")):
            write_into(page, exercise, ANSWER.format(answer))
            run_cell(page)
            expect(exercise.locator(".jp-OutputArea-output")).to_contain_text(said)
            assert exercise.locator(WRONG).count() == 0, "a wrong answer is not a crash"
            exercise.scroll_into_view_if_needed()
            shot(page, f"reader_{said.replace(' ', '_')}")
        write_into(page, exercise, ANSWER.format("x.pow(2).mean(-1).sqrt()"))
        run_cell(page)
        expect(exercise.locator(".jp-OutputArea-output")).to_contain_text("ok")
        score.locator(".cm-content").click()
        run_cell(page)
        expect(score).to_contain_text("1 of 5")
        score.scroll_into_view_if_needed()
        shot(page, "reader_score")
        page.keyboard.press("Control+S")
        expect(page.locator(".jp-mod-dirty")).to_have_count(0, timeout=10_000)

    change_original(course, "03_rmsnorm", "check_rms(rms)", "check_rms(rms)  # changed by the update")
    change_original(course, "03_rmsnorm", "# 03 RMSNorm", "# 03 RMSNorm, second edition")
    change_original(course, "02_batches", "# 02 Batches", "# 02 Batches, second edition")
    with lab(course) as (page, log):
        said = log.read_text()
        assert "02_batches.ipynb is brought up to date.\n" in said
        assert "In 1 cell it says something else than what you wrote: yours stays" in said
        open_notebook(page, "workspace/03_rmsnorm")
        assert "x.pow(2).mean(-1).sqrt()" in cell(page, "check_rms(rms)").inner_text(), "the answer is gone"
        expect(page.get_by_role("heading", name="03 RMSNorm, second edition")).to_be_visible()
        shot(page, "reader_after_the_update")
        run_all(page, "workspace/00_start_here")
        expect(cell(page, "print(news())")).to_contain_text("02_batches.ipynb is brought up to date.")


def change_original(course, name, old, new):
    """What an update of the course does: the original says something else."""
    path = course / "notebooks" / f"{name}.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    changed = 0
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if old in text and not changed:
            cell["source"], changed = text.replace(old, new, 1), 1
    assert changed, f"{name} does not hold {old}"
    path.write_text(json.dumps(notebook), encoding="utf-8")


def test_08_interrupted_and_resumed(course):
    """Stopped in the middle: a sentence, no traceback, and what comes below says what to do. Run again, it goes on."""
    with lab(course) as (page, _):
        open_notebook(page, "workspace/08_full_training_run")
        curves = cell(page, "plot = LossPlot(log, **about)")
        watch_pictures(page, curves)
        start_all(page)
        page.wait_for_function("window.pictures.length >= 3", timeout=180_000)
        curves.scroll_into_view_if_needed()
        shot(page, "reader_08_running")
        page.locator('.jp-NotebookPanel:visible [data-jp-item-name="interrupt"]').click()  # the square button
        expect(curves.locator(".jp-OutputArea")).to_contain_text("run this cell again, and it goes on", timeout=60_000)
        stopped = int(re.search(r"Stopped at iteration ([\d,]+)", curves.inner_text()).group(1).replace(",", ""))
        assert 0 < stopped < 300
        wait_until_run(page)
        assert page.locator(WRONG).count() == 0, page.locator(WRONG).all_inner_texts()
        after = cell(page, 'print(f"it began at')
        expect(after.locator(".jp-OutputArea")).to_contain_text("The run is not finished")
        after.scroll_into_view_if_needed()
        shot(page, "reader_08_stopped")

        pictures = page.evaluate("window.pictures.length")
        curves.locator(".cm-content").click()
        page.keyboard.press("Control+Enter")
        expect(curves.locator(".jp-OutputArea")).to_contain_text("Finished: best val loss", timeout=180_000)
        seen = page.evaluate("window.pictures")
        print(f"stopped at {stopped}; {pictures} pictures before, {len(seen) - pictures} after")
        assert len(seen) >= 10
        curves.scroll_into_view_if_needed()
        shot(page, "reader_08_finished")
        iterations = page.evaluate("window.iterations")
        assert iterations == sorted(iterations), "the curve ran backwards"
        after.locator(".cm-content").click()
        run_cell(page)
        expect(after.locator(".jp-OutputArea")).to_contain_text("it ended at")
        curves.locator(".cm-content").click()
        run_cell(page)
        expect(curves.locator(".jp-OutputArea")).to_contain_text("Finished before. To start afresh")


def watch_pictures(page, cell):
    """window.pictures: when, in milliseconds, each new picture stood in the cell's output."""
    page.evaluate(
        """cell => {
            window.pictures = []; window.iterations = [];
            let last = '';
            new MutationObserver(() => {
                const image = [...cell.querySelectorAll('img')].pop(), source = image ? image.src : '';
                if (source && source !== last) { last = source; window.pictures.push(performance.now()); }
                const at = cell.innerText.match(/iteration ([\\d,]+) of/);
                if (at) window.iterations.push(parseInt(at[1].replaceAll(',', '')));
            }).observe(cell, {childList: true, subtree: true, attributes: true, attributeFilter: ['src']});
        }""",
        cell.element_handle(),
    )
