"""A progress bar that never ends the run it shows."""

from __future__ import annotations

import sys

from tqdm.auto import tqdm


class Bar:
    """tqdm's bar on standard error, or nothing where `shown` is false or standard error is closed.

    A terminal that goes away (a broken pipe, a closed window) ends the bar, not the run.
    """

    def __init__(self, total: int, done: int, shown: bool) -> None:
        how = dict(total=total, initial=done, unit="iter", dynamic_ncols=True)
        try:
            self.bar = tqdm(**how, disable=not shown or sys.stderr is None)
        except (OSError, ValueError):
            self.bar = tqdm(**how, disable=True)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._try(lambda: self.bar.close())

    def update(self) -> None:
        """One more is done."""
        self._try(lambda: self.bar.update())

    def say(self, text: str) -> None:
        """Some words behind the bar, from its next drawing on."""
        self._try(lambda: self.bar.set_postfix_str(text, refresh=False))

    def _try(self, draw) -> None:
        try:
            draw()
        except (OSError, ValueError):  # ValueError: the stream was closed
            self.bar.disable = True
