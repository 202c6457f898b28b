"""The exercises of notebook 04: attention."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from yzlin.checks import compare, example, exercise, expect, numbers_of, parts, run


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float | Tensor | None = None, where: int = -1) -> Tensor:
    """Causal attention, plainly: the softmax over the axis `where`. The likely mistakes are made of it."""
    T, D = q.shape[-2:]
    scores = q @ k.transpose(-1, -2) * (1 / math.sqrt(D) if scale is None else scale)
    return scores.masked_fill(~torch.ones(T, T, dtype=torch.bool).tril(), -math.inf).softmax(where).nan_to_num() @ v


def mask_mistakes(q: Tensor, k: Tensor, v: Tensor, scale: float | Tensor) -> dict[str, Tensor]:
    """What a wrong mask makes of attention: the results, with their hints."""
    scores, past = q @ k.transpose(-1, -2) * scale, torch.ones(q.size(-2), q.size(-2), dtype=torch.bool).tril()
    shares = scores.softmax(-1)
    return {
        "each token sees the future: the mask is missing.": shares @ v,
        "the rows no longer sum to 1: mask the scores with minus infinity, before the softmax.": shares.tril() @ v,
        "the masked scores are 0, and exp(0) is 1, not 0: fill with minus infinity.": scores.tril().softmax(-1) @ v,
        "the mask is the other way round: each token sees the future alone, and the last one nothing.": (
            scores.masked_fill(past, -math.inf).softmax(-1) @ v
        ),
        "the mask is turned over: each token sees itself and the future.": (
            scores.masked_fill(~past.T, -math.inf).softmax(-1) @ v
        ),
        "a token may see itself: here it sees only what stands before it.": (
            scores.masked_fill(past.T, -math.inf).softmax(-1) @ v
        ),
        "minus infinity belongs in the scores: the softmax comes after the mask.": shares.masked_fill(~past, -math.inf) @ v,
        "the softmax is missing.": scores.tril() @ v,
    }


@exercise
def check_mask(answer) -> str:
    for T in (5, 8, 1):  # at 1 the only token still sees itself
        got, square = run(answer, T), torch.ones(T, T, dtype=torch.bool)
        numbers_of(got)
        expect(isinstance(got, Tensor), "this is a NumPy array: make it a tensor, for masked_fill and SDPA.")
        expect(got.dtype == torch.bool, f"the dtype is {got.dtype}: make it bool, for masked_fill and SDPA.")
        hints = {
            "this lets each token see the future: turn it over.": square.triu(),
            "True means: may look. This is the other way round.": square.triu(1),
            "a token may see itself; else the first one sees nothing at all.": square.tril(-1),
            "each row sees one token of the future: it ends at the diagonal.": square.tril(1),
            "each token sees itself alone: all that stands before it as well.": torch.eye(T, dtype=torch.bool),
            "nothing is masked: row t should be True up to column t alone.": square,
            "nothing may be seen: row t should be True up to column t.": ~square,
        }
        compare(got, square.tril(), hints if T > 1 else {}, "row t should be True up to column t.")
    return "row t sees t + 1 tokens: half of the square is never needed."


@exercise
def check_head(answer) -> str:
    for T, C, D in ((6, 12, 4), (5, 10, 7)):
        x, weights = example(T, C), [example(C, D, seed=i) / 2 for i in (1, 2, 3)]
        q, k, v = (x @ weight for weight in weights)
        root = 1 / math.sqrt(D)
        hints = mask_mistakes(q, k, v, root) | {
            "the scores are not divided by the root of D.": attend(q, k, v, 1.0),
            "divide by the root of D, the channels of the head, not by that of C.": attend(q, k, v, 1 / math.sqrt(C)),
            "divide by the root of D, not by that of T.": attend(q, k, v, 1 / math.sqrt(T)),
            "divide by the root of D, not by D.": attend(q, k, v, 1 / D),
            "divide by the root of D, do not multiply.": attend(q, k, v, math.sqrt(D)),
            "queries and keys are exchanged.": attend(k, q, v),
            "the softmax goes over the queries: it should go over the last axis, the keys.": attend(q, k, v, where=0),
            "the shares fetch keys: they should fetch values.": attend(q, k, k),
            "the mask and the root are missing.": (q @ k.T).softmax(-1) @ v,
        }
        want = F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0]
        compare(run(answer, x, *weights), want, hints, "the values differ from scaled_dot_product_attention's.")
    return "seven operations, and a token can fetch what it needs from anywhere before it."


@exercise
def check_mended(answer) -> str:
    for B, H, T, D in ((2, 3, 5, 4), (3, 4, 6, 7)):
        q, k, v = (example(B, H, T, D, seed=i) for i in (1, 2, 3))
        right = F.scaled_dot_product_attention(q, k, v, is_causal=True)

        def merged(y: Tensor) -> Tensor:
            return y.transpose(1, 2).flatten(2)

        late = (q @ k.mT / math.sqrt(H * D)).softmax(-2).tril() @ v
        hints = {
            "nothing is mended yet.": late.reshape(B, T, H * D),
            "one is mended, how the heads come together: root, axis of the softmax and mask are left.": merged(late),
            "tokens and heads are mixed up: swap their axes back before you reshape.": right.reshape(B, T, H * D),
            "the channels of the heads are mixed up: (B, T, H, D) before you reshape, not (B, T, D, H).": (
                right.permute(0, 2, 3, 1).reshape(B, T, H * D)
            ),
            "the heads are not laid side by side yet: (B, T, C).": right,
            "the heads are not laid side by side yet: reshape (B, T, H, D) to (B, T, C).": right.transpose(1, 2),
            "the root: D is the size of one head.": merged(attend(q, k, v, 1 / math.sqrt(H * D))),
            "the softmax goes over the queries: each query divides its attention among the keys.": (
                merged(attend(q, k, v, where=-2))
            ),
        } | {hint: merged(wrong) for hint, wrong in mask_mistakes(q, k, v, 1 / math.sqrt(D)).items()}
        otherwise = "not all four are mended: root, axis of the softmax, mask, and how the heads come together."
        compare(run(answer, q, k, v), merged(right), hints, otherwise)
    return "none of the four changed a shape."


@exercise
def check_head_scale(answer) -> str:
    for (B, H, T, D), numbers in (((2, 3, 5, 4), [0.1, 0.5, 3.0]), ((3, 4, 6, 7), [0.7, 0.2, 1.6, 0.4])):
        q, k, v = (example(B, H, T, D, seed=i) for i in (1, 2, 3))
        scale = torch.tensor(numbers)
        each = scale.view(-1, 1, 1)
        want = torch.stack([attend(q[:, h], k[:, h], v[:, h], numbers[h]) for h in range(H)], dim=1)
        hints = {
            "1 / sqrt(D) is still there: scale stands in its place.": attend(q, k, v, each / math.sqrt(D)),
            "the scale has no effect: all heads still use 1 / sqrt(D).": attend(q, k, v),
            "the scale has no effect: the scores are not scaled at all.": attend(q, k, v, 1.0),
            "all heads have the same scale, the mean: give each its own.": attend(q, k, v, scale.mean()),
            "all heads have the first one's scale: give each its own.": attend(q, k, v, scale[0]),
            "the scores are divided by the scale: multiply.": attend(q, k, v, 1 / each),
            "the scale is in it twice, from q and from k: once is enough.": attend(q, k, v, each**2),
            "the root of the scale is taken: scale itself stands in place of 1 / sqrt(D).": attend(q, k, v, each.sqrt()),
            "the scale multiplies what comes out: it should multiply the scores.": each * attend(q, k, v),
            "the softmax goes over the queries: it should go over the keys.": attend(q, k, v, each, where=-2),
            "the heads lie side by side already: leave them as (B, H, T, D).": want.transpose(1, 2).flatten(2),
        } | mask_mistakes(q, k, v, each)
        got = run(answer, q, k, v, scale)
        compare(got, want, hints, "the values differ: head h should have its scores times scale[h].")
    return "a head with a large scale looks at one token, one with a small scale takes the mean of all."


def turned(x: Tensor, angle: Tensor) -> Tensor:
    """Each pair (i, i + D/2) of x (T, D) by its angle (T, D/2)."""
    a, b = x.double().chunk(2, dim=-1)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], dim=-1)


@exercise
def check_rope(answer) -> str:
    for T, D in ((7, 8), (41, 6)):
        x, t, i = example(T, D), torch.arange(T)[:, None].double(), torch.arange(D // 2).double()
        angle = t * 10000 ** (-2 * i / D)
        halves = torch.cat([x[:, ::2], x[:, 1::2]], dim=-1)  # neighbours as the pairs (i, i + D/2)
        want, pairs = turned(x, angle), turned(halves, angle)
        neighbours = torch.stack(pairs.chunk(2, dim=-1), dim=-1).flatten(1)
        hints = {
            "nothing is turned.": x,
            "position 0 should not be turned: count from 0.": turned(x, angle + angle[1]),
            "this turns the other way: a cos - b sin comes first, then a sin + b cos.": turned(x, -angle),
            "these are pairs of neighbours, as in the paper: here pair i with i + D/2.": neighbours,
            "neighbours are the pairs, and what comes out is in another order than x: pair i with i + D/2.": pairs,
            "these are pairs of neighbours, turned the other way: pair i with i + D/2, and a cos - b sin comes first.": (
                torch.stack(turned(halves, -angle).chunk(2, dim=-1), dim=-1).flatten(1)
            ),
            "pair i with i + D/2, but put the results back in halves, not side by side.": (
                torch.stack(want.chunk(2, dim=-1), dim=-1).flatten(1)
            ),
            "the halves come out exchanged: a cos - b sin first.": want.roll(D // 2, dims=-1),
            "the exponent is -2 i / D: the 2 is missing.": turned(x, t * 10000 ** (-i / D)),
            "the exponent is -2 i / D: the minus is missing.": turned(x, t * 10000 ** (2 * i / D)),
            "the exponent is -2 i / D: divide by D, all channels, not by half of them.": turned(x, t * 10000 ** (-4 * i / D)),
            "i counts from 0: the first pair turns by the position itself.": turned(x, t * 10000 ** (-2 * (i + 1) / D)),
            "all pairs turn alike: each has a speed of its own.": turned(x, t.expand(T, D // 2)),
            "all positions turn alike: multiply by the position.": turned(x, (angle[1]).expand(T, D // 2)),
            "the angles are in radians: no conversion to or from degrees.": turned(x, angle.deg2rad()),
        }
        got = numbers_of(run(answer, x))
        otherwise = "the angles differ: position times 10000^(-2i/D), in radians."
        if got.shape == x.shape and not torch.allclose(got.norm(dim=-1), x.double().norm(dim=-1), rtol=1e-4):
            otherwise = "the vectors change their length: a turn does not. The pairs are a cos - b sin and a sin + b cos."
        compare(got, want, hints, otherwise)
    return "positions enter the score by their difference alone, so no position needs to be learnt."


def report(scores: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What one worker says: the largest score (T, 1), the sum (T, 1), the mean of the values (T, D)."""
    m = scores.amax(1, keepdim=True)
    s = (scores - m).exp().sum(1, keepdim=True)
    return m, s, (scores - m).exp() @ v / s


