"""The site: every link leads somewhere, nothing comes from another host, and what the notebooks show is on the pages."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import nbformat
import pytest

from yzlin import ROOT
from yzlin.tools.site import DOCS, PICTURES, WIDGET, make_site, site_files

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


class Tags(HTMLParser):
    """Every tag with its attributes, every id, and the text of each element of some kinds, by a parser that is not ours."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.ids, self.open, self.texts = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append((tag, []))

    def handle_data(self, data):
        for _, pieces in self.open:
            pieces.append(data)

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        while self.open:
            name, pieces = self.open.pop()
            self.texts.append((name, " ".join("".join(pieces).split())))
            if name == tag:
                return
        raise AssertionError(f"</{tag}> ends nothing")

    def text(self, *kinds: str) -> list[str]:
        return [text for name, text in self.texts if name in kinds]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the whole site, made once from an empty folder."""
    folder = tmp_path_factory.mktemp("site") / "site"
    make_site(folder)
    return folder


@pytest.fixture(scope="module")
def pages(site):
    """path -> tags of every page but the story's, which test_page.py looks at."""
    return {path: Tags(path.read_text(encoding="utf-8")) for path in site.rglob("*.html") if path.name != "story.html"}


def page_of(pages, site, stem):
    return pages[site / "notebooks" / f"{stem}.html"]


def test_every_link_leads_somewhere_and_nothing_comes_from_a_host(pages):
    looked = 0
    for path, page in pages.items():
        assert len(page.ids) == len(set(page.ids)), path
        assert page.open == [], f"{path}: everything that was opened is closed"
        for tag, attributes in page.tags:
            assert not {"srcset", "action", "formaction", "poster", "data", "ping", "background"} & attributes.keys(), (
                path,
                tag,
            )
            assert not any(name.startswith("on") for name in attributes) and "url(" not in attributes.get("style", ""), path
            assert tag not in ("iframe", "object", "embed", "base") and attributes.get("http-equiv") is None, path
            for name in ("href", "src"):
                if name not in attributes or attributes[name] == "data:,":
                    continue
                parts = urlsplit(attributes[name])
                assert not parts.scheme and not parts.netloc and not parts.path.startswith("/"), (path, attributes[name])
                target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
                assert target.is_file(), (path, attributes[name])
                if parts.fragment:
                    assert parts.fragment in pages[target].ids, (path, attributes[name])
                looked += 1
    assert looked > 1000


def test_styles_and_scripts_reach_for_nothing(site):
    style, script = ((site / name).read_text(encoding="utf-8") for name in ("site.css", "site.js"))
    assert not re.search(r"url\(|@import|@font-face|https?:", style)
    for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "fetch(", "XMLHttp", "import(", "http"):
        assert word not in script, word
    assert not list(site.rglob("*.woff*")) and not list(site.rglob("*.ipynb"))
    first = Tags((site / "index.html").read_text(encoding="utf-8"))
    assert ["search_index.js", "site.js"] == [attributes["src"][2:] for tag, attributes in first.tags if tag == "script"]


def test_all_is_listed_and_no_solution_is_there(site, pages):
    files = {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}
    assert set(json.loads((site / "site.json").read_text())) == files
    assert {f"notebooks/{name}.html" for name in NAMES} | {"index.html", "story.html", "yzlin/model.py.html"} <= files
    assert {re.sub(r"\.md$", ".html", doc) for doc in DOCS} <= files
    assert not any("solutions" in name or "checks" in name for name in files)
    printed = "\n".join(text for page in pages.values() for text in page.text("pre"))
    answers = 0
    for path in (ROOT / "notebooks" / "solutions").glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code" and re.search(r"^check_\w+\(", cell.source, re.M):
                assert " ".join(cell.source.split()) not in printed, cell.source
                answers += 1
    assert answers >= 30


def test_the_headings_go_down_one_step_at_a_time(pages):
    for path, page in pages.items():
        levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1 and levels.count(1) == 1, path
        assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False)), path
        assert all(page.text("th")), path
        assert {"header", "main", "nav", "footer"} <= {tag for tag, _ in page.tags} and dict(page.tags[0][1])["lang"] == "en"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_what_a_notebook_shows_is_on_its_page(path, pages, site):
    page = page_of(pages, site, path.stem)
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert all(len(image["alt"]) > 20 for image in images)
    shown = [(image["alt"], (site / "notebooks" / image["src"]).read_bytes()) for image in images]
    captions, printed, said = page.text("figcaption"), "\n".join(page.text("pre")), " ".join(page.text("main"))
    for cell in nbformat.read(path, as_version=4).cells:
        for heading in re.findall(r"^#+ (.*)", cell.source, re.M) if cell.cell_type == "markdown" else ():
            assert re.sub(r"[*`]", "", heading) in page.text("h1", "h2", "h3"), heading
        if cell.cell_type == "code":
            assert " ".join(cell.source.split()) in printed, cell.source
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "image/png" in data:
                assert (output.metadata["image/png"]["alt"], base64.b64decode(data["image/png"])) in shown
            if "text/markdown" in data:
                assert data["text/markdown"].replace("*", "").replace("`", "") in captions
            for line in output.get("text", "").splitlines():
                assert " ".join(line.split()) in printed
    assert "$$" not in said and "Jupyter widget" not in said and "VBox(children" not in said and "IntProgress(value" not in said


