"""Figures: curves, attention maps, next-token bars, the live plot of a training run.

Colours: Okabe and Ito's, which colour-blind readers can tell apart. Letters of 11 points and more, for the last row.
"""

from __future__ import annotations

import math
import textwrap
import time
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator
from torch import Tensor

from yzlin.model import yzlinGPT
from yzlin.runs import read_log

BLUE, ORANGE, GREEN, RED, PURPLE, BLACK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#000000"
PALETTE = (BLUE, ORANGE, GREEN, RED, PURPLE, BLACK)


STYLES = ("-", "--", "-.", ":", (0, (3, 1, 1, 1, 1, 1)), (0, (1, 1)))
plt.rcParams["font.size"] = 12
plt.rcParams.update({key: 11 for key in ("legend.fontsize", "xtick.labelsize", "ytick.labelsize")})


def show(fig: Figure, caption: str) -> None:
    """Shows a figure in the notebook with its caption under it; the caption is its alt text too."""
    display(fig, metadata={"image/png": {"alt": caption}})
    display(Markdown(f"*{caption}*"))
    plt.close(fig)


def curves(
    lines: dict[str, Any],
    xlabel: str,
    ylabel: str,
    caption: str,
    axis: Axes | None = None,
    **axis_settings: Any,
) -> None:
    """Draws one curve for each name and shows the figure, or draws into `axis` and shows nothing.

    lines: name -> the y values, or (x values, y values). axis_settings go to Axes.set: yscale="log", ylim=(0, 1), title=...
    """
    fig = None
    if axis is None:
        fig, axis = plt.subplots(figsize=(8, 3.4), layout="constrained")
    for number, (name, values) in enumerate(lines.items()):
        x, y = values if isinstance(values, tuple) else (range(len(values)), values)
        look = dict(color=PALETTE[number % len(PALETTE)], linestyle=STYLES[number % len(STYLES)])
        axis.plot(x, y, label=name, marker="o" if len(x) < 20 else None, markersize=4, **look)
    axis.set(xlabel=xlabel, ylabel=ylabel, **axis_settings)
    axis.grid(alpha=0.3)
    if len(lines) > 1:
        axis.legend()
    if fig:
        show(fig, caption)


@torch.no_grad()
def attention_shares(model: yzlinGPT, ids: list[int]) -> Tensor:
    """The attention shares of every head for one text: (n_layer, n_head, T, T), each row sums to 1.

    scaled_dot_product_attention never shows them, so they are computed from the same queries and keys.
    """
    x = model.embed(torch.tensor([ids], device=model.lm_head.weight.device))
    future = torch.ones(len(ids), len(ids), dtype=torch.bool, device=x.device).triu(1)
    shares = []
    for block in model.transformer.blocks:
        q, k, _ = block.attention.heads(block.attention_norm(x))
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.size(-1))
        shares.append(scores.masked_fill(future, -math.inf).softmax(-1)[0])
        x = block(x)
    return torch.stack(shares)


def attention_map(shares: Tensor, words: list[str], caption: str, title: str = "") -> None:
    """Shows one head's shares (T, T) as a heat map with a word for each row and column."""
    size = max(6.0, 0.27 * len(words) + 1.5)
    fig, axis = plt.subplots(figsize=(size + 0.5, size), layout="constrained")
    image = axis.imshow(shares.cpu().numpy(), cmap="Blues", vmin=0, vmax=1)
    axis.set_xticks(range(len(words)), words, rotation=90)
    axis.set_yticks(range(len(words)), words)
    axis.set(xlabel="key: the token looked at", ylabel="query: the token that asks", title=title)
    fig.colorbar(image, label="share of attention", shrink=0.7)
    show(fig, caption)


