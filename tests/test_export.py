"""Exported models: transformers and onnxruntime compute what the course computes, and the way back loses nothing."""

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace

import pytest
import torch

from yzlin import ROOT
from yzlin.checkpoint import load_checkpoint, load_model, save_checkpoint
from yzlin.generate import encode_prompt, stream_ids
from yzlin.model import ModelArgs, yzlinGPT
from yzlin.storybook import openings, stories
from yzlin.tokenizer import load_tokenizer, tokenizer_text, train_bpe
from yzlin.tools.export import byte_letters, export, import_folder, measured, model_card, whole_folder

SHIPPED = "storyteller"
CHINESE = "从前有一只小猫,住在河边的小房子里。它每天都去看鱼!「你好吗?」\n\n"


def has(*packages: str) -> bool:
    return all(importlib.util.find_spec(package) for package in packages)


needs_transformers = pytest.mark.skipif(
    not has("transformers", "safetensors"), reason="transformers or safetensors is not installed: pip install '.[export]'"
)
needs_onnx = pytest.mark.skipif(
    not has("transformers", "safetensors", "onnx", "onnxscript", "onnxruntime"),
    reason="a package of '.[export]' or onnxruntime is not installed",
)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Where transformers puts copies of code while these tests run; it asks no network."""
    before = dict(os.environ)
    os.environ |= {"HF_HOME": str(tmp_path_factory.mktemp("hf")), "HF_HUB_OFFLINE": "1"}
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def shipped(home, tmp_path_factory):
    """The storyteller: its exported folder, and what the course loads."""
    folder = tmp_path_factory.mktemp("export") / "storyteller"
    export(SHIPPED, folder)
    return folder, *load_model(SHIPPED)


@pytest.fixture
def tiny(tmp_path):
    """A run with biases, a vocabulary padded beyond its tokenizer, and a tokenizer learnt from Chinese."""
    torch.manual_seed(0)
    tokenizer = train_bpe([CHINESE * 3], 280, name="bpe280")
    args = ModelArgs(block_size=16, vocab_size=320, n_layer=2, n_head=2, n_embed=16, bias=True)
    model = yzlinGPT(args)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.1 * torch.randn_like(weight)  # biases and norms that are not 0 and 1
        model.transformer.token_embedding.weight[tokenizer.n_vocab :] *= 3  # the padding would win
    path = tmp_path / "run" / "checkpoint.pt"
    path.parent.mkdir()
    kept = {"iter_num": 7, "best_val_loss": float("inf"), "train_args": {"data": str(tmp_path / "secret")}}
    checkpoint = {"model": model.state_dict(), "model_args": asdict(args), "tokenizer": ["bpe280", tokenizer_text(tokenizer)]}
    save_checkpoint(path, checkpoint | kept)
    return path


def load_exported(folder):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(str(folder), trust_remote_code=True).eval()
    return model, AutoTokenizer.from_pretrained(str(folder))


def all_kinds_of_text() -> str:
    """More than 200 kB: stories, Chinese, code, signs, blanks of all kinds, emoji, letters that combine."""
    generator = torch.Generator().manual_seed(3)
    odd = ["\u00a0", "\u3000", "\t\t", "   ", "\r\n", "\n\n\n", "\u200d", "\u00e9", "e\u0301", "\x85", "\x1c"]
    odd += ["\U0001f469\u200d\U0001f467", "I'll we've", "1234567", "\u0663\u0664", "\u00df", "{x: [1, 2]}", "--", "\u2026"]
    odd += ["\u3072\u3089\u304c\u306a", "\ud55c\uad6d\uc5b4", "\u0928\u092e\u0938\u094d\u0924\u0947", "x" * 300, "<|endoftext"]
    odd += ["\u2028", "\ufeff", "'s 'S"]
    pieces = [story.text + "\n" for story in stories(240, seed=4)] + [CHINESE] * 400 + odd * 40
    order = torch.randperm(len(pieces), generator=generator).tolist()
    return "".join(pieces[i] for i in order) + "  "


@needs_transformers
def test_transformers_gives_the_same_logits_and_holds_the_head_once(shipped):
    folder, model, _, _ = shipped
    theirs, _ = load_exported(folder)
    torch.manual_seed(0)
    idx = torch.randint(model.args.vocab_size, (3, model.args.block_size))
    with torch.no_grad():
        torch.testing.assert_close(theirs(idx).logits, model(idx)[0], atol=0, rtol=0)
        loss = theirs(idx, labels=idx).loss
        torch.testing.assert_close(loss, model(idx[:, :-1].contiguous(), idx[:, 1:])[1], atol=1e-5, rtol=1e-5)
    assert theirs.lm_head.weight is theirs.transformer.token_embedding.weight
    assert theirs.num_parameters() == sum(weight.numel() for weight in model.parameters())


@needs_transformers
def test_transformers_tells_the_same_greedy_stories_before_and_past_the_window(shipped):
    folder, model, tokenizer, _ = shipped
    theirs, their_tokenizer = load_exported(folder)
    long = next(story.text for story in stories(1, seed=9)) * 2
    for beginning in [*openings(4), "", long]:
        given = encode_prompt(tokenizer, beginning)
        ids = their_tokenizer(beginning, return_tensors="pt").input_ids
        assert ids[0].tolist() == given
        told = theirs.generate(ids, do_sample=False, max_new_tokens=60)[0, len(given) :].tolist()
        wanted = list(stream_ids(model, tokenizer, given, max_tokens=60, temperature=0))
        assert [token for token in told if token != tokenizer.eot_token] == wanted


@needs_transformers
def test_what_transformers_saves_again_it_reads_again_and_so_do_we(shipped, tmp_path):
    folder, model, _, _ = shipped
    theirs, their_tokenizer = load_exported(folder)
    theirs.save_pretrained(tmp_path / "again")
    their_tokenizer.save_pretrained(tmp_path / "again")
    idx = torch.arange(50)[None]
    with torch.no_grad():
        torch.testing.assert_close(load_exported(tmp_path / "again")[0](idx).logits, model(idx)[0], atol=0, rtol=0)
    import_folder(tmp_path / "again", tmp_path / "back")
    torch.testing.assert_close(load_model(tmp_path / "back" / "checkpoint.pt")[0](idx)[0], model(idx)[0], atol=0, rtol=0)


@needs_transformers
def test_padding_that_would_shift_positions_is_refused(shipped):
    theirs, _ = load_exported(shipped[0])
    idx, left, right = torch.ones((1, 4), dtype=torch.int64), torch.tensor([[0, 1, 1, 1]]), torch.tensor([[1, 1, 1, 0]])
    with pytest.raises(ValueError, match="left"):
        theirs(idx, attention_mask=left)
    torch.testing.assert_close(theirs(idx, attention_mask=right).logits, theirs(idx).logits)
    with pytest.raises(ValueError, match="one by one"):
        theirs.generate(idx, attention_mask=right, max_new_tokens=1)


@needs_transformers
@pytest.mark.parametrize("name", ["gpt2", "storybook", "chinese"])
def test_tokenizer_json_gives_the_ids_of_the_course(name, home, tmp_path):
    from transformers import AutoTokenizer

    from yzlin.tools.export import write_tokenizer

    text = all_kinds_of_text()
    assert len(text.encode()) > 200_000
    tokenizer = train_bpe([CHINESE * 30, text[:20_000]], 600, "chinese") if name == "chinese" else load_tokenizer(name)
    write_tokenizer(tmp_path, tokenizer, ModelArgs())
    theirs = AutoTokenizer.from_pretrained(str(tmp_path))
    ids = theirs(text, add_special_tokens=False).input_ids
    assert ids == tokenizer.encode_ordinary(text)
    assert theirs.decode(ids) == text
    assert theirs("<|endoftext|> a").input_ids == encode_prompt(tokenizer, "<|endoftext|> a")  # typed: plain text
    assert theirs.eos_token_id == theirs.bos_token_id == tokenizer.eot_token


def test_the_letters_of_bytes_are_gpt2s():
    letters = byte_letters()
    assert len(set(letters)) == 256 and letters[ord(" ")] == "Ġ" and letters[ord("\n")] == "Ċ" and letters[ord("a")] == "a"
    if has("transformers"):
        from transformers.convert_slow_tokenizer import bytes_to_unicode

        assert letters == [bytes_to_unicode()[byte] for byte in range(256)]


@needs_transformers
def test_ids_that_pad_the_vocabulary_are_never_drawn(tiny, home, tmp_path):
    export(tiny, tmp_path / "out")
    model, tokenizer, _ = load_model(tiny)
    theirs, _ = load_exported(tmp_path / "out")
    idx = torch.tensor([encode_prompt(tokenizer, "从前")])
    assert model(idx)[0][0, -1].argmax() >= tokenizer.n_vocab, "else this proves nothing"
    told = theirs.generate(idx, do_sample=False, max_new_tokens=30)[0, idx.shape[1] :].tolist()
    assert told == list(stream_ids(model, tokenizer, idx[0].tolist(), max_tokens=30, temperature=0))


@needs_transformers
def test_a_checkpoint_of_the_original_project_can_be_exported(home, tmp_path):
    """GPT-2's tokenizer without a word about it, one norm per block, a loss that is a tensor."""
    torch.manual_seed(0)
    args = ModelArgs(block_size=8, vocab_size=50304, n_layer=1, n_head=1, n_embed=4)
    model = yzlinGPT(args).eval()
    state = {"_orig_mod." + name: weight for name, weight in model.state_dict().items() if ".mlp_norm." not in name}
    state = {name.replace(".attention_norm.", ".norm."): weight for name, weight in state.items()}
    checkpoint = {"model": state, "model_args": asdict(args), "iter_num": 3, "best_val_loss": torch.tensor(1.5)}
    torch.save(checkpoint, tmp_path / "checkpoint.pt")
    export(tmp_path / "checkpoint.pt", tmp_path / "out")
    theirs, tokenizer = load_exported(tmp_path / "out")
    ids = tokenizer("Once", return_tensors="pt").input_ids
    assert ids.tolist() == [[50256, 7454]]
    torch.testing.assert_close(theirs(ids).logits, model(ids)[0], atol=0, rtol=0)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["yzlin"]["best_val_loss"] == 1.5


