"""meta.json, read and checked: the data is what it says, or one sentence tells which file is not and what to do."""

import hashlib
import json

import numpy as np
import pytest

from yzlin import ROOT
from yzlin.prepare import check_data, load_meta, prepare
from yzlin.tokenizer import load_tokenizer, save_tokenizer, train_bpe
from yzlin.tools import meta as meta_module
from yzlin.tools.meta import data_identity, data_tokenizer, largest_id


@pytest.fixture
def own(tmp_path):
    """Prepared data with a tokenizer of its own."""
    prepare("storybook", tmp_path / "own", "train:400", count=100, block_size=16, progress=False)
    return tmp_path / "own"


def test_data_that_is_whole_passes(own, book_data):
    for folder in (own, book_data):
        meta = check_data(folder, block_size=16)
        assert meta == load_meta(folder) and meta["split"] == "hash"
        assert meta["tokenizer_sha256"] == hashlib.sha256((folder / "tokenizer.tiktoken").read_bytes()).hexdigest()


def test_gpt2_has_the_hash_of_its_file(tmp_path):
    meta = prepare("storybook", tmp_path / "out", "gpt2", count=100, block_size=16, progress=False)
    assert meta["tokenizer_sha256"] == hashlib.sha256((ROOT / "data" / "gpt2.tiktoken").read_bytes()).hexdigest()
    assert check_data(tmp_path / "out") == meta


def test_data_prepared_by_an_older_version_passes(own):
    meta = json.loads((own / "meta.json").read_text())
    for key in ("split", "tokenizer_sha256"):
        del meta[key]
    for val, split in ((meta["val"], "hash"), ("the last part of the tokens", "tail")):
        (own / "meta.json").write_text(json.dumps(meta | {"val": val}))
        assert check_data(own) == meta | {"val": val, "split": split}


def write_ids(path, ids):
    np.asarray(ids, "<u2").tofile(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda own: write_ids(own / "train.bin", np.fromfile(own / "train.bin", "<u2")[:-1]), "train.bin has .* bytes, and"),
        (lambda own: (own / "val.bin").write_bytes((own / "val.bin").read_bytes() + b"x"), "val.bin has .* bytes, and"),
        (lambda own: (own / "val.bin").unlink(), "val.bin is missing"),
        (lambda own: (own / "tokenizer.tiktoken").unlink(), "tokenizer.tiktoken is missing"),
        (lambda own: exchange(own / "tokenizer.tiktoken"), "tokenizer.tiktoken is not the tokenizer that this data"),
        (lambda own: save_tokenizer(train_bpe(["a b c"], 300), own / "tokenizer.tiktoken"), "tokenizer.tiktoken has 25. ids"),
        (lambda own: one_id(own / "val.bin", 400), "val.bin holds the id 400, and the vocabulary ends at 399"),
        (lambda own: one_id(own / "train.bin", 65535), "train.bin holds the id 65535"),
    ],
)
def test_data_that_was_changed_is_a_sentence(change, words, own):
    change(own)
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        check_data(own)


def exchange(path):
    """The first two merges change places: still a good file."""
    lines = path.read_text().splitlines()
    first, second = lines[256].split()[0], lines[257].split()[0]
    path.write_text("\n".join([*lines[:256], f"{second} 256", f"{first} 257", *lines[258:]]))
    load_tokenizer(path)


