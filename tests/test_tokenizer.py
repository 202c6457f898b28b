"""Tokenizers: known ids, round trips, and a slow textbook BPE to compare with."""

import random
import re
import socket
from collections import Counter

import pytest
import regex

from yzlin import tokenizer as tk
from yzlin.tokenizer import EOT, SPLIT_PATTERN, load_tokenizer, save_tokenizer, tokenizer_from_text, tokenizer_text, train_bpe

CORPUS = (
    "Once upon a time there was a little owl. The owl sang: hoo, hoo, hoo! It sang and sang, until the moon came out.\n\n"
    "\u201cMoon,\u201d said the owl, \u201cI'll sing for you, and you'll shine for me.\u201d It's 12 o'clock.   So they did, "
    "3 times.\tna\u00efve \u732b\u732b\u732b \U0001f600\U0001f600 aaaaaaa abababab"
)


def slow_bpe(text: str, vocab_size: int) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
    """The textbook: count every pair of the whole text again at each step, merge the most frequent everywhere."""
    splits = [[bytes([b]) for b in piece.encode()] for piece in regex.findall(SPLIT_PATTERN, text)]
    tokens, merges = [bytes([b]) for b in range(256)], []
    while len(tokens) < vocab_size - 1:
        pairs = Counter((split[i], split[i + 1]) for split in splits for i in range(len(split) - 1))
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        tokens.append(best[0] + best[1])
        splits = [apply([best], split) for split in splits]
    return tokens, merges


def apply(merges: list[tuple[bytes, bytes]], split: list[bytes]) -> list[bytes]:
    """A word after these merges, in this order, each from the left."""
    split = list(split)
    for left, right in merges:
        i = 0
        while i + 1 < len(split):
            if split[i] == left and split[i + 1] == right:
                split[i : i + 2] = [left + right]
            i += 1
    return split


def assert_same_as_slow(text: str, vocab_size: int) -> None:
    tokens, merges = slow_bpe(text, vocab_size)
    got = train_bpe([text], vocab_size)
    assert got.n_vocab == len(tokens) + 1 and len(set(tokens)) == len(tokens)  # no token has two ranks
    assert [got.decode_single_token_bytes(i) for i in range(len(tokens))] == tokens
    for word in set(regex.findall(SPLIT_PATTERN, text)):  # and tiktoken cuts each word as the merges in order do
        by_hand = apply(merges, [bytes([b]) for b in word.encode()])
        assert got.decode_tokens_bytes(got.encode_ordinary(word)) == by_hand


@pytest.fixture(scope="module")
def small():
    return train_bpe([CORPUS], 330)


@pytest.mark.parametrize("size", [257, 280, 330, 420])
def test_merges_are_those_of_the_slow_textbook_way(size):
    assert_same_as_slow(CORPUS, size)


def test_merges_agree_on_random_texts():
    rng = random.Random(0)
    for letters in ["ab", "abc", "aab\u732b"] * 8:  # few letters: many ties, and many ways to spell the same token
        words = ["".join(rng.choice(letters) for _ in range(rng.randint(1, 12))) for _ in range(40)]
        assert_same_as_slow(" ".join(words), 256 + rng.randint(2, 60))


def test_a_text_too_small_gives_fewer_merges():
    assert train_bpe(["ab"], 1000).n_vocab == 256 + 1 + 1


def test_the_separator_is_never_learnt():
    a = train_bpe(["one two" + EOT + "three two"] * 3, 280)
    b = train_bpe(["one two", "three two"] * 3, 280)
    assert tokenizer_text(a) == tokenizer_text(b)


def test_too_small_a_vocabulary_is_refused():
    with pytest.raises(ValueError, match="256"):
        train_bpe(["text"], 256)


def test_known_ids_of_gpt2():
    gpt2 = load_tokenizer("gpt2")
    assert gpt2.encode_ordinary("Once upon a time") == [7454, 2402, 257, 640]
    assert gpt2.encode_ordinary("hello world") == [31373, 995]
    assert gpt2.n_vocab == 50257 and gpt2.eot_token == 50256


def any_text(rng: random.Random) -> str:
    kinds = ["az", "  ", "09", "\t\n", "\u4e00\u9fff", "\u0600\u06ff", "\U0001f300\U0001f6ff", "\u0000\ud7ff", "\ue000\uffff"]
    return "".join(chr(rng.randint(ord(kind[0]), ord(kind[1]))) for kind in rng.choices(kinds, k=rng.randint(0, 60)))


@pytest.mark.parametrize("name", ["gpt2", "small"])
def test_round_trip_of_any_text(name, small):
    tokenizer = small if name == "small" else load_tokenizer(name)
    rng = random.Random(1)
    for text in ["", " ", EOT, f"a {EOT} b", *(any_text(rng) for _ in range(300))]:
        assert tokenizer.decode(tokenizer.encode_ordinary(text)) == text


def test_the_separator_is_one_id_and_as_typed_text_it_is_ordinary(small):
    for tokenizer in (small, load_tokenizer("gpt2")):
        eot = tokenizer.n_vocab - 1
        assert tokenizer.encode(f"a{EOT}b", allowed_special={EOT}).count(eot) == 1
        assert eot not in tokenizer.encode_ordinary(f"a{EOT}b")


def test_it_needs_neither_a_network_nor_a_cache(monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "nowhere"))
    assert load_tokenizer("gpt2").encode_ordinary("a story") == [64, 1621]
    assert not (tmp_path / "nowhere").exists()


def test_a_file_saved_and_loaded_is_the_same_tokenizer(small, tmp_path):
    save_tokenizer(small, tmp_path / "small.tiktoken")
    loaded = load_tokenizer(tmp_path / "small.tiktoken")
    assert loaded.name == "small.tiktoken" and loaded.encode_ordinary(CORPUS) == small.encode_ordinary(CORPUS)
    assert tokenizer_text(tokenizer_from_text("x", tokenizer_text(loaded))) == tokenizer_text(small)


