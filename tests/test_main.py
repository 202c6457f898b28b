"""The command line: help for every option, one sentence for every error, any terminal, any folder."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from yzlin import ROOT
from yzlin.__main__ import COMMANDS, main

posix = pytest.mark.skipif(os.name == "nt", reason="Windows closes and encodes its streams in other ways")


def run(*words: str, **how) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **how.pop("env", {})}
    command = [sys.executable, "-m", "yzlin", *words]
    return subprocess.run(command, capture_output=True, timeout=300, env=environment, **how)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_every_command_has_a_word_and_examples_follow(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    text = capsys.readouterr().out
    assert stopped.value.code == 0 and "examples:" in text and f"python -m yzlin {command}" in text
    options = re.split(r"\n  (?=-|\w)", text.partition("options:")[2].partition("examples:")[0])
    for option in options:
        if option.strip().startswith("-"):
            words = re.sub(r"^\s*(-[\w-]+[ ,]*|[A-Z_]{1,20}|\{[^}]*\}|\s)+", "", option)
            assert len(words.split()) >= 2, option
    assert "None" not in text


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["train", "--max_iters", "0"], "max_iters is 0: choose a whole number from 1"),
        (["train", "--learning_rate", "nan"], "learning_rate is nan: choose a number from"),
        (["train", "--device", "toaster"], "device toaster is not known: use auto, cpu"),
        (["generate", "--top_p", "2", "x"], "top_p is 2.0: choose a number from"),
        (["generate", "--checkpoint", "nowhere", "x"], "nowhere is missing"),
        (["bench", "--rounds", "0"], "rounds is 0: choose a number from 1"),
    ],
)
def test_what_is_wrong_is_one_sentence(words, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith(f"yzlin {words[0]}: ") and sentence in error
    assert not list(tmp_path.iterdir()), "nothing was made"


@posix
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_terminal_that_lacks_letters_gets_question_marks(encoding):
    done = run("generate", "--max_tokens", "2", "\u4ece\u524d \u2603", env={"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"})
    assert done.returncode == 0 and done.stdout.startswith(b"?? ?"), done.stderr
    lost = run("generate", "--checkpoint", "\u732b.pt", "x", env={"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"})
    assert lost.returncode == 2 and b"?.pt is missing" in lost.stderr and b"Traceback" not in lost.stderr


@posix
def test_closed_streams_and_no_home(tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "HOME"} | {"PYTHONPATH": str(ROOT)}
    command = f'"{sys.executable}" -m yzlin generate --max_tokens 2 Once <&- 2>&-'
    done = subprocess.run(command, shell=True, stdout=subprocess.PIPE, env=environment, cwd=tmp_path, timeout=300)
    assert done.returncode == 0 and done.stdout.startswith(b"Once")


@posix
def test_a_reader_that_goes_away_is_no_error():
    command = f'"{sys.executable}" -m yzlin train --help | head -1; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=300, cwd=ROOT)
    assert done.returncode in (0, 141) and b"Traceback" not in done.stderr


def test_a_folder_with_blanks_and_chinese_letters(tmp_path, book_data):
    room = tmp_path / "my course \u8bfe\u7a0b"
    shutil.copytree(book_data, room / "data of mine")
    small = ["--n_layer", "1", "--n_head", "1", "--n_embed", "8", "--block_size", "16", "--max_iters", "2", "--eval_iters", "1"]
    done = run("train", "--data", "data of mine", "--out", "\u8fd0\u884c 1", "--eval_stories", "0", *small, cwd=room)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    done = run("generate", "--checkpoint", "\u8fd0\u884c 1", "--max_tokens", "3", "Once", cwd=room)
    assert done.returncode == 0 and done.stdout.startswith(b"Once")


def test_a_command_that_failed_leaves_no_new_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for words in (["train", "--preset", "cpu"], ["train", "--init_from", "resume", "--out", "a/b"], ["prepare", "nothing.txt"]):
        assert main(words) == 2
        assert not list(tmp_path.iterdir()), words
