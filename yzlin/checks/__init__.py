"""What the notebooks check with: shapes, values, and the answers to exercises. One module for each notebook's exercises.

A checker runs the answer on several inputs and gives each result to `compare`, with the right result and the results of
likely mistakes: each of those carries the hint that is then true.
"""

from __future__ import annotations

import copy
import functools
import importlib
import linecache
import math
import numbers
import textwrap
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

RESULTS: dict[tuple[str, str], str] = {}  # (module, checker) -> what it said last in this session
OTHER = 0  # added to the seed of every example: `python -m yzlin grade` checks with numbers that no student has seen


class Wrong(Exception):
    """An answer that is not right yet; the message is a hint that names the likely mistake."""


class NotAttempted(Exception):
    """The answer is still the stub."""


def check_shape(tensor: Tensor, *shape: int) -> None:
    """Says ok, or raises Wrong where the shape is another one."""
    if not hasattr(tensor, "shape"):
        raise Wrong(f"this is {described(tensor)}, and it should be a tensor of shape {shape}.")
    if tuple(tensor.shape) != shape:
        raise Wrong(f"the shape is {tuple(tensor.shape)}, and it should be {shape}.")
    print(f"ok: shape {shape}")


def example(*shape: int, seed: int = 0) -> Tensor:
    """Numbers of the standard normal distribution, the same ones each time."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + OTHER))


def run(answer: Callable, *inputs: Any) -> Any:
    """What the answer returns for copies of the inputs. Wrong where it raises or returns None, NotAttempted for a stub."""
    try:
        got = answer(*(copy.deepcopy(value) for value in inputs))
    except Exception as error:
        if isinstance(error, NotImplementedError) and not error.args:  # PyTorch's own always carry a message
            raise NotAttempted from None
        raise Wrong(told(error, answer)) from None
    if got is None:
        raise Wrong("your code returned None: is there a `return`?")
    return got


def told(error: Exception, answer: Callable) -> str:
    """One line: the exception, and the last line of the reader's own code on the way to it."""
    message = textwrap.shorten(str(error), 200, placeholder=" ...")
    said = f"your code raised {type(error).__name__}" + (f": {message}" if message else "")
    module = getattr(answer, "__module__", None)
    own = [step for step in traceback.walk_tb(error.__traceback__) if step[0].f_globals.get("__name__") == module]
    if not own:  # it was never entered: the number of its parameters, for example
        return said
    frame, number = own[-1]
    source = linecache.getline(frame.f_code.co_filename, number, frame.f_globals).strip()
    return f"{said} (line {number}{f': {source}' if source else ''})"


def expect(condition: bool | Tensor, hint: str) -> None:
    """Raises Wrong with the hint where the condition does not hold."""
    if not bool(condition):
        raise Wrong(hint)


