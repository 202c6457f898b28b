"""Seeded attacks on the data side: meta.json, token files, tokenizer files, the options of prepare and download.

Only a sentence (ValueError or OSError; exit 2 on the command line) or a success that is true may come of an attack.
An attack changes a file and says in words what it did; a judge tells what is wrong with what came of it, or "".
By hand: python tests/fuzz_data.py --minutes 5
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np

from yzlin.__main__ import main as command_line
from yzlin.prepare import check_data, data_tokenizer, prepare
from yzlin.tokenizer import load_tokenizer
from yzlin.tools import download, fetch

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
JUNK = [None, True, False, -1, 0, 1, 0.5, 10**18, -(10**18), 10**400, float("nan"), float("inf"), -float("inf"), "", " ", "x",
        "5", "\0", "\ud800", "gpt2", "storybook", [], [1], {}, {"train": 1}, {"train": -1, "val": 2},
        {"train": 1e300, "val": True}, {"train": 5, "val": 5}, {"train": 10**18, "val": 10**18}]  # fmt: skip
NUMBERS = [
    "nan",
    "inf",
    "-inf",
    "1e3",
    "0",
    "-1",
    "-0",
    "1",
    "2",
    "7",
    "1000000000000000000",
    "9" * 5000,
    "0x10",
    "1_0",
    "\uff11",
    "",
]


def damage_bytes(rng: random.Random, path: Path) -> str:
    """Any file: a bit flipped, cut, something in between, something else altogether, another kind of thing."""
    data = bytearray(path.read_bytes())
    kind = rng.choice(["bit", "cut", "insert", "repeat", "replace", "folder", "gone", "dangling link"])
    place = rng.randrange(len(data) or 1)
    if kind == "bit" and data:
        data[place] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del data[place:]
    elif kind == "insert":
        data[place:place] = rng.choice([rng.randbytes(rng.randint(1, 40)), b"\0", b"\n", b"\r", b"\xff", b"\xef\xbb\xbf", b" "])
    elif kind == "repeat":
        data += data[place:]
    elif kind == "replace":
        data = rng.choice(
            [b"", b"{", b"[]", b"null", b"[" * 100_000, LFS, rng.randbytes(3000), "{}".encode("utf-16"), b"1" * 9999]
        )
    if kind in ("folder", "gone", "dangling link"):
        path.unlink()
        if kind == "folder":
            path.mkdir()
        elif kind == "dangling link" and sys.platform != "win32":
            path.symlink_to("nowhere")
    else:
        path.write_bytes(data)
    return f"{path.name}: {kind} at {place}"


def attack_meta(rng: random.Random, folder: Path) -> str:
    """Changes folder/meta.json, at times one of the token files instead."""
    path = folder / "meta.json"
    kind = rng.choice(["bytes", "value", "value", "value", "inner value", "delete", "near", "bin", "ids"])
    if kind == "bytes":
        return damage_bytes(rng, path)
    if kind == "bin":
        return damage_bytes(rng, folder / rng.choice(["train.bin", "val.bin"]))
    if kind == "ids":
        path = folder / rng.choice(["train.bin", "val.bin"])
        ids = np.fromfile(path, "<u2")
        ids[rng.randrange(len(ids))] = new = rng.choice([0, 256, 5000, 65535])
        ids.tofile(path)
        return f"{path.name}: an id becomes {new}"
    meta = json.loads(path.read_text(encoding="utf-8"))
    key = rng.choice(list(meta))
    if kind == "inner value" and isinstance(meta[key], dict):
        meta[key][rng.choice(["train", "val", "x"])] = rng.choice(JUNK)
    elif kind == "near" and isinstance(meta[key], dict):
        meta[key]["val"] += rng.choice([-1, 1, 1000])
    elif kind == "delete":
        del meta[key]
    else:
        meta[key] = rng.choice(JUNK)
    path.write_text(json.dumps(meta), encoding="utf-8")
    return f"meta.json: {kind}, {key} is {str(meta.get(key))[:60]}"


def attack_tokenizer(rng: random.Random, path: Path) -> str:
    """Changes a tokenizer's file."""
    lines = path.read_bytes().splitlines()
    a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.choice(["bytes", "exchange", "double", "drop", "base64", "rank", "order", "line ends"])
    if kind == "bytes":
        return damage_bytes(rng, path)
    if kind == "exchange":  # two tokens, each with the other's rank
        (one, rank), (other, other_rank) = lines[a].split(), lines[b].split()
        lines[a], lines[b] = one + b" " + other_rank, other + b" " + rank
    elif kind == "double":
        lines.insert(b, lines[a])
    elif kind == "drop":
        del lines[a]
    elif kind == "base64":
        junk = rng.choice([b"%%%", b"", b"=", b"QQ", b"QR==", b"====", b"YWJj" * 9, "\u00e9".encode(), b"QQ== QQ=="])
        lines[a] = junk + b" " + lines[a].split()[1]
    elif kind == "rank":
        lines[a] = lines[a].split()[0] + b" " + rng.choice(NUMBERS).encode()
    elif kind == "order":
        lines.reverse()
    path.write_bytes((b"\r\n" if kind == "line ends" else b"\n").join(lines) + b"\n")
    return f"{path.name}: {kind} of lines {a + 1} and {b + 1}"


