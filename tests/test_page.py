"""The page of a model: its own JavaScript, run in Node, computes what torch computes; in a real browser it works offline."""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import pytest
import torch

from yzlin.checkpoint import load_model
from yzlin.generate import Decoder, encode_prompt, stream_ids
from yzlin.model import ModelArgs, yzlinGPT
from yzlin.storybook import openings, stories
from yzlin.tokenizer import load_tokenizer, train_bpe
from yzlin.tools.html import asset
from yzlin.tools.page import page, page_text

SHIPPED = "storyteller"
CHINESE = "从前有一只小猫,住在河边的小房子里。它每天都去看鱼!「你好吗?」\n\n"
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(not NODE, reason="node is not installed")

# Runs the script of the page itself: here is no document, so it only defines what is tested.
HARNESS = """
const [file, wanted] = [process.argv[2], JSON.parse(require("fs").readFileSync(0, "utf8"))];
const html = require("fs").readFileSync(file, "utf8");
const block = (id) => html.match(new RegExp(`<script type="[^"]*" id="${id}">([^<]*)</script>`))[1];
const script = html.match(/<script>([^]*)<\\/script>/)[1];
const { Tokenizer, Model, likeliest, spread, draw, fromFloat16 } =
  new Function(script + "; return { Tokenizer, Model, likeliest, spread, draw, fromFloat16 };")();
const about = JSON.parse(block("model"));
const tokenizer = new Tokenizer(block("tokens"));
const weights = Object.fromEntries(about.weights.map((name) => [name, fromFloat16(block(name))]));
const model = new Model(about.args, (name) => weights[name]);
const greedy = (ids, count) => {
  ids = [...ids];
  for (const start = ids.length; ids.length < start + count; ) {
    const token = likeliest(model.next(ids), 1)[0];
    if (token === tokenizer.eot) break;
    ids.push(token);
  }
  return ids;
};
const answer = eval(wanted.code);
process.stdout.write(JSON.stringify(answer));
"""


