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


def test_token_bars_have_the_likeliest_on_top():
    axis = token_bars([" a", " b"], [0.7, 0.2], "next").axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["' b'", "' a'"]
    assert [bar.get_width() for bar in axis.patches] == [0.2, 0.7]
