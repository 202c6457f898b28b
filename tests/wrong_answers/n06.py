"""Plausible wrong answers to the exercises of notebook 06, each with a part of the hint that it should get."""

import math

import torch
from torch import nn

from yzlin.model import MLP, FlashAttention, RMSNorm


def count(V, C, T, n, minus=0):
    return V * C + T * C + n * (16 * C**2 + 2 * C) + C - minus


class TwoNorms(nn.Module):
    def __init__(self, args):
        super().__init__()
        self.norm, self.other = RMSNorm(args.n_embed), RMSNorm(args.n_embed)
        self.attention, self.mlp = FlashAttention(args), MLP(args)


class Named(nn.Module):
    def __init__(self, args):
        super().__init__()
        self.shared, self.attention, self.mlp = RMSNorm(args.n_embed), FlashAttention(args), MLP(args)


class OneNorm(nn.Module):
    def __init__(self, args):
        super().__init__()
        self.norm, self.attention, self.mlp = RMSNorm(args.n_embed), FlashAttention(args), MLP(args)


class Once(OneNorm):
    def forward(self, x):
        x = x + self.attention(self.norm(x))
        return x + self.mlp(x)


class Parallel(OneNorm):
    def forward(self, x):
        return x + self.attention(self.norm(x)) + self.mlp(self.norm(x))


class Post(OneNorm):
    def forward(self, x):
        x = self.norm(x + self.attention(x))
        return self.norm(x + self.mlp(x))


def nucleus(logits, p, shift=0.0, order=True):
    shares, ids = logits.softmax(-1).sort(descending=True)
    keep = ids[shares.cumsum(-1) - shares + shift < p]
    out = torch.full_like(logits, -math.inf)
    out[keep] = logits[keep]
    return out


WRONG = [
    ("count", lambda V, C, T, n: count(V, C, T, n, -V * C), "head is counted"),
    ("count", lambda V, C, T, n: count(V, C, T, n, T * C), "position"),
    ("count", lambda V, C, T, n: count(V, C, T, n, C), "last norm"),
    ("count", lambda V, C, T, n: count(V, C, T, n, n * 4 * C**2), "three matrices"),
    ("count", lambda V, C, T, n: count(V, C, T, n, n * C**2), "four C by C"),
    ("mended", lambda x, a, m, an, mn: x + a(an(x)) + m(mn(x)), "both branches read the same"),
    ("mended", lambda x, a, m, an, mn: mn(an(x) + a(an(x))), "straight line"),
    ("mended", lambda x, a, m, an, mn: m(mn(x + a(an(x)))), "must be added"),
    ("mended", lambda x, a, m, an, mn: x + a(x) + m(mn(x + a(x))), "attention gets x without"),
    ("mended", lambda x, a, m, an, mn: x + a(an(x)) + m(x + a(an(x))), "MLP gets x without"),
    ("mended", lambda x, a, m, an, mn: x + a(an(x)) + m(an(x + a(an(x)))), "one of its own"),
    ("one_norm", TwoNorms, "two norm weights"),
    ("one_norm", Named, "should be called norm.weight"),
    ("one_norm", Once, "use it twice"),
    ("one_norm", Parallel, "both branches"),
    ("one_norm", Post, "post-norm"),
    ("memory", lambda N, V, C, tied: 4 * N, "weights alone"),
    ("memory", lambda N, V, C, tied: 8 * N, "two running means"),
    ("memory", lambda N, V, C, tied: 12 * N, "not one"),
    ("memory", lambda N, V, C, tied: 32 * N, "not 8"),
    ("memory", lambda N, V, C, tied: 16 * N, "V x C"),
    ("memory", lambda N, V, C, tied: 16 * N + (0 if tied else 4 * V * C), "as well"),
    ("top_p", lambda logits, p: torch.where(logits.softmax(-1) >= p, logits, -math.inf), "likeliest id always"),
    ("top_p", lambda logits, p: nucleus(logits, p - 0.3), "reaches p"),
    ("top_p", lambda logits, p: nucleus(logits, p).softmax(-1).log(), "as they were"),
    ("top_p", lambda logits, p: logits[logits.softmax(-1) > p / 5], "all V places"),
]
