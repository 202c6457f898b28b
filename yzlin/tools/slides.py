"""`python -m yzlin slides`: each notebook as one HTML file of slides, with the outputs that it was saved with.

Each cell says what it is, in the metadata that Jupyter has for it, `slideshow.slide_type`: a `slide` (or `subslide`)
begins a slide, nothing goes on with it, a `fragment` comes at a key press, `notes` are the presenter's, `skip` is left
out. A text that was written to be read is too long for a slide: `essence` says what is shown of it.
"""

from __future__ import annotations

import argparse
import html
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from yzlin import ROOT
from yzlin.tools.files import whole_file
from yzlin.tools.html import asset, code, filled, joined, markdown, outputs, policy

ENOUGH, MOST = 180, 250  # characters of text below a heading: two or three lines of a slide
MADE_BY = '<meta name="generator" content="yzlin slides">'  # stands in each file that we may write again
SENTENCE = re.compile(r"""(?<=[.?!])([)*_"]*)\s+(?=["(*_\[]*[A-Z0-9`])""")  # where one ends and the next begins
BEGINS = ("slide", "subslide")
Cell = dict[str, Any]


@dataclass
class Slide:
    """What is seen of a slide, its heading included, and what its presenter reads."""

    title: str  # plain text
    parts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def sections(text: str) -> list[tuple[str, str]]:
    """A Markdown cell as (heading, what stands below it); "" for the text before the first heading."""
    found: list[tuple[str, list[str]]] = [("", [])]
    fenced = False
    for line in text.splitlines():
        fenced ^= bool(re.match(r" {0,3}(```|~~~)", line))
        if re.match(r"#{1,6} ", line) and not fenced:
            found.append((line, []))
        else:
            found[-1][1].append(line)
    return [(heading, body) for heading, lines in found if (body := "\n".join(lines).strip("\n")) or heading]


def sentences(paragraph: str) -> list[str]:
    """Its sentences; words in bold, as in **Break it.**, go with the next one, and none ends inside of *, `, " or brackets."""
    found: list[str] = []
    for part in SENTENCE.sub(r"\1\n", " ".join(paragraph.split())).split("\n"):
        before = found[-1] if found else ""
        inside = before.count("(") > before.count(")") or any(before.count(mark) % 2 for mark in '*`"')
        if inside or re.fullmatch(r"(\*+)[^*]*\1\.?", before):
            found[-1] += " " + part
        else:
            found.append(part)
    return found


def beginning(paragraph: str) -> str:
    """Its first sentences, as many as have ENOUGH characters together; of a first one with more than MOST up to its colon."""
    first, *others = sentences(paragraph)
    if len(first) > MOST and re.search("[:;] ", first):
        return re.split("(?<=[:;]) ", first)[0].rstrip(":;") + " ..."
    for sentence in others:
        if len(first) + 1 + len(sentence) > ENOUGH:
            break
        first += " " + sentence
    return first


def essence(heading: str, body: str) -> str:
    """What a slide shows of a section, in Markdown. The presenter's notes have all of it.

    The heading; the beginning of the first paragraph, or of the last one where there is no heading, because it leads
    to the code below; and all that is not a paragraph: formulas, tables, pictures, lines of code, lists (of each item
    the first sentence).
    """
    told = re.sub(r"^Break: .*$|<details>[\s\S]*?</details>", "", body, flags=re.M)
    blocks = [found[0].rstrip() for found in re.finditer(r"^(```|~~~).*?^\1 *$|(?:[^\n]*\S[^\n]*(?:\n|$))+", told, re.M | re.S)]
    shown = [heading] if heading else []
    # not the links between the pages: [< 03](...) | [map](...) | [05 >](...)
    spoken = [i for i, block in enumerate(blocks) if is_paragraph(block) and not (" | " in block and block[-1] not in ".?!:")]
    for i, block in enumerate(blocks):
        if re.match(r"([-*]|\d+\.) ", block):
            items = re.split(r"^([-*] |\d+\. )", block, flags=re.M)[1:]
            shown.append("\n".join(mark + sentences(item)[0] for mark, item in zip(items[::2], items[1::2], strict=True)))
        elif not is_paragraph(block):
            shown.append(block)
        elif spoken and i == spoken[0 if heading else -1]:
            shown.append(beginning(block))
    return "\n\n".join(shown)


def is_paragraph(block: str) -> bool:
    """True for text; False for lists, tables, code, formulas and pictures."""
    return not re.match(r"([-*]|\d+\.) |\||    |```|~~~|\$\$|!\[|<", block)


def slides_of(cells: list[Cell], files: dict[str, str], folder: Path) -> list[Slide]:
    """The slides of a notebook's cells. files: {"02_batches.ipynb": "02_batches.html"} for links between lessons."""

    def link(url: str) -> str | None:
        return url if url.startswith(("http", "mailto:")) else files.get(url)

    slides: list[Slide] = []
    for cell in cells:
        kind, source = cell["metadata"].get("slideshow", {}).get("slide_type", ""), joined(cell["source"])

        words = partial(markdown, link=link, attachments=cell.get("attachments"), folder=folder)
        if kind == "skip":
            continue
        if kind == "notes" and slides:
            slides[-1].notes.append(words(source))
        elif cell["cell_type"] == "code":
            if kind in BEGINS or not slides:
                slides.append(again(slides))
            if shown := code_and_outputs(cell, link):
                slides[-1].parts.append(part(kind, shown))
        elif cell["cell_type"] == "markdown":
            add_text(slides, kind, source, words)
    return slides


