"""The story demo: a panel in a notebook in which a trained model goes on with the reader's beginning. And `tell`."""

from __future__ import annotations

import html
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tiktoken
import torch
from IPython import get_ipython
from IPython.display import display
from torch import Tensor

from yzlin import ROOT
from yzlin.checkpoint import load_model
from yzlin.device import pick_device
from yzlin.generate import encode_prompt, stream, stream_ids
from yzlin.model import yzlinGPT
from yzlin.tools.panel import Controls, Piece, after_html, bars_html, story_html
from yzlin.tools.verdict import about_beginning, about_story, bits, usual_bits

BARS = 10  # of the likeliest next tokens
LONGEST = 10_000  # characters of a beginning
REDRAW = 0.03  # seconds between two pictures of a growing story

Loaded = tuple[yzlinGPT, tiktoken.Encoding]


def tell(model: yzlinGPT, tokenizer: tiktoken.Encoding, prompt: str = "", label: str = "", **how: Any) -> None:
    """Tells a story in the cell, word by word, broken between words; `how` is as in `generate.stream_ids`.

    In a notebook the text is one output that grows, the prompt bold (printed text would be broken anywhere). Under nbval
    the cell needs NBVAL_IGNORE_OUTPUT, as every cell with sampled text. Outside of a notebook the story is printed.
    """
    pieces = stream(model, tokenizer, prompt, **how)
    told, start = prompt, f"{label}: " if label else ""
    if not hasattr(get_ipython(), "kernel"):
        print(start + told, end="", flush=True)
        for piece in pieces:
            print(piece, end="", flush=True)
        print()
        return

    def picture() -> dict[str, str]:
        style = "white-space:pre-wrap;max-width:46em;font-size:1.1em;line-height:1.5;margin:0.3em 0"
        text = f"<i>{html.escape(start)}</i><b>{html.escape(prompt)}</b>{html.escape(told[len(prompt) :])}"
        return {"text/plain": start + told, "text/html": f'<p style="{style}">{text}</p>'}

    handle, drawn = display(picture(), raw=True, display_id=True), time.monotonic()
    try:
        for piece in pieces:
            told += piece
            if time.monotonic() - drawn > REDRAW:
                handle.update(picture(), raw=True)
                drawn = time.monotonic()
    finally:  # also what was told before an interruption
        handle.update(picture(), raw=True)


