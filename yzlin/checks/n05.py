"""The exercises of notebook 05: the gated MLP."""

from __future__ import annotations

import torch.nn.functional as F

from yzlin.checks import compare, example, exercise, expect, numbers_of, parts, run


@exercise
def check_plain(answer) -> str:
    for shape, hidden in (((2, 5, 12), 20), ((7, 9), 15)):
        C = shape[-1]
        x, W1, W2 = example(*shape), example(hidden, C, seed=1), example(C, hidden, seed=2)
        up = F.linear(x, W1)
        hints = {
            "the bend is missing: this is one matrix.": F.linear(up, W2),
            "ReLU comes in between the two matrices, not behind both.": F.relu(F.linear(up, W2)),
            "no ReLU behind the second matrix: what comes out may be negative.": F.relu(F.linear(F.relu(up), W2)),
            "ReLU comes behind the first matrix, not in front of it.": F.linear(F.linear(F.relu(x), W1), W2),
            "the second matrix is missing: back to C channels.": F.relu(up),
            "this is GELU: ReLU has a sharp corner.": F.linear(F.gelu(up), W2),
            "this is SiLU: ReLU has a sharp corner.": F.linear(F.silu(up), W2),
            "this is the sigmoid: ReLU leaves what is positive as it is.": F.linear(up.sigmoid(), W2),
            "this is tanh: ReLU leaves what is positive as it is.": F.linear(up.tanh(), W2),
            "this is a leaky ReLU: what is negative becomes 0.": F.linear(F.leaky_relu(up), W2),
            "what is negative becomes 0, and not its size.": F.linear(up.abs(), W2),
            "ReLU keeps what is positive: this keeps what is negative.": F.linear(up.clamp(max=0), W2),
            "W1 and W2 are exchanged: W1 is (hidden, C), and comes first, transposed.": F.relu(x @ W2) @ W1,
            "x is added: that is the block's task, in the next notebook.": x + F.linear(F.relu(up), W2),
        }
        compare(run(answer, x, W1, W2), F.linear(F.relu(up), W2), hints, "the values differ from up, ReLU, down.")
    return "it works for any shape in front of the channels, for each token alone."


@exercise
def check_swiglu(answer) -> str:
    for shape, hidden in (((2, 5, 12), 20), ((7, 9), 15)):
        C = shape[-1]
        x, down = example(*shape), example(C, hidden, seed=3)
        gate, up = example(hidden, C, seed=1), example(hidden, C, seed=2)
        g, u = F.linear(x, gate), F.linear(x, up)
        inside = {
            "this is a gated ReLU: SiLU is z times sigmoid(z).": F.relu(g) * u,
            "this is a gated GELU: SiLU is z times sigmoid(z).": F.gelu(g) * u,
            "the sigmoid alone is another gate (GLU): multiply it by z.": g.sigmoid() * u,
            "the bend goes around the gate, not around up.": g * F.silu(u),
            "the bend goes around the gate alone: up has none.": F.silu(g) * F.silu(u),
            "the bend goes around the gate alone, before the product.": F.silu(g * u),
            "nothing is bent: SiLU is missing.": g * u,
            "gate and up are multiplied, not added.": F.silu(g) + u,
            "z times sigmoid(z), not plus.": (g + g.sigmoid()) * u,
            "z comes once too often: the sigmoid of z, times z.": g * g * g.sigmoid() * u,
            "up is missing: SiLU of the gate, times up.": F.silu(g),
            "up stands inside the gate as well: z is the gate alone.": u * g.sigmoid() * u,
        }
        right = F.silu(g) * u
        hints = {hint: F.linear(wrong, down) for hint, wrong in inside.items()} | {
            "down is missing: back to C channels.": right
        }
        got = run(answer, x, gate, up, down)
        compare(got, F.linear(right, down), hints, "the values differ from down(silu(gate(x)) * up(x)).")
    return "one word changed, and it is the MLP of most models since 2023."


