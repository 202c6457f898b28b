"""Plausible wrong answers to the exercises of notebook 04, each with a part of the hint that it should get."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from yzlin.checks.n04 import attend


def head(x, Wq, Wk, Wv, **how):
    return attend(x @ Wq, x @ Wk, x @ Wv, **how)


def merged(y):
    return y.transpose(1, 2).reshape(y.size(0), y.size(2), -1)


def rope(x, exponent=2.0, first=0, sign=1, sides=1, pair=0):
    T, D = x.shape
    angle = sign * torch.arange(first, first + T)[:, None] * 10000 ** (-exponent * torch.arange(pair, pair + D // 2) / D)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * angle.cos() - sides * b * angle.sin(), a * angle.sin() + b * angle.cos()], dim=-1)


def merge(m1, s1, o1, m2, s2, o2):
    m = torch.maximum(m1, m2)
    return m, s1 * (m1 - m).exp() + s2 * (m2 - m).exp()


def masked_head(shares):
    """One head whose shares come from the scores and the mask of what may be seen."""

    def answer(x, Wq, Wk, Wv):
        scores = (x @ Wq) @ (x @ Wk).T / math.sqrt(Wq.size(1))
        return shares(scores, torch.ones_like(scores).tril().bool()) @ (x @ Wv)

    return answer


def unmended(q, k, v):
    H, T, D = q.shape[1:]
    return (q @ k.mT / math.sqrt(H * D)).softmax(-2).masked_fill(~torch.ones(T, T, dtype=torch.bool).tril(), 0.0) @ v


def neighbours(x, sign=1):
    y = rope(torch.cat([x[:, ::2], x[:, 1::2]], dim=-1), sign=sign)
    return torch.stack(y.chunk(2, dim=-1), dim=-1).flatten(1)


def part(m1, s1, o1, m2, s2, o2, which, sign=1):
    m = torch.maximum(m1, m2)
    return s1 * (sign * (m1 - m)).exp() if which == 1 else s2 * (sign * (m2 - m)).exp()


def merged_means(*r):
    return (part(*r, 1) * r[2] + part(*r, 2) * r[5]) / merge(*r)[1]


def in_the_open(m1, s1, o1, m2, s2, o2):
    m, a, b = torch.maximum(m1, m2), s1 * m1.exp(), s2 * m2.exp()
    return m, (a + b) / m.exp(), (a * o1 + b * o2) / (a + b)


WRONG = [
    ("mask", lambda T: torch.ones(T, T).tril(), "bool"),
    ("mask", lambda T: torch.ones(T, T, dtype=torch.bool).triu(), "future"),
    ("mask", lambda T: torch.ones(T, T, dtype=torch.bool).triu(1), "other way round"),
    ("mask", lambda T: torch.ones(T, T, dtype=torch.bool).tril(-1), "itself"),
    ("mask", lambda T: torch.ones(T, T, dtype=torch.bool), "row t"),
    ("head", lambda x, q, k, v: ((x @ q) @ (x @ k).T / 2).softmax(-1) @ (x @ v), "mask is missing"),
    ("head", lambda x, q, k, v: head(x, q, k, v, scale=1.0), "not divided"),
    ("head", lambda x, q, k, v: head(x, q, k, v, scale=1 / math.sqrt(12)), "not by that of C"),
    ("head", lambda x, q, k, v: head(x, q, k, v, scale=1 / 4), "not by D"),
    ("head", lambda x, q, k, v: head(x, k, q, v), "exchanged"),
    ("head", lambda x, q, k, v: head(x, q, k, v, where=0), "over the queries"),
    ("head", lambda x, q, k, v: ((x @ q) @ (x @ k).T / 2).softmax(-1).tril() @ (x @ v), "before the softmax"),
    ("mended", lambda q, k, v: attend(q, k, v).reshape(2, 5, 12), "mixed up"),
    ("mended", lambda q, k, v: merged(attend(q, k, v, 1 / math.sqrt(12))), "size of one head"),
    ("mended", lambda q, k, v: merged((q @ k.mT / 2).softmax(-1).tril() @ v), "before the softmax"),
    ("mended", lambda q, k, v: merged(attend(q, k, v, where=-2)), "over the queries"),
    ("mended", lambda q, k, v: merged(attend(q, k, v, 1 / 12, where=-2)), "not all four"),
    (
        "head_scale",
        lambda q, k, v, s: F.scaled_dot_product_attention(q * s.view(-1, 1, 1), k, v, is_causal=True),
        "still there",
    ),
    ("head_scale", lambda q, k, v, s: attend(q, k, v), "no effect"),
    ("head_scale", lambda q, k, v, s: F.scaled_dot_product_attention(q * s.view(-1, 1, 1), k, v, scale=1.0), "future"),
    ("head_scale", lambda q, k, v, s: attend(q, k, v, s.mean()), "its own"),
    ("rope", lambda x: x, "nothing is turned"),
    ("rope", lambda x: rope(x, first=1), "count from 0"),
    ("rope", lambda x: rope(x, sign=-1), "other way"),
    ("rope", lambda x: rope(x, exponent=1.0), "2 is missing"),
    ("rope", lambda x: rope(x, sides=-1), "length"),
    ("rope", lambda x: rope(x, exponent=3.0), "angles differ"),
    ("merge", lambda m1, s1, o1, m2, s2, o2: (m1, s1, o1), "larger of both"),
    ("merge", lambda m1, s1, o1, m2, s2, o2: (torch.maximum(m1, m2), s1 + s2, (s1 * o1 + s2 * o2) / (s1 + s2)), "scale each"),
    ("merge", lambda *r: (*merge(*r), (r[2] + r[5]) / 2), "do not count the same"),
    ("merge", lambda *r: (*merge(*r), (r[1] * r[2] + r[4] * r[5]) / (r[1] + r[4])), "must be scaled"),
    (
        "merge",
        lambda m1, s1, o1, m2, s2, o2: (
            *merge(m1, s1, o1, m2, s2, o2),
            s1 * (m1 - torch.maximum(m1, m2)).exp() * o1 + s2 * (m2 - torch.maximum(m1, m2)).exp() * o2,
        ),
        "divide by the merged",
    ),
    ("mask", lambda T: torch.ones(T, T, dtype=torch.bool).tril(1), "one token of the future"),
    ("mask", lambda T: torch.eye(T, dtype=torch.bool), "itself alone"),
    ("mask", lambda T: torch.ones(T, T, dtype=torch.bool), "nothing is masked"),
    ("mask", lambda T: torch.zeros(T, T, dtype=torch.bool), "nothing may be seen"),
    ("mask", lambda T: np.tril(np.ones((T, T), dtype=bool)), "NumPy array"),
    ("mask", lambda T: [[s <= t for s in range(T)] for t in range(T)], "a list of 5 where a tensor"),
    ("mask", lambda T: torch.full((T, T), -math.inf).triu(1), "torch.float32: make it bool"),
    ("mask", lambda T: torch.ones(T, T, dtype=torch.uint8).tril(), "torch.uint8: make it bool"),
    ("mask", lambda T: torch.ones(1, T, T, dtype=torch.bool).tril(), "the shape is (1, 5, 5)"),
    ("mask", lambda T: torch.tril(T), "raised TypeError"),
    ("mask", lambda T: torch.ones(T + 1, T + 1, dtype=torch.bool).tril(), "the shape is (6, 6)"),
    ("mask", lambda T: torch.ones(T, T, dtype=torch.bool).tril().flip(0), "row t should be True"),
    ("head", masked_head(lambda s, past: s.masked_fill(~past, 0).softmax(-1)), "exp(0) is 1"),
    ("head", masked_head(lambda s, past: (s * past).softmax(-1)), "exp(0) is 1"),
    ("head", masked_head(lambda s, past: s.masked_fill(past, -math.inf).softmax(-1)), "the other way round"),
    ("head", masked_head(lambda s, past: s.masked_fill(~past.T, -math.inf).softmax(-1)), "turned over"),
    ("head", masked_head(lambda s, past: s.masked_fill(past.T, -math.inf).softmax(-1)), "may see itself"),
    ("head", masked_head(lambda s, past: s.softmax(-1).masked_fill(~past, -math.inf)), "belongs in the scores"),
    ("head", masked_head(lambda s, past: s * past), "softmax is missing"),
    ("head", masked_head(lambda s, past: s.masked_fill(~past, -math.inf)), "NaN"),
    ("head", lambda x, q, k, v: head(x, q, k, v, scale=1 / math.sqrt(len(x))), "not by that of T"),
    ("head", lambda x, q, k, v: head(x, q, k, v, scale=2.0), "do not multiply"),
    ("head", lambda x, q, k, v: head(x, q, k, k), "fetch keys"),
    ("head", lambda x, q, k, v: ((x @ q) @ (x @ k).T).softmax(-1) @ (x @ v), "mask and the root"),
    ("head", lambda x, q, k, v: (x @ q) @ (x @ k) / 2, "raised RuntimeError"),
    ("head", lambda x, q, k, v: head(x, q, k, v, scale=-1 / 2), "scaled_dot_product_attention's"),
    ("mended", lambda q, k, v: unmended(q, k, v).reshape(2, 5, 12), "nothing is mended"),
    ("mended", lambda q, k, v: merged(unmended(q, k, v)), "one is mended"),
    ("mended", lambda q, k, v: attend(q, k, v).permute(0, 2, 3, 1).reshape(2, 5, 12), "not (B, T, D, H)"),
    ("mended", lambda q, k, v: attend(q, k, v), "not laid side by side yet: (B, T, C)"),
    ("mended", lambda q, k, v: attend(q, k, v).transpose(1, 2), "reshape (B, T, H, D)"),
    ("mended", lambda q, k, v: merged((q @ k.mT / 2).softmax(-1) @ v), "mask is missing"),
    ("mended", lambda q, k, v: merged((q @ k.mT / 2).tril().softmax(-1) @ v), "exp(0) is 1"),
    ("mended", lambda q, k, v: attend(q, k, v).transpose(1, 2).view(2, 5, 12), "raised RuntimeError"),
    ("mended", lambda q, k, v: merged(attend(q, k, v, 1.0)), "not all four"),
    ("mended", lambda q, k, v: merged(attend(k, q, v)), "not all four"),
    ("mended", lambda q, k, v: attend(q, k, v).mean(1), "the shape is (2, 5, 4)"),
    ("head_scale", lambda q, k, v, s: attend(q, k, v, 1.0), "not scaled at all"),
    ("head_scale", lambda q, k, v, s: attend(q, k, v, s[0]), "the first one's"),
    ("head_scale", lambda q, k, v, s: attend(q, k, v, 1 / s.view(-1, 1, 1)), "are divided"),
    ("head_scale", lambda q, k, v, s: attend(q * s.view(-1, 1, 1), k * s.view(-1, 1, 1), v, 1.0), "twice"),
    ("head_scale", lambda q, k, v, s: attend(q, k, v, s.view(-1, 1, 1).sqrt()), "root of the scale"),
    ("head_scale", lambda q, k, v, s: s.view(-1, 1, 1) * attend(q, k, v), "multiplies what comes out"),
    ("head_scale", lambda q, k, v, s: attend(q, k, v, s.view(-1, 1, 1), where=-2), "over the queries"),
    ("head_scale", lambda q, k, v, s: merged(attend(q, k, v, s.view(-1, 1, 1))), "side by side already"),
    ("head_scale", lambda q, k, v, s: (q @ k.mT * s.view(-1, 1, 1)).tril().softmax(-1) @ v, "exp(0) is 1"),
    ("head_scale", lambda q, k, v, s: (q @ k.mT * s.view(-1, 1, 1)).softmax(-1).tril() @ v, "before the softmax"),
    ("head_scale", lambda q, k, v, s: attend(q, k, v, s), "raised RuntimeError"),
    ("head_scale", lambda q, k, v, s: attend(q, k, v, s.flip(0).view(-1, 1, 1)), "scale[h]"),
    ("rope", lambda x: rope(x, exponent=-2.0), "minus is missing"),
    ("rope", lambda x: rope(x, exponent=4.0), "not by half of them"),
    ("rope", lambda x: neighbours(x), "pairs of neighbours, as in the paper"),
    ("rope", lambda x: rope(torch.cat([x[:, ::2], x[:, 1::2]], -1)), "in another order"),
    ("rope", lambda x: neighbours(x, sign=-1), "neighbours, turned the other way"),
    ("rope", lambda x: torch.stack(rope(x).chunk(2, -1), -1).flatten(1), "back in halves"),
    ("rope", lambda x: torch.cat(rope(x).chunk(2, -1)[::-1], -1), "halves come out exchanged"),
    ("rope", lambda x: rope(x, pair=1), "i counts from 0"),
    ("rope", lambda x: rope(x, exponent=0.0), "a speed of its own"),
    ("rope", lambda x: torch.cat([rope(torch.stack([x[t], x[t]]))[1:] for t in range(len(x))]), "all positions turn alike"),
    ("rope", lambda x: rope(x, sign=math.pi / 180), "radians"),
    ("rope", lambda x: torch.cat([x, x]), "the shape is (14, 8)"),
    ("rope", lambda x: x + torch.arange(len(x))[:, None], "change their length"),
    (
        "rope",
        lambda x: torch.arange(len(x))[:, None] * 10000 ** (-2 * torch.arange(x.size(1) // 2) / x.size(1)),
        "the shape is (7, 4)",
    ),
    ("merge", lambda m1, s1, o1, m2, s2, o2: (m2, s2, o2), "second worker's"),
    ("merge", lambda m1, s1, o1, m2, s2, o2: (torch.minimum(m1, m2), s1 + s2, o1), "the smaller"),
    ("merge", lambda m1, s1, o1, m2, s2, o2: (m1 + m2, s1 + s2, o1 + o2), "m is the sum"),
    ("merge", lambda m1, s1, o1, m2, s2, o2: (torch.maximum(m1, m2).max(), s1 + s2, o1), "query by query"),
    ("merge", lambda *r: (merge(*r)[1], merge(*r)[0], r[2]), "this is s"),
    ("merge", lambda *r: (merged_means(*r), *merge(*r)), "this is o"),
    ("merge", lambda *r: (merge(*r)[0], merged_means(*r), merge(*r)[1]), "this is o"),
    ("merge", lambda *r: ((r[0] + r[3]) / 2, r[1] + r[4], r[2]), "torch.maximum"),
    ("merge", lambda *r: (merge(*r)[0], r[1] + part(*r, 2), r[2]), "only the second sum"),
    ("merge", lambda *r: (merge(*r)[0], part(*r, 1) + r[4], r[2]), "only the first sum"),
    ("merge", lambda *r: (merge(*r)[0], part(*r, 1, sign=-1) + part(*r, 2, sign=-1), r[2]), "the sign in exp"),
    ("merge", lambda *r: (m := merge(*r)[0], r[1] * (r[0] - m) + r[4] * (r[3] - m), r[2]), "exp is missing"),
    ("merge", lambda *r: (m := merge(*r)[0], r[1] * (r[3] - m).exp() + r[4] * (r[0] - m).exp(), r[2]), "exchanged"),
    ("merge", lambda *r: (merge(*r)[0], torch.maximum(r[1], r[4]), r[2]), "s should be"),
    (
        "merge",
        lambda *r: (*merge(*r), (part(*r, 1) / r[1] * r[2] + part(*r, 2) / r[4] * r[5]) / merge(*r)[1]),
        "finished means",
    ),
    ("merge", lambda *r: (*merge(*r), (r[1] * r[2] + r[4] * r[5]) / merge(*r)[1]), "not the divisor alone"),
    ("merge", lambda *r: (*merge(*r), (part(*r, 1) * r[2] + part(*r, 2) * r[5]) / (r[1] + r[4])), "not by s1 + s2"),
    ("merge", lambda *r: (*merge(*r), r[2] + r[5]), "only added"),
    ("merge", lambda *r: (*merge(*r), torch.maximum(r[2], r[5])), "o should be"),
    ("merge", lambda *r: merge(*r), "a tuple of 2"),
    ("merge", lambda *r: in_the_open(*r), "overflow"),
    ("merge", lambda *r: [part.squeeze(1) for part in merge(*r)] + [r[2]], "the shape is (5,)"),
]