class StoryDemo(Controls):
    """A panel with a beginning to type or pick, the knobs, and the story. Show `demo.panel`.

    Give a model and its tokenizer, or `models`: a dict of names to such pairs or to checkpoints, or a list of names, which
    stand for checkpoint/NAME/checkpoint.pt; a checkpoint is loaded when it is chosen.

    The slider "Look at token" walks through the story: at each token, the ten likeliest next ones stand as buttons with
    their probabilities, and a click takes another one, from which the story goes on. What lies outside the model's window
    is faded. The story is written in a thread of its own, so that Stop works; what goes wrong is said in the panel.
    """

    def __init__(
        self,
        model: yzlinGPT | None = None,
        tokenizer: tiktoken.Encoding | None = None,
        prompt: str = "Once upon a time",
        seed: int = 0,
        beginnings: Sequence[str] = (),
        models: Mapping[str, Loaded | str | Path] | Sequence[str] = (),
    ) -> None:
        if not isinstance(models, Mapping):
            models = {name: ROOT / "checkpoint" / name / "checkpoint.pt" for name in models}
        if model is not None and tokenizer is not None:
            models = {"this model": (model, tokenizer), **models}
        if not models:
            raise ValueError("StoryDemo has no model: give it a model and its tokenizer, or `models`.")
        super().__init__(list(models), prompt, seed, beginnings, BARS)
        self.models: dict[str, Loaded | str | Path] = dict(models)
        self.ids: list[int] = []  # the end mark of the story before, then the whole text
        self.own = 0  # how many of them are the reader's
        self.changed: list[int] = []  # which of them were picked among the bars
        self.ended = False  # the story has come to its end mark
        self.used: int | None = None  # the seed of the last Write
        self.writing = False
        self.thread: threading.Thread | None = None
        self.stop = threading.Event()
        self.likeliest: list[int] = []
        self.usual: dict[str, list[Tensor]] = {}  # what the beginnings of a model's own stories cost
        self.name = next(iter(self.models))
        self.model, self.tokenizer = self._load(self.name)
        self.logits = torch.zeros(self.tokenizer.n_vocab)  # of the token behind the place that is looked at
        self._connect()

    def _connect(self) -> None:
        self.chosen.observe(lambda change: self.choose(change.new), "value")
        self.picked.observe(lambda change: change.new and setattr(self.prompt, "value", change.new), "value")
        self.write_button.on_click(lambda _: self.write())
        self.continue_button.on_click(lambda _: self.go_on(words=20))
        self.stop_button.on_click(lambda _: self.stop.set())
        self.clear_button.on_click(lambda _: self.clear())
        self.look.observe(lambda _: self.show_bars(follow=self.look.value - 1), "value")
        for knob in (self.temperature, self.top_k, self.top_p):
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

    def choose(self, name: str) -> None:
        """Another model, on an empty page. One that cannot be loaded is said, and the one before stays."""
        if name == self.name:
            return
        self.clear()
        self.message.value = f"Loading {html.escape(name)} ..."
        with self._errors_said():
            self.model, self.tokenizer = self._load(name)
            self.name, self.message.value = name, ""
        self.chosen.value = self.name

    def _load(self, name: str) -> Loaded:
        if not isinstance(self.models[name], tuple):
            self.models[name] = load_model(self.models[name], pick_device())[:2]
        return self.models[name]

    def write(self) -> None:
        """A new story from the beginning, with another seed than the last one's, unless the seed is to be kept."""
        if not self._ready():
            return
        if len(self.prompt.value) > LONGEST:
            self._say(f"The beginning has {len(self.prompt.value):,} characters: give at most {LONGEST:,}.")
            return
        if self.seed.value == self.used and not self.lock.value:
            self.seed.value = secrets.randbelow(10_000)
        self.used = self.seed.value
        self.ids = encode_prompt(self.tokenizer, self.prompt.value)
        self.own, self.changed = len(self.ids), []
        self._look_at(self.own)
        self.go_on()

    def go_on(self, words: int | None = None) -> None:
        """More of the story: `words` words, or to its end. While one is being written, nothing happens."""
        if not self._ready():
            return
        self.stop.clear()
        self.ended, self.writing = False, True
        self.verdict.value = ""
        self._refresh()
        self.thread = threading.Thread(target=self._write, args=(words,), daemon=True)
        self.thread.start()

    def take(self, place: int) -> None:
        """Puts the token of a bar behind the place that is looked at, and goes on from there."""
        if not self._ready() or place >= len(self.likeliest):
            return
        here, token = self.look.value, self.likeliest[place]
        self.ids, self.own = self.ids[:here], min(self.own, here)
        self.changed = [index for index in self.changed if index < here]
        if token == self.tokenizer.eot_token:
            self.ended = True
            self._finish("The end.", self.story)
        else:
            self.ids.append(token)
            self.changed.append(here)
            self.go_on()

    def clear(self) -> None:
        """An empty page."""
        self.stop.set()
        self.wait()
        self.ids, self.own, self.changed = [], 0, []
        self.page.value = self.message.value = self.verdict.value = self.aloud.value = ""
        self._refresh()
        self._look_at(1)

    def busy(self) -> bool:
        return self.writing

    def _ready(self) -> bool:
        """Nothing is being written; a thread that has written but still draws is waited for."""
        if not self.writing:
            self.wait()
        return not self.writing

    def wait(self, seconds: float = 60) -> None:
        """Waits until the story is written."""
        if self.thread:
            self.thread.join(seconds)

    def _write(self, words: int | None) -> None:
        """The thread. A Stop is seen before each token."""
        self.message.value = "Writing ..."
        ids = self.ids  # an empty page is another list
        before, made, drawn, said = len(ids), [], 0.0, "Continue goes on."
        with self._errors_said() as errors:
            how = dict(temperature=self.temperature.value, top_k=self.top_k.value, max_tokens=self.length.value)
            how["top_p"] = self.top_p.value if self.top_p.value < 1 else None
            # The same story for the same seed, and not the same words again for Continue.
            how["seed"] = (self.seed.value + before) % 2**63
            for token in stream_ids(self.model, self.tokenizer, list(ids), should_stop=self.stop.is_set, **how):
                text = self.tokenizer.decode([*made, token])
                if words and len(text.split()) > words:  # a word ends where the next one begins
                    break
                made.append(token)
                ids.append(token)
                if time.monotonic() - drawn > REDRAW:
                    self.show_page(follow=len(ids) - 1)
                    drawn = time.monotonic()
            else:
                self.ended = len(made) < self.length.value and not self.stop.is_set()
                said = "Stopped." if self.stop.is_set() else "The end." if self.ended else said
        self.writing = False
        self._finish(errors[0] if errors else said, self.tokenizer.decode(made) if words else self.story)

    def _finish(self, message: str, aloud: str) -> None:
        self._refresh()
        self.show_bars(follow=len(self.ids) - 1)
        self._say(message, aloud)
        with self._errors_said():
            self.verdict.value = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in self.verdicts())

    def _say(self, message: str, aloud: str = "") -> None:
        self.message.value = html.escape(message)
        self.aloud.value = html.escape(f"{aloud} {message}")

    @contextmanager
    def _errors_said(self) -> Iterator[list[str]]:
        """In the panel, because nobody sees the traceback of a thread or of a click."""
        errors: list[str] = []
        try:
            yield errors
        except Exception as error:
            errors.append(f"{type(error).__name__}: {error}")
            self._say(errors[0])

    def verdicts(self) -> list[str]:
        """How surprised the model is by the reader's beginning, and what `check_story` finds in a whole story."""
        sentences = []
        if self.own > 1:
            if self.name not in self.usual:
                self.usual[self.name] = usual_bits(self.model, self.tokenizer)
            if usual := self.usual[self.name]:
                sentences.append(about_beginning(bits(self.model, self.ids[: self.own]), usual))
        if self.ended and self.tokenizer.name == "storybook":
            sentences.append(about_story(self.story))
        return sentences

    def _refresh(self) -> None:
        """Write and Continue stay awake while a story is written, so that the keyboard does not lose its place."""
        empty = not self.ids
        self.continue_button.disabled = not self.writing and (empty or self.ended)
        self.stop_button.disabled = not self.writing
        self.look.disabled = self.writing or empty
        if not self.writing:
            self.look.max = max(len(self.ids), 1)

    def _look_at(self, place: int) -> None:
        self.look.max = max(place, 1)
        if self.look.value != place:
            self.look.value = place  # and the slider shows the bars
        else:
            self.show_bars()

    def show_page(self, follow: int = -1) -> None:
        """The reader's words bold, the place looked at underlined, a changed one marked, what is out of the window faded.

        The box scrolls to the piece that begins before token `follow` and ends with it or later.
        """
        faded = max(len(self.ids) - self.model.args.block_size, 1)
        here = self.look.value - 1
        marks = {place + side for place in (here, *self.changed) for side in (0, 1)}
        cuts = sorted(cut for cut in {1, faded, self.own, len(self.ids), *marks} if 1 <= cut <= len(self.ids))
        pieces, seen = [], 0
        for start, end in zip(cuts, cuts[1:], strict=False):
            # Cut in the text, not in the ids: a character may span several tokens.
            until = len(self.tokenizer.decode(self.ids[1:end]))
            text, seen = self.story[seen:until], until
            how = (start < self.own, start < faded, start == here, start in self.changed, start <= follow < end)
            pieces.append(Piece(text, *how))
        self.page.value = story_html(pieces)

    def show_bars(self, follow: int = -1) -> None:
        """The likeliest tokens behind the place that is looked at; `follow` as in `show_page`."""
        if self.busy():
            return  # the slider moves while a story is written
        with self._errors_said():
            before = self.ids[: self.look.value]
            if before:
                window = torch.tensor([before[-self.model.args.block_size :]])
                with torch.no_grad():
                    last = self.model.features(window.to(self.model.lm_head.weight.device))[0, -1]
                    self.logits = self.model.lm_head(last)[: self.tokenizer.n_vocab].float().cpu()
                self.show_page(follow)
            self.shape_bars()

    def shape_bars(self) -> None:
        """The bars at the knobs' temperature, top-k and top-p, from logits that are there already."""
        temperature = max(self.temperature.value, 1e-4)  # at 0 the likeliest has it all
        top = (self.logits / temperature).topk(min(self.top_k.value, len(self.logits)))
        shares = top.values.softmax(-1)
        if self.top_p.value < 1:  # as `sample_next` does it
            before = shares.cumsum(-1) - shares
            shares = shares[before < self.top_p.value]
            shares = shares / shares.sum()
        shown = shares[:BARS].tolist() if self.ids else []
        self.likeliest = top.indices[: len(shown)].tolist()
        for place, bar in enumerate(self.bars):
            bar.layout.display = "none" if place >= len(shown) else "block"
            if place < len(shown):
                word = self.tokenizer.decode([self.likeliest[place]])
                word = "the end" if self.likeliest[place] == self.tokenizer.eot_token else repr(word)
                bar.description = f"{word}  {shown[place]:6.1%}"
                bar.tooltip = f"Go on from here with {word}"
        own = self.ids[self.look.value] if self.look.value < len(self.ids) else -1  # the token that the story took here
        taken = self.likeliest.index(own) if own in self.likeliest else None
        self.shares.value = bars_html(shown, taken)
        here = max(self.look.value - 1, 1)
        before, token = self.tokenizer.decode(self.ids[1:here]), self.tokenizer.decode(self.ids[here : self.look.value])
        self.after.value = after_html(before, token, taken is not None) if self.ids else ""