@needs_onnx
@pytest.mark.parametrize("which", ["tiny", "shipped"])
def test_onnx_gives_the_logits_for_any_batch_and_length(which, tiny, home, tmp_path):
    import onnxruntime

    path = tiny if which == "tiny" else SHIPPED
    export(path, tmp_path / "out", onnx=True)
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / "model.onnx"), providers=["CPUExecutionProvider"])
    model = load_model(path)[0]
    for batch, length in ((1, 1), (1, model.args.block_size), (3, 7), (5, 2)):
        idx = torch.randint(model.args.vocab_size, (batch, length))
        (logits,) = session.run(["logits"], {"input_ids": idx.numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), model(idx)[0].detach(), atol=1e-4, rtol=0)


@needs_transformers
def test_the_way_back_gives_the_same_model_and_tokenizer(tiny, home, tmp_path):
    export(tiny, tmp_path / "out")
    import_folder(tmp_path / "out", tmp_path / "back")
    model, tokenizer, checkpoint = load_model(tmp_path / "back" / "checkpoint.pt")
    was, was_tokenizer, _ = load_model(tiny)
    assert model.args == was.args and checkpoint["iter_num"] == 7
    for name, weight in was.state_dict().items():
        assert torch.equal(model.state_dict()[name], weight), name
    assert tokenizer.name == was_tokenizer.name and tokenizer_text(tokenizer) == tokenizer_text(was_tokenizer)


