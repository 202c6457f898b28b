"""Notebooks 00 and 09 in JupyterLab, in a real browser, as a reader uses them. Not part of `make test`: run `make browser`.

Needs playwright and a Chromium (any that is installed; $CHROMIUM names another). Screenshots land in tests/browser/shots.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from yzlin import ROOT

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome", "microsoft-edge")
CHROMIUM = os.environ.get("CHROMIUM") or next((found for name in NAMES if (found := shutil.which(name))), None)
if not CHROMIUM:
    pytest.skip("no Chromium is installed: install one, or name it in $CHROMIUM", allow_module_level=True)
SHOTS = Path(__file__).parent / "shots"
# What JupyterLab itself says in a room without internet, or of its own parts.
HARMLESS = re.compile(r"favicon|ERR_INTERNET|ERR_NAME_NOT|jupyterlab/api/news|api/collaboration|/lsp/")


@pytest.fixture(scope="module", params=["JupyterLab Light", "JupyterLab Dark"])
def lab(request, tmp_path_factory):
    """A JupyterLab on copies of the two notebooks: (its address, the name of the theme)."""
    home = tmp_path_factory.mktemp("lab")
    for name in ("00_start_here", "09_story_demo"):
        shutil.copy(ROOT / "notebooks" / f"{name}.ipynb", home)
    settings = {
        "apputils-extension/themes": {"theme": request.param},
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
        "notebook-extension/tracker": {"windowingMode": "none"},  # every cell stays in the page
    }
    for name, values in settings.items():
        path = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", f"--port={port}", "--IdentityProvider.token="]
    command += ["--allow-root", f"--ServerApp.root_dir={home}"]
    environment = os.environ | {"JUPYTERLAB_SETTINGS_DIR": str(home / "settings"), "JUPYTER_CONFIG_DIR": str(home / "config")}
    environment["JUPYTERLAB_WORKSPACES_DIR"] = str(home / "workspaces")
    server = subprocess.Popen(command, cwd=home, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            time.sleep(0.3)
    yield f"http://127.0.0.1:{port}", request.param.split()[-1].lower()
    server.terminate()
    server.wait(20)


@pytest.fixture
def page(lab):
    errors = []
    with playwright.sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 720})  # a projector's
        page.on(
            "console", lambda m: m.type == "error" and not HARMLESS.search(m.text + str(m.location)) and errors.append(m.text)
        )
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.lab, page.theme = lab
        yield page
        browser.close()
    assert not (serious := [error for error in errors if not HARMLESS.search(error)]), serious


def run_all(page, name):
    page.goto(f"{page.lab}/lab/tree/{name}.ipynb?reset")
    page.wait_for_selector(".jp-NotebookPanel .jp-CodeCell", timeout=60_000)
    page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]', timeout=60_000)
    cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    count = sum(cell["cell_type"] == "code" for cell in cells)
    playwright.expect(page.locator(".jp-CodeCell")).to_have_count(count, timeout=60_000)  # they come one by one
    last = page.locator(".jp-CodeCell").last.locator(".jp-InputArea-prompt")
    first = page.locator(".jp-CodeCell").first.locator(".jp-InputArea-prompt")
    for _ in range(5):  # a kernel that is not connected yet takes no cells
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        time.sleep(3)
        if first.inner_text() != "[ ]:":
            break
    playwright.expect(last).to_have_text(f"[{count}]:", timeout=180_000)
    page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]', timeout=60_000)
    wrong = page.locator('[data-mime-type="application/vnd.jupyter.error"], [data-mime-type="application/vnd.jupyter.stderr"]')
    assert wrong.count() == 0, wrong.all_inner_texts()


def shot(page, name):
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}_{page.theme}.png")


def test_00_runs_and_tells_a_story(page):
    run_all(page, "00_start_here")
    shot(page, "00")


def test_09_the_panel(page):
    run_all(page, "09_story_demo")
    panel = page.locator(".widget-vbox").first
    story, message = panel.locator(".widget-html-content").nth(0), panel.locator(".widget-html-content").nth(1)
    button = {name: panel.get_by_role("button", name=name, exact=True) for name in ("Write", "Continue", "Stop", "Start over")}

    def slider(label):
        return panel.locator(".widget-slider", has_text=label).locator(".noUi-handle")

    button["Write"].scroll_into_view_if_needed()
    for knob in ("Length", "Temperature", "Top-k"):  # by the keyboard: a long story, and one that seldom finds an end
        slider(knob).press("End")
    for seed in range(10):  # a story may be over before the click comes
        button["Start over"].click()
        playwright.expect(story).to_have_text("")
        panel.get_by_label("Seed").fill(str(seed))
        button["Write"].click()
        long_or_over = "([story, message]) => story.innerText.length > 200 || message.innerText == 'The end.'"
        page.wait_for_function(long_or_over, arg=[story.element_handle(), message.element_handle()])
        early = len(story.inner_text())
        if early <= 200:
            continue
        button["Stop"].click(force=True)
        playwright.expect(message).not_to_have_text("", timeout=5000)
        if message.inner_text() == "Stopped.":
            break
    assert message.inner_text() == "Stopped." and len(story.inner_text()) >= early > 200
    stopped = story.inner_text()
    time.sleep(0.5)
    assert story.inner_text() == stopped
    shot(page, "09_stopped")

    stopped = story.inner_text()
    button["Continue"].click()
    page.wait_for_function("([e, n]) => e.innerText.length > n", arg=[story.element_handle(), len(stopped)])
    playwright.expect(button["Write"]).to_be_enabled(timeout=20_000)

    button["Start over"].click()
    playwright.expect(story).to_have_text("")
    for _ in range(26):
        slider("Temperature").press("ArrowLeft")  # from 2 to 0.7
    button["Write"].click()
    playwright.expect(message).to_have_text("The end.", timeout=20_000)
    playwright.expect(button["Continue"]).to_be_disabled()

    slider("Look at").press("Home")
    bars = panel.locator("button", has_text="%")
    playwright.expect(bars).to_have_count(10)
    playwright.expect(bars.first).to_contain_text("'On")  # Once, One
    likely = bars.first.inner_text()
    slider("Temperature").press("Home")
    playwright.expect(bars.first).to_contain_text("100.0%")  # temperature 0
    for _ in range(14):
        slider("Temperature").press("ArrowRight")
    playwright.expect(bars.first).to_have_text(likely)
    for _ in range(30):
        slider("Look at").press("ArrowRight")
    before = story.inner_text()
    bars.nth(2).click()
    page.wait_for_function("([e, text]) => e.innerText != text", arg=[story.element_handle(), before])
    playwright.expect(button["Write"]).to_be_enabled(timeout=20_000)
    story.scroll_into_view_if_needed()
    shot(page, "09_panel")
    page.set_viewport_size({"width": 700, "height": 800})
    time.sleep(1)
    shot(page, "09_narrow")
    assert panel.evaluate("e => e.scrollWidth <= e.clientWidth + 2")