@exercise
def check_merge(answer) -> str:
    for T, D, cut, more in ((5, 4, 4, 0.0), (7, 3, 3, 0.0), (5, 4, 4, 200.0)):  # 200: exp of that overflows
        scores, v = 3 * example(T, 8, seed=7) + more, example(8, D, seed=1)
        (m1, s1, o1), (m2, s2, o2) = report(scores[:, :cut], v[:cut]), report(scores[:, cut:], v[cut:])
        m, s, o = report(scores, v)
        a, b = s1 * (m1 - m).exp(), s2 * (m2 - m).exp()
        got = parts(run(answer, m1, s1, o1, m2, s2, o2), 3, "return three tensors: m, s, o.")
        if more:
            overflow = "large scores overflow: take exp of differences to m alone."
            expect(all(numbers_of(part).isfinite().all() for part in got), overflow)
        hints = {
            "m is the first worker's alone: it should be the larger of both.": m1,
            "m is the second worker's alone: it should be the larger of both.": m2,
            "m is the smaller of both: torch.maximum.": torch.minimum(m1, m2),
            "m is the sum: it should be the larger of both.": m1 + m2,
            "m is one number for all queries: torch.maximum compares query by query.": torch.maximum(m1, m2).max(),
            "this is s: return m, s, o in this order.": s,
            "this is o: return m, s, o in this order.": o,
        }
        compare(got[0], m, hints, "m should be the larger of both, for each query: torch.maximum.")
        hints = {
            "the sums belong to different largest scores: scale each by exp(m_i - m) first.": s1 + s2,
            "only the second sum is scaled: the first by exp(m1 - m), too.": s1 + b,
            "only the first sum is scaled: the second by exp(m2 - m), too.": a + s2,
            "the sign in exp: m_i - m, which is never above 0.": s1 * (m - m1).exp() + s2 * (m - m2).exp(),
            "exp is missing: s1 exp(m1 - m) + s2 exp(m2 - m).": s1 * (m1 - m) + s2 * (m2 - m),
            "the factors are exchanged: exp(m1 - m) belongs to s1.": s1 * (m2 - m).exp() + s2 * (m1 - m).exp(),
            "this is o: return m, s, o in this order.": o,
        }
        compare(got[1], s, hints, "s should be s1 exp(m1 - m) + s2 exp(m2 - m).")
        hints = {
            "the halves do not count the same: weight each mean by its sum.": (o1 + o2) / 2,
            "o should be a mean: divide by the merged s.": a * o1 + b * o2,
            "o1 and o2 are finished means: multiply each by its sum again.": (((m1 - m).exp() * o1 + (m2 - m).exp() * o2) / s),
            "the weights of o must be scaled by exp(m_i - m), too.": (s1 * o1 + s2 * o2) / (s1 + s2),
            "the weights of o must be scaled by exp(m_i - m), too, not the divisor alone.": (s1 * o1 + s2 * o2) / s,
            "divide by the merged s, not by s1 + s2.": (a * o1 + b * o2) / (s1 + s2),
            "the means are only added: weight each by its share of s.": o1 + o2,
        }
        compare(got[2], o, hints, "o should be (s1 exp(m1 - m) o1 + s2 exp(m2 - m) o2) / s.")
    return "a text too long for one GPU can be shared out to many."
