"""The panel of notebook 09 in JupyterLab, in a real browser. Not part of `make test`: run `make browser`.

Needs playwright and a Chromium (any that is installed; $CHROMIUM names another). Screenshots land in tests/browser/shots.
The checks of accessibility are axe-core's: `pip install axe-playwright-python`, or `npm install axe-core`.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lab_page import THEMES, free_port, open_page, playwright, run_all, settings, shot, wait_for, write_settings

from yzlin import ROOT

PANEL = [  # a notebook with nothing but the panel
    "from yzlin.demo import StoryDemo",
    'demo = StoryDemo(prompt="Once upon a time there was a brave boy named Tim.", models=["storyteller"])',
    "demo.panel",
]


@pytest.fixture(scope="module", params=THEMES)
def lab(request, tmp_path_factory):
    """A JupyterLab on a copy of 09 and a notebook of the panel alone: (its address, the name of the theme, its folder)."""
    home = tmp_path_factory.mktemp("lab")
    shutil.copy(ROOT / "notebooks" / "09_story_demo.ipynb", home)
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    cell = {"cell_type": "code", "id": "panel", "metadata": {}, "execution_count": None, "outputs": []}
    cell["source"] = "\n".join(PANEL)
    notebook = {"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (home / "panel.ipynb").write_text(json.dumps(notebook))
    quiet = {"apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False}}
    write_settings(home / "settings", settings(request.param) | quiet)
    port = free_port()
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", f"--port={port}", "--IdentityProvider.token="]
    command += ["--allow-root", f"--ServerApp.root_dir={home}"]
    environment = os.environ | {"JUPYTERLAB_SETTINGS_DIR": str(home / "settings"), "JUPYTER_CONFIG_DIR": str(home / "config")}
    environment["JUPYTERLAB_WORKSPACES_DIR"] = str(home / "workspaces")
    server = subprocess.Popen(command, cwd=home, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(port)
    yield f"http://127.0.0.1:{port}", request.param.split()[-1].lower(), home
    server.terminate()
    server.wait(20)


@pytest.fixture
def page(lab):
    with open_page(*lab) as page:
        yield page


class PanelPage:
    """The panel in the page, and what a test asks of it."""

    def __init__(self, page):
        self.page, self.box = page, page.locator(".yzlin-panel")
        self.story, self.message = self.box.locator(".yzlin-page"), self.box.locator(".yzlin-message")
        self.bars = self.box.locator(".yzlin-words button:visible")
        self.look = self.box.locator(".yzlin-look .widget-readout")

    def button(self, name):
        return self.box.get_by_role("button", name=name, exact=True)

    def wait_until_written(self):
        """Its end is said, and what is thought of it."""
        playwright.expect(self.message).to_have_text(re.compile("The end|Stopped|Continue"), timeout=30_000)
        playwright.expect(self.box.locator(".yzlin-verdict")).to_contain_text("bits a token", timeout=30_000)

    def focus(self):
        """The name of what the keyboard is at; nothing if that is not in the panel."""
        return self.page.evaluate(
            """() => { const here = document.activeElement, label = here.labels && here.labels[0];
            return here.closest('.yzlin-panel') ? (here.ariaLabel || (label || here).innerText).trim() : ''; }"""
        )

    def walk_to(self, name, key="Tab"):
        for _ in range(40):
            if self.focus() == name:
                return
            self.page.keyboard.press(key)
            assert self.focus(), f"the keyboard has left the panel on its way to {name}"
        raise AssertionError(f"the keyboard does not come to {name}")

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)


@pytest.fixture
def panel(page):
    run_all(page, "panel")
    return PanelPage(page)


def test_09_the_panel_tells_a_story(page):
    run_all(page, "09_story_demo")
    panel = PanelPage(page)
    panel.button("Write").click()
    panel.wait_until_written()
    assert panel.story.inner_text().startswith("Once upon a time there was a brave boy named Tim.")
    playwright.expect(panel.message).to_have_text("The end.")
    panel.box.evaluate("box => box.scrollIntoView({block: 'end'})")
    shot(page, "09_panel")


def test_the_panel_by_keyboard_alone(panel):
    panel.box.locator("textarea").focus()
    panel.walk_to("Write")
    panel.press("Enter")
    assert panel.focus() == "Write"
    panel.wait_until_written()
    first = panel.story.inner_text()
    playwright.expect(panel.message).to_have_text("The end.")
    assert panel.focus() == "Write" and panel.button("Continue").is_disabled()

    for knob in ("Temperature", "Top-k", "Length"):  # a long story, and one that seldom finds an end
        panel.walk_to(knob)
        panel.press("End")
    panel.walk_to("Write", "Shift+Tab")
    for _ in range(10):  # a story may be over before Stop is reached
        panel.press("Space")
        panel.page.wait_for_function("story => story.innerText.length > 150", arg=panel.story.element_handle())
        panel.press("Tab", "Tab")
        if panel.focus() != "Stop":
            panel.walk_to("Write", "Shift+Tab")
            continue
        panel.press("Enter")
        panel.wait_until_written()
        assert panel.focus() == "Write", "the focus goes to Write when Stop goes to sleep"
        if panel.message.inner_text() == "Stopped.":
            break
    playwright.expect(panel.message).to_have_text("Stopped.")
    stopped = panel.story.inner_text()
    assert stopped != first
    time.sleep(0.5)
    assert panel.story.inner_text() == stopped

    panel.walk_to("Continue")
    panel.press("Enter")
    panel.page.wait_for_function("([e, n]) => e.innerText.length > n", arg=[panel.story.element_handle(), len(stopped)])
    panel.wait_until_written()
    assert panel.focus() in ("Continue", "Write") and panel.story.inner_text().startswith(stopped)

    panel.walk_to("Temperature")
    panel.press("Home")
    playwright.expect(panel.bars.first).to_contain_text("100.0%")
    panel.press(*["ArrowRight"] * 14)  # 0.7
    panel.walk_to("Look at token")
    panel.press("Home")
    playwright.expect(panel.bars.first).to_contain_text("'On")  # Once, One
    panel.press(*["ArrowRight"] * 20)
    playwright.expect(panel.look).to_have_text("21")
    time.sleep(0.5)
    panel.press("Tab", "Tab", "Tab", "Tab")  # the number, the first bar, the second, the third
    word = panel.focus()
    assert word == panel.bars.nth(2).inner_text().strip()
    panel.press("Enter")
    panel.wait_until_written()
    marked = panel.story.locator('span[style*="background"]')
    playwright.expect(marked).to_have_count(1)
    assert repr(marked.inner_text())[1:-1].strip() == word.rsplit(maxsplit=1)[0].strip("'\" ")
    assert panel.look.inner_text() == "21" and "%" in panel.focus()
    shot(panel.page, "panel_keyboard")


def test_the_panel_fits_the_page_and_axe_finds_nothing(panel):
    page = panel.page
    page.evaluate("aloud => { window.aloud = aloud }", panel.box.get_by_role("status").element_handle())
    panel.button("Write").click()
    panel.wait_until_written()
    said = page.evaluate("window.aloud.isConnected && window.aloud.innerText")  # the same region, with another text
    assert said and panel.story.inner_text().split() == said.split()[:-2] and said.endswith("The end.")
    for _ in range(5):
        panel.box.get_by_role("slider", name="Look at token").press("ArrowRight")
    for width, height in ((1366, 768), (1280, 720), (1920, 1080)):  # a laptop with the file browser open, projectors
        page.set_viewport_size({"width": width, "height": height})
        time.sleep(0.5)
        panel.box.evaluate("box => box.scrollIntoView({block: 'end'})")
        time.sleep(0.5)
        for part in (panel.box.locator("textarea"), panel.box.get_by_role("slider", name="Temperature"), panel.story):
            playwright.expect(part).to_be_in_viewport(ratio=1)
        for bar in panel.bars.all():
            playwright.expect(bar).to_be_in_viewport(ratio=1)
        notebook = page.locator(".jp-WindowedPanel-outer").first.bounding_box()
        assert panel.box.bounding_box()["y"] >= notebook["y"], f"the panel is too high for {width} x {height}"
        shot(page, f"panel_{width}")
    for place, bar in enumerate(panel.bars.all()):  # in true scale
        share = float(bar.inner_text().split()[-1].rstrip("%"))
        drawn = panel.box.locator(".share").nth(place).bounding_box()
        whole = panel.box.locator(".whole").nth(place).bounding_box()
        assert abs(100 * (drawn["width"] if drawn else 0) / (whole["width"] - 2) - share) < 0.2

    page.set_viewport_size({"width": 390, "height": 844})
    page.keyboard.press("Control+B")  # without the file browser
    time.sleep(1)
    panel.box.evaluate("box => box.scrollIntoView({block: 'end'})")
    shot(page, "panel_390")
    assert panel.box.evaluate("box => box.scrollWidth <= box.clientWidth + 2")
    page.add_script_tag(content=axe_source())
    violations = page.evaluate("axe.run('.yzlin-panel')")["violations"]
    assert not violations, [(found["id"], [node["html"] for node in found["nodes"]]) for found in violations]


def axe_source():
    package = importlib.util.find_spec("axe_playwright_python")
    places = [Path(folder) for folder in package.submodule_search_locations] if package else []
    for place in [*places, ROOT / "node_modules" / "axe-core"]:
        if found := next(place.rglob("axe.min.js"), None):
            return found.read_text(encoding="utf-8")
    pytest.skip("axe-core is not installed: pip install axe-playwright-python")