@exercise
def check_flops(answer) -> str:
    for B, T, C in ((3, 50, 24), (5, 17, 36), (7, 128, 768)):
        square = B * T * C**2  # two FLOPs for each: a C by C matrix costs 2 of these
        scores = B * T**2 * C
        want = 32 * square + 4 * scores
        hints = {
            "a multiplication and an addition are two FLOPs.": want / 2,
            "the scores and the mean of the values are missing: they have no weights, but cost FLOPs.": 32 * square,
            "half of the T by T part is missing: two products, scores and mean of the values, both over the full square.": (
                32 * square + 2 * scores
            ),
            "8 B T C² are missing: the gated MLP has three matrices of C by 4C, attention has four of C by C.": (
                24 * square + 4 * scores
            ),
            "the MLP is missing: three matrices of C by 4C.": 8 * square + 4 * scores,
            "attention is missing: four matrices of C by C, and the square of scores.": 24 * square,
            "the MLP is 4C wide: three matrices of C by 4C.": 14 * square + 4 * scores,
            "a C by C matrix is missing: queries, keys, values, and the projection behind the heads.": 30 * square + 4 * scores,
            "queries, keys and values are three matrices.": 28 * square + 4 * scores,
            "the batch is missing: B texts.": want / B,
            "the batch is missing in the square of scores: each text has one.": 32 * square + 4 * scores / B,
            "each of the T tokens goes through the matrices.": 32 * square / T + 4 * scores,
            "scores are T by T: each token meets all tokens.": 32 * square + 4 * scores / T,
            "this is forward and backward: reading is forward alone.": 3 * want,
        }
        otherwise = f"for B={B}, T={T}, C={C} another number comes out."
        compare(run(answer, B, T, C), want, hints, otherwise, tolerance=1e-7)
    return "at T = 128 and C = 768 the square of scores is 2% of a layer; it is half of it at T = 8 C."


@exercise
def check_squares(answer) -> str:
    for C in (3, 5, 1):  # one channel is the smallest vector
        matrices = parts(run(answer, C), 3, "return three matrices: gate, up, down.")
        gate, up, down = (numbers_of(matrix, "a matrix") for matrix in matrices)
        shapes = f"yours are {tuple(gate.shape)}, {tuple(up.shape)} and {tuple(down.shape)}"
        transposed = gate.dim() == 2 and gate.shape == up.shape and gate.size(0) == C != gate.size(1)
        expect(not transposed, f"gate and up are transposed: nn.Linear keeps (out, in), here (hidden, C); {shapes}.")
        expect(
            gate.dim() == 2 and gate.shape == up.shape and gate.size(1) == C, f"gate and up should be (hidden, {C}): {shapes}."
        )
        expect(down.shape == (1, gate.size(0)), f"down should be (1, hidden), here (1, {gate.size(0)}): {shapes}.")
        x = 3 * example(9, C).double()
        got = F.linear(F.relu(F.linear(x, gate)) * F.linear(x, up), down)[:, 0]
        squares, want = x.pow(2), x.pow(2).sum(-1)
        hints = {
            "negative channels are lost: a second gate must open for -x.": F.relu(x).pow(2).sum(-1),
            "positive channels are lost: one gate must open for x, the other for -x.": F.relu(-x).pow(2).sum(-1),
            "the sign: where x is negative it counts as minus x²; up must be -x there, and down plus.": (x * x.abs()).sum(-1),
            "the sign: this is minus the squared length.": -want,
            "everything is counted twice.": 2 * want,
            "everything is counted half.": want / 2,
            "this is the mean of the squares: down takes the sum.": squares.mean(-1),
            "this is the square of the sum: each channel needs hidden channels of its own.": x.sum(-1).pow(2),
            "only the first channel counts.": squares[:, 0],
        }
        compare(
            got,
            want,
            hints if C > 1 else {},
            f"with these weights and C = {C} something else than the sum of the squares comes out.",
        )
    return "with products a network can compare, and measure lengths; a plain ReLU MLP comes near at best."
