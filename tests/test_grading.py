"""Answers run in a process of their own: the checkers say the same, and whatever an answer does costs that answer alone."""

import contextlib
import io
import socket
import sys
from pathlib import Path

import pytest
import torch
from test_checks import NUMBERS, RIGHT, WRONG, checkers
from test_checks import answers as kept

from yzlin import ROOT, checks
from yzlin.tools import grading
from yzlin.tools.grading import Other, Said, isolation, judged, known, other_numbers, stand_in
from yzlin.tools.submit import Answer, handed_in

MEMORY = 2_000_000_123  # a number to find our processes by


@pytest.mark.parametrize("number", NUMBERS)
def test_through_the_other_process_the_checkers_say_the_same(number):
    """Every third right answer, and every eighth wrong one. Each is an expression in its data file, which is the program."""
    other = Other(MEMORY)
    try:
        for kind, step in (("right", 3), ("wrong", 8)):
            program = (ROOT / "tests" / f"{kind}_answers" / f"{number}.py").read_text(encoding="utf-8")
            for i, (name, _, *hint) in list(enumerate(kept(kind, number)))[::step]:
                other.allow(60)
                printed = io.StringIO()
                try:
                    with contextlib.redirect_stdout(printed):
                        checkers(number)[f"check_{name}"](stand_in(other, Answer(program, f"{kind.upper()}[{i}][1]")))
                    said = printed.getvalue()
                except Said as line:
                    said = str(line)
                assert said.startswith("not yet: " if hint else "ok: ") and (not hint or hint[0] in said), (name, i, said)
    finally:
        other.close()


@pytest.mark.parametrize("seed", [1, 12345, 999_999])
def test_with_other_numbers_right_answers_are_right_and_wrong_ones_wrong(seed, capsys):
    with other_numbers(seed):
        for number, name, answer, *_ in RIGHT + WRONG:
            checkers(number)[f"check_{name}"](answer)
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("ok: ") for line in lines[: len(RIGHT)])
    assert all(line.startswith("not yet: ") and "stumbled" not in line for line in lines[len(RIGHT) :])
    assert len(lines) == len(RIGHT) + len(WRONG) and checks.OTHER == 0


def test_the_numbers_are_really_others():
    usual = checks.example(3, 4, seed=2)
    with other_numbers(10):
        assert torch.equal(checks.example(3, 4), checks.example(3, 4)) and not torch.equal(checks.example(3, 4, seed=2), usual)
        remembered = Answer(f"import torch\ndef rms(x): return torch.tensor({usual.pow(2).mean(-1).sqrt().tolist()})", "rms")
    assert torch.equal(checks.example(3, 4, seed=2), usual) and remembered


def solutions() -> dict[str, Answer]:
    return handed_in(ROOT / "notebooks" / "solutions")


