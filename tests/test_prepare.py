"""Preparing data: against a plain loop, for every kind of input, and with everything that can go wrong."""

import gzip
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from array import array

import numpy as np
import pytest

from yzlin import ROOT
from yzlin import prepare as prepare_module
from yzlin.__main__ import main
from yzlin.prepare import check_data, data_tokenizer, describe, load_meta, prepare
from yzlin.tokenizer import EOT, load_tokenizer
from yzlin.tools import texts

WORDS = "the a owl moon sang little ran home said it's caf\u00e9 \u732b \U0001f600 one, two. three! Then\nNow\n\tso  and".split(
    " "
)


def make_stories(count, seed=0, words=60):
    """Different stories: each has its number in it."""
    rng = random.Random(seed)
    return [f"{seed}.{i} " + " ".join(rng.choices(WORDS, k=words)).strip() for i in range(count)]


def by_hand(stories, encoding, val_share=0.1):
    """What train.bin and val.bin should hold: a plain loop over whole stories, one at a time."""
    ids = {"train": [], "val": []}
    for story in stories:
        digest = hashlib.blake2b(story.strip().encode(), digest_size=8).digest()
        share = int.from_bytes(digest, "little") / 2**64
        ids["val" if share < val_share else "train"] += [*encoding.encode_ordinary(story.strip()), encoding.eot_token]
    return ids


def read_ids(out):
    return {split: np.fromfile(out / f"{split}.bin", "<u2").tolist() for split in ("train", "val")}


def run(source, out, *args, **kwargs):
    return prepare(source, out, *args, progress=False, **kwargs)


