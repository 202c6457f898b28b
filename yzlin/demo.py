"""The story demo: a panel in a notebook in which a trained model goes on with the reader's beginning."""

from __future__ import annotations

import html
import threading
import time

import ipywidgets as widgets
import tiktoken
import torch

from yzlin.generate import encode_prompt, stream_ids
from yzlin.model import yzlinGPT

BARS = 10  # of the likeliest next tokens
LONGEST = 10_000  # characters of a beginning
# Colours that can be read on a light and on a dark page.
NEW, HERE = "#0a84d8", "#d55e00"


class StoryDemo:
    """A panel with a beginning to type or pick, the knobs, and the story. Show `demo.panel`.

    The slider "Look at" walks through the story's tokens: at each, the ten likeliest next tokens stand as buttons with
    their probabilities, and a click takes another one, from which the story goes on. What lies outside the model's window
    is faded. The story is written in a thread of its own, so that Stop works; what goes wrong is said in the panel.
    """

    def __init__(
        self,
        model: yzlinGPT,
        tokenizer: tiktoken.Encoding,
        prompt: str = "Once upon a time",
        seed: int = 0,
        beginnings: tuple[str, ...] = (),
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.ids: list[int] = []  # the end mark of the story before, then the whole text
        self.own = 0  # how many of them are the reader's
        self.ended = False  # the story has come to its end mark
        self.thread: threading.Thread | None = None
        self.stop = threading.Event()
        self.logits = torch.zeros(tokenizer.n_vocab)  # of the token behind the place that is looked at
        self.likeliest: list[int] = []
        wide = widgets.Layout(width="95%", max_width="60em")
        how = dict(style={"description_width": "7em"}, layout=wide)
        self.picked = widgets.Dropdown(options=[("(type your own)", ""), *((text, text) for text in beginnings)], **how)
        self.picked.description = "Pick"
        self.prompt = widgets.Textarea(prompt, description="Beginning", **how)
        self.temperature = widgets.FloatSlider(0.7, min=0, max=2, step=0.05, description="Temperature", **how)
        self.top_k = widgets.IntSlider(40, min=1, max=200, description="Top-k", **how)
        self.length = widgets.IntSlider(300, min=10, max=1000, step=10, description="Length", **how)
        self.seed = widgets.IntText(seed, description="Seed", **how)
        self.write_button = widgets.Button(description="Write", tooltip="Tell a story from the beginning")
        self.continue_button = widgets.Button(description="Continue", tooltip="20 more words", disabled=True)
        self.stop_button = widgets.Button(description="Stop", tooltip="Stop writing at once", disabled=True)
        self.clear_button = widgets.Button(description="Start over", tooltip="An empty page")
        self.page = widgets.HTML(layout=wide)
        self.message = widgets.HTML(layout=wide)
        self.look = widgets.IntSlider(1, min=1, max=1, description="Look at", disabled=True, **how)
        self.bars = [widgets.Button(layout=widgets.Layout(display="none")) for _ in range(BARS)]
        buttons = widgets.HBox([self.write_button, self.continue_button, self.stop_button, self.clear_button])
        buttons.layout.flex_flow = "row wrap"
        knobs = [self.picked, self.prompt, self.temperature, self.top_k, self.length, self.seed]
        self.panel = widgets.VBox([*knobs, buttons, self.page, self.message, self.look, widgets.VBox(self.bars)])
        self.picked.observe(lambda change: change.new and setattr(self.prompt, "value", change.new), "value")
        self.write_button.on_click(lambda _: self.write())
        self.continue_button.on_click(lambda _: self.go_on(words=20))
        self.stop_button.on_click(lambda _: self.stop.set())
        self.clear_button.on_click(lambda _: self.clear())
        self.look.observe(lambda _: self.show_bars(), "value")
        for knob in (self.temperature, self.top_k):
            knob.observe(lambda _: self.shape_bars(), "value")
        for place, bar in enumerate(self.bars):
            bar.on_click(lambda _, place=place: self.take(place))

    @property
    def story(self) -> str:
        """The whole text: the reader's beginning and what was written."""
        return self.tokenizer.decode(self.ids[1:])

    @property
    def written(self) -> str:
        """What the model has added."""
        return self.tokenizer.decode(self.ids[self.own :])

    def write(self) -> None:
        """A new story from the beginning."""
        if self.busy():
            return
        if len(self.prompt.value) > LONGEST:
            self.message.value = f"The beginning has {len(self.prompt.value):,} characters: give at most {LONGEST:,}."
            return
        self.ids = encode_prompt(self.tokenizer, self.prompt.value)
        self.own = len(self.ids)
        self.go_on()

    def go_on(self, words: int | None = None) -> None:
        """More of the story: `words` words, or to its end. While one is being written, nothing happens."""
        if self.busy():
            return
        self.stop.clear()
        self.ended = False
        self._lock(True)
        self.thread = threading.Thread(target=self._write, args=(words,), daemon=True)
        self.thread.start()

    def take(self, place: int) -> None:
        """Puts the token of a bar behind the place that is looked at, and goes on from there."""
        if self.busy() or place >= len(self.likeliest):
            return
        self.ids, token = self.ids[: self.look.value], self.likeliest[place]
        self.own = min(self.own, self.look.value)
        if token == self.tokenizer.eot_token:
            self.message.value, self.ended = "The end.", True
            self._lock(False)
        else:
            self.ids.append(token)
            self.go_on()

    def clear(self) -> None:
        """An empty page."""
        self.stop.set()
        self.wait()
        self.ids, self.own = [], 0
        self.page.value = self.message.value = ""
        self._lock(False)

    def busy(self) -> bool:
        return self.thread is not None and self.thread.is_alive()

    def wait(self, seconds: float = 60) -> None:
        """Waits until the story is written."""
        if self.thread:
            self.thread.join(seconds)

    def _write(self, words: int | None) -> None:
        self.message.value = ""
        made, drawn = [], 0.0
        try:
            how = dict(temperature=self.temperature.value, top_k=self.top_k.value, max_tokens=self.length.value)
            how["seed"] = (
                self.seed.value + len(self.ids)
            ) % 2**63  # the same story for the same seed, not the same words again
            for token in stream_ids(self.model, self.tokenizer, self.ids, should_stop=self.stop.is_set, **how):
                text = self.tokenizer.decode([*made, token])
                if words and len(text.split()) > words:  # a word ends where the next one begins
                    break
                made.append(token)
                self.ids.append(token)
                if time.monotonic() - drawn > 0.03:
                    self.show_page()
                    drawn = time.monotonic()
            else:
                self.ended = len(made) < self.length.value and not self.stop.is_set()
                self.message.value = "Stopped." if self.stop.is_set() else "The end." if self.ended else "Continue goes on."
        except Exception as error:  # in the panel, because nobody sees a thread's traceback
            self.message.value = html.escape(f"{type(error).__name__}: {error}")
        finally:
            self._lock(False)
            self.show_page()

    def _lock(self, busy: bool) -> None:
        empty = not self.ids
        self.write_button.disabled = busy
        self.continue_button.disabled = busy or empty or self.ended
        self.stop_button.disabled = not busy
        self.look.disabled = busy or empty
        for bar in self.bars:
            bar.disabled = busy
        if not busy:
            self.look.max = self.look.value = max(len(self.ids), 1)
            self.show_bars()

    def show_page(self) -> None:
        """The reader's words plain, the model's coloured, the place looked at underlined, what the model no longer sees faded.

        Escaped: whatever is typed stays text.
        """
        faded = max(len(self.ids) - self.model.args.block_size, 1)
        here = self.look.value - 1 if 1 < self.look.value < len(self.ids) else -1
        cuts = sorted({1, faded, self.own, here, here + 1, len(self.ids)} - {-1, 0})
        parts, seen = [], 0
        for start, end in zip(cuts, cuts[1:], strict=False):
            # Cut in the text, not in the ids: a character may span several tokens.
            until = len(self.tokenizer.decode(self.ids[1:end]))
            text, seen = self.story[seen:until], until
            style = f"color:{NEW};font-weight:bold;" if start >= self.own else ""
            style += "opacity:0.45;" if start < faded else ""
            style += f"border-bottom:3px solid {HERE};" if start == here else ""
            parts.append(f'<span style="{style}">{html.escape(text)}</span>')
        self.page.value = f'<p style="font-size:1.3em;line-height:1.5;white-space:pre-wrap">{"".join(parts)}</p>'

    def show_bars(self) -> None:
        """The likeliest tokens behind the place that is looked at."""
        if self.busy() and threading.current_thread() is not self.thread:
            return  # the slider moves while a story is written
        if self.ids:
            window = torch.tensor([self.ids[: self.look.value][-self.model.args.block_size :]])
            with torch.no_grad():
                last = self.model.features(window.to(self.model.lm_head.weight.device))[0, -1]
                self.logits = self.model.lm_head(last)[: self.tokenizer.n_vocab].float().cpu()
            self.show_page()
        self.shape_bars()

    def shape_bars(self) -> None:
        """The bars at the temperature and top-k of the sliders, from logits that are there already."""
        temperature = max(self.temperature.value, 1e-4)  # at 0 the likeliest has it all
        top = (self.logits / temperature).topk(min(self.top_k.value, self.tokenizer.n_vocab))
        shares = top.values.softmax(-1)[:BARS].tolist() if self.ids else []
        self.likeliest = top.indices[: len(shares)].tolist()
        for place, bar in enumerate(self.bars):
            bar.layout.display = "none" if place >= len(shares) else "block"
            if place < len(shares):
                word = self.tokenizer.decode([self.likeliest[place]])
                word = "the end of the story" if self.likeliest[place] == self.tokenizer.eot_token else repr(word)
                bar.description = f"{word}  {shares[place]:.1%}"
                bar.tooltip = f"Go on from here with {word}"
                bar.layout.width = f"{12 + 60 * shares[place]:.0f}%"
                bar.layout.min_width = "11em"
                bar.style.button_color = "#8ec7ee" if shares[place] >= 0.1 else "#d9d9d9"
                bar.style.text_color = "black"
