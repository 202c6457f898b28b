"""What the story demo's panel looks like: its style, the pieces of HTML in it, and what stands for it where no kernel runs.

Everything that a reader or a model wrote is escaped: it stays text.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from typing import Any, NamedTuple

import ipywidgets as widgets

from yzlin import ROOT

LOOKED_AT, CHANGED = "#d55e00", "rgba(230,159,0,.35)"  # both can be seen on a light and on a dark page
ROW = 20  # pixels of a bar's row
PICTURE = (
    "The panel of the story demo: knobs on the left; on the right a story, a slider that walks through its tokens, and the "
    "ten likeliest next tokens as bars. It is alive in JupyterLab once this cell has run."
)

STYLE = f"""<style>
.yzlin-panel {{ gap: 4px 20px; max-width: 1400px; flex-flow: row wrap; align-items: flex-start; overflow: visible;
  color: var(--jp-content-font-color1, inherit); font-size: 14px; }}
.yzlin-panel.jupyter-widgets, .yzlin-panel .widget-box {{ overflow: visible; }}
.yzlin-panel .jupyter-button:focus-visible, .yzlin-panel .noUi-handle:focus-visible, .yzlin-panel .yzlin-page:focus-visible,
.yzlin-panel input[type=checkbox]:focus-visible {{ outline: 3px solid {LOOKED_AT}; outline-offset: 1px; }}
.yzlin-panel .widget-html-content {{ line-height: 1.4; font-size: 14px; }}
.yzlin-panel .jupyter-button:disabled {{ opacity: .7; }}
.yzlin-knobs {{ flex: 0 1 300px; min-width: min(270px, 100%); }}
.yzlin-knobs > * {{ width: auto; }}
.yzlin-knobs .widget-label {{ width: 6.6em; font-size: 13px; }}
.yzlin-message {{ min-height: 28px; }}
.yzlin-verdict {{ min-height: 36px; }}
.yzlin-panel .yzlin-verdict .widget-html-content {{ font-size: 13px; line-height: 18px; }}
.yzlin-knobs .widget-readout {{ min-width: 3em; }}
.yzlin-buttons {{ display: grid; grid-template-columns: 1fr 1fr; gap: 2px; }}
.yzlin-buttons .jupyter-button {{ width: auto; margin: 1px; }}
.yzlin-write {{ font-weight: bold; }}
.yzlin-story {{ flex: 1 1 420px; min-width: min(300px, 100%); container-type: inline-size; }}
.yzlin-story > * {{ width: auto; }}
.yzlin-page {{ height: clamp(218px, 26vh, 420px); min-height: 70px; resize: vertical; overflow-y: auto; padding: 2px 8px;
  border: 1px solid var(--jp-border-color1, #bdbdbd); position: relative; }}
.yzlin-panel .yzlin-page .widget-html-content {{ font-size: clamp(15px, 2cqw, 20px); line-height: 1.4; }}
.yzlin-page p, .yzlin-verdict p {{ margin: 0; }}
.yzlin-look .widget-label {{ width: auto; margin-right: 8px; }}
.yzlin-bars {{ align-items: flex-start; flex-flow: row nowrap; min-height: {10 * ROW}px; }}
.yzlin-bars .jupyter-button {{ width: 100%; height: {ROW - 2}px; line-height: {ROW - 2}px; margin: 1px 0; padding: 0 6px;
  text-align: right; white-space: pre; font-family: var(--jp-code-font-family, monospace); font-size: 13px; }}
.yzlin-words {{ flex: 0 0 13.5em; margin: 0 6px 0 0; }}
.yzlin-shares {{ flex: 1 1 0; min-width: 0; margin: 0; }}
.yzlin-shares .row {{ height: {ROW}px; padding: 2px 0; box-sizing: border-box; }}
.yzlin-shares .whole {{ height: 100%; box-sizing: border-box; border: 1px solid var(--jp-border-color2, #bdbdbd); }}
.yzlin-shares .share {{ height: 100%; background: #0072b2; }}
.yzlin-shares .taken {{ background: {LOOKED_AT}; }}
.yzlin-aloud {{ position: absolute; width: 1px; height: 1px; margin: 0; overflow: hidden; clip-path: inset(50%); }}
</style>"""

# What ipywidgets has no traits for, done in the page: names for the sliders; a region that is read aloud (it must be there
# before its text changes); the place that is written or looked at kept in sight; plain keys that JupyterLab leaves alone; and a
# new place for the focus when the button that has it goes to sleep. Without scripts the panel works, only less kindly.
# A script in an HTML widget does not run; the handler of a picture that cannot be drawn does.
SCRIPT = """(function start(image, patience) {
  const panel = image.closest('.yzlin-panel');
  if (!panel) { if (patience) setTimeout(start, 100, image, patience - 1); return; }
  window.addEventListener('keydown', event => {
    panel.toggleAttribute('data-lm-suppress-shortcuts', !(event.ctrlKey || event.metaKey || event.altKey));
  }, true);
  panel.setAttribute('role', 'group');
  panel.setAttribute('aria-label', 'Story demo');
  let last = null;
  panel.addEventListener('focusin', event => { last = event.target; });
  panel.addEventListener('focusout', event => { if (!panel.contains(event.relatedTarget)) last = null; });
  const mend = () => {
    panel.querySelectorAll('.widget-slider').forEach(slider => {
      const name = slider.querySelector('label').textContent;
      slider.querySelectorAll('[role=slider]').forEach(handle => handle.setAttribute('aria-label', name));
      slider.querySelectorAll('[contenteditable]').forEach(number => {
        number.setAttribute('role', 'textbox');
        number.setAttribute('aria-label', name + ', as a number');
      });
    });
    const page = panel.querySelector('.yzlin-page');
    if (page) {
      page.setAttribute('role', 'region');
      page.setAttribute('aria-label', 'The story');
      const spot = page.querySelector('.follow');
      if (spot) {
        const [inside, box] = [spot.getBoundingClientRect(), page.getBoundingClientRect()];
        if (inside.bottom > box.bottom) page.scrollTop += inside.bottom - box.bottom + 4;
        else if (inside.top < box.top) page.scrollTop -= box.top - inside.top + 4;
        spot.classList.remove('follow');
      }
    }
    const aloud = panel.querySelector('.yzlin-aloud .widget-html-content');
    if (aloud) aloud.setAttribute('role', 'status');
    if (last && (last.disabled || !last.offsetParent)) {
      const inBars = last.closest('.yzlin-words');
      panel.querySelector(inBars ? '.yzlin-words button' : '.yzlin-write').focus();
    }
  };
  mend();
  new MutationObserver(mend).observe(panel, {childList: true, subtree: true, attributes: true,
                                             attributeFilter: ['disabled', 'style']});
})(this, 100)"""
HEAD = f'{STYLE}<img src="data:," alt="" style="display:none" onerror="{html.escape(SCRIPT)}">'


class Panel(widgets.HBox):
    """A box that leaves a picture of itself in pages without a kernel, such as an exported notebook."""

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        bundle = super()._repr_mimebundle_(**kwargs)
        bundle["text/plain"] = PICTURE
        image, shown = ROOT / "figures" / "story.png", ""
        if image.is_file():
            data = base64.b64encode(image.read_bytes()).decode()
            shown = f'<img src="data:image/png;base64,{data}" alt="{PICTURE}" style="max-width:100%">'
        bundle["text/html"] = f"<figure>{shown}<figcaption>{PICTURE}</figcaption></figure>"
        return bundle


class Controls:
    """The panel's widgets, named and laid out; nothing is connected yet. `panel` is what is shown."""

    def __init__(self, models: Sequence[str], prompt: str, seed: int, beginnings: Sequence[str], bars: int) -> None:
        self.chosen = widgets.Dropdown(options=models, description="Model")
        self.chosen.layout.display = "none" if len(models) == 1 else ""
        self.picked = widgets.Dropdown(options=[("(type your own)", ""), *((text, text) for text in beginnings)])
        self.picked.description = "Pick"
        self.prompt = widgets.Textarea(prompt, description="Beginning", rows=3)
        self.write_button = widgets.Button(description="Write", tooltip="Tell a story from the beginning")
        self.continue_button = widgets.Button(description="Continue", tooltip="20 more words", disabled=True)
        self.stop_button = widgets.Button(description="Stop", tooltip="Stop writing at once", disabled=True)
        self.clear_button = widgets.Button(description="Start over", tooltip="An empty page")
        self.message = widgets.HTML()
        self.temperature = widgets.FloatSlider(0.7, min=0, max=2, step=0.05, description="Temperature")
        self.top_k = widgets.IntSlider(40, min=1, max=200, description="Top-k")
        self.top_p = widgets.FloatSlider(1.0, min=0.05, max=1, step=0.05, description="Top-p")
        self.length = widgets.IntSlider(300, min=10, max=1000, step=10, description="Length")
        self.seed = widgets.IntText(seed, description="Seed")
        self.lock = widgets.Checkbox(False, description="Keep this seed for the next story", indent=False)
        self.page = widgets.HTML(tabbable=True)  # the keyboard scrolls it
        self.verdict = widgets.HTML()
        self.look = widgets.IntSlider(1, min=1, max=1, description="Look at token", disabled=True)
        self.after = widgets.HTML()
        self.bars = [widgets.Button(layout=widgets.Layout(display="none")) for _ in range(bars)]
        self.shares = widgets.HTML()
        self.aloud = widgets.HTML()  # what a screen reader says: the story that is finished
        self.panel = self._lay_out()

    def _lay_out(self) -> Panel:
        def classed(widget: widgets.DOMWidget, name: str) -> widgets.DOMWidget:
            return widget.add_class(f"yzlin-{name}")

        buttons = [classed(self.write_button, "write"), self.continue_button, self.stop_button, self.clear_button]
        writing = [self.chosen, self.picked, self.prompt, classed(widgets.Box(buttons), "buttons")]
        knobs = [self.temperature, self.top_k, self.top_p, self.length, self.seed, self.lock]
        bars = [classed(widgets.VBox(self.bars), "words"), classed(self.shares, "shares")]
        story = [classed(self.page, "page"), classed(self.verdict, "verdict"), classed(self.look, "look"), self.after]
        left = classed(widgets.VBox([*writing, classed(self.message, "message"), *knobs]), "knobs")
        right = classed(widgets.VBox([*story, classed(widgets.HBox(bars), "bars")]), "story")
        return classed(Panel([widgets.HTML(HEAD), left, right, classed(self.aloud, "aloud")]), "panel")


class Piece(NamedTuple):
    """A stretch of the story and how it is drawn; `follow`: the box scrolls to it."""

    text: str
    readers: bool
    faded: bool
    looked_at: bool
    changed: bool
    follow: bool


def story_html(pieces: Sequence[Piece]) -> str:
    spans = []
    for piece in pieces:
        style = "font-weight:bold;" if piece.readers else ""
        style += "opacity:0.65;" if piece.faded else ""
        style += f"border-bottom:3px solid {LOOKED_AT};" if piece.looked_at else ""
        style += f"background:{CHANGED};" if piece.changed else ""
        follow = ' class="follow"' if piece.follow else ""
        spans.append(f'<span style="{style}"{follow}>{html.escape(piece.text)}</span>')
    return f'<p style="white-space:pre-wrap">{"".join(spans)}</p>'


def bars_html(shares: Sequence[float], taken: int | None) -> str:
    """Bars in true scale, the frame being 100%; the one at `taken` is the story's own. The numbers are on the buttons."""
    rows = ""
    for place, share in enumerate(shares):
        kind = "share taken" if place == taken else "share"
        rows += f'<div class="row"><div class="whole"><div class="{kind}" style="width:{100 * share:.1f}%"></div></div></div>'
    return f'<div aria-hidden="true">{rows}</div>'


def after_html(before: str, token: str, taken: bool) -> str:
    """Where the bars are: the last words, and the token that is looked at; `taken`: the story's own next one has a bar."""
    if not token:
        return "Next, at the very beginning:"
    if len(before) > 32:
        before = "..." + before[-32:].partition(" ")[2]
    own = f' <span style="white-space:nowrap">(<span style="color:{LOOKED_AT}">&#9632;</span> the story\'s own)</span>'
    return f"Next after <q>{html.escape(before)}<b>{html.escape(token)}</b></q>{own if taken else ''}"