@needs_transformers
def test_the_folder_holds_data_alone_and_nothing_of_the_readers_disk(tiny, home, tmp_path):
    export(tiny, tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "README.md", "config.json", "generation_config.json", "model.safetensors", "modeling_yzlin.py", "tokenizer.json",
        "tokenizer_config.json",
    }  # fmt: skip
    for path in (tmp_path / "out").iterdir():
        assert b"secret" not in path.read_bytes() and str(tmp_path).encode() not in path.read_bytes(), path.name
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert config["block_size"] == 16 and "best_val_loss" not in config["yzlin"]  # infinity is not JSON


@needs_transformers
@pytest.mark.parametrize("change", ["config.json", "model.safetensors", "tokenizer.json", "shape", "type"])
def test_a_damaged_folder_is_one_sentence_and_leaves_nothing(change, tiny, home, tmp_path):
    export(tiny, tmp_path / "out")
    path = tmp_path / "out" / ("config.json" if change in ("shape", "type") else change)
    if change == path.name:
        path.write_bytes(path.read_bytes()[:100])
    else:
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace('"n_embed": 16', '"n_embed": 32') if change == "shape" else text.replace("yzlin", "llama"))
    with pytest.raises(ValueError, match="not a folder that this course can read"):
        import_folder(tmp_path / "out", tmp_path / "back")
    assert not list(tmp_path.glob("back*"))


def test_a_folder_is_written_whole_or_not_at_all(tmp_path):
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "out") as beside:
        (beside / "a").write_text("a")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with whole_folder(tmp_path / "deep" / "out") as beside:
        (beside / "a").write_text("a")
        assert not (tmp_path / "deep" / "out").exists()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]
    with pytest.raises(FileExistsError, match="is there already"), whole_folder(tmp_path / "deep" / "out"):
        raise AssertionError
    assert (tmp_path / "deep" / "out" / "a").read_text() == "a"


