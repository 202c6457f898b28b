"""Plausible wrong answers to the exercises of notebook 04, each with a part of the hint that it should get."""

import math

import torch
import torch.nn.functional as F

from yzlin.checks.n04 import attend


def head(x, Wq, Wk, Wv, **how):
    return attend(x @ Wq, x @ Wk, x @ Wv, **how)


def merged(y):
    return y.transpose(1, 2).reshape(y.size(0), y.size(2), -1)


def rope(x, exponent=2.0, first=0, sign=1, sides=1):
    T, D = x.shape
    angle = sign * torch.arange(first, first + T)[:, None] * 10000 ** (-exponent * torch.arange(D // 2) / D)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * angle.cos() - sides * b * angle.sin(), a * angle.sin() + b * angle.cos()], dim=-1)


def merge(m1, s1, o1, m2, s2, o2):
    m = torch.maximum(m1, m2)
    return m, s1 * (m1 - m).exp() + s2 * (m2 - m).exp()


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
]