def prepare_options(rng: random.Random, text: Path, out: Path) -> list[str]:
    """Words for `python -m yzlin prepare`, some of them odd; small enough to be done at once."""
    options = ["--out", str(out), "--stories", "20"]
    for option in rng.sample(["--stories", "--seed", "--block_size", "--workers"], rng.randint(0, 3)):
        options += [option, rng.choice(NUMBERS)]
    if rng.random() < 0.4:
        names = ["gpt2", "storybook", "", "x", "train:", "train:300", "train:-1", "train:1e3", "train:" + "9" * 5000, str(text)]
        options += ["--tokenizer", rng.choice([*names, str(text.parent), "\0", "n" * 5000])]
    if rng.random() < 0.3:
        options += ["--field", rng.choice(["", "text", "\0", "\ud800"])]
    if rng.random() < 0.2:
        options += ["--out", rng.choice(["", "/", ".", "\0", "x" * 5000, str(text), str(text / "below"), str(text.parent)])]
    options += ["--force"] * rng.randint(0, 1)
    return ["prepare", rng.choice(["storybook", str(text), str(text), "", ".", "nothing", "\0", "x" * 5000]), *options]


def download_options(rng: random.Random, out: Path) -> list[str]:
    """Words for `python -m yzlin download` that can only fail: nothing listens where they lead."""
    places = ["http://127.0.0.1:9", "http://127.0.0.1:9/\u732b", "", "x", "http://", "http://[", "file:///etc", "ftp://127.0.0.1:9",
              "http://127.0.0.1:99999", "http://127.0.0.1:9/a b", "\0", "http://" + "a" * 99 + ":9", "modelscope",
              "//127.0.0.1:9"]  # fmt: skip
    options = ["--out", str(out), "--part", rng.choice(["0.1", "full", "valid", "half", ""])]
    for option in rng.sample(["--mirror", "--url"], rng.randint(0, 2)):
        options += [option, rng.choice(places)]
    if rng.random() < 0.3:
        options += ["--version", rng.choice(["1", "2", *NUMBERS])]
    if rng.random() < 0.2:
        options += ["--out", rng.choice(["", "/", ".", "\0", "x" * 5000, str(out.parent)])]
    return ["download", "tinystories", *options]


# ---- what came of it


def judge_sentence(text: str) -> str:
    """What is wrong with an error's words, or ""."""
    if not text.strip() or "\n" in text.strip():
        return f"not one line: {text!r}"
    vague = ("invalid literal", "NoneType", "list index", "object is not", "unexpected keyword", "codec can't encode")
    return next(
        (f"names no cause: {text}" for word in vague if word in text), "" if len(text.split()) > 3 else f"short: {text!r}"
    )


def judge_call(call: Callable[[], object], judge_success: Callable[[], str]) -> tuple[str, str]:
    """Whether a call was "done" or "refused", and what is wrong with that, or ""."""
    try:
        call()
    except (ValueError, OSError) as error:
        return "refused", judge_sentence(str(error))
    except BaseException as error:
        return "crashed", f"{type(error).__name__}: {error}"
    return "done", judge_success()


def judge_data(folder: Path) -> tuple[str, str]:
    """A prepared folder after an attack."""

    def what_is_false() -> str:
        meta = check_data(folder, block_size=16)
        ids = {split: np.fromfile(folder / f"{split}.bin", "<u2") for split in ("train", "val")}
        true = {split: len(some) for split, some in ids.items()} == meta["tokens"]
        true = true and max(some.max() for some in ids.values()) < meta["vocab_size"] == data_tokenizer(folder).n_vocab
        return "" if true else "passed, and is not as meta.json says"

    return judge_call(lambda: check_data(folder, block_size=16), what_is_false)