def add_text(slides: list[Slide], kind: str, source: str, words: Callable[[str], str]) -> None:
    """Adds a Markdown cell. Each heading in it begins a slide; text before it belongs to the slide before."""
    begins = kind in BEGINS or not slides
    found = sections(source)
    for number, (heading, body) in enumerate(found):
        large = re.match("##? ", heading)
        if begins and slides and not heading and any(re.match("##? ", later) for later, _ in found[1:]):
            slides[-1].notes.append(words(body))
            continue
        if large and (begins or number):
            slides.append(Slide(html.unescape(re.sub("<[^>]*>", "", words(heading.lstrip("# ")))).strip()))
        elif begins:
            slides.append(again(slides))
        begins = False
        slides[-1].parts.append(part("" if number else kind, words(essence(heading, body))))
        slides[-1].notes.append(words(f"{heading}\n{body}"))


def again(slides: list[Slide]) -> Slide:
    """One more slide below the heading of the one before."""
    title = slides[-1].title if slides else ""
    return Slide(title, [f'<h2 class="again">{html.escape(title)}</h2>'])


def part(kind: str, shown: str) -> str:
    """What comes onto a slide together. What has a picture may shrink."""
    names = ["part", *(["fragment"] if kind == "fragment" else []), *(["picture"] if "<img" in shown else [])]
    return f'<div class="{" ".join(names)}">{shown}</div>'


def code_and_outputs(cell: Cell, link: Callable[[str], str | None]) -> str:
    """A code cell. Where its code is folded away, or its metadata say `"show": "output"`, only its outputs."""
    folded = cell["metadata"].get("jupyter", {}).get("source_hidden", False)
    only_output = folded or cell["metadata"].get("slideshow", {}).get("show") == "output"
    return ("" if only_output else code(joined(cell["source"]))) + "".join(outputs(cell["outputs"], link))


def deck(name: str, notebook: dict[str, Any], files: dict[str, str], folder: Path) -> tuple[str, str, int]:
    """(title as HTML, the whole page, number of slides). Raises ValueError where the notebook cannot be shown."""
    cells = notebook["cells"]
    if not any(cell["metadata"].get("slideshow", {}).get("slide_type") in BEGINS for cell in cells):
        raise ValueError(f"no cell of {name} is a slide: choose slide types in JupyterLab, in the property inspector.")
    ran = [cell for cell in cells if cell["cell_type"] == "code" and joined(cell["source"]).strip()]
    if ran and not any(cell["outputs"] for cell in ran):
        raise ValueError(f"{name} was saved without outputs, and nothing is run here: run it in JupyterLab and save it first.")
    slides = slides_of(cells, files, folder)
    shown = "\n".join(
        f'<section class="slide" id="slide-{number}" aria-roledescription="slide" '
        f'aria-label="{number} of {len(slides)}: {html.escape(slide.title)}">\n<div class="body">{"".join(slide.parts)}</div>\n'
        f'<aside class="notes">{"".join(slide.notes)}</aside>\n</section>'
        for number, slide in enumerate(slides, 1)
    )
    title, style, script = html.escape(slides[0].title or name), asset("code.css") + asset("slides.css"), asset("slides.js")
    head = {"made_by": MADE_BY, "policy": policy(script), "title": title, "style": style}
    return title, filled("slides.html", slides=shown, script=script, **head), len(slides)


def make_slides(notebooks: Path, to: Path) -> list[tuple[str, int, int]]:
    """Writes a file for each notebook of a folder (or for one), and index.html; returns (name, slides, bytes) of each.

    Nothing is written before all can be. Raises ValueError where a notebook cannot be shown, FileExistsError where a
    file of that name is not one of ours.
    """
    import nbformat

    folder = notebooks.parent if notebooks.suffix == ".ipynb" else notebooks
    paths = [notebooks] if folder != notebooks else sorted(path for path in folder.glob("*.ipynb") if ".newer" not in path.name)
    if not paths:
        raise ValueError(f"there is no notebook in {notebooks}: name the folder with --notebooks.")
    files = {path.name: path.stem + ".html" for path in paths}
    pages, contents, sizes = {}, "", []
    for path in paths:
        try:
            notebook = nbformat.read(path, as_version=4)
        except Exception as error:  # nbformat has many
            raise ValueError(f"{path.name} cannot be read as a notebook: {error}.") from None
        title, page, count = deck(path.name, notebook, files, folder)
        pages[files[path.name]] = page
        contents += f'<li><a href="{files[path.name]}">{title}</a> {count} slides</li>\n'
        sizes.append((files[path.name], count, len(page.encode())))
    head = {"made_by": MADE_BY, "policy": policy(""), "style": asset("slides.css")}
    pages["index.html"] = filled("slides_index.html", list=contents, **head)
    for name in pages:
        if (to / name).exists() and MADE_BY not in (to / name).read_text(encoding="utf-8", errors="replace"):
            raise FileExistsError(f"{to / name} was not made by this command: choose another --to, or delete it first.")
    to.mkdir(parents=True, exist_ok=True)
    for name, page in pages.items():
        with whole_file(to / name, "w") as file:
            file.write(page)
    return sizes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = textwrap.fill(
        "Writes one HTML file of slides for each notebook, and index.html, from the outputs that the notebooks were saved "
        "with. They open with a double click and need no network. Keys: arrows, n for the presenter's notes, ? for all.",
        width=80,
    )
    parser.add_argument("--to", type=Path, default=Path("slides"), metavar="FOLDER", help="what was there is made again")
    parser.add_argument("--notebooks", type=Path, default=ROOT / "notebooks", metavar="PATH", help="a folder, or one notebook")


def main(options: argparse.Namespace) -> int:
    for name, count, size in make_slides(options.notebooks, options.to):
        print(f"{name:30} {count:3} slides {size / 1e6:5.2f} MB")
    print(f"Open {options.to / 'index.html'} with a double click.")
    return 0
