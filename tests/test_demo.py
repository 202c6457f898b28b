"""The panel and the plots, without a browser."""

import html
import re
import time

import pytest
import torch

from yzlin.checkpoint import save_checkpoint
from yzlin.demo import StoryDemo, tell
from yzlin.generate import generate
from yzlin.model import ModelArgs, yzlinGPT
from yzlin.storybook import openings
from yzlin.tokenizer import load_tokenizer
from yzlin.tools.verdict import about_story

TOKENIZER = load_tokenizer("storybook")
WORDS = TOKENIZER.encode_ordinary(" She was so happy that she ran home to her friend and told him all about it." * 3)


class Scripted:
    """Stands in for `stream_ids`: gives these ids one by one, and looks for the stop before each."""

    def __init__(self, ids):
        self.ids, self.calls = ids, []

    def __call__(self, model, tokenizer, ids, should_stop, **how):
        self.calls.append((tokenizer.decode(ids[1:]), how))
        for token in self.ids:
            if should_stop():
                return
            yield token


@pytest.fixture
def demo(monkeypatch):
    script = Scripted(WORDS)
    monkeypatch.setattr("yzlin.demo.stream_ids", script)
    monkeypatch.setattr("yzlin.tools.verdict.OWN", 4)  # for speed
    torch.manual_seed(0)
    model = yzlinGPT(ModelArgs(block_size=40, vocab_size=TOKENIZER.n_vocab, n_layer=1, n_head=2, n_embed=16)).eval()
    demo = StoryDemo(model, TOKENIZER, "Once", beginnings=("One day", "Long ago"))
    demo.script = script
    return demo


def plain(page: str) -> str:
    return html.unescape(re.sub("<[^>]*>", "", page))


def test_write_tells_a_whole_story(demo):
    demo.write_button.click()
    demo.wait()
    assert demo.written == TOKENIZER.decode(WORDS) and demo.story == "Once" + demo.written == plain(demo.page.value)
    assert demo.message.value == "The end." and not demo.write_button.disabled and demo.stop_button.disabled
    assert demo.continue_button.disabled  # there is nothing to go on from


def test_continue_adds_twenty_words_to_what_is_there(demo):
    demo.length.value = 10  # shorter than the story
    demo.script.ids = WORDS[:10]
    demo.write_button.click()
    demo.wait()
    before = demo.story
    assert demo.message.value == "Continue goes on." and not demo.continue_button.disabled
    demo.length.value, demo.script.ids = 300, WORDS
    demo.continue_button.click()
    demo.wait()
    assert demo.script.calls[-1][0] == before and demo.story.startswith(before)
    assert len(demo.story[len(before) :].split()) == 20


def test_the_knobs_reach_the_model(demo):
    demo.temperature.value, demo.top_k.value, demo.seed.value, demo.length.value = 1.5, 7, 3, 50
    demo.picked.value = "Long ago"
    demo.write_button.click()
    demo.wait()
    prompt, how = demo.script.calls[-1]
    assert prompt == "Long ago" and how["seed"] == 3 + len(TOKENIZER.encode_ordinary("Long ago")) + 1
    assert {key: how[key] for key in ("temperature", "top_k", "max_tokens")} == {
        "temperature": 1.5,
        "top_k": 7,
        "max_tokens": 50,
    }


def test_stop_stops_and_two_clicks_are_one(demo, monkeypatch):
    def endless(model, tokenizer, ids, should_stop, **how):
        while not should_stop():
            time.sleep(0.001)
            yield WORDS[0]

    monkeypatch.setattr("yzlin.demo.stream_ids", endless)
    demo.write_button.click()
    first = demo.thread
    demo.write_button.click()
    demo.continue_button.click()
    demo.bars[0].click()
    assert demo.thread is first
    demo.stop_button.click()
    demo.wait(10)
    assert not first.is_alive() and demo.message.value == "Stopped."
    demo.clear_button.click()
    assert demo.page.value == "" and demo.story == "" and demo.continue_button.disabled


def test_html_stays_text_and_any_language_comes_through(demo):
    for beginning in (
        "<script>alert(1)</script>",
        "\u5c0f\u732b \U0001f600",
        "\u0645\u0631\u062d\u0628\u0627",
        "a & b\n  c",
        "",
    ):
        demo.prompt.value = beginning
        demo.write_button.click()
        demo.wait()
        assert "<script" not in demo.page.value and plain(demo.page.value) == beginning + demo.written


def test_a_book_as_a_beginning_is_refused_in_the_panel(demo):
    demo.prompt.value = "x" * 10_001
    demo.write_button.click()
    assert "10,001 characters" in demo.message.value and demo.thread is None


