"""HTML that needs no network: formulas, Markdown, code, outputs."""

import base64
import re
import xml.etree.ElementTree as ElementTree

import pytest

from yzlin.tools.html import code, filled, hash_of, markdown, math_svg, output, outputs

RMSNORM = r"y = w \cdot \frac{x}{\sqrt{\mathrm{mean}(x^2) + \varepsilon}}"
PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")


def boxed(svg: str) -> tuple[float, float, float, float]:
    return tuple(map(float, re.search(r'viewBox="([^"]*)"', svg)[1].split()))


def test_a_formula_is_a_picture_with_its_words():
    svg = ElementTree.fromstring(math_svg(RMSNORM, block=True))
    assert svg.get("role") == "img" and svg.get("aria-label") == RMSNORM
    assert svg[0].get("fill") == "currentColor" and svg[0].get("d").startswith("M")


def test_the_picture_of_a_formula_holds_all_its_strokes():
    """The strokes' own numbers, y upwards, lie within the view box, y downwards."""
    svg = math_svg(r"\frac{a}{b}")
    left, top, width, height = boxed(svg)
    numbers = [float(number) for number in re.findall(r"-?\d+\.\d", re.search(r' d="([^"]*)"', svg)[1])]
    xs, ys = numbers[::2], [-y for y in numbers[1::2]]
    assert left < min(xs) and max(xs) < left + width and top < min(ys) and max(ys) < top + height
    assert boxed(math_svg(r"\frac{\frac{a}{b}}{b}"))[3] > height  # what is taller has a taller picture


def test_a_formula_that_matplotlib_does_not_know_is_shown_as_typed():
    assert math_svg(r"\begin{pmatrix}a<b\end{pmatrix}") == (r'<code class="math">\begin{pmatrix}a&lt;b\end{pmatrix}</code>')


def test_formulas_in_text_are_found_and_prices_are_not():
    page = markdown(f"Of $x^2$:\n\n$${RMSNORM}$$\n\nIt costs $5.\n\nType `$x$`.")
    assert re.findall(r'<svg class="([^"]*)"', page) == ["math", "math block"]
    assert "$5" in page and "<code>$x$</code>" in page


def test_html_in_text_stays_whole():
    page = markdown("<details><summary>Hint</summary>\nUse <code>len(x)</code>.\n\nThen *add*.</details>\n\nEnd <b>of</b> it")
    assert page.count("<details>") == page.count("</details>") == 1 and page.index("add") < page.index("</details>")
    assert "<b>of</b>" in page and "<code>len(x)</code>" in page


def test_links_are_led_where_the_page_has_them():
    page = markdown("[next](02.ipynb) [code](../a.py)", link=lambda url: {"02.ipynb": "02.html"}.get(url))
    assert page == '<p><a href="02.html">next</a> code</p>\n'


def test_pictures_are_embedded(tmp_path):
    (tmp_path / "a.png").write_bytes(PIXEL)
    packed = f'src="data:image/png;base64,{base64.b64encode(PIXEL).decode()}"'
    page = markdown('![One](a.png) <img src="a.png" alt="Two">', folder=tmp_path)
    assert page.count(packed) == 2
    attached = {"b.png": {"image/png": base64.b64encode(PIXEL).decode()}}
    assert packed in markdown("![One](attachment:b.png)", attachments=attached)


def test_code_keeps_its_letters():
    page = code('def f(x):\n    return "a<b" # &')
    assert 'class="k"' in page and re.sub(r"<[^>]*>", "", page).strip() == 'def f(x):\n    return "a&lt;b" # &amp;'


PLAIN = {"text/plain": "an <object>"}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"output_type": "stream", "text": "a<b\n"}, '<pre class="out">a&lt;b\n</pre>'),
        ({"output_type": "execute_result", "data": PLAIN}, '<pre class="out">an &lt;object&gt;</pre>'),
        ({"output_type": "display_data", "data": {**PLAIN, "text/html": ["<p>", "x"]}}, '<div class="out rich"><p>x</div>'),
        (
            {"output_type": "display_data", "data": {**PLAIN, "text/markdown": "*Why*"}},
            '<div class="out caption"><p><em>Why</em></p>\n</div>',
        ),
        (
            {
                "output_type": "display_data",
                "data": {**PLAIN, "image/png": "QUJD\n"},
                "metadata": {"image/png": {"alt": 'a "b"'}},
            },
            '<img class="out" alt="a &quot;b&quot;" src="data:image/png;base64,QUJD">',
        ),
        (
            {"output_type": "display_data", "data": {**PLAIN, "image/svg+xml": ["<svg>", "</svg>"]}, "metadata": {}},
            '<img class="out" alt="" src="data:image/svg+xml;base64,PHN2Zz48L3N2Zz4=">',
        ),
        (
            {"output_type": "display_data", "data": {**PLAIN, "application/vnd.jupyter.widget-view+json": {"model_id": "1"}}},
            "",
        ),
        ({"output_type": "display_data", "data": {"application/json": {"a": 1}}}, ""),
    ],
)
def test_the_richest_output_that_needs_no_kernel(given, wanted):
    assert output(given) == wanted


def test_what_was_printed_in_pieces_is_one_block():
    stream = {"output_type": "stream", "name": "stdout"}
    parts = outputs([{**stream, "text": "a\n"}, {**stream, "text": ["b\n"]}, {"output_type": "display_data", "data": PLAIN}])
    assert parts == ['<pre class="out">a\nb\n</pre>', '<pre class="out">an &lt;object&gt;</pre>']


def test_colours_of_a_terminal_are_kept():
    assert '<span class="ansi-red-fg">no</span>' in output({"output_type": "stream", "text": "\x1b[31mno\x1b[0m"})


def test_a_part_of_a_template_is_not_filled_again(tmp_path, monkeypatch):
    monkeypatch.setattr("yzlin.tools.html.ASSETS", tmp_path)
    (tmp_path / "t.html").write_text("<p>{a}</p>{b}", encoding="utf-8")
    assert filled("t.html", a="{b}", b="x") == "<p>{b}</p>x"


def test_the_hash_is_that_of_the_standard():
    """The example of the Content Security Policy's own text (W3C, CSP level 3)."""
    assert hash_of("alert('Hello, world.');") == "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='"