def test_the_text_of_gpt2_is_its_file():
    assert tokenizer_text(load_tokenizer("gpt2")).encode() == tk.BUILT_IN["gpt2"].read_bytes()


def test_a_file_of_ones_own_is_never_taken_for_gpt2(small, tmp_path):
    save_tokenizer(small, tmp_path / "gpt2.tiktoken")
    assert load_tokenizer(tmp_path / "gpt2.tiktoken").name != "gpt2"


def test_a_failed_save_leaves_the_old_file(small, tmp_path, monkeypatch):
    path = tmp_path / "t.tiktoken"
    path.write_bytes(b"old")
    monkeypatch.setattr(tk.base64, "b64encode", lambda token: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_tokenizer(small, path)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda data: data.replace(b"\n", b"\r\n"), "CRLF"),
        (lambda data: data[:-5], "sha256"),
        (lambda data: b"version https://git-lfs.github.com/spec/v1\n", "git-lfs"),
        (None, "missing"),
    ],
)
def test_a_damaged_gpt2_file_is_refused_and_left_alone(damage, word, tmp_path, monkeypatch):
    path = tmp_path / "gpt2.tiktoken"
    if damage:
        path.write_bytes(damage(tk.BUILT_IN["gpt2"].read_bytes()))
        before = path.read_bytes()
    monkeypatch.setitem(tk.BUILT_IN, "gpt2", path)
    with pytest.raises((ValueError, FileNotFoundError), match=word):
        load_tokenizer("gpt2")
    assert not damage or path.read_bytes() == before


def test_a_binary_file_is_refused(tmp_path):
    (tmp_path / "x.tiktoken").write_bytes(bytes(range(256)))
    with pytest.raises(ValueError, match="is not a tokenizer file"):
        load_tokenizer(tmp_path / "x.tiktoken")


def test_damaged_text_is_refused(small):
    lines = tokenizer_text(small).splitlines()
    for text, word in [
        ("\n".join(lines[1:]), "ranks 0 to"),
        ("\n".join([*lines, lines[-1]]).replace(" 328", " 400"), "ranks 0 to"),
        ("\n".join([*lines[:5], "%%% 5", *lines[6:]]), "line 6"),
        ("\n".join([*lines[:5], "one two three"]), "line 6"),
        ("\n".join(["eHl6 0", *lines[1:]]), "all 256 bytes"),
        ("", "all 256 bytes"),
    ]:
        with pytest.raises(ValueError, match=re.escape(word)):
            tokenizer_from_text("bad", text)


def test_each_damage_of_a_tokenizer_has_its_sentence(small):
    lines = tokenizer_text(small).splitlines()
    spelling, last = [text.split()[0] for text in lines], len(lines) - 1
    tokens = [small.decode_single_token_bytes(i) for i in range(last + 1)]
    inner = next(i for i in range(256, last) if tokens[i + 1].startswith(tokens[i]))  # the next token is made of this one
    for text, word in [
        ([*lines, f"{spelling[-1]} {last + 1}"], f"line {last + 2} .*is there twice"),
        ([*lines[:9], f"{spelling[9]} {10**40}", *lines[10:]], "line 10 .*its rank is not a number"),
        ([*lines[:9], f"{spelling[9]} -9", *lines[10:]], "line 10 .*its rank is not a number"),
        ([*lines[:9], f"{spelling[9]} \uff19", *lines[10:]], "line 10 .*its rank is not a number"),
        ([*lines[:9], f"{spelling[9]}! 9", *lines[10:]], "line 10 .*base64"),
        ([*lines[:inner], lines[inner + 1].split()[0] + f" {inner}", spelling[inner] + f" {inner + 1}", *lines[inner + 2 :]],
         f"its token {inner}, .* is not made of two earlier ones"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=word):
            tokenizer_from_text("bad", "\n".join(text))


@pytest.mark.parametrize("name", tk.BUILT_IN)
def test_a_changed_built_in_tokenizer_is_seen_even_if_it_is_a_good_one(name, tmp_path, monkeypatch):
    path = tmp_path / f"{name}.tiktoken"
    lines = tk.BUILT_IN[name].read_text().splitlines()
    first, second = lines[256].split()[0], lines[257].split()[0]  # the first two merges change places
    lines[256:258] = [f"{second} 256", f"{first} 257"]
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())
    assert load_tokenizer(path).n_vocab == load_tokenizer(name).n_vocab
    monkeypatch.setitem(tk.BUILT_IN, name, path)
    with pytest.raises(ValueError, match=f"sha256 is not the known one.*git checkout data/{name}.tiktoken"):
        load_tokenizer(name)


def test_a_folder_and_a_giant_are_not_tokenizers(tmp_path, monkeypatch):
    with pytest.raises(IsADirectoryError, match="is a folder, not a tokenizer file"):
        load_tokenizer(tmp_path)
    (tmp_path / "big.tiktoken").write_bytes(b"x" * 1000)
    monkeypatch.setattr(tk, "LARGEST_FILE", 999)
    with pytest.raises(ValueError, match="is not a tokenizer file: it has 1,000 bytes"):
        load_tokenizer(tmp_path / "big.tiktoken")


def test_the_name_of_a_file_is_never_that_of_a_built_in_one(small, tmp_path):
    for name in tk.BUILT_IN:
        save_tokenizer(small, tmp_path / name)  # without an ending
        assert load_tokenizer(tmp_path / name).name not in tk.BUILT_IN
    assert load_tokenizer(tmp_path / "gpt2", called="mine").name == "mine"
