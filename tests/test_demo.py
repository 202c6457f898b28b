"""The panel and the plots, without a browser."""

import numpy as np
import pytest

from yzlin import plots
from yzlin.demo import StoryDemo
from yzlin.plots import PALETTE, LossPlot, token_bars


class Scripted:
    """Stands in for `stream`: says its words one by one, and looks for the stop before each."""

    def __init__(self, words):
        self.words, self.calls = words, []

    def __call__(self, model, tokenizer, prompt, should_stop, **how):
        self.calls.append((prompt, how))
        for word in self.words:
            if should_stop():
                return
            yield word


@pytest.fixture
def demo(monkeypatch):
    script = Scripted([f" word{i}" for i in range(50)])
    monkeypatch.setattr("yzlin.demo.stream", script)
    demo = StoryDemo(None, None, "Once")
    demo.script = script
    return demo


def test_write_tells_a_whole_story(demo):
    demo.write_button.click()
    demo.wait()
    assert demo.story == "Once" + "".join(f" word{i}" for i in range(50))
    assert "<b" in demo.page.value and demo.message.value == "The end."
    assert not demo.write_button.disabled and demo.stop_button.disabled


def test_continue_adds_twenty_words_to_what_is_there(demo):
    demo.written = " one two"
    demo.continue_button.click()
    demo.wait()
    assert len(demo.written.split()) == 22
    assert demo.script.calls[-1][0] == "Once one two"


def test_the_knobs_reach_the_model(demo):
    demo.temperature.value, demo.top_k.value, demo.seed.value = 1.5, 7, 3
    demo.write_button.click()
    demo.wait()
    assert demo.script.calls[-1] == ("Once", {"temperature": 1.5, "top_k": 7, "seed": 3})


def test_stop_stops_and_two_clicks_are_one(demo, monkeypatch):
    def endless(model, tokenizer, prompt, should_stop, **how):
        while not should_stop():
            yield " la"

    monkeypatch.setattr("yzlin.demo.stream", endless)
    demo.write_button.click()
    first = demo.thread
    demo.write_button.click()
    assert demo.thread is first
    demo.stop_button.click()
    demo.wait(10)
    assert not first.is_alive() and demo.message.value == "Stopped."
    demo.clear()
    assert demo.page.value == "" and demo.written == ""


def test_html_stays_text(demo):
    demo.prompt.value = "<script>alert(1)</script>"
    demo.write_button.click()
    demo.wait()
    assert "<script>" not in demo.page.value and "&lt;script&gt;" in demo.page.value


def test_an_error_is_said_in_the_panel(demo, monkeypatch):
    def broken(*_, **__):
        raise ValueError("temperature is <bad>")
        yield

    monkeypatch.setattr("yzlin.demo.stream", broken)
    demo.write_button.click()
    demo.wait()
    assert demo.message.value == "ValueError: temperature is &lt;bad&gt;" and not demo.write_button.disabled


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


def test_token_bars_have_the_likeliest_on_top():
    axis = token_bars([" a", " b"], [0.7, 0.2], "next").axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["' b'", "' a'"]
    assert [bar.get_width() for bar in axis.patches] == [0.2, 0.7]


def seen_by(colour: str, matrix: np.ndarray) -> np.ndarray:
    """A colour as a colour-blind reader sees it, in CIE Lab (the matrices act on linear RGB: Machado et al., 2009)."""
    rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(matrix @ linear, 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = (f if f > 0.008856 else 0 for f in (to_xyz @ linear) / np.array([0.9505, 1.0, 1.089]))
    fx, fy, fz = (c ** (1 / 3) if c > 0.008856 else 16 / 116 for c in (x, y, z))
    return np.array([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)])


@pytest.mark.parametrize(
    "matrix",
    [
        np.eye(3),
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],  # protanopia
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],  # deuteranopia
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],  # tritanopia
    ],
)
def test_every_reader_can_tell_the_colours_apart(matrix):
    seen = [seen_by(colour, np.array(matrix)) for colour in PALETTE]
    distances = [np.linalg.norm(a - b) for i, a in enumerate(seen) for b in seen[:i]]
    assert min(distances) > 10
