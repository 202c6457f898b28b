"""The pieces that the panel of the story demo is made of."""

import html
import re

from yzlin.tools.panel import HEAD, Controls, Panel, Piece, after_html, bars_html, story_html


def test_what_is_written_stays_text():
    page = story_html([Piece("<script>1</script>", True, False, False, False, False), Piece(" & so", *[True] * 5)])
    assert "<script" not in page and html.unescape(re.sub("<[^>]*>", "", page)) == "<script>1</script> & so"
    assert "<i>" not in after_html("<i>a", "<i>b", False) and "<b>&lt;i&gt;b</b>" in after_html("<i>a", "<i>b", False)


def test_each_mark_of_a_piece_is_drawn_and_only_that():
    marks = {"readers": "font-weight:bold", "faded": "opacity", "looked_at": "border-bottom", "changed": "background"}
    for name in marks:
        page = story_html([Piece("a", **{other: other == name for other in (*marks, "follow")})])
        assert [mark for mark in marks.values() if mark in page] == [marks[name]] and "follow" not in page
    assert 'class="follow"' in story_html([Piece("a", False, False, False, False, True)])


def test_bars_have_their_share_of_the_frame():
    drawn = bars_html([0.9993, 0.0004, 0.0003], taken=1)
    assert re.findall(r'class="(share[^"]*)" style="width:([\d.]+)%', drawn) == [
        ("share", "99.9"),
        ("share taken", "0.0"),
        ("share", "0.0"),
    ]


def test_the_place_is_named_in_whole_words():
    assert "<q>Once upon<b> a</b></q>" in after_html("Once upon", " a", False)
    shown = after_html("He had been a very long time in the castle", " ran", True)
    assert "<q>...a very long time in the castle<b> ran</b></q>" in shown and "the story's own" in shown
    assert "very beginning" in after_html("", "", False)


def test_where_no_kernel_runs_the_panel_is_a_picture_with_a_text():
    bundle = Panel()._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert "Box(" not in bundle["text/plain"] and len(bundle["text/plain"]) > 100
    assert re.search(r'<img src="data:image/png;base64,[^"]{1000,}" alt="The panel[^"]{50,}"', bundle["text/html"])


def test_every_control_has_a_name_and_a_single_model_needs_no_choice():
    controls = Controls(["one"], "Once", 0, ("Long ago",), bars=3)
    named = [part for part in vars(controls).values() if hasattr(part, "description") and part not in controls.bars]
    texts = [controls.page, controls.verdict, controls.after, controls.message, controls.shares, controls.aloud]
    assert all(part.description for part in named if part not in texts) and len(named) - len(texts) == 14
    assert controls.chosen.layout.display == "none" and Controls(["a", "b"], "", 0, (), 1).chosen.layout.display != "none"
    assert HEAD.count("onerror") == 1 and "</script" not in HEAD
