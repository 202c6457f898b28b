"""The exercises of notebook 05: the gated MLP."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from yzlin.checks import example, exercise, expect, expect_close


@exercise
def check_plain(answer) -> str:
    x, W1, W2 = example(2, 5, 12), example(20, 12, seed=1), example(12, 20, seed=2)
    got, hidden = answer(x, W1, W2), F.linear(x, W1)
    if got.shape == x.shape:
        expect(not torch.allclose(got, F.linear(hidden, W2), atol=1e-4), "the bend is missing: this is one matrix.")
        late = F.relu(F.linear(hidden, W2))
        expect(not torch.allclose(got, late, atol=1e-4), "ReLU comes in between the two matrices, not behind both.")
        twice = F.relu(F.linear(F.relu(hidden), W2))
        expect(not torch.allclose(got, twice, atol=1e-4), "no ReLU behind the second matrix: what comes out may be negative.")
        expect(not torch.allclose(got, F.linear(F.gelu(hidden), W2), atol=1e-4), "this is GELU: ReLU has a sharp corner.")
    expect_close(got, F.linear(F.relu(hidden), W2), "the values differ from up, ReLU, down.", 1e-4)
    return "it works for any shape in front of the channels, for each token alone."


@exercise
def check_swiglu(answer) -> str:
    x, gate, up, down = example(2, 5, 12), example(20, 12, seed=1), example(20, 12, seed=2), example(12, 20, seed=3)
    got, g, u = answer(x, gate, up, down), F.linear(x, gate), F.linear(x, up)
    if got.shape == x.shape:
        hints = {
            "this is a gated ReLU: SiLU is z times sigmoid(z).": F.relu(g) * u,
            "the sigmoid alone is another gate (GLU): multiply it by z.": g.sigmoid() * u,
            "the bend goes around the gate, not around up.": g * F.silu(u),
            "the bend goes around the gate alone: up has none.": F.silu(g) * F.silu(u),
            "nothing is bent: SiLU is missing.": g * u,
            "gate and up are multiplied, not added.": F.silu(g) + u,
        }
        for hint, wrong in hints.items():
            expect(not torch.allclose(got, F.linear(wrong, down), atol=1e-4), hint)
    expect_close(got, F.linear(F.silu(g) * u, down), "the values differ from down(silu(gate(x)) * up(x)).", 1e-4)
    return "one word changed, and it is the MLP of most models since 2023."


@exercise
def check_flops(answer) -> str:
    for B, T, C in ((1, 128, 768), (3, 50, 24)):
        got, want = answer(B, T, C), 32 * B * T * C**2 + 4 * B * T**2 * C
        expect(got * 2 != want, "a multiplication and an addition are two FLOPs.")
        expect(
            got != 32 * B * T * C**2, "the scores and the mean of the values are missing: they have no weights, but cost FLOPs."
        )
        expect(
            got != 32 * B * T * C**2 + 2 * B * T**2 * C, "there are two products with T by T: scores, and mean of the values."
        )
        expect(got != 24 * B * T * C**2 + 4 * B * T**2 * C, "the gated MLP has three matrices of C by 4C.")
        expect(got != 30 * B * T * C**2 + 4 * B * T**2 * C, "the projection behind the heads is missing.")
        expect(B == 1 or got != (32 * T * C**2 + 4 * T**2 * C), "the batch is missing: B texts.")
        expect(got == want, f"for B={B}, T={T}, C={C} it is {want:,}, and yours is {got:,}.")
    return "at T = 128 and C = 768 the square of scores is 2% of a layer; it is half of it at T = 8 C."


@exercise
def check_squares(answer) -> str:
    for C in (1, 3):
        got = answer(C)
        expect(isinstance(got, tuple) and len(got) == 3, "return three matrices: gate, up, down.")
        gate, up, down = (matrix.float() for matrix in got)
        expect(gate.shape == up.shape and gate.size(1) == C, "gate and up should both be (hidden, C).")
        expect(down.shape == (1, gate.size(0)), "down should be (1, hidden).")
        x = example(7, C)
        y, want = F.linear(F.relu(F.linear(x, gate)) * F.linear(x, up), down)[:, 0], x.pow(2).sum(-1)
        expect(not torch.allclose(y, F.relu(x).pow(2).sum(-1)), "negative channels are lost: a second gate must open for -x.")
        expect(not torch.allclose(y, (x * x.abs()).sum(-1)), "the sign: where x is negative, up must be -x as well.")
        expect(not torch.allclose(y, 2 * want), "everything is counted twice.")
        expect_close(y, want, "the values differ from the sum of the squares.")
    return "with products a network can compare, and measure lengths; a plain ReLU MLP comes near at best."
