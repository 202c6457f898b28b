"""The process in which answers run: it gets inputs as lines of JSON, and sends back what the answer returned.

It is started by `yzlin.tools.grading`, which holds the checkers. What goes over the line is data, never code.
"""

from __future__ import annotations

import base64
import contextlib
import json
import linecache
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor, nn

from yzlin import checks
from yzlin.model import ModelArgs


def packed(value: Any, callables: list | None = None) -> Any:
    """A value as JSON can carry it. What it cannot carry arrives as an object that has the name of its type."""
    if value is None or isinstance(value, (bool, int, float, str)) and not isinstance(value, np.generic):
        return value
    if isinstance(value, Tensor) and value.device.type != "meta" and not value.is_quantized:
        plain = value.detach().cpu().to_dense().contiguous()
        raw = plain.flatten().view(torch.uint8).numpy().tobytes() if plain.numel() else b""
        return {"tensor": [str(plain.dtype)[6:], list(plain.shape), base64.b64encode(raw).decode()]}
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufc":
        raw = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {"scalar" if isinstance(value, np.generic) else "array": [value.dtype.str, list(value.shape), raw]}
    if isinstance(value, np.ndarray) and value.dtype.kind == "U":
        return {"texts": [list(value.shape), value.ravel().tolist()]}
    if isinstance(value, (list, tuple, range)):
        return {"tuple" if isinstance(value, tuple) else "list": [packed(each, callables) for each in value]}
    if isinstance(value, (set, frozenset)):
        return {"set": [packed(each, callables) for each in value]}
    if type(value) is dict:
        return {"dict": [[packed(key, callables), packed(held, callables)] for key, held in value.items()]}
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, ModelArgs):
        return {"args": asdict(value)}
    if callables is not None and callable(value):
        callables.append(value)
        return {"callable": len(callables) - 1}
    return {"object": type(value).__name__}


def unpacked(value: Any, callable_: Callable[[int], Callable] | None = None) -> Any:
    """The value that was packed. Any exception may come of a value that was not packed by `packed`."""
    if not isinstance(value, dict):
        return value
    ((kind, held),) = value.items()
    if kind == "tensor":
        name, shape, raw = held
        dtype, data = getattr(torch, name), bytearray(base64.b64decode(raw))
        return (torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)).reshape(shape)
    if kind in ("array", "scalar"):
        array = np.frombuffer(bytearray(base64.b64decode(held[2])), dtype=np.dtype(held[0])).reshape(held[1])
        return array[()] if kind == "scalar" else array
    if kind in ("list", "tuple"):
        each = [unpacked(part, callable_) for part in held]
        return each if kind == "list" else tuple(each)
    if kind == "texts":
        return np.array(held[1]).reshape(held[0])
    if kind == "set":
        return {unpacked(part, callable_) for part in held}
    if kind == "dict":
        return {unpacked(key, callable_): unpacked(part, callable_) for key, part in held}
    if kind == "bytes":
        return base64.b64decode(held)
    if kind == "args":
        return ModelArgs(**held)
    if kind == "callable" and callable_ is not None:
        return callable_(held)
    return type(str(held)[:80], (), {})()


def limit(memory: int) -> None:
    """No more memory than this many bytes, no new processes, no large files, where the system has such limits."""
    try:
        import resource
    except ImportError:  # Windows
        return
    now = Path("/proc/self/statm")
    limits = {"RLIMIT_FSIZE": 10_000_000, "RLIMIT_CORE": 0, "RLIMIT_NPROC": 0}
    if now.exists():  # macOS does not hold processes to it
        limits["RLIMIT_AS"] = int(now.read_text().split()[0]) * resource.getpagesize() + memory
    for name, most in limits.items():
        with contextlib.suppress(ValueError, OSError, AttributeError):
            resource.setrlimit(getattr(resource, name), (most, most))


class Pupil:
    """Runs answers on the inputs that come in, line by line, and sends back what they return."""

    def __init__(self, asks: IO[str], replies: IO[str]):
        self.asks, self.replies = asks, replies
        self.objects: list[Any] = []  # the answer, then the modules that it made
        self.space = ModuleType("answer")  # where the program of the answer runs

    def say(self, **message: Any) -> None:
        print(json.dumps(message), file=self.replies, flush=True)

    def serve(self) -> None:
        self.say(ready=True)
        for line in self.asks:
            message = json.loads(line)
            try:
                if "source" in message:
                    self.load(message["source"], message["call"])
                else:
                    self.answer(message)
            except (Exception, SystemExit) as error:
                stub = isinstance(error, NotImplementedError) and not error.args
                self.say(stub=True) if stub else self.say(raised=checks.told(error, self.space))

    def load(self, source: str, call: str) -> None:
        """Defines the answer in a module of its own, and says what kind of thing it is."""
        self.space = sys.modules["answer"] = ModuleType("answer")
        self.space.__module__ = "answer"  # `told` looks for the lines of this module
        linecache.cache["answer"] = (len(source), None, source.splitlines(keepends=True), "answer")
        exec(compile(source, "answer", "exec"), vars(self.space))
        value = eval(compile(call.strip(), "answer", "eval"), vars(self.space))
        self.objects = [value]
        if isinstance(value, type):
            has_forward = issubclass(value, nn.Module) and value.forward is not nn.Module.forward
            self.say(kind="class", forward=has_forward, module=issubclass(value, nn.Module))
        else:
            self.say(kind="function") if callable(value) else self.say(kind="value", value=packed(value))

    def answer(self, message: dict) -> None:
        called = self.objects[message["of"]]
        with torch.no_grad():
            for name, weight in called.named_parameters() if message.get("weights") else ():
                weight.copy_(unpacked(message["weights"][name]))
        if message.get("part"):
            called = called.get_submodule(message["part"])
        result = called(*(unpacked(each, self.callback) for each in message["inputs"]))
        if isinstance(result, nn.Module):
            self.objects.append(result)
            weights = {name: packed(weight) for name, weight in result.named_parameters()}
            self.say(made=len(self.objects) - 1, type=type(result).__name__, weights=weights)
        else:
            self.say(value=packed(result))

    def callback(self, number: int) -> Callable:
        """A function that the checker gave as an input: it is run by the checker's process."""

        def ask(*inputs: Any) -> Any:
            self.say(callback=number, inputs=[packed(each) for each in inputs])
            reply = json.loads(self.asks.readline())
            if "error" in reply:
                raise RuntimeError(reply["error"])
            return unpacked(reply["value"])

        return ask


def pupil(memory: int) -> None:
    """The other process: what it was given as standard input and output is for us alone, answers get none."""
    asks, replies = os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    torch.set_num_threads(1)
    limit(memory)
    Pupil(asks, replies).serve()


if __name__ == "__main__":
    pupil(int(sys.argv[1]))