def test_the_card_says_where_its_numbers_are_from(book_data, monkeypatch):
    model, tokenizer, checkpoint = load_model(SHIPPED)
    bits, share = measured(model, tokenizer, checkpoint, count=20)
    assert "seed 1,000,000" in bits and 0.05 < float(bits.split(",")[0]) < 0.12
    assert int(share.split("%")[0]) >= 90 and "check_story" in share
    # By hand: bits per token times tokens per byte, from a folder whose hash is the run's.
    meta = json.loads((book_data / "meta.json").read_text())
    run = {"best_val_loss": 0.5, "train_args": {"data": str(book_data)}, "data": {"sha256": meta["sha256"]}}
    other = load_tokenizer("gpt2")
    bits, share = measured(model, other, run)
    assert bits.startswith(f"{0.5 / 0.6931472 * meta['tokens']['val'] / meta['text_bytes']['val']:.3f}, read from the run")
    assert share.startswith("not measured")
    assert measured(model, other, run | {"data": {"sha256": "another"}})[0].startswith("not known")
    assert measured(model, other, {})[0].startswith("not known")
    monkeypatch.setattr("yzlin.tools.export.measured", lambda *_: ("0.5", "90%"))
    card = model_card("mine", model, tokenizer, checkpoint, False)
    assert "llama.cpp" in card and "GGUF" in card and "1,483,648 parameters" in card and "{" not in card


def test_bits_per_byte_is_the_loss_that_a_loop_adds_up():
    from yzlin.tools.export import bits_per_byte

    model, tokenizer, _ = load_model(SHIPPED)
    texts = [story.text for story in stories(3, seed=77)]
    bits = 0.0
    for text in texts:
        ids = [*encode_prompt(tokenizer, text), tokenizer.eot_token]
        with torch.no_grad():
            shares = model(torch.tensor([ids[:-1]]))[0][0].softmax(-1)
        bits -= sum(shares[t, token].log2().item() for t, token in enumerate(ids[1:]))
    assert bits_per_byte(model, tokenizer, texts) == pytest.approx(bits / sum(len(text.encode()) for text in texts), rel=1e-4)


def run(*words: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "yzlin", *words], capture_output=True, text=True, encoding="utf-8", timeout=300,
        env=os.environ | environment,
    )  # fmt: skip


def test_a_missing_package_is_one_sentence(tiny, tmp_path):
    (tmp_path / "fake" / "safetensors").mkdir(parents=True)
    (tmp_path / "fake" / "safetensors" / "__init__.py").write_text("raise ImportError('No module named safetensors')")
    path = os.pathsep.join([str(tmp_path / "fake"), str(ROOT)])
    done = run("export", str(tiny), "--to", str(tmp_path / "out"), PYTHONPATH=path)
    assert done.returncode == 2 and "pip install '.[export]'" in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@needs_transformers
def test_command_line_there_and_back(tiny, home, tmp_path):
    there = run("export", str(tiny.parent), "--to", str(tmp_path / "out"))
    assert there.returncode == 0 and "README.md" in there.stdout, there.stderr
    back = run("export", str(tmp_path / "out"), "--to", str(tmp_path / "back"))
    assert back.returncode == 0 and "checkpoint.pt" in back.stdout, back.stderr
    again = run("export", str(tiny), "--to", str(tmp_path / "out"))
    assert again.returncode == 2 and "is there already" in again.stderr and "Traceback" not in again.stderr
    nowhere = run("export", "nowhere", "--to", str(tmp_path / "x"))
    assert nowhere.returncode == 2 and "Traceback" not in nowhere.stderr
    assert "llama.cpp" in " ".join(run("export", "--help").stdout.split())


def test_a_model_too_deep_for_its_own_numbers_is_not_exported(tiny, tmp_path):
    checkpoint = load_checkpoint(tiny)
    args = replace(ModelArgs(**checkpoint["model_args"]), n_layer=3)
    save_checkpoint(tiny, checkpoint | {"model_args": asdict(args)})
    if not has("transformers", "safetensors"):
        pytest.skip("transformers or safetensors is not installed")
    with pytest.raises(ValueError, match="does not fit"):
        export(tiny, tmp_path / "out")
    assert not list(tmp_path.glob("out*"))