class LossPlot:
    """The curves of a run in one figure that redraws itself, and the story that the model told last.

    Give `plot` itself to `train(..., on_log=plot)`. It begins with what is in log.csv already, so a cell that was stopped
    and run again goes on with the same curves; without a training it draws a run that is over or goes on elsewhere.
    """

    alt = (
        "Five panels against tokens seen: train and val loss, coherence of sampled stories, learning rate, gradient norm, "
        "tokens a second; below them the story that the model told last"
    )
    share = 0.015  # of the run's time, at most, that goes into drawing

    def __init__(self, log: str | Path | None = None, seconds: float = 2.0) -> None:
        self.rows: list[dict[str, Any]] = read_log(log) if log and Path(log).exists() else []
        self.seconds, self.drawn, self.cost = seconds, 0.0, 0.0
        self.fig = plt.figure(figsize=(10, 6.5), layout="constrained")
        grid = self.fig.add_gridspec(3, 6, height_ratios=(1.4, 1, 0.55))
        places = (grid[0, :4], grid[0, 4:], grid[1, :2], grid[1, 2:4], grid[1, 4:])
        self.axes = [self.fig.add_subplot(place) for place in places]
        self.page = self.fig.add_subplot(grid[2, :])
        self._draw()
        self.handle = display(self.fig, display_id=True, metadata={"image/png": {"alt": self.alt}})
        plt.close(self.fig)

    def __call__(self, row: dict[str, Any]) -> None:
        """Takes a row of the log; draws seldom enough to cost the run almost nothing."""
        self.rows.append(row)
        if time.monotonic() - self.drawn >= max(self.seconds, self.cost / self.share):
            self.update()

    def update(self) -> None:
        """Draws now."""
        start = time.monotonic()
        self._draw()
        if self.handle:  # outside of a notebook there is nothing to redraw
            self.handle.update(self.fig, metadata={"image/png": {"alt": self.alt}})
        self.drawn = time.monotonic()
        self.cost = self.drawn - start

    def _draw(self) -> None:
        loss, coherence, lr, norm, speed = self.axes
        for axis in self.axes:
            axis.clear()
            axis.grid(alpha=0.3)
        for axis in (lr, norm, speed):
            axis.set_xlabel("tokens seen (millions)")
        self._curve(loss, "train_loss", BLUE, "train")
        self._curve(loss, "val_loss", ORANGE, "val", "o-")
        loss.set_ylabel("loss (nats a token)")
        if self.rows:
            loss.set_yscale("log")  # the memory for facts comes with the last tenths
            loss.yaxis.set_major_locator(FixedLocator([0.2, 0.3, 0.5, 1, 2, 3, 5, 8, 11]))
            loss.yaxis.set_major_formatter("{x:g}")
            loss.yaxis.set_minor_locator(NullLocator())
            loss.legend()
        self._curve(coherence, "coherence", GREEN, "coherence", "o-")
        coherence.set(ylabel="coherent stories (share)", ylim=(-0.03, 1.03))
        self._curve(lr, "lr", PURPLE, "lr")
        lr.set_ylabel("learning rate")
        self._curve(norm, "grad_norm", BLACK, "norm")
        norm.set_ylabel("gradient norm")
        self._curve(speed, "tokens_per_s", RED, "speed")
        speed.set_ylabel("tokens a second")
        speed.set_ylim(bottom=0)
        self.page.clear()
        self.page.axis("off")
        told = [row for row in self.rows if row.get("story")]
        if told:
            # An early model may write any byte; a font draws only letters.
            text = "".join(letter if letter.isprintable() else " " for letter in told[-1]["story"])
            text = textwrap.shorten(text, 520, placeholder=" ...")
            text = "\n".join(textwrap.wrap(f"At iteration {told[-1]['iter']}: {text}", 108))
            self.page.text(0, 1, text, va="top", fontsize=10, parse_math=False).set_in_layout(False)

    def _curve(self, axis: Any, column: str, colour: str, label: str, style: str = "-") -> None:
        points = [(row["tokens"] / 1e6, row[column]) for row in self.rows if row.get(column) is not None]
        if points:
            axis.plot(*zip(*points, strict=True), style, color=colour, label=label, markersize=4)


def token_bars(words: list[str], shares: list[float], title: str) -> Figure:
    """The likeliest next tokens as bars, the likeliest on top."""
    fig, axis = plt.subplots(figsize=(7, 0.35 * len(words) + 1), layout="constrained")
    axis.barh([repr(word) for word in words][::-1], shares[::-1], color=BLUE)
    axis.set(xlabel="probability", xlim=(0, min(1, 1.2 * max(shares))), title=title)
    return fig
