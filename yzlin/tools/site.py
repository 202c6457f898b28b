"""`python -m yzlin site`: the course as pages that open by a double click, from a USB stick too: no server, no network.

Nothing is run: the pages show the outputs that the notebooks hold. html.py renders their cells; here pages are made of
them: links between pages, pictures as files, a map beside each page, and an index that site.js searches.

Solutions, and what the checkers compare with, are left out: the pages are for students. Whatever a page names that is
not in the site stays as words without a link, and so does every address of another host.
"""

from __future__ import annotations

import argparse
import base64
import html
import json
import posixpath
import re
import struct
import tempfile
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from yzlin import ROOT
from yzlin.tools.files import need_file, whole_folder
from yzlin.tools.html import asset, code, filled, markdown, output

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag
    from nbformat import NotebookNode

NAME, TAGLINE = "yzlin", "build a GPT that tells stories"
DOCS = {  # page: its name in the map
    "docs/teaching.md": "Teaching with this course",
    "docs/quiz.md": "Quiz questions",
    "docs/measured.md": "Measured",
    "README.md": "Installation and commands",
}
LISTING = "site.json"  # in the site: the name of each of its files; what is not among them is somebody else's
WIDGET = "application/vnd.jupyter.widget-view+json"
PICTURES = {  # of widgets whose cell stores none (photographed in JupyterLab): the cell's id, a file in figures/, what one sees
    "04-091": ("attention_sliders.png", "Sliders for layer and head above the heat map of that head: which token looks where."),
    "05-022": ("progress_bar.png", "A bar named training, full to its end after 400 steps."),
}
INLINE = re.compile(r"</?(?:a|b|code|em|i|mark|span|strong|sub|sup)\b[^>]*>")


@dataclass(eq=False)
class Page:
    """One page. source: of what file or folder of the repository, as in docs/quiz.md; "" for the first page."""

    source: str
    body: BeautifulSoup
    below: str = ""  # HTML in which no link or picture is: a program in colours
    promise: str = ""  # of a notebook: what stands at its end
    minutes: int = 0  # of a notebook: to read it

    @property
    def address(self) -> str:
        """The page's path in the site."""
        return address_of(self.source)

    @property
    def title(self) -> str:
        return self.body.find("h1").get_text()


@dataclass
class Site:
    """All pages, and the pictures on them; `waiting` has the sources of pages that others link to."""

    root: Path
    pages: dict[str, Page] = field(default_factory=dict)
    pictures: dict[str, bytes] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)

    @property
    def lessons(self) -> list[Page]:
        return [page for page in self.pages.values() if page.source.endswith(".ipynb")]


def make_site(to: str | Path, root: Path = ROOT, run: str = "storyteller") -> dict[str, bytes]:
    """Writes the site of the course in `root`, whole or not at all; an older site at `to` is replaced. Returns its files.

    run: the model that tells stories on story.html. Raises FileNotFoundError or ValueError for what is missing or damaged,
    FileExistsError if `to` holds anything that is not ours; then nothing was written.
    """
    to = Path(to)
    old = files_of_ours(to)
    files = {**site_files(root), "story.html": story(run)}
    files[LISTING] = json.dumps(sorted([*files, LISTING]), indent=0).encode()
    with whole_folder(to, force=True, need=sum(map(len, files.values())), ours={name.split("/")[0] for name in old}) as folder:
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
    return files


