"""HTML that needs no network: what `site` and `slides` make of a notebook's cells.

nbconvert renders Markdown, code and terminal colours. Formulas become pictures here, because nbconvert leaves them to a
script from another host. Pictures are embedded.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

ASSETS = Path(__file__).with_name("assets")
PICTURES = ("image/svg+xml", "image/png", "image/jpeg", "image/gif", "image/webp")
Output = Mapping[str, Any]  # one output of a code cell, as nbformat reads it


def asset(name: str) -> str:
    """The text of a file in assets/."""
    return (ASSETS / name).read_text(encoding="utf-8")


def filled(template: str, **parts: str) -> str:
    """A template of assets/ with each {name} replaced by that part; what a part says is not looked at again."""
    return re.sub(r"\{(\w+)\}", lambda mark: parts[mark[1]], asset(template))


def hash_of(text: str) -> str:
    """What a content security policy calls a script or a style by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def policy(script: str) -> str:
    """A content security policy: this script runs and no other, nothing is loaded, no connection is opened.

    Inline styles stay, because a notebook's outputs have some.
    """
    return (
        f"default-src 'none'; script-src {hash_of(script)}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def math_svg(formula: str, block: bool = False) -> str:
    r"""A formula in LaTeX, as in `\frac{x}{2}`, as an inline SVG in the colour and size of the text around it.

    The formula itself is its alternative text. What matplotlib's mathtext does not know is shown as it is typed.
    """
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    kind, typed, em = ("math block" if block else "math"), html.escape(formula.strip()), 100
    line = " ".join(formula.split())
    try:
        path = TextPath((0, 0), f"${line}$", size=em, prop=FontProperties(math_fontfamily="cm"))
        box = path.get_extents()
    except ValueError:
        return f'<code class="{kind}">{typed}</code>'
    width, height = box.x1 - box.x0 + 4, box.y1 - box.y0 + 4  # 4: nothing is cut off at the edge
    letters = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}  # matplotlib's codes
    strokes = "".join(
        letters[int(code)] + ("" if code == 79 else " ".join(f"{number:.1f}" for number in points))
        for points, code in path.iter_segments(simplify=False)
    )
    return (
        f'<svg class="{kind}" role="img" aria-label="{typed}" '
        f'viewBox="{box.x0 - 2:.1f} {-box.y1 - 2:.1f} {width:.1f} {height:.1f}" '
        f'style="width:{width / em:.2f}em;height:{height / em:.2f}em;vertical-align:{(box.y0 - 2) / em:.2f}em">'
        f'<path transform="scale(1,-1)" fill="currentColor" d="{strokes}"/></svg>'
    )


def markdown(
    text: str,
    link: Callable[[str], str | None] = lambda url: url,
    attachments: Mapping[str, Any] | None = None,
    folder: str | Path = "",
) -> str:
    """A Markdown cell as HTML. Formulas are SVG; pictures that are attached or lie in `folder` are embedded.

    link: gives the address that stands in the page for one in the notebook; None leaves the words without a link.
    """
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Renderer(IPythonRenderer):
        def inline_math(self, body: str) -> str:
            return math_svg(body)

        def block_math(self, body: str) -> str:
            return math_svg(body, block=True)

        def latex_environment(self, name: str, body: str) -> str:
            return math_svg(rf"\begin{{{name}}}{body}\end{{{name}}}", block=True)

        def block_html(self, html: str) -> str:
            return super().block_html(html) if "<img" in html else html + "\n"  # embedding closes a <details> too early

        def inline_html(self, html: str) -> str:
            return super().inline_html(html) if "<img" in html else html

        def link(self, text: str, url: str, title: str | None = None) -> str:
            address = link(url)
            return text if address is None else super().link(text, address, title)

    renderer = Renderer(
        escape=False, embed_images=True, exclude_anchor_links=True, path=str(folder), attachments=dict(attachments or {})
    )
    return MarkdownWithMath(renderer=renderer).render(text)


def code(source: str) -> str:
    """Python with a class on each kind of word (code.css colours them)."""
    from nbconvert.filters.highlight import Highlight2HTML

    return str(Highlight2HTML(pygments_lexer="ipython3")(source))


def outputs(given: Iterable[Output], link: Callable[[str], str | None] = lambda url: url) -> list[str]:
    """The outputs of a code cell as HTML. What was printed in several pieces is one block again."""
    parts: list[str] = []
    printed = ""
    for each in given:
        if each["output_type"] == "stream":
            printed += joined(each["text"])
            continue
        parts += [printed_block(printed), output(each, link)]
        printed = ""
    return [part for part in [*parts, printed_block(printed)] if part]


def output(given: Output, link: Callable[[str], str | None] = lambda url: url) -> str:
    """One output as HTML: its richest form that shows something without a kernel. "" if there is none."""
    if given["output_type"] == "stream":
        return printed_block(joined(given["text"]))
    if given["output_type"] == "error":
        return printed_block("\n".join(given["traceback"]))
    data = {kind: joined(value) for kind, value in given["data"].items() if isinstance(value, (str, list))}
    if "text/html" in data:
        return f'<div class="out rich">{data["text/html"]}</div>'
    if "text/markdown" in data:
        return f'<div class="out caption">{markdown(data["text/markdown"], link)}</div>'
    for kind in PICTURES:
        if kind in data:
            alt = given.get("metadata", {}).get(kind, {}).get("alt", "")
            packed = "".join(data[kind].split()) if "svg" not in kind else base64.b64encode(data[kind].encode()).decode()
            return f'<img class="out" alt="{html.escape(alt)}" src="data:{kind};base64,{packed}">'
    if "application/vnd.jupyter.widget-view+json" in given["data"]:
        return ""  # its plain text, VBox(children=(HBox(..., says nothing to a reader
    return printed_block(data.get("text/plain", ""))


def printed_block(text: str) -> str:
    """What was printed, with the colours of the terminal."""
    from nbconvert.filters.ansi import ansi2html

    return f'<pre class="out">{ansi2html(text)}</pre>' if text.strip() else ""


def joined(text: str | list[str]) -> str:
    """A text in a notebook's file is one string or a list of lines."""
    return text if isinstance(text, str) else "".join(text)
