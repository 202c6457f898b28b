"""The progress bar shows what it is told, and a stream that goes away does it no harm."""

import io
import sys

from yzlin.tools.progress import Bar


class Terminal(io.StringIO):
    """A stream that breaks after some writes, like a pipe whose reader has gone."""

    left = 10**9

    def write(self, text: str) -> int:
        self.left -= 1
        if self.left < 0:
            raise BrokenPipeError(32, "Broken pipe")
        return super().write(text)


def test_it_counts_and_says(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Bar(3, 1, True) as bar:
        bar.update()
        bar.say("loss 2.5")
        bar.update()
    assert "3/3" in terminal.getvalue() and "loss 2.5" in terminal.getvalue()


def test_a_stream_that_breaks_or_closes_ends_the_bar_alone(monkeypatch):
    for breaks in ("write", "close", "first write"):
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        if breaks == "first write":
            terminal.left = 0
        with Bar(300, 0, True) as bar:
            bar.bar.mininterval = 0
            bar.update()
            if breaks == "write":
                terminal.left = 0
            elif breaks == "close":
                terminal.close()
            for _ in range(299):
                bar.update()
                bar.say("on")


def test_without_a_terminal_nothing_is_shown(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with Bar(3, 0, True) as bar:
        bar.update()
        bar.say("nothing")