def judge_tokenizer(path: Path) -> tuple[str, str]:
    """A tokenizer's file after an attack, alone. Lines exchanged need not show: the merges may stand."""

    def what_is_false() -> str:
        tokenizer = load_tokenizer(path)
        sample = "Once upon a time, \u732b\u732b \U0001f600."
        return "" if tokenizer.decode(tokenizer.encode_ordinary(sample)) == sample else "passed, and does not decode"

    return judge_call(lambda: load_tokenizer(path), what_is_false)


def judge_command(argv: list[str], room: Path, out: Path) -> tuple[str, str]:
    """A command, run in a folder `room` that holds nothing else: exit 2 and one sentence, or exit 0 and whole data."""
    before = sorted(str(path) for path in room.rglob("*"))
    error = io.StringIO()
    with contextlib.redirect_stderr(error), contextlib.redirect_stdout(io.StringIO()):
        try:
            code = command_line(argv)
        except SystemExit as stop:
            code = stop.code
        except BaseException as crash:
            return "crashed", f"{type(crash).__name__}: {crash}"
    if code == 0 and argv[0] == "prepare":
        return "done", "" if check_data(out) else "no data"
    if code != 2:
        return "crashed", f"exit {code}"
    if after := set(map(str, room.rglob("*"))) - {*before}:
        return "refused", f"left behind: {after}"
    line = error.getvalue().strip().splitlines()[-1]
    return "refused", judge_sentence(line.partition(": ")[2])


@contextlib.contextmanager
def in_folder(folder: Path) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def attack_all(rng: random.Random, room: Path) -> tuple[Counter, list[str]]:
    """One attack of each kind, in `room`: how many were done and refused, and what is wrong."""
    pristine = room / "pristine"
    if not pristine.exists():
        prepare("storybook", pristine, "train:400", count=60, block_size=16, progress=False)
        (room / "text.txt").write_text("\n\n".join(f"{i} Once upon a time." for i in range(300)), encoding="utf-8")
    counts, wrong = Counter(), []

    def note(kind: str, did: object, found: tuple[str, str]) -> None:
        counts[kind, found[0]] += 1
        if found[1]:
            wrong.append(f"{kind}: {did!r:.300}: {found[1]}")

    target = room / "target"
    for kind, attack in (("meta", lambda: attack_meta(rng, target)),
                         ("tokenizer of data", lambda: attack_tokenizer(rng, target / "tokenizer.tiktoken"))):  # fmt: skip
        shutil.copytree(pristine, target)
        did = attack()
        note(kind, did, judge_data(target))
        shutil.rmtree(target)
    shutil.copy(pristine / "tokenizer.tiktoken", room / "t.tiktoken")
    did = attack_tokenizer(rng, room / "t.tiktoken")
    note("tokenizer alone", did, judge_tokenizer(room / "t.tiktoken"))
    path = room / "t.tiktoken"
    path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)

    argv = prepare_options(rng, room / "text.txt", room / "new" / "out")
    with in_folder(room):
        note("prepare", argv, judge_command(argv, room, room / "new" / "out"))
        shutil.rmtree(room / "new", ignore_errors=True)
        argv = download_options(rng, room / "new" / "t.txt")
        nobody = "http://127.0.0.1:9"
        with (
            mock.patch.multiple(download, HUB=nobody, MODELSCOPE=nobody),
            mock.patch.multiple(fetch, WAIT=0.0, TIMEOUT=(1, 1)),
            mock.patch.dict("os.environ", {"NO_PROXY": "*", "HF_ENDPOINT": ""}),
        ):
            note("download", argv, judge_command(argv, room, room / "new" / "t.txt"))
    return counts, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    counts, wrong, end, round_ = Counter(), [], time.monotonic() + 60 * options.minutes, 0
    with tempfile.TemporaryDirectory() as room:
        while time.monotonic() < end:
            found, bad = attack_all(random.Random(f"{options.seed}:{round_}"), Path(room))
            counts, wrong, round_ = counts + found, wrong + [f"round {round_}: {line}" for line in bad], round_ + 1
    for (kind, end_), number in sorted(counts.items()):
        print(f"{number:6} {kind}: {end_}")
    print(*wrong, f"{len(wrong)} wrong in {round_} rounds of seed {options.seed}", sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