def one_id(path, new):
    ids = np.fromfile(path, "<u2")
    ids[len(ids) // 2] = new
    write_ids(path, ids)


def test_a_window_that_the_data_cannot_fill(own):
    count = load_meta(own)["tokens"]["val"]
    check_data(own, block_size=count - 1)
    with pytest.raises(ValueError, match=f"val.bin holds {count:,} tokens, too few for a window of {count:,}"):
        check_data(own, block_size=count)


def test_of_a_large_file_blocks_from_all_over_are_looked_at(tmp_path, monkeypatch):
    ids = np.zeros(100_000, "<u2")
    monkeypatch.setattr(meta_module, "BLOCK", 100)
    for place in (0, 50_000, 99_999):
        ids[place] = 7
        write_ids(tmp_path / "t.bin", ids)
        assert largest_id(tmp_path / "t.bin") == 7
        ids[place] = 0
    monkeypatch.setattr(meta_module, "WHOLE", 1000)
    for place, seen in ((0, 7), (99_999, 7), (150, 0)):
        ids[place] = 7
        write_ids(tmp_path / "t.bin", ids)
        assert largest_id(tmp_path / "t.bin") == seen
        ids[place] = 0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("vocab_size", 256), ("vocab_size", 65537), ("vocab_size", "400"), ("vocab_size", True), ("vocab_size", 400.0),
        ("tokens", 5), ("tokens", {"train": 1}), ("tokens", {"train": -1, "val": 1}), ("tokens", {"train": 1e9, "val": 1}),
        ("tokens", {"train": 10**400, "val": 1}), ("stories", {"train": 10**9, "val": 1}),
        ("text_bytes", {"train": 0, "val": 1}), ("sha256", "0" * 63), ("sha256", 0),
        ("tokenizer", 5), ("tokenizer", ""), ("tokenizer_sha256", "G" * 64),
        ("split", "random"), ("bytes_per_token", float("nan")), ("bytes_per_token", -1), ("broken_characters", 1.5), ("val", 3),
    ],
)  # fmt: skip
def test_meta_with_a_wrong_value_says_file_key_and_what_to_do(key, value, own):
    meta = json.loads((own / "meta.json").read_text())
    (own / "meta.json").write_text(json.dumps(meta | {key: value}))
    word = "stories than tokens" if key == "stories" else key
    with pytest.raises(ValueError, match=rf"meta.json is damaged \(.*{word}.*\): prepare it again with --force\."):
        check_data(own)


@pytest.mark.parametrize("text", [b"", b"\xff", b"[" * 200_000, b"NaN", b"{}" * 2**20, "{}".encode("utf-16"), b"null"])
def test_a_meta_that_is_not_one(text, own):
    (own / "meta.json").write_bytes(text)
    with pytest.raises(ValueError, match=r"meta.json is damaged \(.*\): prepare it again") as error:
        load_meta(own)
    assert len(str(error.value)) < 400


def test_a_folder_that_was_never_prepared_says_how(tmp_path):
    for name, words in (("tinystories", "download tinystories && python -m yzlin prepare"), ("storybook", "prepare storybook"),
                        ("mine", "prepare TEXT")):  # fmt: skip
        with pytest.raises(
            FileNotFoundError, match=f"meta.json is missing: make it with `python -m yzlin {words}.* --out .*{name}"
        ):
            check_data(tmp_path / name)
    (tmp_path / "meta.json").mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder, not meta.json"):
        load_meta(tmp_path)


def test_a_checkpoint_knows_its_data_again(own, tmp_path):
    kept = data_identity(load_meta(own))
    assert set(kept) == {"tokenizer", "tokenizer_sha256", "vocab_size", "sha256", "split", "tokens"}
    same = prepare("storybook", tmp_path / "same", "train:400", count=100, block_size=16, progress=False, workers=1)
    assert data_identity(same) == kept
    other = prepare("storybook", tmp_path / "other", "train:400", count=100, block_size=16, val_share=0.2, progress=False)
    assert {key for key in kept if data_identity(other)[key] != kept[key]} == {"tokens"}
    assert data_tokenizer(own).name == "bpe400" == kept["tokenizer"]


def test_meta_that_is_missing_or_damaged(tmp_path):
    with pytest.raises(FileNotFoundError, match="python -m yzlin prepare"):
        load_meta(tmp_path / "nowhere")
    for text in ["{", "[]", "{}"]:
        (tmp_path / "meta.json").write_text(text)
        with pytest.raises(ValueError, match="damaged"):
            load_meta(tmp_path)