def described(value: Any) -> str:
    """The kind of a value, in words."""
    if value is None:
        return "None"
    if isinstance(value, (Tensor, np.ndarray)):
        return f"{'a tensor' if isinstance(value, Tensor) else 'an array'} of shape {tuple(value.shape)}"
    if isinstance(value, (list, tuple)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a value of type {type(value).__name__}"


def parts(got: Any, count: int, hint: str) -> list:
    """The parts of a tuple, a list, or a tensor of that length. Raises Wrong with the hint for another thing."""
    several = isinstance(got, (tuple, list)) or (isinstance(got, (Tensor, np.ndarray)) and got.ndim > 1)
    if not several or len(got) != count:
        raise Wrong(f"your code returned {described(got)}: {hint}")
    return list(got)


def numbers_of(value: Any, kind: str = "a tensor") -> Tensor:
    """A tensor, array or number as a float64 tensor. Raises Wrong, naming both kinds, for another thing."""
    try:
        if isinstance(value, Tensor) and not value.is_complex():
            return value.detach().cpu().to_dense().double()
        if isinstance(value, (np.ndarray, numbers.Real)) and not np.iscomplexobj(value):
            return torch.from_numpy(np.array(value, dtype=np.float64))
    except (TypeError, ValueError, OverflowError, RuntimeError):
        pass  # an array of objects, an int of a thousand digits
    if isinstance(value, Tensor):
        raise Wrong(f"your code returned a tensor of {value.dtype}, and it should hold real numbers.")
    kind_found = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else described(value)
    raise Wrong(f"your code returned {kind_found} where {kind} should be.")


def same(got: Any, want: Any, tolerance: float = 1e-5) -> bool:
    """Whether shapes and values agree, up to tolerance times the largest size of a value. NaN agrees with NaN."""
    if isinstance(want, (tuple, list)):
        return len(got) == len(want) and all(same(a, b, tolerance) for a, b in zip(got, want, strict=True))
    got, want = numbers_of(got), numbers_of(want)
    if got.shape != want.shape:
        return False
    finite = want[want.isfinite()]
    size = finite.abs().max().item() if len(finite) else 0.0
    return torch.allclose(got, want, rtol=0, atol=tolerance * size + 1e-12, equal_nan=True)


def unlike(got: Any, hints: dict[str, Any], tolerance: float = 1e-5) -> None:
    """Raises Wrong with the first hint whose wrong value was returned."""
    for hint, wrong in hints.items():
        if same(got, wrong, tolerance):
            raise Wrong(hint)


def compare(got: Any, want: Any, hints: dict[str, Any], otherwise: str, tolerance: float = 1e-5) -> None:
    """Raises Wrong unless got is what is wanted: with the hint whose wrong value it is, or else its shape, NaN, or `otherwise`.

    Wanted and wrong values are tensors, numbers, or lists of them. The first hint that fits is told.
    """
    if isinstance(want, (tuple, list)):
        pairs = list(zip(parts(got, len(want), f"there should be {len(want)} tensors."), want, strict=True))
    else:
        pairs = [(got, want)]
    pairs = [(numbers_of(a, "a tensor" if numbers_of(b).dim() else "a number"), numbers_of(b)) for a, b in pairs]
    if same(got, want, tolerance):
        return
    unlike(got, hints, tolerance)
    for a, b in pairs:
        expect(a.shape == b.shape, f"the shape is {tuple(a.shape)}, and it should be {tuple(b.shape)}.")
    for a, b in pairs:
        nans = int(a.isnan().sum() - b.isnan().sum())
        which = f"{nans} of {a.numel()} values are" if a.dim() else "the result is"
        expect(nans <= 0, f"{which} NaN, not a number: somewhere 0 / 0, inf - inf, or a root or logarithm of what is negative.")
    if pairs[0][1].dim() == 0 and len(pairs) == 1:
        otherwise += f" It should be {written(want)}, and yours is {written(got)}."
    raise Wrong(otherwise)


def written(number: Any) -> str:
    """A number to read: whole ones with commas, others to six digits."""
    value = float(number)
    return f"{value:,.0f}" if math.isfinite(value) and value == int(value) else f"{value:.6g}"


def exercise(check: Callable[[Any], str]) -> Callable[[Any], None]:
    """Makes a checker of a function that takes the answer, raises Wrong with a hint, or returns what the answer shows.

    The checker prints one line and never stops the notebook: "not attempted yet" for a stub that raises
    NotImplementedError, "ok: ..." or "not yet: ...". `score` remembers which it was.
    """

    @functools.wraps(check)
    def checker(answer: Any) -> None:
        try:
            if not callable(answer):
                raise Wrong(f"this is {described(answer)}: give the checker your function itself, without brackets behind it.")
            with torch.random.fork_rng(devices=[]):  # the reader's random numbers go on as before
                line = f"ok: {check(answer)}"
        except NotAttempted:
            line = "not attempted yet"
        except Wrong as hint:
            line = f"not yet: {hint}"
        except Exception as error:  # a gap in the checker must not be called the reader's mistake
            line = f"not yet: the checker itself stumbled over your answer ({type(error).__name__}: {error}): compare by hand."
        RESULTS[check.__module__, check.__name__] = line.split(":")[0]
        print(line)

    return checker


def exercises(notebook: str) -> dict[str, Callable[[Any], None]]:
    """The checkers of a notebook ("04"), in order."""
    try:
        module = importlib.import_module(f"yzlin.checks.n{notebook}")
    except ModuleNotFoundError:
        raise ValueError(f"there are no checkers for notebook {notebook!r}: give its two digits, as in score('04').") from None
    return {
        name: check for name, check in vars(module).items() if name.startswith("check_") and check.__module__ == module.__name__
    }


def score(notebook: str) -> None:
    """Prints how many exercises of a notebook ("04") are done in this session, and how each of them stands."""
    names = exercises(notebook)
    said = {name: RESULTS.get((f"yzlin.checks.n{notebook}", name), "not attempted yet") for name in names}
    print(f"{sum(result == 'ok' for result in said.values())} of {len(names)} done")
    for name, result in said.items():
        print(f"  {result:17}  {name.removeprefix('check_')}")
