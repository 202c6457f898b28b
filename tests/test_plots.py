"""Figures: what is drawn is what was given; attention shares are those that the model uses."""

import pytest
import torch
from matplotlib import pyplot as plt

from yzlin import plots
from yzlin.model import ModelArgs, yzlinGPT
from yzlin.plots import LossPlot, attention_map, attention_shares, curves, token_bars


@pytest.fixture
def shown(monkeypatch):
    """What was displayed."""
    seen = []
    monkeypatch.setattr(plots, "display", lambda thing, **how: seen.append((thing, how)))
    return seen


def test_curves_are_named_and_captioned(shown):
    curves({"one": [3, 2, 1], "two": ([0, 2], [5, 6])}, "step", "loss", "Two curves", yscale="log")
    (fig, how), (caption, _) = shown
    axis = fig.axes[0]
    assert [line.get_label() for line in axis.get_lines()] == ["one", "two"]
    assert [line.get_xydata().tolist() for line in axis.get_lines()] == [[[0, 3], [1, 2], [2, 1]], [[0, 5], [2, 6]]]
    assert axis.get_xlabel() == "step" and axis.get_ylabel() == "loss" and axis.get_yscale() == "log"
    assert how["metadata"]["image/png"]["alt"] == "Two curves" and caption.data == "*Two curves*"
    colours_and_styles = {(line.get_color(), line.get_linestyle()) for line in axis.get_lines()}
    assert len(colours_and_styles) == 2 and len({style for _, style in colours_and_styles}) == 2


def test_curves_into_an_axis_show_nothing(shown):
    fig, axis = plt.subplots()
    curves({"one": [1, 2]}, "x", "y", "", axis)
    assert not shown and len(axis.get_lines()) == 1
    plt.close(fig)


def test_attention_shares_give_the_models_own_output():
    """With the shares the whole forward pass can be done by hand, to the same logits."""
    torch.manual_seed(0)
    model = yzlinGPT(ModelArgs(block_size=7, vocab_size=11, n_layer=3, n_head=2, n_embed=12)).eval()
    ids = [3, 1, 4, 1, 5, 9]
    shares = attention_shares(model, ids)
    assert shares.shape == (3, 2, 6, 6)
    torch.testing.assert_close(shares.sum(-1), torch.ones(3, 2, 6))
    x = model.embed(torch.tensor([ids]))
    for block, share in zip(model.transformer.blocks, shares, strict=True):
        value = block.attention.qkv_attention(block.attention_norm(x))[..., 24:]  # (1, 6, 12): the last third
        heads = [share[h] @ value[0, :, 6 * h : 6 * h + 6] for h in range(2)]
        x = x + block.attention.context_projection(torch.cat(heads, dim=-1))
        x = x + block.mlp(block.mlp_norm(x))
    torch.testing.assert_close(model.lm_head(model.transformer.norm(x)), model(torch.tensor([ids]))[0])


def test_an_attention_map_has_a_word_for_each_row(shown):
    attention_map(torch.eye(3), ["a", "b", "c"], "A map")
    axis = shown[0][0].axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "b", "c"]
    assert axis.images[0].get_array().tolist() == torch.eye(3).tolist()