@pytest.fixture(scope="module")
def gpt2():
    return load_tokenizer("gpt2")


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 2,000 bytes, so that a short text has many."""
    monkeypatch.setattr(texts, "BLOCK", 2000)
    monkeypatch.setattr(prepare_module, "BLOCK", 2000)


@pytest.fixture
def corpus(tmp_path):
    """300 stories with the separator between them, blanks and an empty story here and there."""
    stories = make_stories(300)
    path = tmp_path / "text.txt"
    path.write_text("".join(f" {story}\n{EOT}\n" for story in stories) + f"{EOT}\n{EOT}", encoding="utf-8")
    return path, stories


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_the_bytes_are_those_of_a_plain_loop_for_any_number_of_workers(workers, corpus, tmp_path, gpt2, small_blocks):
    path, stories = corpus
    meta = run(path, tmp_path / "out", workers=workers)
    expected = by_hand(stories, gpt2)
    assert read_ids(tmp_path / "out") == expected
    for split, ids in expected.items():
        told = [part for part in gpt2.decode(ids).split(EOT) if part]
        assert meta["tokens"][split] == len(ids)
        assert meta["stories"][split] == len(told)
        assert meta["text_bytes"][split] == sum(len(story.encode()) for story in told)
    assert meta["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert load_meta(tmp_path / "out") == meta
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"train.bin", "val.bin", "meta.json"}
    assert {p.name for p in tmp_path.iterdir()} == {"text.txt", "out"}


def test_blocks_of_the_real_size(tmp_path, gpt2):
    stories = make_stories(4000, words=200)  # some 4 MB
    (tmp_path / "text.txt").write_text(EOT.join(stories), encoding="utf-8")
    run(tmp_path / "text.txt", tmp_path / "out", workers=2)
    assert read_ids(tmp_path / "out") == by_hand(stories, gpt2)


def test_about_a_tenth_is_val_and_stories_added_later_move_none(tmp_path, gpt2):
    splits = []
    for name, stories in [("a", make_stories(1000)), ("b", make_stories(500, seed=1) + make_stories(1000))]:
        (tmp_path / name).write_text(EOT.join(stories), encoding="utf-8")
        meta = run(tmp_path / name, tmp_path / f"out_{name}")
        assert 0.07 < meta["stories"]["val"] / len(stories) < 0.13
        ids = read_ids(tmp_path / f"out_{name}")
        splits.append({split: set(gpt2.decode(some).split(EOT)) for split, some in ids.items()})
    assert splits[0]["train"] <= splits[1]["train"] and splits[0]["val"] <= splits[1]["val"]


def test_repeated_stories_are_counted_and_never_stand_in_both_splits(tmp_path, gpt2):
    stories = random.Random(0).choices(make_stories(100), k=700)
    (tmp_path / "text.txt").write_text(EOT.join(f"\n{s}  " for s in stories), encoding="utf-8")
    meta = run(tmp_path / "text.txt", tmp_path / "out")
    split = {name: set(gpt2.decode(ids).split(EOT)) - {""} for name, ids in read_ids(tmp_path / "out").items()}
    assert split["train"] and split["val"] and not split["train"] & split["val"]
    assert meta["repeated_stories"] == 700 - len(set(stories)) and meta["stories_in_both_splits"] == 0


def test_the_counts_of_repeated_stories_can_be_other_than_nought(gpt2):
    counts = {split: np.ones(gpt2.n_vocab, np.int64) for split in ("train", "val")}
    hashes = {"train": array("Q", [5, 2**64 - 1, 5, 5, 1]), "val": array("Q", [7, 5, 2**64 - 1, 7])}
    found = prepare_module.statistics(prepare_module.Tokens(counts, hashes), gpt2)
    assert found["repeated_stories"] == 3 and found["stories_in_both_splits"] == 2


def test_a_handful_of_stories_each_stands_once_and_the_last_tenth_is_val(tmp_path, gpt2, small_blocks):
    stories = [story for story in make_stories(10, words=400) if not by_hand([story], gpt2)["val"]][:4]
    (tmp_path / "text.txt").write_text(EOT.join(stories * 5), encoding="utf-8")
    meta = run(tmp_path / "text.txt", tmp_path / "out", block_size=32)
    everything = [i for story in stories for i in (*gpt2.encode_ordinary(story), gpt2.eot_token)]
    cut = len(everything) - round(0.1 * len(everything))
    assert read_ids(tmp_path / "out") == {"train": everything[:cut], "val": everything[cut:]}
    assert meta["repeated_stories"] == 16 and sum(meta["stories"].values()) == 4 and "last part" in meta["val"]
    assert sum(meta["text_bytes"].values()) == sum(len(story.encode()) for story in stories)
    assert meta["text_bytes"]["val"] == len(gpt2.decode_bytes(everything[cut:])) - len(EOT)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_without_a_separator_blank_lines_separate(newline, tmp_path, gpt2, small_blocks):
    stories = make_stories(200)
    text = "\ufeff" + "\n\n".join(stories[:100]) + "\n\n\n\n" + "\n\n".join(stories[100:]) + "\n"
    (tmp_path / "text.txt").write_bytes(text.replace("\n", newline).encode())
    meta = run(tmp_path / "text.txt", tmp_path / "out")
    assert meta["separator"] == "blank lines"
    assert read_ids(tmp_path / "out") == by_hand(stories, gpt2)


@pytest.mark.parametrize("text", ["One two, three.\nFour 5 six's  seven. " * 900, "\u4ece\u524d\u6709\u5ea7\u5c71\u3002" * 900])
def test_a_text_in_one_piece_is_encoded_as_if_whole_and_ends_in_val(text, tmp_path, gpt2, small_blocks):
    (tmp_path / "text.txt").write_text(text, encoding="utf-8", newline="")
    meta = run(tmp_path / "text.txt", tmp_path / "out")
    ids = read_ids(tmp_path / "out")
    assert gpt2.decode(ids["train"] + ids["val"]) == text + EOT
    if " " in text:
        assert ids["train"] + ids["val"] == [*gpt2.encode_ordinary(text), gpt2.eot_token]
    assert 0.09 < meta["tokens"]["val"] / sum(meta["tokens"].values()) < 0.11


def test_a_word_longer_than_a_block(tmp_path, gpt2, small_blocks):
    (tmp_path / "text.txt").write_text("a" * 9000 + "\u00e9" * 5000)
    run(tmp_path / "text.txt", tmp_path / "out")
    ids = read_ids(tmp_path / "out")
    assert gpt2.decode(ids["train"] + ids["val"]) == "a" * 9000 + "\u00e9" * 5000 + EOT


def write_packed(path, data):
    if path.suffix == ".zst":
        zstandard = pytest.importorskip("zstandard")
        data = b"".join(zstandard.compress(part) for part in (data[:5000], data[5000:]))  # two frames
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.mark.parametrize("name", ["t.jsonl", "t.jsonl.gz", "t.txt.gz", "t.gz", "t.TXT", "t.md", "t.txt.zst", "t.jsonl.zst"])
def test_every_kind_of_file_gives_the_same(name, tmp_path, gpt2, small_blocks):
    stories = make_stories(150)
    if ".jsonl" in name:
        text = "".join(json.dumps({"n": i, "story": story}, ensure_ascii=i % 2 == 0) + "\n" for i, story in enumerate(stories))
    else:
        text = EOT.join(stories)
    write_packed(tmp_path / name, text.encode())
    run(tmp_path / name, tmp_path / "out", field="story")
    assert read_ids(tmp_path / "out") == by_hand(stories, gpt2)


def test_a_folder_is_read_in_order_of_its_names_and_each_file_in_its_own_way(tmp_path, gpt2, small_blocks):
    folder, s = tmp_path / "folder", make_stories(200)
    (folder / "b").mkdir(parents=True)
    (folder / "a.txt").write_text(EOT.join(s[:70]), encoding="utf-8")
    (folder / "b" / "x.txt").write_text("\n\n".join(s[70:120]), encoding="utf-8")
    (folder / "c.jsonl").write_text("\n".join(json.dumps({"text": story}) for story in s[120:199]))
    (folder / "d.txt").write_text(s[199], encoding="utf-8")
    (folder / "picture.png").write_bytes(b"\xff\xfe")
    (folder / "._a.txt").write_bytes(b"\xff\xfe")
    meta = run(folder, tmp_path / "out")
    assert read_ids(tmp_path / "out") == by_hand(s, gpt2)
    assert meta["source"] == "folder"


def test_the_storybook(book_data):
    from yzlin.storybook import stories

    encoding = data_tokenizer(book_data)
    assert read_ids(book_data) == by_hand([story.text for story in stories(400)], encoding)
    assert load_meta(book_data)["source"] == "storybook" and encoding.name == "storybook"


def test_half_a_character_in_json_is_replaced(tmp_path, gpt2):
    lines = [*make_stories(60), "half \ud83d of it"]
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps({"text": line}) for line in lines))
    run(tmp_path / "t.jsonl", tmp_path / "out")
    ids = read_ids(tmp_path / "out")
    assert "half \ufffd of it" in gpt2.decode(ids["train"] + ids["val"])


CHINESE = "\u4ece\u524d\u6709\u4e00\u53ea\u5c0f\u732b\uff0c\u5b83\u4f4f\u5728\u5c71\u4e0a\u3002"


def test_a_chinese_text_and_a_tokenizer_learnt_from_it(tmp_path):
    stories = [CHINESE * 3 + f"\u7b2c{i}\u5929\u3002" for i in range(400)]
    (tmp_path / "text.txt").write_text("\n\n".join(stories), encoding="utf-8")
    with_gpt2 = run(tmp_path / "text.txt", tmp_path / "gpt2")
    assert with_gpt2["bytes_per_token"] < 1.7 and with_gpt2["broken_characters"] > 0.3
    assert "--tokenizer train:4096" in describe(with_gpt2)
    learnt = run(tmp_path / "text.txt", tmp_path / "own", "train:400")
    assert learnt["bytes_per_token"] > 5 and learnt["broken_characters"] < 0.3 and "train:4096" not in describe(learnt)
    assert sum(learnt["text_bytes"].values()) == sum(len(story.encode()) for story in stories)
    encoding = data_tokenizer(tmp_path / "own")  # it stands beside the data
    assert read_ids(tmp_path / "own") == by_hand(stories, encoding) and encoding.n_vocab == learnt["vocab_size"]
    again = run(tmp_path / "text.txt", tmp_path / "again", str(tmp_path / "own" / "tokenizer.tiktoken"))
    assert again["tokens"] == learnt["tokens"]


# ---- what can go wrong: one sentence, exit 2, nothing lost


def says(capsys, *argv):
    code = main(["prepare", *map(str, argv)])
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 2 and error.startswith("yzlin prepare: ")
    return error


def bad_file(tmp_path, kind):
    path = tmp_path / {"json": "t.jsonl", "field": "t.jsonl", "gz": "t.gz", "cut gz": "t.gz"}.get(kind, "t.txt")
    good = "\n".join(make_stories(100)).encode()
    path.write_bytes(
        {
            "not UTF-8 at byte 3005": b"\xef\xbb\xbf" + b"good " * 600 + b"go\xe9d" + b" good" * 10,
            "is empty": b" \n\n" + EOT.encode() + b"\n",
            "empty": b"",
            "blanks": b" " * 5000,
            "too short": b"Once upon a time.",
            "json": b'{"text": "a"}\n\n{"text": \n',
            "field": b'{"text": "a"}\n{"story": "b"}\n',
            "gz": b"no gzip at all",
            "cut gz": gzip.compress(good)[:-20],
            "git-lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        }[kind]
    )
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("not UTF-8 at byte 3005", "not UTF-8 at byte 3005"),
        ("is empty", "is empty"),
        ("empty", "is empty"),
        ("blanks", "is empty"),
        ("too short", "6 tokens.*window of 129"),
        ("json", "line 3 .*'text'"),
        ("field", "line 2 .*'text'"),
        ("gz", "damaged"),
        ("cut gz", "damaged"),
        ("git-lfs", "git lfs pull"),
    ],
)
def test_a_bad_text_is_refused_and_the_old_output_stays(kind, words, tmp_path, capsys, corpus, small_blocks):
    out = tmp_path / "out"
    run(corpus[0], out)
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    error = says(capsys, bad_file(tmp_path, kind), "--out", out, "--force")
    assert re.search(words, error) and ("t.txt" in error or "t.jsonl" in error or "t.gz" in error)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_what_is_missing_or_in_the_way(tmp_path, capsys, corpus):
    out = tmp_path / "out"
    assert "missing" in says(capsys, tmp_path / "nothing.txt", "--out", out)
    (tmp_path / "folder").mkdir()
    assert "holds no .txt" in says(capsys, tmp_path / "folder", "--out", out)
    assert "train:" in says(capsys, corpus[0], "--out", out, "--tokenizer", "train:many")
    assert "missing" in says(capsys, corpus[0], "--out", out, "--tokenizer", "unknown")
    assert "workers" in says(capsys, corpus[0], "--out", out, "--workers", 0)
    assert "a file" in says(capsys, corpus[0], "--out", corpus[0], "--force")
    assert not out.exists() and not list(tmp_path.glob(".*"))
    assert main(["prepare", str(corpus[0]), "--out", str(out)]) == 0
    assert "--force" in says(capsys, corpus[0], "--out", out)
    # and --force replaces prepared data only: never a folder with anything else in it
    (out / "notes.txt").write_text("mine")
    assert "notes.txt" in says(capsys, corpus[0], "--out", out, "--force")
    assert (out / "notes.txt").read_text() == "mine"
    assert corpus[0].exists()


def test_force_replaces_all_of_it(tmp_path, corpus):
    out = tmp_path / "out"
    run("storybook", out, "storybook", count=100)
    assert (out / "tokenizer.tiktoken").exists()
    meta = run(corpus[0], out, force=True)
    assert load_meta(out) == meta and not (out / "tokenizer.tiktoken").exists()
    assert {p.name for p in tmp_path.iterdir()} == {"text.txt", "out"}


def test_too_large_a_vocabulary_is_refused(tmp_path, corpus, monkeypatch):
    import tiktoken

    big = {bytes([i]): i for i in range(256)} | {b"%06d" % i: i for i in range(256, 70000)}
    encoding = tiktoken.Encoding("big", pat_str=".+", mergeable_ranks=big, special_tokens={EOT: 70000})
    monkeypatch.setattr(prepare_module, "load_tokenizer", lambda name: encoding)
    with pytest.raises(ValueError, match="70001 ids.*uint16"):
        run(corpus[0], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_seen_first(tmp_path, corpus, capsys, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    assert "make room" in says(capsys, corpus[0], "--out", tmp_path / "out")
    assert {p.name for p in tmp_path.iterdir()} == {"text.txt"}


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_disk_that_fills_up_midway(tmp_path, corpus):
    """The kernel itself refuses the writes here, after 10,000 bytes of a file."""
    limits = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limits += "resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000)); "
    done = python(limits + cli(corpus[0], tmp_path / "out")).communicate()[0]
    assert "make room on that disk" in done and "exit 2" in done and "Traceback" not in done
    assert {p.name for p in tmp_path.iterdir()} == {"text.txt"}


def test_zst_without_the_package(tmp_path, capsys, monkeypatch):
    (tmp_path / "t.zst").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    monkeypatch.setattr(sys, "version_info", (3, 11))
    assert "pip install zstandard" in says(capsys, tmp_path / "t.zst", "--out", tmp_path / "out")


@pytest.mark.parametrize("cut", [slice(0, -10), slice(3, None)])
def test_a_damaged_zst_is_refused(cut, tmp_path, capsys):
    zstandard = pytest.importorskip("zstandard")
    (tmp_path / "t.zst").write_bytes(zstandard.compress(EOT.join(make_stories(50)).encode())[cut])
    assert "damaged" in says(capsys, tmp_path / "t.zst", "--out", tmp_path / "out")


NUMBERS = [
    ("--stories", "10,000,000"),
    ("--seed", "9,223,372,036,854,775,807"),
    ("--block_size", "1,048,576"),
    ("--workers", "1,024"),
]


@pytest.mark.parametrize("value", ["-1", str(-(10**18)), str(10**20), str(2**64)])
@pytest.mark.parametrize(("option", "highest"), NUMBERS)
def test_a_number_outside_its_range_is_a_sentence_with_option_value_and_range(option, highest, value, tmp_path, capsys, corpus):
    for source in ("storybook", corpus[0]):
        error = says(capsys, source, "--out", tmp_path / "new" / "out", option, value)
        assert f"{option} is {value}: it must be a whole number from " in error and f" to {highest}." in error
    assert {p.name for p in tmp_path.iterdir()} == {"text.txt"}


@pytest.mark.parametrize("number", [0, 1.5, float("nan"), float("inf"), True, "3", None])
@pytest.mark.parametrize("name", ["count", "block_size", "val_share"])
def test_odd_numbers_from_python(name, number, tmp_path):
    if name != "val_share" or number not in (0, 1):
        with pytest.raises(ValueError, match=r"it must (be a whole number from|lie between 0 and 1)"):
            run("storybook", tmp_path / "out", "storybook", **{name: number})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", ["nan", "inf", "1e3", "", "x"])
def test_what_is_not_a_whole_number_ends_with_exit_2(words, tmp_path, capsys):
    for option, _ in NUMBERS:
        with pytest.raises(SystemExit) as stop:
            main(["prepare", "storybook", "--out", str(tmp_path / "out"), option, words])
        assert stop.value.code == 2 and option in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_help_names_every_range(capsys):
    with pytest.raises(SystemExit):
        main(["prepare", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for option, highest in NUMBERS:
        assert option in text and highest in text


@pytest.mark.parametrize("bad", ["missing.txt", "empty.txt", "short.txt", "binary.txt"])
def test_a_prepare_that_fails_leaves_no_new_folder(bad, tmp_path, capsys):
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "short.txt").write_bytes(b"Once.")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe")
    before = {p.name for p in tmp_path.iterdir()}
    assert bad in says(capsys, tmp_path / bad, "--out", tmp_path / "new" / "deep" / "out")
    assert {p.name for p in tmp_path.iterdir()} == before


def test_seeded_attacks_end_in_a_sentence_or_in_a_true_success(tmp_path):
    import fuzz_data

    for seed in range(25):
        counts, wrong = fuzz_data.attack_all(random.Random(seed), tmp_path)
        assert not wrong and sum(counts.values()) == 5


# ---- in a process of its own


def python(code):
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
    )


def cli(source, out, *options):
    argv = ["prepare", str(source), "--out", str(out), *options]
    return f"from yzlin.__main__ import main; print('exit', main({argv!r}))"


@pytest.fixture(scope="module")
def big_text(tmp_path_factory):
    """32 MB with separators, and 4 MB."""
    folder = tmp_path_factory.mktemp("big")
    part = (EOT.join(make_stories(1000, words=200)) + EOT).encode()
    for megabytes in (4, 32):
        (folder / f"{megabytes}.txt").write_bytes(part * (megabytes * 10**6 // len(part)))
        (folder / f"{megabytes}_piece.txt").write_bytes(part.replace(EOT.encode(), b"\n") * (megabytes * 10**6 // len(part)))
    return folder


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_a_run_that_is_stopped_leaves_the_old_output_and_nothing_half(how, big_text, corpus, tmp_path):
    if sys.platform == "win32" and how != "SIGKILL":
        pytest.skip("Windows has no such signal for one process")
    out, part = tmp_path / "out", tmp_path / ".out.part"
    run(corpus[0], out)
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    process = python(cli(big_text / "32.txt", out, "--force", "--workers", "1"))
    deadline = time.monotonic() + 60
    while not ((part / "train.bin").exists() and (part / "train.bin").stat().st_size):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    if how == "SIGKILL":
        with pytest.raises(FileExistsError, match="another run"):
            run(corpus[0], out, force=True)
        process.kill()
    else:
        process.send_signal(getattr(signal, how))
    assert "exit 0" not in process.communicate()[0] and process.returncode != 0 or how == "SIGINT"
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    assert part.exists() == (how == "SIGKILL")  # a killed process cannot tidy up; the next run does
    run(corpus[0], out, force=True)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    assert {p.name for p in tmp_path.iterdir()} == {"text.txt", "out"}


def test_an_output_caught_between_its_two_names_comes_back(tmp_path, corpus, capsys):
    run(corpus[0], tmp_path / "out")
    os.replace(tmp_path / "out", tmp_path / ".out.old")
    assert "there already" in says(capsys, corpus[0], "--out", tmp_path / "out")
    assert load_meta(tmp_path / "out")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", ["", "_piece"])
def test_memory_does_not_grow_with_the_text(kind, big_text, tmp_path):
    code = f"""