def test_every_widget_has_its_picture(site):
    widgets = 0
    for path in NOTEBOOKS:
        text = (site / "notebooks" / f"{path.stem}.html").read_text(encoding="utf-8")
        for cell in nbformat.read(path, as_version=4).cells:
            if any(WIDGET in output.get("data", {}) for output in cell.get("outputs", ())):
                shown = re.search(
                    rf'<div class="cell" id="cell-{cell.id}">.*?</div>\s*(?=<div class="cell"|<h|<p|</main)', text, re.S
                )[0]
                assert re.search(r'<img [^>]*src="\.\./pictures/', shown), cell.id
                assert cell.id in PICTURES or "text/html" in str(cell.outputs)
                widgets += 1
    assert widgets >= 3


def test_folded_code_can_be_opened_and_formulas_are_pictures(pages, site):
    page = page_of(pages, site, "04_attention")
    cells = nbformat.read(ROOT / "notebooks" / "04_attention.ipynb", as_version=4).cells
    folded = sum(cell.metadata.get("jupyter", {}).get("source_hidden", False) for cell in cells)
    assert folded and page.text("summary").count("Code") == folded
    formulas = [attributes for tag, attributes in page_of(pages, site, "03_rmsnorm").tags if tag == "svg"]
    assert any(r"\frac{x}" in attributes["aria-label"] and attributes["role"] == "img" for attributes in formulas)
    quiz = pages[site / "docs" / "quiz.html"]
    assert len(quiz.text("summary")) == (ROOT / "docs" / "quiz.md").read_text(encoding="utf-8").count("<summary>")


def test_the_first_page_opens_every_door(pages, site):
    page = pages[site / "index.html"]
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert links.index("story.html") < links.index("notebooks/00_start_here.html")
    assert {f"notebooks/{name}.html" for name in NAMES} | {"yzlin/index.html", "README.html"} <= set(links)
    assert [int(cell) for cell in page.text("td") if cell.isdigit()] == [
        int(re.search(r"Read: (\d+) minute", nbformat.read(path, as_version=4).cells[0].source)[1]) for path in NOTEBOOKS
    ]
    assert any(tag == "img" and "a story grows" in attributes["alt"] for tag, attributes in page.tags)


def test_each_notebook_leads_to_its_neighbours_once(pages, site):
    for before, stem, after in zip(["../index", *NAMES], NAMES, [*NAMES[1:], None], strict=False):
        page = page_of(pages, site, stem)
        turns = {attributes["rel"]: attributes["href"] for tag, attributes in page.tags if "rel" in attributes and tag == "a"}
        assert turns == {"prev": f"{before}.html"} | ({"next": f"{after}.html"} if after else {})
        assert "| map" not in " ".join(page.text("main")) and "](" not in " ".join(page.text("p", "blockquote")), stem


def test_links_of_notebooks_are_links_of_pages(pages, site):
    def links(stem):
        return {attributes["href"] for tag, attributes in page_of(pages, site, stem).tags if tag == "a"}

    assert {"02_batches.html", "04_attention.html", "../yzlin/model.py.html"} <= links("03_rmsnorm")
    assert {"../docs/tables/second_cliff.csv.html", "../experiments/second_cliff.py.html"} <= links("10_look_inside")
    assert "../yzlin/index.html" in links("00_start_here")
    model = Tags((site / "yzlin" / "model.py.html").read_text(encoding="utf-8"))
    lines = (ROOT / "yzlin" / "model.py").read_text(encoding="utf-8").splitlines()
    assert {f"line-{number}" for number in range(1, len(lines) + 1)} <= set(model.ids)


