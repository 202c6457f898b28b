"""Figures: curves, attention maps, next-token bars, the live plot of a training run.

Colours: Okabe and Ito's, which colour-blind readers can tell apart. Letters of 11 points and more, for the last row.
"""

from __future__ import annotations

import math
import statistics
import textwrap
import time
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator, NullLocator
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
    """The curves of a run in one figure that redraws itself, a line that says where it stands, and the story told last.

    Give `plot` itself to `train(..., on_log=plot)`. It begins with what is in log.csv already, so a cell that was stopped
    and run again goes on with the same curves; without a training it draws a run that is over or goes on elsewhere.
    A panel is there only where the run has something to draw in it.

    max_iters, device, dtype: of the run, for the line of text. bytes_per_token: of a text without coherence, whose val loss
    is then drawn in bits per byte. peak_tokens: tokens a second at the device's peak, for the MFU (the share of it that is
    reached; Chowdhery et al., 2022, arXiv:2204.02311). seconds: between two pictures, at least. shown: False draws for a file.
    """

    first = 12  # pictures that are drawn every `seconds`, so that a run of half a minute shows ten and more
    share = 0.01  # of the run's time, at most, that goes into drawing from then on

    def __init__(
        self,
        log: str | Path | None = None,
        seconds: float = 1.5,
        *,
        max_iters: int | None = None,
        device: torch.device | str | None = None,
        dtype: str | None = None,
        bytes_per_token: float | None = None,
        peak_tokens: float | None = None,
        shown: bool = True,
    ) -> None:
        self.rows: list[dict[str, Any]] = read_log(log) if log and Path(log).exists() else []
        self.seconds, self.max_iters, self.dtype, self.device = seconds, max_iters, dtype, torch.device(device or "cpu")
        self.words = [word for word in (str(device or ""), dtype or "") if word]  # of the line above the panels
        self.bytes_per_token, self.peak_tokens = bytes_per_token, peak_tokens
        self.memory: list[tuple[float, float]] = []  # tokens in millions, GB: asked while the run goes on
        self.began: tuple[float, int] | None = None  # time and iteration of the first row of this session
        self.frames, self.spent, self.drawn, self.cost = 0, 0.0, 0.0, 0.0
        self.columns: list[str] = []  # of the log, a panel each
        self.axes: list[Axes] = []
        self.fig = plt.figure(figsize=(10, 6.6))
        plt.close(self.fig)  # shown by us alone
        self.handle = None
        self.update()
        if shown:
            self.handle = display(self.fig, display_id=True, metadata=self._alt())

    def __call__(self, row: dict[str, Any]) -> None:
        """Takes a row of the log; draws seldom enough to cost the run almost nothing.

        Where a run was killed and goes on from its last checkpoint, the rows from there on come again: they replace the old.
        """
        while self.rows and self.rows[-1]["iter"] >= row["iter"]:
            self.rows.pop()
        self.memory = [point for point in self.memory if point[0] < row["tokens"] / 1e6]
        self.rows.append(row)
        now = time.monotonic()
        self.began = self.began or (now, row["iter"])
        if self.device.type == "cuda" and (used := gpu_memory()) is not None:
            self.memory.append((row["tokens"] / 1e6, used))
        pause = self.seconds if self.frames < self.first else max(self.seconds, self.cost / self.share)
        if self.frames == 1 or row["iter"] == self.max_iters or now - self.drawn >= pause:
            self.update()

    def update(self) -> None:
        """Draws now."""
        start = time.monotonic()
        self._draw()
        if self.handle:  # outside of a notebook there is nothing to redraw
            self.handle.update(self.fig, metadata=self._alt())
        self.drawn = time.monotonic()
        self.cost = self.drawn - start
        self.spent += self.cost
        self.frames += 1

    def _alt(self) -> dict[str, Any]:
        alt = f"A training run against tokens seen: {', '.join(self.panels().values())}. {self.status()}"
        return {"image/png": {"alt": alt}}

    def status(self) -> str:
        """Where the run stands: iteration, time left, device, dtype."""
        at = self.rows[-1]["iter"] if self.rows else 0
        words = [f"iteration {at:,}" + (f" of {self.max_iters:,}" if self.max_iters else "")]
        if self.max_iters and at >= self.max_iters:
            words.append("finished")
        elif self.max_iters and self.began and at > self.began[1]:
            pace = (time.monotonic() - self.began[0]) / (at - self.began[1])  # with evaluations, and with drawing
            words.append(f"{in_words(pace * (self.max_iters - at))} left")
        elif not self.rows:
            words.append("getting ready (a GPU may compile for a minute), then the first evaluation")
        return ", ".join(words + self.words)

    def points(self, column: str) -> list[tuple[float, float]]:
        """(tokens in millions, value) of each row that has one. Before the first step there is neither gradient nor speed."""
        if column == "memory":
            return self.memory
        if column == "bits":
            return [(x, y / math.log(2) / self.bytes_per_token) for x, y in self.points("val_loss")]
        if column == "lr":
            return [(row["tokens"] / 1e6, 1000 * row["lr"]) for row in self.rows]
        first = 1 if column in ("grad_norm", "tokens_per_s") else 0
        rows = [row for row in self.rows if row["iter"] >= first and row.get(column) is not None]
        return [(row["tokens"] / 1e6, row[column]) for row in rows]

    def panels(self) -> dict[str, str]:
        """The panels of this run: column of the log -> title. Before the first row there are none."""
        if not self.rows:
            return {}
        second = {"bits": "val: bits per byte"} if self.bytes_per_token else {}
        if any(row.get("coherence") is not None for row in self.rows):
            second = {"coherence": "coherent stories (share)"}
        small = {"lr": "learning rate x 1,000", "grad_norm": "gradient norm", "tokens_per_s": "tokens/s"}
        small["memory"] = "most GPU memory (GB)"
        small = {column: title for column, title in small.items() if self.points(column)}
        if self.peak_tokens and "tokens_per_s" in small:
            share = statistics.median(speed for _, speed in self.points("tokens_per_s")) / self.peak_tokens
            small["tokens_per_s"] = f"tokens/s, MFU {share:.0%}" if share >= 0.1 else f"tokens/s, MFU {share:.1%}"
        return {"train_loss": "loss (nats a token)", **second, **small}

    def _draw(self) -> None:
        panels = self.panels()
        if list(panels) != self.columns or not self.fig.axes:
            self._build(list(panels))
        looks = {"train_loss": (BLUE, "-"), "coherence": (GREEN, "o-"), "bits": (GREEN, "o-"), "lr": (PURPLE, "-"),
                 "grad_norm": (BLACK, "-"), "tokens_per_s": (RED, "-"), "memory": (ORANGE, "-")}  # fmt: skip
        end = max(self.rows[-1]["tokens"] / 1e6, 1e-3) if self.rows else 1.0
        for axis, (column, title) in zip(self.axes, panels.items(), strict=True):
            axis.clear()
            axis.set_xlim(-0.03 * end, 1.03 * end)  # one axis for all panels, also where a curve has one point yet
            axis.locator_params(axis="x", nbins=5)
            axis.grid(alpha=0.3)
            axis.set_title(title, loc="left", fontsize=12)
            axis.set_xlabel("tokens seen (millions)", labelpad=2)
            self._curve(axis, column, *looks[column])
            if column == "train_loss":
                self._curve(axis, "val_loss", ORANGE, "o-")
                scale_of_loss(axis)
            elif column == "coherence":
                axis.set_ylim(-0.03, 1.03)
            elif column in ("tokens_per_s", "memory", "bits"):
                axis.set_ylim(0, 1.1 * max(y for _, y in self.points(column)) or 1)
            if column == "tokens_per_s":
                axis.yaxis.set_major_formatter(EngFormatter(sep=""))  # 15k: the margins are fixed
        self.line.set_text(self.status())
        self.page.texts[0].set_text(self._story())

    def _build(self, columns: list[str]) -> None:
        """Empty panels with fixed margins: to work out a layout at each picture would take much of its time."""
        self.fig.clear()
        upper = [column for column in columns if column in ("train_loss", "coherence", "bits")]
        place = dict(left=0.07, right=0.985)
        top = self.fig.add_gridspec(1, 3, top=0.91, bottom=0.575, wspace=0.27, **place)
        spots = [top[0, :2], top[0, 2:]] if len(upper) == 2 else [top[0, :]]
        if count := len(columns) - len(upper):
            spots += list(self.fig.add_gridspec(1, count, top=0.445, bottom=0.235, wspace=0.33, **place))
        self.columns, self.axes = columns, [self.fig.add_subplot(spot) for _, spot in zip(columns, spots, strict=False)]
        self.line = self.fig.text(0.012, 0.965, "", fontsize=12)
        self.page = self.fig.add_axes((0.012, 0.0, 0.98, 0.15))
        self.page.axis("off")
        self.page.text(0, 1, "", va="top", fontsize=11, parse_math=False)

    def _story(self) -> str:
        told = [row for row in self.rows if row.get("story")]
        if not told:
            return ""
        # An early model may write any byte; a font draws only letters.
        text = "".join(letter if letter.isprintable() else " " for letter in told[-1]["story"])
        text = textwrap.shorten(f"At iteration {told[-1]['iter']:,}: {text}", 440, placeholder=" ...")
        return "\n".join(textwrap.wrap(text, 115))

    def _curve(self, axis: Axes, column: str, colour: str, style: str) -> None:
        if points := self.points(column):
            label = column.removesuffix("_loss") if column.endswith("_loss") else column
            style = style if len(points) > 1 else "o"  # a line of one point is not seen
            axis.plot(*zip(*points, strict=True), style, color=colour, label=label, markersize=4)


def scale_of_loss(axis: Axes) -> None:
    """A logarithmic scale with plain numbers: the memory for facts comes with the last tenths."""
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(FixedLocator([0.2, 0.3, 0.5, 1, 2, 3, 5, 8, 11]))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_locator(NullLocator())
    axis.legend()


def in_words(seconds: float) -> str:
    """A duration: "45 s", "12 min", "3.2 h"."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def gpu_memory() -> float | None:
    """The most GB that PyTorch's tensors have held on the GPU so far; None without CUDA. Not run on a GPU yet."""
    return torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_initialized() else None


def token_bars(words: list[str], shares: list[float], title: str) -> Figure:
    """The likeliest next tokens as bars, the likeliest on top."""
    fig, axis = plt.subplots(figsize=(7, 0.35 * len(words) + 1), layout="constrained")
    axis.barh([repr(word) for word in words][::-1], shares[::-1], color=BLUE)
    axis.set(xlabel="probability", xlim=(0, min(1, 1.2 * max(shares))), title=title)
    return fig