def in_node(html, code: str, **given):
    """The value of a line of JavaScript that knows the page's tokenizer and model, and `wanted` with what is given."""
    harness = html.with_suffix(".js")
    harness.write_text(HARNESS, encoding="utf-8")
    done = subprocess.run(
        [NODE, str(harness), str(html)], input=json.dumps({"code": code, **given}), capture_output=True, text=True,
        encoding="utf-8", timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def rounded(model: yzlinGPT) -> yzlinGPT:
    """The model with the weights that the page holds: rounded to float16, computed in float32."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.half().float())
    return model


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """The storyteller's page, its model as the page has it, and its tokenizer."""
    path = tmp_path_factory.mktemp("page") / "story.html"
    page(SHIPPED, path)
    model, tokenizer, _ = load_model(SHIPPED)
    return path, rounded(model), tokenizer


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A page of a model with biases, a padded vocabulary and a window of 16, whose tokenizer learnt from Chinese."""
    torch.manual_seed(0)
    tokenizer = train_bpe([CHINESE * 3], 280, name="bpe280")
    model = yzlinGPT(ModelArgs(block_size=16, vocab_size=320, n_layer=2, n_head=3, n_embed=21, bias=True)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.2 * torch.randn_like(weight)
    path = tmp_path_factory.mktemp("page") / "tiny.html"
    path.write_text(page_text(model, tokenizer, "<b>&amp;</script>", ["</script><b>"]), encoding="utf-8", newline="\n")
    return path, rounded(model), tokenizer


@needs_node
def test_greedy_stories_are_torchs_on_50_beginnings(shipped):
    path, model, tokenizer = shipped
    long = [story.text * 2 for story in stories(3, seed=9)]  # longer than the window
    prompts = [encode_prompt(tokenizer, text) for text in [*openings(45), "", "Once upon a time", *long]]
    assert len(prompts) == 50 and sum(len(prompt) > model.args.block_size for prompt in prompts) == 3
    told = in_node(path, "wanted.prompts.map((ids, i) => greedy(ids, i < 47 ? 300 : 20))", prompts=prompts)
    for i, (prompt, ids) in enumerate(zip(prompts, told, strict=True)):
        new = list(stream_ids(model, tokenizer, prompt, max_tokens=300 if i < 47 else 20, temperature=0))
        assert ids == prompt + new, tokenizer.decode(prompt)


@needs_node
@pytest.mark.parametrize("which", ["tiny", "shipped"])
def test_logits_are_torchs_whatever_is_kept(which, request):
    """Forwards, past the window, and back to places that were read before, as a reader jumps."""
    path, model, tokenizer = request.getfixturevalue(which)
    torch.manual_seed(1)
    ids = torch.randint(tokenizer.n_vocab, (model.args.block_size + 5,)).tolist()
    ends = [1, 5, 4, 5, 9, 16, len(ids) - 1, len(ids), 3, model.args.block_size, 2]
    texts = [ids[:end] for end in ends] + [ids[:3] + ids[6:9], ids[:9]]
    got = in_node(path, "wanted.texts.map((ids) => Array.from(model.next(ids)))", texts=texts)
    for text, logits in zip(texts, got, strict=True):
        want = model(torch.tensor([text[-model.args.block_size :]]))[0][0, -1, : tokenizer.n_vocab]
        torch.testing.assert_close(torch.tensor(logits), want, atol=2e-4, rtol=1e-4)


@needs_node
def test_a_reading_that_was_broken_off_spoils_nothing(tiny):
    path, model, tokenizer = tiny
    code = """(() => {
      model.next([1, 2, 3, 4, 5, 6, 7, 8]);
      const reading = model.read([1, 2, 9, 10, 11, 12]);
      reading.next(); reading.next();
      return Array.from(model.next([1, 2, 3, 4, 5, 6, 7]));
    })()"""
    want = model(torch.tensor([[1, 2, 3, 4, 5, 6, 7]]))[0][0, -1, : tokenizer.n_vocab]
    torch.testing.assert_close(torch.tensor(in_node(path, code)), want, atol=2e-4, rtol=1e-4)


@needs_node
def test_the_attention_row_is_softmax_of_queries_and_keys(tiny):
    path, model, _ = tiny
    idx = torch.tensor([[5, 40, 3, 7, 7, 200]])
    code = """(model.next(wanted.ids), [0, 1].map(
      (layer) => [-1, 0, 1, 2].map((head) => Array.from(model.attention(layer, head).slice(0, 6)))))"""
    got = in_node(path, code, ids=idx[0].tolist())
    x = model.transformer.token_embedding(idx) + model.transformer.position_embedding(torch.arange(6))
    for layer, block in enumerate(model.transformer.blocks):
        q, k, _ = block.attention.qkv_attention(block.attention_norm(x)).split(21, dim=2)
        rows = torch.stack([(q[0, -1, h : h + 7] @ k[0, :, h : h + 7].T / 7**0.5).softmax(-1) for h in (0, 7, 14)])
        torch.testing.assert_close(torch.tensor(got[layer][1:]), rows, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(torch.tensor(got[layer][0]), rows.mean(0), atol=1e-5, rtol=1e-4)
        x = block(x)


def odd_texts() -> list[str]:
    texts = ["", " ", "  a", "a  b", "a \n b", "trailing  ", "\n\n", "\t", "I'll we've I'S 's", "<|endoftext|>"]
    texts += ["a\u00a0b\u3000c", "\x85x\x1cy\ufeffz", "e\u0301 \u00e9", "\U0001f469\u200d\U0001f467!", "12 \u0663\u0664 \u00bd"]
    texts += ["\u2028 \u2029", "\u3072\u3089\u304c\u306a\ud55c\uad6d", "\u0928\u092e\u0938\u094d\u0924\u0947"]
    texts += ["{x: [1, 2]} -- \u2026", "x" * 500, CHINESE, "\U00010400\U0001d7d9"]
    torch.manual_seed(2)
    letters = "ab 1\n\t'.\u00e9\u732b\u3000\U0001f600\x85s"
    return texts + ["".join(letters[i] for i in torch.randint(len(letters), (30,)).tolist()) for _ in range(300)]


@needs_node
@pytest.mark.parametrize("name", ["gpt2", "storybook", "chinese"])
def test_the_tokenizer_gives_the_ids_of_the_course(name, tmp_path):
    tokenizer = train_bpe([CHINESE * 3], 290, "chinese") if name == "chinese" else load_tokenizer(name)
    model = yzlinGPT(ModelArgs(block_size=4, vocab_size=tokenizer.n_vocab, n_layer=1, n_head=1, n_embed=1))
    path = tmp_path / "tiny.html"
    path.write_text(page_text(model, tokenizer, "tiny", []), encoding="utf-8", newline="\n")
    texts = odd_texts() + [story.text for story in stories(200, seed=4)] + [CHINESE * 100]
    ids = in_node(path, "wanted.texts.map((text) => tokenizer.encode(text))", texts=texts)
    for text, got in zip(texts, ids, strict=True):
        assert got == tokenizer.encode_ordinary(text), repr(text)
    assert in_node(path, "wanted.ids.map((ids) => tokenizer.decode(ids))", ids=ids) == texts


@needs_node
def test_a_long_word_is_no_trap(shipped):
    path, _, tokenizer = shipped
    text = "x" * 10_000
    assert in_node(path, "tokenizer.encode(wanted.text)", text=text) == tokenizer.encode_ordinary(text)


@needs_node
def test_groups_are_whole_characters(shipped):
    path, _, tokenizer = shipped
    text = "a\u732b\U0001f600 b"
    ids = encode_prompt(tokenizer, text)
    groups = in_node(path, "tokenizer.groups(wanted.ids)", ids=ids)
    assert "".join(group["text"] for group in groups) == text and "\ufffd" not in str(groups)
    assert [group["start"] for group in groups[1:]] == [group["end"] for group in groups[:-1]]
    assert groups[0] == {"start": 0, "end": 1, "text": ""} and groups[-1]["end"] == len(ids)
    broken = [200, 200, 230, 97, 240, 240, 240, 240, 240, 240]  # bytes that are no text
    groups = in_node(path, "tokenizer.groups(wanted.ids)", ids=broken)
    assert groups[-1]["end"] == len(broken) and all(group["end"] - group["start"] <= 4 for group in groups)


@needs_node
@pytest.mark.parametrize(("temperature", "top_k"), [(0, 40), (0.7, 5), (1.0, 320), (2.0, 1)])
def test_what_is_drawn_from_is_softmax_of_the_top(tiny, temperature, top_k):
    path, _, _ = tiny
    torch.manual_seed(3)
    logits = torch.randn(320)
    logits[7] = logits[100] = logits.max() + 1  # equal ones: the first of them
    code = """(() => {
      const found = spread(Float32Array.from(wanted.logits), wanted.t, wanted.k);
      return [found, wanted.u.map((chance) => draw(found, chance))];
    })()"""
    chances = [0, 0.1, 0.37, 0.5, 0.9, 0.999999]
    spread, drawn = in_node(path, code, logits=logits.tolist(), t=temperature, k=top_k, u=chances)
    if temperature == 0:
        assert spread == {"ids": [7], "shares": [1]} and set(drawn) == {7}
        return
    shares = torch.zeros(320, dtype=torch.float64)
    keep = sorted(range(320), key=lambda i: (-logits[i].item(), i))[:top_k]
    shares[keep] = (logits[keep].double() / temperature).softmax(-1)
    assert spread["ids"] == keep
    torch.testing.assert_close(torch.tensor(spread["shares"], dtype=torch.float64), shares[keep], atol=1e-6, rtol=1e-5)
    for chance, token in zip(chances, drawn, strict=True):
        place = keep.index(token)
        assert sum(spread["shares"][:place]) <= chance + 1e-9 and chance < sum(spread["shares"][: place + 1]) + 1e-9


@needs_node
def test_every_float16_is_read_as_torch_reads_it(tiny):
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    values = bits.view(torch.float16)
    values = values[torch.isfinite(values)]
    data = base64.b64encode(values.numpy().tobytes()).decode()
    got = in_node(tiny[0], "Array.from(fromFloat16(wanted.data))", data=data)
    assert got == values.float().tolist()


class Tags(HTMLParser):
    """Every tag of the page with its attributes, and every text between script tags."""

    def __init__(self) -> None:
        super().__init__()
        self.tags, self.scripts, self.inside = [], [], None

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_data(self, data):
        if self.inside in ("script", "style"):
            self.scripts.append((self.tags[-1], data))

    def handle_endtag(self, tag):
        self.inside = None


def test_the_page_is_one_file_that_reaches_for_nothing(tiny):
    html = tiny[0].read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(html)
    for tag, attributes in tags.tags:
        assert not {"src", "srcset", "action", "style"} & attributes.keys(), tag
        assert not any(name.startswith("on") for name in attributes), tag
        assert attributes.get("href", "data:,") == "data:,"
    (policy,) = (attributes["content"] for _, attributes in tags.tags if attributes.get("http-equiv"))
    assert policy.startswith("default-src 'none';") and "unsafe" not in policy and "http" not in policy
    run = [text for (tag, attributes), text in tags.scripts if tag == "style" or "type" not in attributes]
    assert len(run) == 2, "one style, one script"
    for text in run:
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy
    script = "".join(asset(name) for name in ("engine.js", "words.js", "page.js"))
    for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "fetch(", "XMLHttp", "import("):
        assert word not in script, word
    assert not re.search(r"https?://", html)


def test_the_words_are_there_in_both_languages():
    english, chinese = asset("words.js").split("  zh: {")
    names = re.findall(r"^    (\w+): \"(.*)\",$", english, re.M), re.findall(r"^    (\w+): \"(.*)\",$", chinese, re.M)
    assert [name for name, _ in names[0]] == [name for name, _ in names[1]]
    for (name, one), (_, other) in zip(*names, strict=True):
        numbers = [set(re.findall(r"\{\w+\}", words)) - {"{millions}", "{tenThousands}"} for words in (one, other)]
        assert numbers[0] == numbers[1], name
    used = set(re.findall(r'data-word="(\w+)"', asset("page.html"))) | set(re.findall(r'say\("(\w+)"', asset("page.js")))
    assert used <= {name for name, _ in names[0]}


def test_nothing_is_overwritten_and_bad_weights_are_refused(tmp_path):
    path = tmp_path / "story.html"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="is there already"):
        page(SHIPPED, path)
    assert path.read_text() == "mine"
    model, tokenizer, _ = load_model(SHIPPED)
    with torch.no_grad():
        model.lm_head.weight[0, 0] = 1e5
    with pytest.raises(ValueError, match="float16"):
        page_text(model, tokenizer, "a", [])


def test_command_line_page(tmp_path):
    command = [sys.executable, "-m", "yzlin", "page", SHIPPED, "--to", str(tmp_path / "deep" / "story.html")]
    done = subprocess.run([*command, "--beginning", "One day"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "story.html: 4.0 MB" in done.stdout, done.stderr
    assert '"beginnings": ["One day"]' in (tmp_path / "deep" / "story.html").read_text(encoding="utf-8")
    again = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert again.returncode == 2 and "is there already" in again.stderr and "Traceback" not in again.stderr


# ---- in a real browser


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[browser]'")
    names = ("chromium", "chromium-browser", "google-chrome", "chrome", "microsoft-edge")
    chromium = os.environ.get("CHROMIUM") or next((found for name in names if (found := shutil.which(name))), None)
    if not chromium:
        pytest.skip("no Chromium is installed: install one, or name it in $CHROMIUM")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()


def opened(browser, path, **how):
    """The page by its file:// address, its model unpacked; asks for nothing, and nothing is amiss."""
    context = browser.new_context(reduced_motion="reduce", **how)
    tab = context.new_page()
    tab.problems, tab.asked = [], []
    tab.on("console", lambda message: message.type in ("error", "warning") and tab.problems.append(message.text))
    tab.on("pageerror", lambda error: tab.problems.append(str(error)))
    tab.on("request", lambda request: tab.asked.append(request.url))
    tab.goto(path.as_uri())
    tab.wait_for_selector("#bars button")
    return tab


def until(tab, condition: str) -> None:
    """Waits for a condition. Playwright's own waiting needs eval, which the page forbids."""
    for _ in range(600):
        if tab.evaluate(condition):
            return
        tab.wait_for_timeout(50)
    raise AssertionError(f"never came true: {condition}")


def settled(tab) -> str:
    """Waits until nothing is written any more, and the bars are of the place that is looked at; the story."""
    until(tab, "document.getElementById('more').getAttribute('aria-disabled') === 'false'")
    until(tab, "document.querySelector('#story span:last-child').style.getPropertyValue('--share') !== ''")
    return "".join(tab.locator("#story span:not(.sign)").all_text_contents())


def set_to(tab, name: str, value: float) -> None:
    tab.evaluate(
        "([id, value]) => { const e = document.getElementById(id); e.value = value; e.dispatchEvent(new Event('input')); }",
        [name, value],
    )


def test_the_browser_tells_torchs_story_offline(browser, shipped):
    path, model, tokenizer = shipped
    tab = opened(browser, path, offline=True, locale="en-US")
    set_to(tab, "temperature", 0)
    beginning = openings(3)[2]
    tab.fill("#beginning", beginning)
    tab.click("#write")
    want = list(stream_ids(model, tokenizer, encode_prompt(tokenizer, beginning), temperature=0))
    assert settled(tab) == beginning + tokenizer.decode(want)
    assert "The end" in tab.inner_text("#status") and tab.text_content("#said") == tokenizer.decode(want)
    assert tab.problems == [] and tab.asked == [path.as_uri()]
    tab.context.close()


def test_a_touched_token_shows_torchs_ten_and_one_can_be_taken(browser, shipped):
    path, model, tokenizer = shipped
    tab = opened(browser, path, locale="en-US")
    set_to(tab, "temperature", 0)
    tab.click("#write")
    before = settled(tab)
    set_to(tab, "temperature", 1)
    set_to(tab, "top-k", 101)
    tab.locator("#story span").nth(8).click()
    until(tab, "document.querySelectorAll('#story span')[8].classList.contains('here')")
    tab.wait_for_timeout(300)
    ids = encode_prompt(tokenizer, before)[:9]
    shares = Decoder(model)(torch.tensor([ids]))[0, : tokenizer.n_vocab].softmax(-1)
    top = shares.topk(10)
    texts = tab.locator("#bars .share").all_text_contents()
    assert [float(text.rstrip("%")) for text in texts] == pytest.approx((100 * top.values).tolist(), abs=0.051)
    widths = tab.evaluate("[...document.querySelectorAll('#bars .fill')].map((e) => e.clientWidth / e.parentNode.clientWidth)")
    assert widths == pytest.approx(top.values.tolist(), abs=0.02), "the bars are true to scale"
    tab.locator("#bars button").nth(1).click()
    tab.wait_for_timeout(300)
    assert settled(tab) == tokenizer.decode(ids[1:] + [top.indices[1].item()])
    tab.context.close()


def test_the_keyboard_alone_is_enough(browser, shipped):
    tab = opened(browser, shipped[0], locale="en-US")

    def tab_to(name: str) -> None:
        for _ in range(40):
            if tab.evaluate("document.activeElement.id") == name:
                return
            tab.keyboard.press("Tab")
        raise AssertionError(f"{name} cannot be reached")

    tab_to("write")
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.activeElement.id") == "write", "the focus stays"
    story = settled(tab)
    assert len(story) > 100
    tab_to("place")
    count = tab.locator("#story span").count()
    for key, here in (("Home", 0), ("ArrowRight", 1), ("End", count - 1), ("ArrowLeft", count - 2)):
        tab.keyboard.press(key)
        assert tab.evaluate("[...document.querySelectorAll('#story span')].findIndex((e) => e.matches('.here'))") == here
    assert re.match(rf"{count - 1} of {count}: \S", tab.get_attribute("#place", "aria-valuetext"))
    tab_to("temperature")
    tab_to("layer")
    tab.keyboard.press("ArrowDown")
    assert tab.input_value("#layer") == "1"
    tab.context.close()


def test_stop_and_escape_stop_at_once(browser, shipped):
    for how in ("click", "Escape"):
        tab = opened(browser, shipped[0], locale="en-US")
        tab.emulate_media(reduced_motion="no-preference")
        tab.click("#write")
        until(tab, "document.querySelectorAll('#story span').length > 15")
        tab.click("#write") if how == "click" else tab.keyboard.press("Escape")
        assert "Stopped" in tab.inner_text("#status")
        count = tab.locator("#story span").count()
        tab.wait_for_timeout(200)
        assert tab.locator("#story span").count() == count
        tab.context.close()


def test_nothing_is_html_and_what_the_window_has_lost_is_faded(browser, tiny):
    path, model, _ = tiny
    tab = opened(browser, path, locale="en-US")
    assert "<b>&amp;</script>" in tab.inner_text("#about") and tab.input_value("#beginning") == "</script><b>"
    evil = "<img src=x onerror=alert(1)><script>alert(1)</script>"
    tab.fill("#beginning", evil)
    tab.click("#one")
    tab.click("#write")
    until(tab, "document.querySelectorAll('#story span').length > 60")
    tab.keyboard.press("Escape")
    assert settled(tab).startswith(evil) and tab.locator("#story img, #story script").count() == 0
    faded = tab.evaluate("[...document.querySelectorAll('#story span')].map((e) => e.classList.contains('outside'))")
    assert faded == sorted(faded, reverse=True) and any(faded)
    assert "outside the window of 16" in tab.inner_text("#outside") and tab.problems == []
    tab.context.close()


def test_both_languages_and_names_for_a_screen_reader(browser, shipped):
    tab = opened(browser, shipped[0], locale="zh-CN")
    assert tab.evaluate("document.documentElement.lang") == "zh" and "写故事" in tab.inner_text("#write")
    tab.click("#language")
    assert tab.evaluate("document.documentElement.lang") == "en" and tab.title() == "A small model tells stories"
    for name in ("beginning", "picked", "place", "temperature", "top-k", "layer", "head"):
        assert tab.locator(f"#{name}").evaluate("(e) => e.labels[0].textContent.trim().length") > 0, name
    assert tab.get_attribute("#bars li:first-child button", "aria-label")
    assert tab.get_attribute("#status", "aria-live") == tab.get_attribute("#said", "aria-live") == "polite"
    tab.context.close()


@pytest.mark.parametrize(("scheme", "language"), [("light", "en-US"), ("dark", "zh-CN"), ("light", "zh-CN"), ("dark", "en-US")])
@pytest.mark.parametrize(("width", "height"), [(1366, 768), (390, 844)])
def test_it_fits_the_screen_and_can_be_read(browser, shipped, scheme, language, width, height):
    tab = opened(browser, shipped[0], locale=language, color_scheme=scheme, viewport={"width": width, "height": height})
    tab.click("#write")
    settled(tab)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    if width > 1000:  # the knobs and the bars that they move are on the screen together, beside the story
        for name in ("#story", "#place", "#temperature", "#bars li:last-child", "#looked li:last-child"):
            box = tab.locator(name).bounding_box()
            assert box["y"] >= 0 and box["y"] + box["height"] <= height, name
    for name in ("h1", "#status", "#about", "#write", "#story span:nth-child(9)", "#bars .share", ".hint"):
        assert tab.locator(name).first.evaluate(CONTRAST) >= 4.5, name
    if shots := os.environ.get("YZLIN_SHOTS"):
        tab.screenshot(path=f"{shots}/page-{width}-{scheme}-{language}.png", full_page=width < 1000)
    tab.context.close()


# The contrast of a text to what lies behind it (WCAG 2.2), from the colours that the browser has computed.
CONTRAST = """(element) => {
  const numbers = (colour) => {
    const c = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    c.fillStyle = colour; c.fillRect(0, 0, 1, 1);
    return [...c.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  let behind = element;
  while (behind.parentElement && numbers(getComputedStyle(behind).backgroundColor)[3] < 255) behind = behind.parentElement;
  const [one, other] = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor].map(numbers).map(light);
  return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
}"""