def index_of(site) -> list:
    text = (site / "search_index.js").read_text(encoding="utf-8")
    return json.loads(text.removeprefix("window.searchIndex = ").removesuffix(";\n"))


def test_what_is_sought_is_in_the_index(pages, site):
    found = {}
    for address, title, parts in index_of(site):
        assert title and (site / address).is_file()
        for anchor, heading, text in parts:
            assert not anchor or anchor in pages[site / address].ids
            found[address, heading] = text
    assert "class FlashAttention(nn.Module):" in found["yzlin/model.py.html", "FlashAttention"]
    assert "get_lr" in found["yzlin/train.py.html", "get_lr"] and "coherence" in found[
        "notebooks/00_start_here.html", "The map"
    ] + str(found)
    assert any("\u6708\u4eae" in text and address.startswith("notebooks/01") for (address, _), text in found.items())
    assert any("&" not in text and "<|endoftext|>" in text for text in found.values()), "text, not HTML"


@pytest.fixture
def small(tmp_path):
    """A repository of one notebook and the docs."""
    for name in ("notebooks/00_start_here.ipynb", *DOCS, "yzlin/model.py"):
        (tmp_path / "course" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "course" / name)
    return tmp_path / "course"


def test_links_to_hosts_and_to_what_is_not_there_become_words(small):
    (small / "docs" / "measured.md").write_text(
        "# M\n[a paper](https://arxiv.org/abs/1) <b>[gone](../tests/none.py)</b> [out](../../etc/passwd.md)\n\n"
        "[mail](mailto:a@b.c) <https://b.org/x> [here](#m) [part](quiz.md#00-start-here)",
        encoding="utf-8",
    )
    page = Tags(site_files(small)["docs/measured.html"].decode())
    said = page.text("main")[0]
    assert "a paper (https://arxiv.org/abs/1) gone out" in said and "mail" in said and said.count("https://b.org/x") == 1
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert "#m" in links and "quiz.html#00-start-here" in links and not any(":" in link for link in links)


def test_an_older_site_is_replaced_and_nothing_else_is(small, tmp_path):
    to = tmp_path / "to"
    to.mkdir()
    make_site(to, root=small)
    (to / "index.html").write_text("old")
    make_site(to, root=small)
    assert "old" != (to / "index.html").read_text(encoding="utf-8")
    (to / "docs" / "mine.txt").write_text("mine")
    for place in (to, small, small / "yzlin" / "model.py"):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(FileExistsError, match="holds what is not of a site .*choose another --to"):
            make_site(place, root=small)
        assert sorted(tmp_path.rglob("*")) == before and (to / "docs" / "mine.txt").read_text() == "mine"
    (to / "docs" / "mine.txt").unlink()
    (to / "site.json").write_text("7")
    with pytest.raises(FileExistsError):
        make_site(to, root=small)


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (lambda root: shutil.rmtree(root / "notebooks"), "holds no notebooks: make the site in a copy of the whole"),
        (lambda root: (root / "notebooks/00_start_here.ipynb").write_text("{"), "is not a notebook: get it again"),
        (lambda root: (root / "notebooks/00_start_here.ipynb").write_text('{"cells": [], "nbformat": 4}'), "is not a notebook"),
        (lambda root: (root / "docs/quiz.md").unlink(), "quiz.md is missing: get it again"),
    ],
)
def test_what_is_missing_is_one_sentence_and_nothing_is_written(small, tmp_path, break_it, sentence):
    break_it(small)
    with pytest.raises((ValueError, OSError), match=sentence):
        make_site(tmp_path / "deep" / "to", root=small)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["course"]