def test_an_error_is_said_in_the_panel(demo, monkeypatch):
    def broken(*_, **__):
        raise ValueError("temperature is <bad>")
        yield

    monkeypatch.setattr("yzlin.demo.stream_ids", broken)
    demo.write_button.click()
    demo.wait()
    assert demo.message.value == "ValueError: temperature is &lt;bad&gt;" and not demo.write_button.disabled


def test_the_bars_are_the_likeliest_tokens_and_follow_the_temperature_at_once(demo):
    demo.write_button.click()
    demo.wait()
    demo.top_k.value = 200
    demo.look.value = 5
    logits = demo.model(torch.tensor([demo.ids[:5]]))[0][0, -1]
    assert demo.likeliest == logits.topk(10).indices.tolist()
    for temperature in (1.0, 0.3):
        demo.temperature.value = temperature
        shares = (logits / temperature).topk(200).values.softmax(-1)
        for bar, share in zip(demo.bars, shares, strict=False):
            assert bar.description.endswith(f"{share:.1%}") and bar.layout.display == "block"
    demo.top_k.value = 3
    assert [bar.layout.display for bar in demo.bars] == ["block"] * 3 + ["none"] * 7
    demo.temperature.value = 0
    assert demo.bars[0].description.endswith("100.0%")


def test_another_token_is_taken_and_the_story_goes_on_from_it(demo):
    demo.write_button.click()
    demo.wait()
    demo.look.value = 6
    kept, token = demo.ids[:6], demo.likeliest[2]
    demo.bars[2].click()
    demo.wait()
    assert demo.ids == [*kept, token, *WORDS] and demo.script.calls[-1][0] == TOKENIZER.decode([*kept[1:], token])
    demo.look.value = 6
    demo.likeliest[0] = TOKENIZER.eot_token
    demo.bars[0].click()
    assert demo.ids == kept and demo.message.value == "The end."


def test_what_the_model_no_longer_sees_is_faded(demo):
    demo.write_button.click()
    demo.wait()
    faded = plain("".join(re.findall(r"<span style=\"[^\"]*opacity[^>]*>([^<]*)</span>", demo.page.value)))
    assert faded == TOKENIZER.decode(demo.ids[1:-40]) and faded


def widths(demo) -> list[float]:
    return [float(width) for width in re.findall(r"width:([\d.]+)%", demo.shares.value)]


def test_bars_are_in_true_scale_and_nothing_looks_like_nothing(demo):
    demo.write_button.click()
    demo.wait()
    demo.temperature.value = 0.05  # a steep one: big and tiny shares
    shares = [float(bar.description.split()[-1].rstrip("%")) for bar in demo.bars]
    assert widths(demo) == shares and len(shares) == 10
    demo.temperature.value = 0
    assert widths(demo) == [100.0] + [0.0] * 9


def test_top_p_leaves_the_fewest_bars_that_have_the_share(demo):
    demo.write_button.click()
    demo.wait()
    demo.temperature.value, demo.top_k.value, demo.top_p.value = 0.1, 20, 0.5
    logits = demo.model(torch.tensor([demo.ids[: demo.look.value]]))[0][0, -1]
    chances = sorted((logits / 0.1).exp().tolist(), reverse=True)[:20]
    left, together = [], 0.0
    while together < 0.5 * sum(chances):
        together += chances[len(left)]
        left.append(chances[len(left)])
    assert widths(demo) == [round(100 * chance / sum(left), 1) for chance in left[:10]]
    demo.write_button.click()
    demo.wait()
    assert demo.script.calls[-1][1]["top_p"] == 0.5 and demo.script.calls[0][1]["top_p"] is None


def test_each_story_has_a_new_seed_unless_it_is_kept(demo):
    def told():
        demo.write_button.click()
        demo.wait()
        assert demo.script.calls[-1][1]["seed"] == demo.seed.value + len(demo.ids) - len(WORDS)
        return demo.seed.value

    demo.seed.value = 7
    assert told() == 7 and len({told() for _ in range(5)} - {7}) >= 4
    demo.lock.value, demo.seed.value = True, 7
    assert told() == told() == 7


def test_the_changed_place_stays_marked_and_the_slider_stays_there(demo):
    demo.write_button.click()
    demo.wait()
    assert demo.look.value == demo.own  # a new story is looked at where the model begins
    demo.look.value = 9
    word = TOKENIZER.decode([demo.likeliest[4]])
    demo.bars[4].click()
    demo.wait()
    marked = re.findall(r'<span style="[^"]*background[^>]*>([^<]*)</span>', demo.page.value)
    assert demo.look.value == 9 and [html.unescape(text) for text in marked] == [word]
    place = demo.likeliest.index(demo.ids[9])  # the bar of what was taken is marked, too
    assert place == 4 and demo.shares.value.split("share taken")[0].count("row") == 5
    demo.look.value = 12
    assert demo.page.value.count("background") == 1
    demo.write_button.click()
    demo.wait()
    assert "background" not in demo.page.value


