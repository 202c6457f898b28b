"""The exercises of notebook 04: attention."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from yzlin.checks import example, exercise, expect, expect_close


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float | Tensor | None = None, where: int = -1) -> Tensor:
    """Causal attention, plainly: what the answers are compared with, and the likely mistakes are made of."""
    T, D = q.shape[-2:]
    scores = q @ k.transpose(-1, -2) * (1 / math.sqrt(D) if scale is None else scale)
    return scores.masked_fill(~torch.ones(T, T, dtype=torch.bool).tril(), -math.inf).softmax(where).nan_to_num() @ v


@exercise
def check_mask(answer) -> str:
    got = answer(5)
    expect(got.shape == (5, 5), f"the shape is {tuple(got.shape)}, and it should be (5, 5).")
    expect(got.dtype == torch.bool, f"the dtype is {got.dtype}: make it bool, for masked_fill and SDPA.")
    expect(
        not torch.equal(got, torch.ones(5, 5, dtype=torch.bool).triu()), "this lets each token see the future: turn it over."
    )
    expect(
        not torch.equal(got, torch.ones(5, 5, dtype=torch.bool).triu(1)), "True means: may look. This is the other way round."
    )
    expect(got.diagonal().all(), "a token may see itself; else the first one sees nothing at all.")
    expect(torch.equal(got, torch.ones(5, 5, dtype=torch.bool).tril()), "row t should be True up to column t.")
    return "row t sees t + 1 tokens: half of the square is never needed."


@exercise
def check_head(answer) -> str:
    x, weights = example(6, 12), [example(12, 4, seed=i) / 2 for i in (1, 2, 3)]
    got = answer(x, *weights)
    q, k, v = (x @ weight for weight in weights)
    want = F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0]
    if got.shape == want.shape:
        hints = {
            "each token sees the future: the mask is missing.": (q @ k.T / 2).softmax(-1) @ v,
            "the scores are not divided by the root of D.": attend(q, k, v, 1.0),
            "divide by the root of D, the channels of the head, not by that of C.": attend(q, k, v, 1 / math.sqrt(12)),
            "divide by the root of D, not by D.": attend(q, k, v, 1 / 4),
            "queries and keys are exchanged.": attend(k, q, v),
            "the softmax goes over the queries: it should go over the last axis, the keys.": attend(q, k, v, where=0),
            "the rows no longer sum to 1: the mask must come before the softmax.": (q @ k.T / 2).softmax(-1).tril() @ v,
        }
        for hint, wrong in hints.items():
            expect(not torch.allclose(got, wrong, atol=1e-5), hint)
    expect_close(got, want, "the values differ from scaled_dot_product_attention's.")
    return "seven operations, and a token can fetch what it needs from anywhere before it."


@exercise
def check_mended(answer) -> str:
    q, k, v = (example(2, 3, 5, 4, seed=i) for i in (1, 2, 3))
    got = answer(q, k, v)
    right = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    want = right.transpose(1, 2).reshape(2, 5, 12)
    if got.shape == want.shape:

        def merged(y: Tensor) -> Tensor:
            return y.transpose(1, 2).reshape(2, 5, 12)

        after = (q @ k.transpose(-1, -2) / 2).softmax(-1).tril() @ v
        hints = {
            "tokens and heads are mixed up: swap their axes back before you reshape.": right.reshape(2, 5, 12),
            "the root: D is the size of one head.": merged(attend(q, k, v, 1 / math.sqrt(12))),
            "the rows no longer sum to 1: mask the scores with minus infinity, before the softmax.": merged(after),
            "the softmax goes over the queries: each query shares itself out to the keys.": merged(attend(q, k, v, where=-2)),
        }
        for hint, wrong in hints.items():
            expect(not torch.allclose(got, wrong, atol=1e-5), hint)
    expect_close(got, want, "not all four are mended: root, axis of the softmax, mask, and how the heads come together.")
    return "none of the four changed a shape."


@exercise
def check_head_scale(answer) -> str:
    q, k, v = (example(2, 3, 5, 4, seed=i) for i in (1, 2, 3))
    scale = torch.tensor([0.1, 0.5, 2.0])
    got = answer(q, k, v, scale)
    want = torch.stack([attend(q[:, h], k[:, h], v[:, h], scale[h]) for h in range(3)], dim=1)
    if got.shape == want.shape:
        twice = torch.stack([attend(q[:, h], k[:, h], v[:, h], scale[h] / 2) for h in range(3)], dim=1)
        full = torch.stack([(q[:, h] @ k[:, h].mT * scale[h]).softmax(-1) @ v[:, h] for h in range(3)], dim=1)
        expect(not torch.allclose(got, twice, atol=1e-5), "1 / sqrt(D) is still there: scale stands in its place.")
        expect(not torch.allclose(got, attend(q, k, v), atol=1e-5), "the scale has no effect: all heads still use 1 / sqrt(D).")
        expect(not torch.allclose(got, full, atol=1e-5), "each token sees the future: the mask is missing.")
        mean = attend(q, k, v, scale.mean())
        expect(not torch.allclose(got, mean, atol=1e-5), "all heads have the same scale: give each its own.")
    expect_close(got, want, "the values differ: head h should have its scores times scale[h].")
    return "a head with a large scale looks at one token, one with a small scale takes the mean of all."


@exercise
def check_rope(answer) -> str:
    x = example(7, 8).double()
    got = answer(x).double()
    expect(got.shape == x.shape, f"the shape is {tuple(got.shape)}, and it should stay {tuple(x.shape)}.")
    lengths = torch.allclose(got.norm(dim=-1), x.norm(dim=-1), rtol=1e-4)
    expect(lengths, "the vectors change their length: a turn does not. The pairs are a cos - b sin and a sin + b cos.")
    expect(not torch.allclose(got, x), "nothing is turned.")
    expect(torch.allclose(got[0], x[0], atol=1e-5), "position 0 should not be turned: count from 0.")
    angle = torch.arange(7)[:, None] * 10000.0 ** (-2 * torch.arange(4) / 8)
    a, b = x.chunk(2, dim=-1)
    want = torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], dim=-1)
    back = torch.cat([a * angle.cos() + b * angle.sin(), b * angle.cos() - a * angle.sin()], dim=-1)
    expect(not torch.allclose(got, back, atol=1e-4), "this turns the other way: a cos - b sin comes first.")
    slow = torch.arange(7)[:, None] * 10000.0 ** (-torch.arange(4) / 8)
    expect(
        not torch.allclose(got[:, :4], a * slow.cos() - b * slow.sin(), atol=1e-4),
        "the exponent is -2 i / D: the 2 is missing.",
    )
    even, odd = x[:, ::2], x[:, 1::2]
    pairs = torch.stack([even * angle.cos() - odd * angle.sin(), even * angle.sin() + odd * angle.cos()], -1).flatten(1)
    expect(
        not torch.allclose(got, pairs, atol=1e-4), "these are pairs of neighbours, as in the paper: here pair i with i + D/2."
    )
    expect_close(got, want, "the angles differ: position times 10000^(-2i/D), in radians.", 1e-4)
    return "the score of two tokens depends on their distance alone, so no position needs to be learnt."


@exercise
def check_merge(answer) -> str:
    scores, v = 3 * example(5, 8), example(8, 4, seed=1)

    def report(part: slice) -> tuple[Tensor, Tensor, Tensor]:
        m = scores[:, part].amax(1, keepdim=True)
        s = (scores[:, part] - m).exp().sum(1, keepdim=True)
        return m, s, (scores[:, part] - m).exp() @ v[part] / s

    (m1, s1, o1), (m2, s2, o2), want = report(slice(0, 3)), report(slice(3, 8)), report(slice(0, 8))
    got = answer(m1, s1, o1, m2, s2, o2)
    expect(isinstance(got, tuple) and len(got) == 3, "return three tensors: m, s, o.")
    expect_close(got[0], want[0], "m should be the larger of both, for each query: torch.maximum.")
    expect(
        not torch.allclose(got[1], s1 + s2), "the sums belong to different largest scores: scale each by exp(m_i - m) first."
    )
    expect_close(got[1], want[1], "s should be s1 exp(m1 - m) + s2 exp(m2 - m).")
    expect(not torch.allclose(got[2], (o1 + o2) / 2), "the halves do not count the same: weight each mean by its sum.")
    undivided = s1 * (m1 - want[0]).exp() * o1 + s2 * (m2 - want[0]).exp() * o2
    expect(not torch.allclose(got[2], undivided), "o should be a mean: divide by the merged s.")
    expect(not torch.allclose(got[2], (s1 * o1 + s2 * o2) / (s1 + s2)), "the weights of o must be scaled by exp(m_i - m), too.")
    expect_close(got[2], want[2], "o should be (s1 exp(m1 - m) o1 + s2 exp(m2 - m) o2) / s.")
    large = answer(m1 + 200, s1, o1, m2 + 200, s2, o2)
    expect(torch.isfinite(torch.cat(large, dim=1)).all(), "large scores overflow: take exp of differences to m alone.")
    return "a text too long for one GPU can be shared out to many."
