"""Checks answers that somebody else wrote: their code runs in a process of its own, the checkers in ours.

The two talk in lines of JSON: we send inputs, the other process sends what the answer returned. So whatever the answer
does to its checkers, to torch, or to what it prints, it does to its own process; it can only send other *answers*. What
arrives is data, never code. This is not a sandbox: the code runs as the user who grades and can read and write that
user's files.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from yzlin import ROOT, checks
from yzlin.tools.pupil import packed, unpacked
from yzlin.tools.submit import Answer

LONGEST = 16_000_000  # bytes of a line from the other process
START_SECONDS = 180  # to import torch, also on a busy machine
NOTEBOOKS = sorted(path.stem[1:] for path in (ROOT / "yzlin" / "checks").glob("n*.py"))


class Said(BaseException):
    """What there is to say about an answer that no checker can finish. Not an Exception: checkers catch those."""

    def __init__(self, line: str, over: bool = False):
        super().__init__(line)
        self.over = over  # the other process is of no use any more


@functools.cache
def isolation() -> tuple[list[str], str]:
    """What to put before a command to take its network, and a sentence that says how far that goes here."""
    if sys.platform == "linux" and shutil.which("unshare"):
        user, net = ["unshare", "--user", "--map-root-user"], ["--net", "--"]
        for way, sentence in (
            ([*user, "--pid", "--fork", "--kill-child", *net], "Answers have no network, and see no process but their own."),
            ([*user, *net], "Answers have no network."),
        ):
            if subprocess.run([*way, "true"], capture_output=True).returncode == 0:
                return way, sentence
    return [], "Answers could use the network: this system does not let a user take it from a process."


class Other:
    """The process of the answers, from our side."""

    def __init__(self, memory: int):
        self.folder = tempfile.mkdtemp(prefix="yzlin-grade-")
        keep = ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "LANG")
        env = {name: os.environ[name] for name in keep if name in os.environ}
        env |= dict.fromkeys(("HOME", "USERPROFILE", "TMPDIR", "TEMP", "TMP"), self.folder)
        env |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        env |= {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(
            [*isolation()[0], sys.executable, "-m", "yzlin.tools.pupil", str(memory)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            cwd=self.folder, env=env, start_new_session=True,
        )  # fmt: skip
        self.lines: queue.Queue[bytes] = queue.Queue(maxsize=1)
        self.closed = False
        threading.Thread(target=self.read, daemon=True).start()  # a thread: a pipe cannot be read with a time limit
        self.allow(START_SECONDS)
        try:
            self.receive()
        except Said:
            self.close()
            raise RuntimeError("the process that runs the answers does not start: try `python -m yzlin doctor`.") from None

    def read(self) -> None:
        for line in iter(lambda: self.process.stdout.readline(LONGEST), b""):
            self.lines.put(line)
            if self.closed:
                return
        self.lines.put(b"")

    def allow(self, seconds: float) -> None:
        """From now on it has so many seconds."""
        self.seconds, self.until = seconds, time.monotonic() + seconds

    def receive(self) -> dict:
        """The next line that it sends. Raises Said where none comes in time, or what comes is not ours."""
        try:
            left = self.until - time.monotonic()
            line = self.lines.get(timeout=left) if left > 0 else None  # also where it sends line after line
        except queue.Empty:
            line = None
        if line is None:
            raise Said(f"not yet: your code ran for more than {self.seconds:g} seconds: does a loop never end?", True)
        if not line:
            raise Said("not yet: your code ended the whole Python process (a crash, exit, or too much memory).", True)
        try:
            return dict(json.loads(line))
        except (ValueError, TypeError, RecursionError):
            raise Said("not yet: your code wrote into the channel of the checker.", True) from None

    def ask(self, callables: list[Callable], **message: Any) -> dict:
        """Sends a message, runs the checker's own functions where the answer calls them, and returns the reply."""
        line = (json.dumps(message) + "\n").encode()
        while True:
            threading.Thread(target=self.send, args=(line,), daemon=True).start()  # it may never read what we send
            reply = self.receive()
            if "raised" in reply:
                raise Said("not yet: " + textwrap.shorten(str(reply["raised"]), 400, placeholder=" ..."))
            if "stub" in reply:
                raise Said("not attempted yet")
            if "callback" not in reply:
                return reply
            try:
                result = {"value": packed(callables[reply["callback"]](*map(unpacked, reply["inputs"])))}
            except Exception as error:  # the answer gave the checker's function what it cannot take
                result = {"error": textwrap.shorten(str(error), 200, placeholder=" ...")}
            line = (json.dumps(result) + "\n").encode()

    def send(self, line: bytes) -> None:
        with contextlib.suppress(OSError, ValueError):  # it is gone: `receive` says so
            self.process.stdin.write(line)
            self.process.stdin.flush()

    def result(self, of: int, inputs: tuple, **more: Any) -> Any:
        """What the answer (0), or a module that it made, returns for these inputs."""
        callables: list[Callable] = []
        try:
            reply = self.ask(callables, of=of, inputs=[packed(each, callables) for each in inputs], **more)
            if "made" in reply:
                weights = {name: nn.Parameter(unpacked(value)) for name, value in reply["weights"].items()}
                return type(str(reply["type"])[:80], (Mirror,), {})(self, reply["made"], weights)
            return unpacked(reply["value"])
        except Exception as error:
            told = textwrap.shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...")
            raise Said(f"not yet: what your code returned could not be read ({told}).") from None

    def close(self) -> None:
        """Ends the process and whatever it started, and lets the thread that reads end."""
        self.closed = True
        with contextlib.suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()
        self.process.wait()
        with contextlib.suppress(queue.Empty):
            self.lines.get_nowait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Mirror(nn.Module):
    """A module of the other process: the weights are here, what it computes with them is computed there."""

    def __init__(self, other: Other, number: int, weights: dict[str, nn.Parameter], part: str = ""):
        super().__init__()
        self.asked = (other, number, weights, part)
        inside = {name[len(part) :].lstrip("."): weight for name, weight in weights.items() if name.startswith(part)}
        for name, weight in inside.items():
            head, dot, _ = name.partition(".")
            if not dot:
                self.register_parameter(name, weight)
            elif head not in self._modules:
                self.add_module(head, Mirror(other, number, weights, f"{part}{head}."))

    def forward(self, *inputs: Any) -> Any:
        other, number, weights, part = self.asked
        held = {name: packed(weight) for name, weight in weights.items()}
        return other.result(number, inputs, weights=held, part=part.rstrip("."))