import re
from yzlin.prepare import prepare
for size in (4, 32):
    prepare(f"{big_text}/{{size}}{kind}.txt", f"{tmp_path}/{{size}}", workers=2, progress=False)
    print(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1])  # the peak, in kB
"""
    small, large = (int(peak) / 1000 for peak in python(code).communicate()[0].split())
    assert large < 200 and large < small + 20  # MB; the original's way takes some 400 for these 32


@pytest.mark.parametrize(("folder", "encoding"), [("\u4e66 \u5e93", "ascii"), ("caf\u00e9'$& \u732b", "cp1252")])
def test_any_path_and_any_terminal(folder, encoding, tmp_path):
    room = tmp_path / folder
    room.mkdir()
    (room / "t.txt").write_text("\n\n".join(make_stories(100)), encoding="utf-8")
    env = {name: value for name, value in os.environ.items() if name != "HOME"} | {"PYTHONIOENCODING": encoding}
    for source, code in (("t.txt", 0), ("none.txt", 2)):
        done = subprocess.run(
            [sys.executable, "-m", "yzlin", "prepare", str(room / source), "--out", str(room / "new" / "out")],
            cwd=ROOT, env=env, capture_output=True,
        )  # fmt: skip
        assert done.returncode == code and b"Traceback" not in done.stderr
        assert check_data(room / "new" / "out")["source"] == "t.txt"


RENAMING = """
import os, pathlib, time
from yzlin.tools import files
real = os.replace
def replace(a, b):
    if str(b).endswith("out"):  # the folder is whole and takes its name now
        print("renaming", flush=True)
        input()
    real(a, b)
files.os.replace = replace
"""


@pytest.mark.parametrize("force", [False, True])
def test_of_two_prepares_at_the_same_moment_one_wins_and_the_other_says_so(force, corpus, tmp_path):
    out = tmp_path / "out"
    if force:
        run(corpus[0], out)
    first = subprocess.Popen(
        [sys.executable, "-c", RENAMING + cli("storybook", out, "--stories", "200", *["--force"] * force)], cwd=ROOT,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
    )  # fmt: skip
    assert first.stdout.readline() == "renaming\n"
    with pytest.raises(FileExistsError, match="another run is preparing .* just now: wait for it"):
        run(corpus[0], out, force=True)
    told, _ = first.communicate("\n")
    assert "exit 0" in told and check_data(out)["source"] == "storybook"
    assert {p.name for p in tmp_path.iterdir()} == {"text.txt", "out"}