def test_the_loss_plot_draws_the_log(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(plots, "display", lambda fig, **how: shown.append(how) or type("H", (), {"update": shown.append})())
    log = tmp_path / "log.csv"
    log.write_text(
        "iter,tokens,train_loss,val_loss,lr,grad_norm,tokens_per_s,seconds,coherence\n"
        "0,0,8.0,8.1,0.1,,1.0,0.0,0.0\n10,1000000,4.0,,0.2,1.0,5.0,1.0,\n20,2000000,2.0,2.5,0.1,1.0,5.0,2.0,0.5\n30,3000"
    )
    plot = LossPlot(log)
    lines = {line.get_label(): line.get_xydata().tolist() for axis in plot.axes for line in axis.get_lines()}
    assert lines["train"] == [[0, 8.0], [1, 4.0], [2, 2.0]]
    assert lines["val"] == [[0, 8.1], [2, 2.5]] and lines["coherence"] == [[0, 0.0], [2, 0.5]]
    assert len(shown[0]["metadata"]["image/png"]["alt"]) > 20


def test_outside_of_a_notebook_the_plot_does_no_harm(capsys):
    plot = LossPlot(seconds=0.0)
    row = {"iter": 1, "tokens": 10, "train_loss": 2.0, "val_loss": 2.1, "lr": 0.1, "grad_norm": 1.0, "tokens_per_s": 5.0}
    plot({**row, "story": "Once \x00 there was a cat."})
    plot.update()
    assert len(plot.rows) == 1 and "\x00" not in plot.page.texts[0].get_text()


def row(number: int, **columns) -> dict:
    """A row as `train` gives it: 1,000 tokens an iteration."""
    numbers = {"train_loss": 5.0, "val_loss": None, "lr": 0.1, "grad_norm": 1.0, "tokens_per_s": 100.0, "seconds": 1.0}
    return {"iter": number, "tokens": 1000 * number, **numbers, "coherence": None, "story": None, **columns}


def titles(plot: LossPlot) -> list[str]:
    return [axis.get_title(loc="left") for axis in plot.axes]


def test_the_panels_follow_the_run(monkeypatch):
    plot = LossPlot(shown=False)
    assert titles(plot) == []
    plot(row(0, val_loss=8.0, coherence=0.0))
    assert titles(plot) == ["loss (nats a token)", "coherent stories (share)", "learning rate x 1,000"]
    plot(row(10))
    plot.update()
    assert titles(plot)[2:] == ["learning rate x 1,000", "gradient norm", "tokens/s"]
    monkeypatch.setattr(plots, "gpu_memory", lambda: 3.5)
    other = LossPlot(shown=False, device="cuda", bytes_per_token=4.0, peak_tokens=400.0)
    for number in (0, 10):
        other(row(number, val_loss=8.0))
    other.update()
    assert titles(other)[1:3] == ["val: bits per byte", "learning rate x 1,000"]
    assert titles(other)[3:] == ["gradient norm", "tokens/s, MFU 25%", "most GPU memory (GB)"]
    bits = other.axes[1].get_lines()[0].get_ydata()
    assert bits == pytest.approx([8.0 / 0.693147 / 4.0] * 2, rel=1e-5)
    for axis in (*plot.axes, *other.axes):
        assert axis.get_lines() and axis.get_xlabel() == "tokens seen (millions)"  # no empty panel, a name on each x axis


def test_before_the_first_step_there_is_neither_gradient_nor_speed():
    plot = LossPlot(shown=False)
    plot(row(0, grad_norm=0.0, tokens_per_s=None))
    plot(row(10, grad_norm=2.0))
    assert plot.points("grad_norm") == [(0.01, 2.0)] and plot.points("tokens_per_s") == [(0.01, 100.0)]


def test_after_a_killed_kernel_the_curve_never_runs_backwards(tmp_path):
    """The log has rows up to 40; the last checkpoint is of 20, so that 30 and 40 come again, with other numbers."""
    log = tmp_path / "log.csv"
    head = "iter,tokens,train_loss,val_loss,lr,grad_norm,tokens_per_s,seconds,coherence,story\n"
    log.write_text(head + "".join(f"{i},{1000 * i},5.0,,0.1,1.0,5.0,1.0,,\n" for i in (0, 10, 20, 30, 40)))
    plot = LossPlot(log, shown=False)
    plot(row(30, train_loss=4.0))
    assert plot.points("train_loss") == [(0.0, 5.0), (0.01, 5.0), (0.02, 5.0), (0.03, 4.0)]
    plot(row(30, train_loss=3.0))
    assert plot.points("train_loss")[-1] == (0.03, 3.0) and len(plot.rows) == 4


class Clock:
    """A clock that moves when it is told."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize("minutes", [0.5, 10, 180])
def test_enough_pictures_and_not_too_many(monkeypatch, minutes):
    """A row each second, a quarter of a second for a picture: ten in half a minute, at most 1.5% of a long run."""
    clock = Clock()
    monkeypatch.setattr(plots, "time", clock)
    monkeypatch.setattr(LossPlot, "_draw", lambda self: setattr(clock, "now", clock.now + 0.25))
    plot = LossPlot(shown=False)
    before, first = plot.frames, None
    for number in range(int(60 * minutes)):
        clock.now += 1
        plot(row(number))
        first = first or (clock.now if plot.frames > before else None)
    assert plot.frames - before >= 10 and first <= 5
    assert minutes < 1 or plot.spent < 0.015 * clock.now


def test_the_line_of_text_says_where_the_run_stands(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(plots, "time", clock)
    plot = LossPlot(shown=False, max_iters=100, device="cpu", dtype="float32")
    assert plot.line.get_text() == (
        "iteration 0 of 100, getting ready (a GPU may compile for a minute), then the first evaluation, cpu, float32"
    )
    plot(row(0))
    clock.now += 10
    plot(row(10))  # ten seconds for ten iterations: 90 are left
    assert plot.status() == "iteration 10 of 100, 2 min left, cpu, float32"
    plot(row(100))
    assert plot.line.get_text() == "iteration 100 of 100, finished, cpu, float32"
    assert [plots.in_words(s) for s in (45, 600, 9000)] == ["45 s", "10 min", "2.5 h"]


def test_token_bars_have_the_likeliest_on_top():
    axis = token_bars([" a", " b"], [0.7, 0.2], "next").axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["' b'", "' a'"]
    assert [bar.get_width() for bar in axis.patches] == [0.2, 0.7]
