"""What the notebooks check with: shapes, values, and the answers to exercises. One module for each notebook's exercises."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Wrong(Exception):
    """An answer that is not right yet; the message is a hint that names the likely mistake."""


def check_shape(tensor: Tensor, *shape: int) -> None:
    """Says ok, or raises Wrong where the shape is another one."""
    if tuple(tensor.shape) != shape:
        raise Wrong(f"the shape is {tuple(tensor.shape)}, and it should be {shape}.")
    print(f"ok: shape {shape}")


def example(*shape: int, seed: int = 0) -> Tensor:
    """Numbers of the standard normal distribution, the same ones each time."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def expect(condition: bool | Tensor, hint: str) -> None:
    """Raises Wrong with the hint where the condition does not hold."""
    if not bool(condition):
        raise Wrong(hint)


def expect_close(got: Any, want: Any, hint: str, tolerance: float = 1e-5) -> None:
    """Raises Wrong with the hint where a tensor or number differs from the wanted one, in shape or by more than tolerance."""
    got, want = (torch.as_tensor(value).detach().double() for value in (got, want))
    if got.shape != want.shape:
        raise Wrong(f"the shape is {tuple(got.shape)}, and it should be {tuple(want.shape)}.")
    if not torch.allclose(got, want, atol=tolerance, rtol=tolerance):
        raise Wrong(hint)


def exercise(check: Callable[[Any], str]) -> Callable[[Any], None]:
    """Makes a checker of a function that takes the answer, raises Wrong with a hint, or returns what the answer shows.

    The checker prints one line and never stops the notebook: "not attempted yet" for a stub that raises
    NotImplementedError, "ok: ..." or "not yet: ...".
    """

    @functools.wraps(check)
    def checker(answer: Any) -> None:
        try:
            print(f"ok: {check(answer)}")
        except NotImplementedError:
            print("not attempted yet")
        except Wrong as hint:
            print(f"not yet: {hint}")
        except Exception as error:  # whatever the reader's code raises is the reader's to see, in one line
            print(f"not yet: your code raised {type(error).__name__}: {error}")

    return checker
