"""Reading any text in blocks: the blocks are the text, and each ends where a story ends."""

import gzip
import hashlib
import random

import pytest

from yzlin.tokenizer import EOT
from yzlin.tools import texts
from yzlin.tools.texts import BLANK_LINES, JSON_LINES, PIECE, Source, find_separator, json_text, last_word

STORIES = [f"{i} " + " ".join(random.Random(i).choices(["owl", "caf\u00e9", "\u732b", "a"], k=40)) for i in range(100)]


@pytest.mark.parametrize("size", [7, 50, 1000, 2**20])
@pytest.mark.parametrize("between", [EOT, "\n\n", "\r\n\r\n", f"\n{EOT}\n\n"])
def test_the_blocks_of_any_size_are_the_text_and_hold_whole_stories(between, size, tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "BLOCK", size)
    (tmp_path / "t.txt").write_bytes(between.join(STORIES).encode())
    source = Source(tmp_path / "t.txt")
    blocks = list(source.blocks())
    assert b"".join(block.data for block in blocks) == (tmp_path / "t.txt").read_bytes()
    assert [story for block in blocks for story in block.stories("text")] == STORIES
    assert [block.offset for block in blocks] == [sum(len(b.data) for b in blocks[:i]) for i in range(len(blocks))]
    assert source.digest.hexdigest() == hashlib.sha256((tmp_path / "t.txt").read_bytes()).hexdigest()
    assert blocks[-1].read == source.total


@pytest.mark.parametrize("cut", range(1, len(EOT) + 2))
def test_a_separator_on_the_edge_of_two_pieces_is_seen(cut, tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "BLOCK", 20)
    (tmp_path / "t.txt").write_text("x" * (20 - cut) + EOT + "y" * 30)
    assert find_separator(tmp_path / "t.txt") == EOT


def test_what_separates(tmp_path):
    for name, text, separator in (
        ("a.txt", "one\n\ntwo", BLANK_LINES),
        ("b.txt", "one\r\n\r\ntwo", BLANK_LINES),
        ("c.txt", f"one\n\ntwo{EOT}", EOT),
        ("d.txt", "one\ntwo", PIECE),
        ("e.jsonl", "", JSON_LINES),
        ("f.JSONL.gz", "", JSON_LINES),
    ):
        (tmp_path / name).write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
        assert find_separator(tmp_path / name) == separator


def test_a_long_piece_is_cut_between_two_words_and_never_inside_of_a_character():
    assert last_word(bytearray(b"one two three")) == len("one two")
    for text in ("\u732b" * 50, "a" * 50 + "\U0001f600"):
        for length in range(8, len(text.encode())):  # longer than any character
            held = bytearray(text.encode()[:length])
            held[: last_word(held)].decode()


@pytest.mark.parametrize("line", ["{", "[]", "3", "null", '{"other": "x"}', '{"text": 3}', '{"text": null}', "[" * 100_000])
def test_a_line_that_is_not_a_story(line):
    with pytest.raises(ValueError, match="f.jsonl line 3.*'text'.*--field"):
        json_text(line, "text", "f.jsonl line 3")


def test_the_place_of_a_bad_byte_is_that_in_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "BLOCK", 50)
    data = "\n\n".join(STORIES).encode()
    (tmp_path / "t.txt").write_bytes(data[:3000] + b"\xff" + data[3000:])
    with pytest.raises(ValueError, match="t.txt is not UTF-8 at byte (3000|299[89])"):  # or where its character begins
        for block in Source(tmp_path / "t.txt").blocks():
            block.text()


def test_sources_that_are_not_there(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "pointer.txt").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    for name, words in (("empty", "holds no .txt"), ("none.txt", "is missing: name a text file"), ("a\0b", "is missing"),
                        ("pointer.txt", "git lfs pull")):  # fmt: skip
        with pytest.raises((OSError, ValueError), match=words):
            Source(tmp_path / name)


def test_the_storybook_is_a_source_and_a_file_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = Source("storybook", count=3).blocks()
    assert len(block.stories("text")) == 3 and block.read == 3
    (tmp_path / "storybook").write_text("My own.")
    (block,) = Source("storybook", count=3).blocks()
    assert block.stories("text") == ["My own."]