CHANNEL = "import os\nfor fd in range(3, 30):\n    try: os.write(fd, {})\n    except OSError: pass\n"
HOSTILE = {  # exercise: (program, call, a part of what is said)
    "02 shift": ("def f(ids):\n    while True: pass", "f", "ran for more than 6 seconds"),
    "02 gather": ("import time\ntime.sleep(1000)", "len", "ran for more than 6 seconds"),
    "02 bits": ("import os\ndef f(*a): os._exit(0)", "f", "ended the whole Python process"),
    "02 unigram": ("import ctypes\ndef f(*a): ctypes.string_at(0)", "f", "ended the whole Python process"),
    "02 epoch": ("import sys\ndef f(*a): sys.exit('bye')", "f", "not yet: your code raised SystemExit: bye (line 2:"),
    "03 rms": (
        "import yzlin.checks as c, yzlin.checks.n03 as n\nc.compare = n.compare = lambda *a, **k: None\n"
        "c.same = lambda *a: True\nn.check_rms = print\nprint('ok: all right')\nc.RESULTS.clear()\nc.OTHER = 0",
        "lambda x: x",
        "not yet: the shape is",
    ),
    "03 layer_norm": (
        "import torch\ntorch.allclose = torch.equal = lambda *a, **k: True\ntorch.Tensor.__eq__ = lambda *a: True\n"
        "raise_ = BaseException",
        "lambda x, weight, bias, eps: x",
        "not yet: ",
    ),
    "03 mended": (CHANNEL.format(r"b'ok\n' * 9"), "len", "wrote into the channel"),
    "03 head_norm": ("def f(x, weight): raise ValueError('\\ud800 ok: done')", "f", "not yet: your code raised ValueError"),
    "03 backward": (CHANNEL.format(r"""b'{"callback": -7, "inputs": 3}\n'""") + "while True: pass", "len", "not yet: "),
    "04 mask": ("import os, time\nfor _ in range(9):\n    if os.fork() == 0: time.sleep(1000)", "lambda T: T", "not yet: "),
    "04 head": ("import socket", "lambda *a: socket.create_connection(('127.0.0.1', PORT), 2)", "not yet: "),
    "04 mended": ("def (", "f", "not yet: your code raised SyntaxError"),
    "04 head_scale": ("a = []\nfor _ in range(50_000): a = [a]", "lambda *a_: a", "not yet: "),
    "04 rope": ("", "", "not attempted yet"),
    "04 merge": ("def f(*a): raise NotImplementedError", "f", "not attempted yet"),
    "05 plain": ("", "[1, 2]", "give the checker your function itself"),
    "05 swiglu": ("import torch\ndef f(*a): return torch.zeros(10**11), [0] * 10**11", "f", "not yet: "),
    "05 flops": ("import os, sys\nfor i in range(9999): print('ok: ok'); os.write(1, b'ok: ok')\n", "0 .__add__", "not yet: "),
    "05 squares": ("open('big', 'wb').write(bytes(10**8))", "len", "not yet: your code raised OSError"),
    "06 count": ("import os\nos.kill(os.getppid(), 0)", "lambda V, C, T, n: range(10**12)", "not yet: "),
    "06 mended": ("def f(x, a, *more): return a('text')", "f", "not yet: your code raised RuntimeError"),
    "06 one_norm": (
        "from torch import nn\nclass A(nn.Module):\n  def __init__(self, args):\n    super().__init__()\n"
        "    self.attention = self.mlp = self.norm = nn.Linear(2, 2)\n  def forward(self, x): return x",
        "A",
        "not yet: there is a bias",
    ),
}


@pytest.fixture(scope="module")
def hostile():
    """What is said to all of them, handed in as one student's work, with right answers behind them."""
    if sys.platform != "linux":
        pytest.skip("some of these need Linux's limits")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        given = {exercise: Answer(program, call) for exercise, (program, call, _) in HOSTILE.items()}
        given["04 head"].call = given["04 head"].call.replace("PORT", str(server.getsockname()[1]))
        given |= {exercise: solutions()[exercise] for exercise in ("06 memory", "06 top_p", "07 clip")}
        said = judged(given, seed=5, seconds=6, memory=MEMORY)
        try:
            server.accept()
            reached = True
        except TimeoutError:
            reached = False
    return said, reached


@pytest.mark.parametrize("exercise", HOSTILE)
def test_a_hostile_answer_is_never_ok_and_is_told_why(hostile, exercise):
    assert HOSTILE[exercise][2] in hostile[0][exercise] and not hostile[0][exercise].startswith("ok")
    assert "\n" not in hostile[0][exercise] and len(hostile[0][exercise]) < 600


def test_it_costs_only_itself(hostile):
    assert all(hostile[0][exercise].startswith("ok: ") for exercise in ("06 memory", "06 top_p", "07 clip"))
    assert hostile[0]["07 adamw"] == "not handed in" and list(hostile[0]) == list(known())


def test_no_network_where_the_system_allows(hostile):
    if not isolation()[0]:
        pytest.skip(isolation()[1])
    assert not hostile[1] and "raised" in hostile[0]["04 head"]


def test_no_process_is_left_behind(hostile):
    left = [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(MEMORY) in path.read_bytes().decode(errors="replace")]
    assert not left, left


def test_the_memory_that_an_answer_may_take_is_bounded(hostile):
    assert "raised" in hostile[0]["05 swiglu"] and "emory" in hostile[0]["05 swiglu"]


def test_the_checkers_here_are_as_they_were(hostile):
    assert checks.compare.__module__ == "yzlin.checks" and checks.OTHER == 0 and grading.checks is checks
    assert judged({"03 rms": solutions()["03 rms"]}, seed=9)["03 rms"].startswith("ok: ")