def test_a_notebook_that_was_not_run_and_a_model_that_is_not_there(small, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        make_site(tmp_path / "to", root=small, run="nowhere")
    path = small / "notebooks" / "00_start_here.ipynb"
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    nbformat.write(notebook, path)
    with pytest.raises(ValueError, match="has no outputs: run it and save it"):
        make_site(tmp_path / "to", root=small)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["course"]


def test_command_line_site(tmp_path):
    (tmp_path / "taken").write_text("mine")
    command = [sys.executable, "-m", "yzlin", "site", "--to", str(tmp_path / "taken")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "choose another --to" in done.stderr
    assert (tmp_path / "taken").read_text() == "mine"


# ---- in a real browser


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[browser]'")
    names = ("chromium", "chromium-browser", "google-chrome", "chrome", "microsoft-edge")
    chromium = os.environ.get("CHROMIUM") or next((found for name in names if (found := shutil.which(name))), None)
    if not chromium:
        pytest.skip("no Chromium is installed: install one, or name it in $CHROMIUM")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def tab(browser):
    """A page that opens files, and asks for nothing else; nothing is amiss at its end."""
    context = browser.new_context(viewport={"width": 1366, "height": 768}, offline=True)
    tab = context.new_page()
    problems = []
    tab.on("console", lambda message: message.type in ("error", "warning") and problems.append(message.text))
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("request", lambda request: request.url.startswith(("file:", "data:")) or problems.append(request.url))
    yield tab
    assert problems == []
    context.close()


def results(tab) -> list[str]:
    return tab.locator("#found a").all_inner_texts()


def test_the_search_finds_names_chinese_and_code_by_the_keyboard_alone(tab, site):
    tab.goto((site / "notebooks" / "05_gated_mlp.html").as_uri())
    tab.keyboard.press("/")
    assert tab.evaluate("document.activeElement.id") == "query" and tab.input_value("#query") == ""
    tab.keyboard.type("flashattention")
    assert any(text.startswith("yzlin/model.py: FlashAttention") for text in results(tab)[:3])
    assert re.fullmatch(r"\d+ places.*", tab.inner_text("#count")) and tab.get_attribute("#count", "aria-live") == "polite"
    assert tab.locator("#found mark").first.inner_text() == "FlashAttention"
    tab.keyboard.press("Escape")
    assert not tab.is_visible("#results") and tab.evaluate("document.activeElement.id") == "query"
    for words, wanted in (
        ("\u6708\u4eae", "01 From text to tokens"),
        ("get_lr", "yzlin/train.py: get_lr"),
        ("causal  mask", "04 Attention"),
    ):
        tab.fill("#query", words)
        assert any(text.startswith(wanted) for text in results(tab)[:5]), results(tab)
    tab.fill("#query", "zzzz")
    assert results(tab) == [] and "Nothing found" in tab.inner_text("#count")
    tab.fill("#query", "get_lr")
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("ArrowUp")
    assert tab.evaluate("document.activeElement === document.querySelector('#found a')")
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/yzlin/train.py.html#line-*")
    assert "def get_lr" in tab.inner_text(tab.url[tab.url.index("#") :])


def test_what_is_typed_is_text(tab, site):
    tab.goto((site / "index.html").as_uri())
    for typed in ("<img src=x onerror=alert(1)>", "<|endoftext|>", "a.b*(c[", "\\", "<b>"):
        tab.fill("#query", typed)
        assert tab.locator("#results img, #results script, #count b").count() == 0
    assert "<b>" in tab.locator("#found").inner_text() or results(tab) == []
    tab.fill("#query", "<|endoftext|>")
    assert "<|endoftext|>" in tab.locator("#found mark").all_inner_texts()


WIDEST = """Math.max(0, ...[...document.querySelectorAll("main > p")].map(
  (line) => line.clientWidth / parseFloat(getComputedStyle(line).fontSize)))"""


def test_no_page_is_wider_than_the_screen(tab, site, pages):
    few = [site / name for name in ("index.html", "README.html", "notebooks/10_look_inside.html", "yzlin/model.py.html")]
    programs = {path for path in pages if path.name.endswith(".py.html")}
    for width, paths in ((390, few + sorted(pages.keys() - programs - {*few})), (1366, few), (1920, few[-2:])):
        tab.set_viewport_size({"width": width, "height": 800})
        for path in paths:
            tab.goto(path.as_uri())
            assert tab.evaluate("document.documentElement.scrollWidth") <= width, path
            assert tab.evaluate(WIDEST) < 42, "in em: a line has 75 letters or so"


@pytest.mark.parametrize(
    ("name", "scheme"),
    [("index", "light"), ("notebooks/00_start_here", "dark"), ("yzlin/batches.py", "light")],
)
def test_axe_finds_nothing(tab, site, name, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed").Axe()
    tab.emulate_media(color_scheme=scheme)
    tab.goto((site / f"{name}.html").as_uri())
    tab.fill("#query", "attention")
    found = axe.run(tab, options={"preload": False}).response  # it would ask for the style again
    assert len(found["passes"]) > 20
    assert not found["violations"], [
        (each["id"], [node["html"][:200] for node in each["nodes"][:3]]) for each in found["violations"]
    ]
