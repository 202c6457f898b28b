"""The slides: chosen by each notebook's own metadata, one file a lesson, which opens anywhere and fits a small projector."""

import json
import os
import re
import shutil
import subprocess
import sys
from functools import lru_cache
from html.parser import HTMLParser
from pathlib import Path

import pytest

from yzlin import ROOT
from yzlin.tools.html import asset, hash_of
from yzlin.tools.slides import MOST, Slide, beginning, essence, make_slides, sections, sentences, slides_of

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
KINDS = {"slide", "subslide", "fragment", "skip", "notes", ""}
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder with the slides of the course, and what was said of each file."""
    to = tmp_path_factory.mktemp("slides")
    return to, {name: (count, size) for name, count, size in make_slides(ROOT / "notebooks", to)}


@lru_cache
def shown(path: Path) -> list[Slide]:
    return slides_of(json.loads(path.read_text(encoding="utf-8"))["cells"], {}, path.parent)


def cell(source: str, kind: str | None = "", outputs: list | None = None, **metadata) -> dict:
    found = {"cell_type": "markdown" if outputs is None else "code", "source": source, "metadata": metadata}
    if kind is not None:
        metadata["slideshow"] = {"slide_type": kind, **metadata.get("slideshow", {})}
    return found if outputs is None else {**found, "outputs": outputs, "execution_count": 1}


def words(fragment: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", fragment).split())


# ---- what is on the slides of the course


@each
def test_every_cell_says_what_it_is_on_a_slide(path):
    for found in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        slideshow = found["metadata"].get("slideshow", {})
        assert slideshow.get("slide_type") in KINDS, f'{found["id"]} has no slide_type; "skip" leaves it out'
        assert slideshow.get("show", "output") == "output", found["id"]
        assert found["cell_type"] == "markdown" or slideshow["slide_type"] != "notes", found["id"]


@each
def test_a_lesson_has_12_to_20_slides_each_with_heading_words_and_notes(path, made):
    slides = shown(path)
    assert 12 <= len(slides) <= 20 and made[1][path.stem + ".html"][0] == len(slides)
    assert slides[0].parts[0].count("<h1>") == 1 and slides[-1].title == "What you can do now"
    for slide in slides:
        text = "".join(slide.parts)
        assert slide.title and re.search("<h[12]", slide.parts[0]), text
        assert any(words(found) for found in re.findall(r"<(?:p|li|td)\b.*?</(?:p|li|td)>", text, re.S)), (
            f"{slide.title}: no words"
        )
        assert words("".join(slide.notes)), f"{slide.title}: nothing for the presenter"


@each
def test_a_text_on_a_slide_is_short(path):
    for slide in shown(path):
        for paragraph in re.findall(r"<p>(.*?)</p>", "".join(slide.parts), re.S):
            assert len(words(paragraph)) <= MOST, words(paragraph)


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def test_each_file_is_whole_and_reaches_for_nothing(made):
    to, said = made
    assert {path.name for path in to.iterdir()} == {*said, "index.html"} and len(said) == len(NOTEBOOKS)
    for name in [*said, "index.html"]:
        text = (to / name).read_text(encoding="utf-8")
        assert len(text.encode()) < 2e6
        for tag, attributes in Tags(text).found:
            assert tag not in ("iframe", "object", "embed", "base"), name
            assert attributes.get("src", "data:").startswith("data:"), (name, attributes["src"])
            assert not any(key.startswith("on") or key in ("srcset", "action") for key in attributes), (name, tag)
            href = attributes.get("href", "#")
            assert href in ("data:,", "index.html", "#") or href in said, (name, href)
            if tag == "img":
                assert len(attributes["alt"]) > 20, name
        assert not re.search(
            r"url\(|@import|innerHTML|document\.write|eval\(|fetch\(", asset("slides.css") + asset("slides.js")
        )
        (policy,) = (given["content"] for _, given in Tags(text).found if given.get("http-equiv"))
        assert policy.startswith("default-src 'none';") and "img-src data:" in policy and "http" not in policy
        assert name == "index.html" or hash_of(asset("slides.js")) in policy


# ---- the rule


def test_the_essence_of_a_text():
    text = (
        "First it is said. Then it is said again, so that whoever reads it at night, alone, has every step of it in front "
        "of him or her and needs nobody to ask, neither a lecturer nor a "
        "neighbour.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nLast it leads on. <details>no</details>\n\n"
        "Break: 10 minutes so far. Next: more.\n\n[< back](a.ipynb) | [on >](b.ipynb)"
    )
    table = "| a | b |\n|---|---|\n| 1 | 2 |"
    assert essence("## Head", text) == f"## Head\n\nFirst it is said.\n\n{table}"
    assert essence("", text) == f"{table}\n\nLast it leads on."
    assert essence("", "So:\n\n    x = 1\n\n$$y$$\n\n1. One. More.\n2. **Two.** Much.") == (
        "So:\n\n    x = 1\n\n$$y$$\n\n1. One.\n2. **Two.** Much."
    )
    assert (
        essence("### 1. Do it", "```python\na\n\n# b\n```\n\n![P](p.png)")
        == "### 1. Do it\n\n```python\na\n\n# b\n```\n\n![P](p.png)"
    )


def test_sentences_end_where_a_reader_ends_them():
    assert sentences("One. Two? (Three.) *Four.* `five` is 5.0 or 5. Six") == [
        "One.", "Two?", "(Three.)", "*Four.* `five` is 5.0 or 5.", "Six"
    ]  # fmt: skip
    assert sentences("**Break it.** Leave\nit out. See.") == ["**Break it.** Leave it out.", "See."]
    assert sentences('After *Mia ran. Ben sat.* it goes on. "No. Yes." End.') == [
        "After *Mia ran. Ben sat.* it goes on.", '"No. Yes."', "End."
    ]  # fmt: skip
    assert sentences("It is. (One. Two.) Three") == ["It is.", "(One. Two.)", "Three"]
    long = "The panels grow: " + "a list " * 40 + "ends."
    assert beginning(long) == "The panels grow ..." and beginning("Short. " + long) == "Short."


def test_headings_in_code_are_none():
    assert sections("Before.\n## One\ntext\n```\n# no\n```\n### Two") == [
        ("", "Before."), ("## One", "text\n```\n# no\n```"), ("### Two", "")
    ]  # fmt: skip


def test_cells_become_slides_as_in_jupyter():
    printed = [{"output_type": "stream", "name": "stdout", "text": "42\n"}]
    cells = [
        cell("# Title\nFor `you`. And on.", "slide"),
        cell("hidden()", "skip", []),
        cell("Said aloud. And more.", "notes"),
        cell("It ends. So.\n\n## One & two\nText.\n\n### Three\nMore.", "slide"),
        cell("x = 6 * 7\nprint(x)", "", printed),
        cell("y = 1", "fragment", printed),
        cell("Below the same heading.", "subslide"),
        cell("z = 2", "", printed, slideshow={"show": "output"}),
        cell("z = 3", "", printed, jupyter={"source_hidden": True}),
        cell("goes on", None),
        cell("nothing = 0", "fragment", [], slideshow={"show": "output"}),
    ]
    one, two, three = slides_of(cells, {}, ROOT)
    assert [slide.title for slide in (one, two, three)] == ["Title", "One & two", "One & two"]
    assert "<h1>Title</h1>" in one.parts[0] and "<p>For <code>you</code>. And on.</p>" in one.parts[0]
    notes = [words(note) for note in one.notes]
    assert notes == ["Title For you . And on.", "Said aloud. And more.", "It ends. So."]
    assert "<h2>One &amp; two</h2>" in two.parts[0] and "<h3>Three</h3>" in two.parts[1]
    assert words(two.parts[2]) == "x = 6 * 7 print ( x ) 42" and 'class="part"' in two.parts[2]
    assert 'class="part fragment"' in two.parts[3]
    assert three.parts[0] == '<h2 class="again">One &amp; two</h2>' and "<p>Below the same heading.</p>" in three.parts[1]
    assert [words(part) for part in three.parts[2:]] == ["42", "42", "goes on"]
    assert "hidden" not in "".join(one.parts + one.notes)


# ---- the command


def notebook(path, *cells) -> None:
    for number, each_cell in enumerate(cells):
        each_cell["id"] = f"c{number}"
    text = json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    path.write_text(text, encoding="utf-8", newline="\n")


def test_a_notebook_of_ones_own_and_what_is_refused(tmp_path):
    mine, to = tmp_path / "mine", tmp_path / "to"
    mine.mkdir()
    with pytest.raises(ValueError, match="no notebook in"):
        make_slides(mine, to)
    notebook(mine / "a.ipynb", cell("# <b> & [b](b.ipynb) [c](c.py)", "slide"), cell("1", "", []))
    with pytest.raises(ValueError, match="a.ipynb was saved without outputs"):
        make_slides(mine, to)
    notebook(mine / "a.ipynb", cell("# Mine", None))
    with pytest.raises(ValueError, match="no cell of a.ipynb is a slide"):
        make_slides(mine, to)
    (mine / "a.ipynb").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="a.ipynb cannot be read as a notebook"):
        make_slides(mine, to)
    assert not to.exists(), "nothing is written before all can be"
    notebook(mine / "a.ipynb", cell("# A [b](b.ipynb) [c](c.py)\n</section><script>alert(1)</script>.", "slide"))
    notebook(mine / "b.ipynb", cell("No heading.", "slide"), cell("c", "notes"))
    assert [said[:2] for said in make_slides(mine, to)] == [("a.html", 1), ("b.html", 1)]
    text = (to / "a.html").read_text(encoding="utf-8")
    assert '<a href="b.html">b</a> c' in text and "<title>A b c</title>" in text
    assert "<title>b.ipynb</title>" in (to / "b.html").read_text(encoding="utf-8")
    make_slides(mine, to)  # ours are made again
    assert [said[0] for said in make_slides(mine / "b.ipynb", tmp_path / "one")] == ["b.html"]
    with pytest.raises(ValueError, match="none.ipynb cannot be read"):
        make_slides(mine / "none.ipynb", to)
    (to / "b.html").write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError, match="b.html was not made by this command"):
        make_slides(mine, to)
    assert (to / "b.html").read_text(encoding="utf-8") == "mine"


def test_command_line_slides(tmp_path):
    (tmp_path / "mine").mkdir()
    notebook(tmp_path / "mine" / "a.ipynb", cell("# One", "slide"))
    command = [sys.executable, "-m", "yzlin", "slides", "--to", str(tmp_path / "deep" / "slides"), "--notebooks"]
    done = subprocess.run([*command, str(tmp_path / "mine")], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and re.match(r"a.html +1 slides +\d.\d\d MB\nOpen .*index.html", done.stdout), done.stderr
    assert {path.name for path in (tmp_path / "deep" / "slides").iterdir()} == {"a.html", "index.html"}
    none = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert none.returncode == 2 and "there is no notebook in" in none.stderr and "Traceback" not in none.stderr
    assert "/slides/" in (ROOT / ".gitignore").read_text().splitlines(), "make slides writes there"


# ---- in a real browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "microsoft-edge")
CHROMIUM = os.environ.get("CHROMIUM") or next((found for name in BROWSERS if (found := shutil.which(name))), None)
needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed: install one, or name it in $CHROMIUM")

# Goes through all slides; what it measured is the text of the frame's parent, in a frame of 1366 x 768 pixels.
MEASURE = """
addEventListener("load", () => {
  const found = [];
  const full = (tags, where) => find(tags, where).filter((e) => e.textContent.trim());
  const sizes = (where, tags) => full(tags, where).map((e) => parseFloat(getComputedStyle(e).fontSize));
  for (let n = 0; n < slides.length; n++) {
    show(n, true);
    fit(slides[n]);  // `show` itself waits until the pictures are decoded; here they are
    const body = find(".body", slides[n])[0], frame = body.getBoundingClientRect();
    found.push({
      name: slides[n].getAttribute("aria-label"),
      down: body.scrollHeight - body.clientHeight,
      across: Math.max(...[body, ...find("pre, table, p", body)].map((e) => e.scrollWidth - e.clientWidth)),
      outside: Math.max(...find("pre, p, img, li, td", body).map((e) => e.getBoundingClientRect().right - frame.right)),
      text: Math.min(...sizes(body, "p, li, td, th, h2, h3, figcaption")),
      code: Math.min(99, ...sizes(body, "pre")),
      picture: Math.min(999, ...find("img", body).map((e) => e.clientHeight)),
      screen: [innerWidth, innerHeight],
    });
  }
  parent.postMessage(JSON.stringify(found), "*");
});
"""
FRAME = """<!doctype html><iframe src="all.html" style="width:1366px;height:768px;border:0"></iframe><pre id="said"></pre>
<script>addEventListener("message", (event) => { document.getElementById("said").textContent = event.data; });</script>"""


@needs_chromium
def test_no_slide_overflows_a_small_projector(made, tmp_path):
    """Every slide of the course, at 1366 x 768: nothing is cut or scrolls, and letters have their least size."""
    pages = [(made[0] / name).read_text(encoding="utf-8") for name in made[1]]
    sections_ = "".join(re.search(r'<main id="deck".*?>(.*?)</main>\n<nav', page, re.S)[1] for page in pages)
    page = re.sub(r'(<main id="deck".*?>).*?(</main>\n<nav)', lambda m: m[1] + sections_ + m[2], pages[0], flags=re.S)
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    page = page.replace("</body>", f"<script>{MEASURE}</script></body>")
    (tmp_path / "all.html").write_text(page, encoding="utf-8", newline="\n")
    (tmp_path / "frame.html").write_text(FRAME, encoding="utf-8", newline="\n")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--window-size=1500,900", "--virtual-time-budget=600000", "--dump-dom", (tmp_path / "frame.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120)
    found = json.loads(re.search(r'<pre id="said">(.*?)</pre>', done.stdout, re.S)[1].replace("&amp;", "&"))
    assert len(found) == sum(count for count, _ in made[1].values())
    assert {tuple(slide["screen"]) for slide in found} == {(1366, 768)}
    assert [slide for slide in found if max(slide["down"], slide["across"], slide["outside"] - 1) > 0] == []
    assert [slide for slide in found if slide["text"] < 23.99 or slide["code"] < 17.99 or slide["picture"] < 250] == []


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[browser]'")
    if not CHROMIUM:
        pytest.skip("no Chromium is installed: install one, or name it in $CHROMIUM")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


def test_keys_address_notes_and_the_presenters_window(browser, made):
    context = browser.new_context(viewport={"width": 1366, "height": 768}, offline=True, color_scheme="light")
    tab, problems = context.new_page(), []
    tab.on("console", lambda message: problems.append(message.text))
    tab.on("pageerror", lambda error: problems.append(str(error)))
    address = (made[0] / "02_batches.html").as_uri()
    tab.goto(f"{address}#/2")

    def after(*keys: str) -> str:
        for key in keys:
            tab.keyboard.press(key)
        tab.wait_for_timeout(50)
        return tab.url.removeprefix(address)

    fragment = tab.locator(".slide.now .fragment")
    assert fragment.evaluate("e => getComputedStyle(e).visibility") == "hidden"
    assert after("ArrowRight") == "#/2" and fragment.evaluate("e => getComputedStyle(e).visibility") == "visible"
    assert after("Space") == "#/3" and after("PageDown") == "#/4" and after("ArrowLeft") == "#/3"
    assert after("PageUp") == "#/2" and fragment.evaluate("e => e.classList.contains('seen')"), "back at its end"
    assert after("End") == "#/19" and after("ArrowRight") == "#/19" and after("Home") == "#/1" and after("ArrowUp") == "#/1"
    assert after("1", "2", "Enter") == "#/12" and after("9", "9", "Enter") == "#/19" and after("7", "x", "Enter") == "#/19"
    assert tab.text_content("#said") == "Slide 19 of 19: What you can do now" and tab.locator(".slide:visible").count() == 1
    after("n")
    assert "name the table that a model must beat. In the package" in tab.locator("#pane:visible").inner_text().replace(
        "\n", " "
    )
    assert after("n") and tab.locator("#pane").is_hidden()
    after("d")
    assert tab.evaluate("document.documentElement.className").split() == ["js", "dark"]
    after("?")
    assert (
        tab.locator("#help").is_visible()
        and after("ArrowLeft") == "#/19"
        and after("Escape")
        and tab.locator("#help").is_hidden()
    )
    after("o")
    tab.locator("#contents a").nth(2).click()
    tab.wait_for_timeout(50)
    assert tab.url.endswith("#/3") and tab.locator("#contents").is_hidden()
    with context.expect_page() as opened:
        after("s")
    talk = opened.value
    assert talk.locator("#next").inner_text() == "Next: Random crops" and "Five. From the same six" in talk.inner_text("#text")
    talk.keyboard.press("ArrowDown")  # scrolls
    talk.keyboard.press("ArrowRight")
    talk.wait_for_timeout(100)
    assert tab.url.endswith("#/4") and talk.locator("#place").inner_text() == "4 / 19: Random crops"
    assert problems == []
    context.close()


def test_printed_a_slide_is_a_page(browser, made):
    tab = browser.new_page(viewport={"width": 1366, "height": 768})
    tab.goto((made[0] / "00_start_here.html").as_uri())
    printed = tab.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type /Page\b", printed)) == made[1]["00_start_here.html"][0]
    tab.close()
