"""What the browser tests share: a Chromium, JupyterLab's page in it, and what a reader does there."""

import json
import os
import re
import shutil
import socket
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome", "microsoft-edge")
CHROMIUM = os.environ.get("CHROMIUM") or next((found for name in NAMES if (found := shutil.which(name))), None)
if not CHROMIUM:
    pytest.skip("no Chromium is installed: install one, or name it in $CHROMIUM", allow_module_level=True)
SHOTS = Path(__file__).parent / "shots"
# What JupyterLab itself says in a room without internet, or of its own parts, such as a debugger whose kernel went away.
HARMLESS = re.compile(
    r"favicon|ERR_INTERNET|ERR_NAME_NOT|jupyterlab/api/news|api/collaboration|/lsp/|Could not restore the debugger state"
)
IDLE = '.jp-NotebookPanel:visible .jp-Notebook-ExecutionIndicator[data-status="idle"]'
WRONG = '[data-mime-type="application/vnd.jupyter.error"], [data-mime-type="application/vnd.jupyter.stderr"]'
THEMES = ("JupyterLab Light", "JupyterLab Dark")


def settings(theme):
    """JupyterLab's settings for a test, by their names."""
    return {
        "apputils-extension/themes": {"theme": theme},
        "notebook-extension/tracker": {"windowingMode": "none"},  # every cell stays in the page
    }


def write_settings(folder, named):
    for name, values in named.items():
        path = folder / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_for(port):
    for _ in range(200):
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.3)
    raise AssertionError("JupyterLab did not start")


@contextmanager
def open_page(lab, theme, home):
    """A page of a small laptop's size. What the browser's console calls an error fails the test."""
    errors = []
    with playwright.sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        page.on(
            "console", lambda m: m.type == "error" and not HARMLESS.search(m.text + str(m.location)) and errors.append(m.text)
        )
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.lab, page.theme, page.home = lab, theme, home
        yield page
        seen = list(errors)  # the open page may complain of the kernel that goes now
        token = next(cookie["value"] for cookie in page.context.cookies() if cookie["name"] == "_xsrf")
        for session in page.request.get(f"{page.lab}/api/sessions").json():  # the next test has a kernel of its own
            page.request.delete(f"{page.lab}/api/sessions/{session['id']}", headers={"X-XSRFToken": token})
        browser.close()
    assert not (serious := [error for error in seen if not HARMLESS.search(error)]), serious


def open_notebook(page, name):
    """Opens home/name.ipynb and waits until all its cells and a kernel are there."""
    page.goto(f"{page.lab}/lab/tree/{name}.ipynb?reset")
    wait_for_notebook(page, name)


def wait_for_notebook(page, name):
    page.wait_for_selector(".jp-NotebookPanel:visible .jp-CodeCell", timeout=60_000)
    page.wait_for_selector(IDLE, timeout=60_000)
    cells = json.loads((page.home / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    count = sum(cell["cell_type"] == "code" for cell in cells)
    playwright.expect(code_cells(page)).to_have_count(count, timeout=60_000)  # they come one by one


def code_cells(page):
    return page.locator(".jp-NotebookPanel:visible .jp-CodeCell")


def menu(page, *names):
    for name in names:
        page.get_by_role("menuitem", name=name, exact=True).click()


def start_all(page):
    """Run > Run All Cells, until the first cell is at work."""
    first = code_cells(page).first.locator(".jp-InputArea-prompt")
    for _ in range(5):  # a kernel that is not connected yet takes no cells
        menu(page, "Run", "Run All Cells")
        time.sleep(3)
        if first.inner_text() != "[ ]:":
            break


def wait_until_run(page, timeout=180):
    """Until every cell whose code is shown has its number, and the kernel rests."""
    prompts = page.locator(".jp-NotebookPanel:visible .jp-CodeCell .jp-InputArea-prompt")
    playwright.expect(prompts.last).to_have_text(re.compile(r"\[\d+\]:"), timeout=timeout * 1000)
    playwright.expect(prompts.filter(has_text=re.compile(r"\[[ *]\]:"))).to_have_count(0, timeout=60_000)
    page.wait_for_selector(IDLE, timeout=60_000)


def run_all(page, name, timeout=180):
    open_notebook(page, name)
    start_all(page)
    wait_until_run(page, timeout)
    wrong = page.locator(WRONG)
    assert wrong.count() == 0, wrong.all_inner_texts()


def shot(page, name):
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}_{page.theme}.png")