def stand_in(other: Other, answer: Answer) -> Any:
    """Something that the checker takes for the answer: it asks the other process."""
    kind = other.ask([], source=answer.source, call=answer.call)
    if kind.get("kind") == "value":
        return unpacked(kind["value"])
    if kind.get("kind") != "class":
        return lambda *inputs: other.result(0, inputs)
    body: dict[str, Any] = {"__new__": lambda cls, *inputs: other.result(0, inputs)}
    if kind.get("forward"):
        body["forward"] = lambda self: None  # it has one; Mirror's is what runs
    return type("Answer", (nn.Module,) if kind.get("module") else (), body)


@contextlib.contextmanager
def other_numbers(seed: int) -> Iterator[None]:
    """The checkers draw other examples while this lasts."""
    before, checks.OTHER = checks.OTHER, seed
    try:
        yield
    finally:
        checks.OTHER = before


def known() -> dict[str, Callable[[Any], None]]:
    """{"02 shift": its checker} for all exercises of the course, in order."""
    found = {number: checks.exercises(number) for number in NOTEBOOKS}
    return {f"{number} {name.removeprefix('check_')}": check for number in found for name, check in found[number].items()}


def judged(answers: dict[str, Answer], seed: int = 0, seconds: float = 20, memory: int = 2_000_000_000) -> dict[str, str]:
    """What each checker of the course says to these answers: one line, "ok: ...", "not yet: ...", or not handed in.

    seed: 0 takes the notebook's examples, another number others. seconds: for one exercise. memory: bytes that an
    answer may take beyond what PyTorch needs. One process for all the answers; another one where that was ended.
    """
    said, other = {}, None
    try:
        for exercise, check in known().items():
            answer = answers.get(exercise)
            if answer is None:
                said[exercise] = "not handed in"
            elif not answer.call:  # a cell that is not Python
                said[exercise] = answer.said if answer.said.startswith("not yet: ") else "not attempted yet"
            else:
                try:
                    other = other or Other(memory)
                    other.allow(seconds)
                    line = io.StringIO()
                    with contextlib.redirect_stdout(line), other_numbers(seed):
                        check(stand_in(other, answer))
                    said[exercise] = line.getvalue().strip()
                except Said as problem:
                    said[exercise] = str(problem)
                    if problem.over and other:
                        other.close()
                        other = None
                except (ValueError, TypeError, LookupError, RecursionError) as error:  # a message that is not ours
                    said[exercise] = f"not yet: your code sent what is not an answer ({type(error).__name__})."
    finally:
        if other:
            other.close()
    return said