def files_of_ours(to: Path) -> list[str]:
    """The files of the site that is at `to`. Raises FileExistsError if there is anything else."""
    if not to.exists():
        return []
    found = [path.relative_to(to).as_posix() for path in to.rglob("*") if not path.is_dir()] if to.is_dir() else [to.name]
    try:
        ours = set(json.loads((to / LISTING).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        ours = set()
    if strange := sorted(set(found) - ours):
        raise FileExistsError(f"{to} is there already and holds what is not of a site ({strange[0]}): choose another --to.")
    return found


def story(run: str) -> bytes:
    """The page on which the model of a run tells stories."""
    from yzlin.tools.page import page

    with tempfile.TemporaryDirectory() as folder:
        page(run, Path(folder) / "story.html")
        return (Path(folder) / "story.html").read_bytes()


def site_files(root: Path) -> dict[str, bytes]:
    """Everything but the story's page: path in the site -> content."""
    try:
        import bs4  # noqa: F401  (both come with JupyterLab)
        import nbconvert  # noqa: F401
    except ImportError as error:
        raise ImportError(f"the site needs nbconvert ({error}): pip install nbconvert") from error
    site = Site(root)
    notebooks = sorted(path.name for path in (root / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    if not notebooks:
        raise FileNotFoundError(f"{root / 'notebooks'} holds no notebooks: make the site in a copy of the whole repository.")
    rooms = sorted(path.relative_to(root).as_posix() for path in (root / "yzlin").glob("[!_]*.py"))
    site.waiting = [*(f"notebooks/{name}" for name in notebooks), *DOCS, "yzlin", *rooms]
    while site.waiting:
        source = site.waiting.pop(0)
        if source not in site.pages:
            site.pages[source] = finished(site, page_of(site, source))
    site.pages[""] = finished(site, Page("", soup(first_page(site))))
    files, index = dict(site.pictures), []
    for page in site.pages.values():
        body = str(page.body) + page.below
        files[page.address] = framed(site, page, body).encode()
        if page.source:  # the first page says nothing that is not on another
            index.append([page.address, page.title, list(places(page.source, body))])
    files["search_index.js"] = f"window.searchIndex = {json.dumps(index, ensure_ascii=False)};\n".encode()
    files["site.css"] = (asset("code.css") + asset("site.css")).encode()
    files["site.js"] = asset("site.js").encode()
    return files


def address_of(source: str) -> str:
    """Where the page of a file or folder of the repository stands in the site."""
    path = PurePosixPath(source)
    if not path.suffix:
        return (path / "index.html").as_posix()
    return path.with_suffix(".html").as_posix() if path.suffix in (".ipynb", ".md") else f"{source}.html"


def has_page(site: Site, source: str) -> bool:
    """True if a file or folder of the repository has, or will have, a page."""
    known = source in site.pages or source in site.waiting
    return known or (source.endswith((".md", ".py", ".csv")) and not source.startswith("..") and (site.root / source).is_file())


# ---- from a file to a page


def soup(text: str) -> BeautifulSoup:
    from bs4 import BeautifulSoup

    return BeautifulSoup(text, "html.parser")


def page_of(site: Site, source: str) -> Page:
    """The page of a notebook, a Markdown file, a program or table, or the folder of the package."""
    path = site.root / source
    if source == "yzlin":
        return Page(source, soup(folder_html(path)))
    need_file(path, "a page of the course", "get it again with `git checkout`")
    if source.endswith(".ipynb"):
        return lesson(path, source)
    text = path.read_text(encoding="utf-8")
    if source.endswith(".md"):
        return Page(source, soup(markdown(text, folder=path.parent)))
    up = '<p class="hint"><a href="../yzlin">The package yzlin</a></p>' if source.startswith("yzlin/") else ""
    return Page(source, soup(f"<h1>{source}</h1>{up}"), below=program_html(source, text))


def lesson(path: Path, source: str) -> Page:
    """The page of a notebook, with the promise and the minutes that its first cell states."""
    import nbformat

    try:
        cells = nbformat.read(path, as_version=4).cells
        first = cells[0].source
    except (ValueError, KeyError, IndexError, AttributeError, nbformat.ValidationError) as error:
        raise ValueError(f"{path} is not a notebook: get it again with `git checkout`.") from error
    if not any(cell.get("outputs") for cell in cells):
        raise ValueError(f"{path} has no outputs: run it and save it, or get it again with `git checkout`.")
    body = soup("\n".join(cell_html(cell, path) for cell in cells))
    note = "A page to read: what you see was computed when the course was made. To run it and change it"
    body.find("h1").insert_after(soup(f'<p class="hint">{note}: <code>make lab</code>, then <code>{source}</code>.</p>'))
    promise = re.search(r"At the end of this page (.+?)\.?(?:\n\n|$)", first, re.S)
    minutes = re.search(r"Read: (\d+) minute", first)
    words = " ".join(promise[1].split()) if promise else ""
    return Page(source, body, promise=words, minutes=int(minutes[1]) if minutes else 0)


def cell_html(cell: NotebookNode, path: Path) -> str:
    """One cell. Folded code can be opened; what a cell printed in pieces is one piece."""
    from nbconvert.preprocessors import CoalesceStreamsPreprocessor

    if cell.cell_type != "code":  # without the notebook's own line of links to its neighbours: the page has another
        text = re.sub(r"(?m)^(?:.*\[map\]\(.*|map \(this page\).*)(?:\n.+)*", "", cell.source)
        return markdown(text, attachments=cell.get("attachments"), folder=path.parent)
    program = code(cell.source)
    if cell.metadata.get("jupyter", {}).get("source_hidden"):
        program = f"<details><summary>Code</summary>{program}</details>"
    CoalesceStreamsPreprocessor(enabled=True).preprocess_cell(cell, {}, 0)
    figures = path.parent.parent / "figures"
    outputs = (widget_html(cell.id, each, figures) if WIDGET in each.get("data", {}) else output(each) for each in cell.outputs)
    return f'<div class="cell" id="cell-{html.escape(cell.id)}">{program}{"".join(outputs)}</div>'


def widget_html(cell_id: str, given: NotebookNode, figures: Path) -> str:
    """A widget as it looked: its own picture, or ours."""
    data = {kind: value for kind, value in given.data.items() if kind != WIDGET}
    if "text/html" in data or "image/png" in data:
        return output({**given, "data": data})
    if cell_id not in PICTURES:
        return '<p class="hint">Here JupyterLab shows something that moves; it has no picture yet.</p>'
    name, seen = PICTURES[cell_id]
    packed = base64.b64encode(need_file(figures / name, "a picture", "get it again with `git checkout`").read_bytes())
    caption = f'<div class="caption"><p><em>{seen} In JupyterLab it moves.</em></p></div>'
    return f'<img class="out" alt="{seen}" src="data:image/png;base64,{packed.decode()}">{caption}'


def program_html(source: str, text: str) -> str:
    """A program in colours, or a table as it is, with a number before each line and an anchor at it."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer, TextLexer

    lexer = PythonLexer() if source.endswith(".py") else TextLexer()
    return highlight(text, lexer, HtmlFormatter(linenos="inline", linespans="line", cssclass="highlight program"))


def folder_html(folder: Path) -> str:
    """What there is to read in the package: each file with the first line of its docstring."""
    rows = []
    for path in sorted(folder.glob("[!_]*.py")):
        text = path.read_text(encoding="utf-8")
        says = re.match(r'"""(.+?)(?:\.?"""|\.?\n\n)', text, re.S)
        words = html.escape(" ".join(says[1].split())) if says else ""
        name = f'<a href="yzlin/{path.name}">{path.name}</a>'
        rows.append(f"<tr><td>{name}</td><td>{words}</td><td>{len(text.splitlines())}</td></tr>")
    return filled("package.html", rows="\n".join(rows))


def first_page(site: Site) -> str:
    """The body of index.html."""
    here = soup(str(site.pages[site.lessons[0].source].body)).find(id="the-map")
    drawn = here.find_next("figure") if here else None
    for picture in drawn.find_all("img") if drawn else ():
        picture["src"] = picture["src"].removeprefix("../")
    rows = []
    for page in site.lessons:
        link = f'<a href="{page.source}">{html.escape(page.title)}</a>'
        rows.append(f"<tr><td>{link}</td><td>{html.escape(page.promise)}</td><td>{page.minutes}</td></tr>")
    hours = sum(page.minutes for page in site.lessons) / 60
    return filled("index.html", drawn=str(drawn or ""), rows="\n".join(rows), hours=f"{hours:.0f}")


# ---- what every page gets


def finished(site: Site, page: Page) -> Page:
    """The page with an anchor at each heading, links that lead somewhere, and pictures as files."""
    used: dict[str, int] = {}
    for heading in page.body.find_all(re.compile("^h[1-6]$")):
        slug = re.sub(r"[^\w\- ]", "", heading.get_text().strip().lower()).replace(" ", "-") or "part"
        used[slug] = used.get(slug, -1) + 1
        heading["id"] = f"{slug}-{used[slug]}" if used[slug] else slug
    for link in page.body.find_all("a"):
        lead(site, page, link)
    for number, picture in enumerate(page.body.find_all("img")):
        keep(site, page, picture, number)
    for drawn in page.body.select("img.out"):
        figure = drawn.wrap(page.body.new_tag("figure"))
        below = figure.find_next_sibling()
        if below and "caption" in below.get("class", ()):
            below.name = "figcaption"
            figure.append(below)
    for printed in page.body.select("pre.out"):
        inside = page.body.new_tag("samp")
        inside.extend(list(printed.contents))
        printed.append(inside)
    for table in page.body.find_all("table"):
        table.wrap(page.body.new_tag("div", attrs={"class": "table"}))
        for head in table.find_all("th"):
            if head.get_text(strip=True):
                head["scope"] = "col"
            else:
                head.name = "td"  # an empty corner heads nothing
    return page


def lead(site: Site, page: Page, link: Tag) -> None:
    """Turns a link between files of the repository into one between pages, or into words where there is no page."""
    href = link.get("href", "")
    parts = urlsplit(href)
    target = posixpath.normpath(posixpath.join(posixpath.dirname(page.source), unquote(parts.path)))
    if href.startswith("#") or href == "story.html":
        return
    if not parts.scheme and not parts.netloc and has_page(site, target):
        site.waiting.append(target)
        link["href"] = relative(address_of(target), page) + (f"#{parts.fragment}" if parts.fragment else "")
        return
    if parts.netloc and href not in link.get_text():
        link.append(f" ({href})")
    link.name, link.attrs = "span", {"class": "elsewhere"}


def relative(address: str, page: Page) -> str:
    """The address of a page or file of the site, as seen from another page."""
    return posixpath.relpath(address, posixpath.dirname(page.address) or ".")


def keep(site: Site, page: Page, picture: Tag, number: int) -> None:
    """Makes a file of a picture that is embedded, and says its size, so that the page does not jump when it comes."""
    kind, _, packed = picture["src"].partition(";base64,")
    if not kind.startswith("data:image/"):
        return
    data = base64.b64decode(packed)
    name = f"pictures/{PurePosixPath(page.source).stem}_{number + 1}.{kind.removeprefix('data:image/')}"
    site.pictures[name] = data
    picture["src"], picture["loading"] = relative(name, page), "lazy"
    if data.startswith(b"\x89PNG"):
        picture["width"], picture["height"] = map(str, struct.unpack(">II", data[16:24]))
    picture.attrs.pop("style", None)


def framed(site: Site, page: Page, body: str) -> str:
    """The whole file of a page."""
    root = relative(".", page) + "/"
    title = f"{page.title} | {NAME}" if page.source else f"{NAME}: {TAGLINE}"
    order = [site.pages[""], *site.lessons]
    here = order.index(page) if page in order else -2
    ways = [(way, order[at]) for way, at in (("prev", here - 1), ("next", here + 1)) if 0 <= at < len(order)]
    links = "".join(f'<a rel="{way}" href="{relative(to.address, page)}">{html.escape(to.title)}</a>' for way, to in ways)
    turn = f'<nav class="turn" aria-label="Previous and next page">{links}</nav>' if links else ""
    parts = {"root": root, "title": html.escape(title), "body": body, "turn": turn, "map": map_html(site, page)}
    return filled("site.html", name=NAME, tagline=TAGLINE, **parts)


def map_html(site: Site, page: Page) -> str:
    """The map beside a page: every notebook, under the one that is open its parts, then docs and code."""

    def item(to: Page, words: str) -> str:
        if to is not page:
            return f'<li><a href="{relative(to.address, page)}">{html.escape(words)}</a></li>'
        parts = (f'<li><a href="#{part["id"]}">{html.escape(part.get_text())}</a></li>' for part in page.body.find_all("h2"))
        below = "".join(parts)
        return f'<li><a href="#main" aria-current="page">{html.escape(words)}</a>{below and f"<ul>{below}</ul>"}</li>'

    notebooks = "".join(item(lesson, lesson.title) for lesson in site.lessons)
    docs = "".join(item(site.pages[source], words) for source, words in DOCS.items())
    docs += item(site.pages["yzlin"], "The package yzlin")
    first = item(site.pages[""], "Start") + f'<li><a href="{relative("story.html", page)}">Let it tell you a story</a></li>'
    return f"<ul>{first}</ul><h2>Notebooks</h2><ul>{notebooks}</ul><h2>Around them</h2><ul>{docs}</ul>"


def places(source: str, text: str) -> Iterator[tuple[str, str, str]]:
    """What can be found on a page: (anchor, heading, text) of each of its parts: under a heading, or a class or function."""
    start = r'<h[123] id="([^"]*)">(.*?)</h[123]>'
    if source.endswith(".py"):
        text = re.sub(r'<span class="linenos">[ \d]*</span>', "", text)
        start = r'<span id="(line-\d+)"><span class="k">(?:def|class)</span>.*?<span class="n[cf]">(\w+)</span>'
    parts = list(re.finditer(start, text, re.S))
    ends = [part.start() for part in parts] + [len(text)]
    if above := plain(text[: ends[0]]):
        yield "", "", above
    for part, end in zip(parts, ends[1:], strict=True):
        yield part[1], plain(part[2]), plain(text[part.start() if source.endswith(".py") else part.end() : end])


def plain(text: str) -> str:
    """The words of a piece of HTML, with one blank between any two."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", INLINE.sub("", text))).split())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = textwrap.fill(
        "Makes the course into pages with a search and a model that tells stories. They open by a double click on index.html, "
        "from a USB stick too, without a server or a network. The notebooks are not run, and the solutions are left out.",
        width=80,
    )
    parser.add_argument("--to", "--out", default="site", metavar="FOLDER", help="the folder to make; an older site is replaced")


def main(options: argparse.Namespace) -> int:
    files = make_site(options.to)
    pages = sum(name.endswith(".html") for name in files)
    print(f"{options.to}: {pages} pages, {sum(map(len, files.values())) / 1e6:.1f} MB. Open {Path(options.to) / 'index.html'}.")
    return 0