def test_write_and_continue_stay_awake_so_that_the_focus_stays(demo, monkeypatch):
    awake = []

    def watched(model, tokenizer, ids, should_stop, **how):
        for token in WORDS[:5]:
            awake.append(not demo.write_button.disabled and not demo.continue_button.disabled and not demo.stop_button.disabled)
            awake.append(not any(bar.disabled for bar in demo.bars))
            yield token

    monkeypatch.setattr("yzlin.demo.stream_ids", watched)
    demo.write_button.click()
    demo.wait()
    assert len(awake) == 10 and all(awake)


def test_a_finished_story_is_said_aloud_and_continue_says_what_is_new(demo):
    demo.length.value, demo.script.ids = 10, WORDS[:10]
    demo.write_button.click()
    demo.wait()
    assert html.unescape(demo.aloud.value) == f"{demo.story} Continue goes on."
    before = demo.story
    demo.continue_button.click()
    demo.wait()
    assert html.unescape(demo.aloud.value).startswith(demo.story[len(before) :])


def test_several_models_one_loaded_when_it_is_chosen(demo, tmp_path):
    torch.manual_seed(1)
    gpt2 = load_tokenizer("gpt2")
    args = ModelArgs(block_size=16, vocab_size=gpt2.n_vocab, n_layer=1, n_head=1, n_embed=8)
    other = yzlinGPT(args)
    path = tmp_path / "other.pt"
    save_checkpoint(path, {"model": other.state_dict(), "model_args": vars(args), "tokenizer": ("gpt2", None)})
    models = {"mine": (demo.model, TOKENIZER), "other": path, "lost": tmp_path / "lost.pt"}
    many = StoryDemo(prompt="Once", models=models)
    assert many.chosen.options == ("mine", "other", "lost") and many.chosen.layout.display != "none"
    assert many.model is demo.model and demo.chosen.layout.display == "none"
    many.write_button.click()
    many.wait()
    assert many.story
    many.chosen.value = "other"
    assert many.tokenizer.name == "gpt2" and many.story == "" and many.prompt.value == "Once"
    torch.testing.assert_close(many.model.lm_head.weight.cpu(), other.lm_head.weight)
    many.write_button.click()
    many.wait()
    assert many.ids[:2] == [gpt2.eot_token, *gpt2.encode_ordinary("Once")] and "bits a token" in many.verdict.value
    many.chosen.value = "lost"
    assert "lost.pt is missing" in many.message.value
    assert many.chosen.value == "other" and many.tokenizer.name == "gpt2"
    with pytest.raises(ValueError, match="has no model"):
        StoryDemo()


def test_the_verdict_on_beginnings_and_stories():
    demo = StoryDemo(models=["storyteller"], beginnings=openings(3))
    for beginning, sentence in [("Hello", "surprises the model"), (openings(1)[0], "is no surprise")]:
        demo.prompt.value, demo.length.value = beginning, 10
        demo.write_button.click()
        demo.wait()
        ids = torch.tensor([[TOKENIZER.eot_token, *TOKENIZER.encode_ordinary(beginning)]])
        ids = ids.to(demo.model.lm_head.weight.device)
        _, loss = demo.model(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())  # in nats
        assert sentence in demo.verdict.value and f": {loss.item() / 0.693147:.1f} bits a token" in demo.verdict.value
        assert "The story" not in demo.verdict.value  # it has not ended
    demo.length.value = 300
    demo.write_button.click()
    demo.wait()
    assert demo.ended and f"<p>{html.escape(about_story(demo.story))}</p>" in demo.verdict.value


def test_tell_prints_outside_of_a_notebook_and_is_one_growing_output_inside(demo, monkeypatch, capsys):
    how = dict(max_tokens=12, seed=3)
    said = generate(demo.model, TOKENIZER, "A <b>cat</b>", **how)
    tell(demo.model, TOKENIZER, "A <b>cat</b>", label="greedy", **how)
    assert capsys.readouterr().out == f"greedy: {said}\n"
    outputs = []
    kernel = type("Shell", (), {"kernel": True})()
    monkeypatch.setattr("yzlin.demo.get_ipython", lambda: kernel)
    monkeypatch.setattr("yzlin.demo.REDRAW", 0.0)
    monkeypatch.setattr("yzlin.demo.display", lambda bundle, **how: (outputs.append(bundle), Handle())[1])

    class Handle:
        def update(self, bundle, raw):
            outputs.append(bundle)

    tell(demo.model, TOKENIZER, "A <b>cat</b>", **how)
    texts = [output["text/plain"] for output in outputs]
    assert texts[0] == "A <b>cat</b>" and texts[-1] == said and len(texts) > 5
    assert all(longer.startswith(text) for text, longer in zip(texts, texts[1:], strict=False))
    assert plain(outputs[-1]["text/html"]) == said and "<b>cat" not in outputs[-1]["text/html"]
