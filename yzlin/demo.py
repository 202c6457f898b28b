"""The story demo: a panel in a notebook in which a trained model goes on with the reader's beginning."""

from __future__ import annotations

import html
import threading

import ipywidgets as widgets
import tiktoken

from yzlin.generate import stream
from yzlin.model import yzlinGPT


class StoryDemo:
    """A prompt box, two sliders, Write, Continue, Stop, Start over. Show `demo.panel`.

    The story is written in a thread of its own, so that Stop works; what goes wrong is said in the panel.
    """

    def __init__(self, model: yzlinGPT, tokenizer: tiktoken.Encoding, prompt: str = "Once upon a time", seed: int = 0) -> None:
        self.model, self.tokenizer = model, tokenizer
        wide = widgets.Layout(width="95%")
        style = {"description_width": "8em"}
        self.prompt = widgets.Textarea(prompt, description="Beginning", layout=wide, style=style)
        self.temperature = widgets.FloatSlider(0.7, min=0, max=2, step=0.1, description="Temperature", style=style)
        self.top_k = widgets.IntSlider(40, min=1, max=200, description="Top-k", style=style)
        self.seed = widgets.IntText(seed, description="Seed", style=style)
        self.write_button = widgets.Button(description="Write", tooltip="Tell a story from the beginning")
        self.continue_button = widgets.Button(description="Continue", tooltip="20 more words", disabled=True)
        self.stop_button = widgets.Button(description="Stop", disabled=True)
        self.clear_button = widgets.Button(description="Start over")
        self.page = widgets.HTML(layout=wide)
        self.message = widgets.HTML(layout=wide)
        buttons = widgets.HBox([self.write_button, self.continue_button, self.stop_button, self.clear_button])
        controls = [self.prompt, self.temperature, self.top_k, self.seed, buttons]
        self.panel = widgets.VBox([*controls, self.page, self.message])
        self.written = ""  # what the model has added to the beginning
        self.beginning = prompt
        self.thread: threading.Thread | None = None
        self.stop = threading.Event()
        self.write_button.on_click(lambda _: self.start(fresh=True))
        self.continue_button.on_click(lambda _: self.start(fresh=False))
        self.stop_button.on_click(lambda _: self.stop.set())
        self.clear_button.on_click(lambda _: self.clear())

    @property
    def story(self) -> str:
        """The whole text: the reader's beginning and what was written."""
        return self.beginning + self.written

    def start(self, fresh: bool) -> None:
        """Begins a new story, or goes on for 20 words. While one is being written, nothing happens."""
        if self.thread and self.thread.is_alive():
            return
        if fresh:
            self.beginning, self.written = self.prompt.value, ""
        self.stop.clear()
        self._busy(True)
        self.thread = threading.Thread(target=self._write, args=(None if fresh else 20,), daemon=True)
        self.thread.start()

    def wait(self, seconds: float = 60) -> None:
        """Waits until the story is written."""
        if self.thread:
            self.thread.join(seconds)

    def clear(self) -> None:
        self.stop.set()
        self.wait()
        self.beginning, self.written = self.prompt.value, ""
        self.page.value = self.message.value = ""
        self.continue_button.disabled = True

    def _write(self, words: int | None) -> None:
        goal = len(self.written.split()) + words if words else None
        self.message.value = ""
        try:
            how = dict(temperature=self.temperature.value, top_k=self.top_k.value, seed=self.seed.value + len(self.written))
            for piece in stream(self.model, self.tokenizer, self.story, should_stop=self.stop.is_set, **how):
                if goal and len(self.written.split()) >= goal and piece[0].isspace():
                    break
                self.written += piece
                self._show()
            else:
                self.message.value = "Stopped." if self.stop.is_set() else "The end."
        except Exception as error:  # in the panel, because nobody sees a thread's traceback
            self.message.value = html.escape(f"{type(error).__name__}: {error}")
        finally:
            self._busy(False)

    def _busy(self, busy: bool) -> None:
        self.write_button.disabled = busy
        self.continue_button.disabled = busy
        self.stop_button.disabled = not busy

    def _show(self) -> None:
        """The reader's words plain, the model's bold and blue. Escaped: whatever is typed stays text."""
        own, new = (html.escape(text).replace("\n", "<br>") for text in (self.beginning, self.written))
        self.page.value = f'<p style="font-size: 1.2em; line-height: 1.5">{own}<b style="color: #0072B2">{new}</b></p>'
