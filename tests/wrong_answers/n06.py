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


def forward(method):
    """A class like OneNorm with this forward."""
    return type("Answer", (OneNorm,), {"forward": method})


class Biased(OneNorm):
    def __init__(self, args):
        super().__init__(args)
        self.norm = nn.LayerNorm(args.n_embed)


class Bare(nn.Module):
    def __init__(self, args):
        self.norm = RMSNorm(args.n_embed)


class Renamed(nn.Module):
    def __init__(self, args):
        super().__init__()
        self.norm, self.attn, self.mlp = RMSNorm(args.n_embed), FlashAttention(args), MLP(args)


def filled(logits, p, value):
    """The nucleus, with this in the place of minus infinity."""
    return torch.where(nucleus(logits, p).isfinite(), logits, value)


def places(logits, p):
    """The nucleus is not put back: the places of the sorted ids are taken for ids."""
    shares = logits.softmax(-1).sort(descending=True).values
    return torch.where(shares.cumsum(-1) - shares < p, logits, -math.inf)


def least(logits, p):
    kept = nucleus(logits, p).isfinite().sum()
    return torch.where(logits.argsort().argsort() < kept, logits, -math.inf)


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
    ("count", lambda V, C, T, n: count(V, C, T, n, V * C), "token embedding is missing"),
    ("count", lambda V, C, T, n: count(V, C, T, n, n * C), "two norms"),
    ("count", lambda V, C, T, n: count(V, C, T, n, 2 * n * C), "norms of the blocks"),
    ("count", lambda V, C, T, n: count(V, C, T, n, 2 * n * C + C), "all norms"),
    ("count", lambda V, C, T, n: count(V, C, T, n, 9 * n * C**2), "the MLP is 4C wide"),
    ("count", lambda V, C, T, n: count(V, C, T, n, -n * 13 * C), "biases are counted"),
    ("count", lambda V, C, T, n: count(V, C, T, n, -n * 2 * C - C), "no bias"),
    ("count", lambda V, C, T, n: count(V, C, T, 1), "this is one block"),
    ("count", lambda V, C, T, n: V * C + T * C + n * (16 * C**2 + 2 * C + C), "one last norm"),
    ("count", lambda V, C, T, n: count(V, C, T, n, C - 1), "another number"),
    ("count", lambda V, C, T, n: count(V, C, T, n) / 1e6, "yours is"),
    ("count", lambda V, C, T, n: f"{count(V, C, T, n):,}", "type str where a number"),
    ("count", lambda V, C, T, n: 114_242_304, "for V=59"),
    ("mended", lambda x, a, m, an, mn: m(mn((y := an(x) + a(an(x))) + mn(y))), "nothing is mended"),
    ("mended", lambda x, a, m, an, mn: x + a(mn(x)) + m(mn(x + a(mn(x)))), "attention gets the MLP's norm"),
    ("mended", lambda x, a, m, an, mn: (y := an(x) + a(an(x))) + m(mn(y)), "norm belongs in its branch"),
    ("mended", lambda x, a, m, an, mn: (y := a(an(x))) + m(mn(y)), "x is not added"),
    ("mended", lambda x, a, m, an, mn: (y := x + a(an(x))) + mn(y), "norm is added, not the MLP"),
    ("mended", lambda x, a, m, an, mn: mn(y := x + a(an(x))) + m(mn(y)), "MLP's norm stands"),
    ("mended", lambda x, a, m, an, mn: (y := x + a(an(x))) + m(mn(y + mn(y))), "the norm alone"),
    ("mended", lambda x, a, m, an, mn: x + m(mn(x + a(an(x)))), "again at the end"),
    ("mended", lambda x, a, m, an, mn: (y := x + an(a(x))) + mn(m(y)), "not behind them"),
    ("mended", lambda x, a, m, an, mn: mn((y := an(x + a(x))) + m(y)), "post-norm"),
    ("mended", lambda x, a, m, an, mn: (y := x + m(mn(x))) + a(an(y)), "the MLP comes first"),
    ("mended", lambda x, a, m, an, mn: x + a(an(x)), "the MLP is missing"),
    ("mended", lambda x, a, m, an, mn: (y := x + 2 * a(an(x))) + m(mn(y)), "norm, attention, plus"),
    ("mended", lambda x, a, m, an, mn: an + a, "raised TypeError"),
    ("one_norm", forward(lambda s, x: x + s.attention(x) + s.mlp(s.norm(x + s.attention(x)))), "attention reads without"),
    ("one_norm", forward(lambda s, x: (y := x + s.attention(x)) + s.mlp(y)), "norm is not used"),
    ("one_norm", forward(lambda s, x: (y := x + s.norm(s.attention(x))) + s.norm(s.mlp(y))), "comes behind"),
    ("one_norm", forward(lambda s, x: (y := s.attention(s.norm(x))) + s.mlp(s.norm(y))), "not added to attention's"),
    ("one_norm", forward(lambda s, x: s.mlp(s.norm(x + s.attention(s.norm(x))))), "MLP's result is not added"),
    ("one_norm", forward(lambda s, x: s.mlp(s.norm(s.attention(s.norm(x))))), "nothing is added"),
    ("one_norm", forward(lambda s, x: x + s.mlp(s.norm(x + s.attention(s.norm(x))))), "again at the end"),
    ("one_norm", forward(lambda s, x: (y := s.norm(x) + s.attention(s.norm(x))) + s.mlp(s.norm(y))), "on the straight line"),
    ("one_norm", forward(lambda s, x: x + s.attention(s.norm(x))), "the MLP is missing"),
    ("one_norm", forward(lambda s, x: x + s.mlp(s.norm(x))), "attention is missing"),
    ("one_norm", forward(lambda s, x: (y := x + s.mlp(s.norm(x))) + s.attention(s.norm(y))), "the MLP comes first"),
    ("one_norm", forward(lambda s, x: 2 * x + s.attention(s.norm(x))), "the values differ"),
    ("one_norm", forward(lambda s, x: print(end="")), "is there a `return`"),
    ("one_norm", OneNorm, "no forward"),
    ("one_norm", Biased, "there is a bias"),
    ("one_norm", Bare, "raised AttributeError"),
    ("one_norm", type("Plain", (), {"__init__": lambda self, args: None}), "should be an nn.Module"),
    ("one_norm", Renamed, "named otherwise"),
    ("one_norm", lambda args: OneNorm(args), "the class itself"),
    ("memory", lambda N, V, C, tied: 128 * (N if tied else N + V * C), "these are bits"),
    ("memory", lambda N, V, C, tied: N if tied else N + V * C, "these are the weights:"),
    ("memory", lambda N, V, C, tied: 16 * N / 1e9, "these are gigabytes: return"),
    ("memory", lambda N, V, C, tied: 16 * N / 1024**3, "gigabytes of 2^30"),
    ("memory", lambda N, V, C, tied: 16 * N / 10**6, "megabytes"),
    ("memory", lambda N, V, C, tied: 16 * (N + V * C if tied else N), "one table for both"),
    ("memory", lambda N, V, C, tied: 16 * (N - V * C if tied else N), "take nothing away"),
    ("memory", lambda N, V, C, tied: 16 * N + (0 if tied else V * C), "four numbers of 4 bytes each"),
    ("memory", lambda N, V, C, tied: 16 * (N if tied else N - V * C), "not less"),
    ("memory", lambda N, V, C, tied: 16 * (N if tied else N + 2 * V * C), "come once"),
    ("memory", lambda N, V, C, tied: 16 * (N if tied else N + V), "not V"),
    ("memory", lambda N, V, C, tied: 16 * (N if tied else V * C), "the head alone"),
    ("memory", lambda N, V, C, tied: 20 * N, "four numbers of 4 bytes"),
    ("memory", lambda N, V, C, tied: 16 * N + (0 if tied else V + C), "16 bytes for each"),
    ("memory", lambda N, V, C, tied: 16 * N if tied else None, "is there a `return`"),
    ("top_p", lambda logits, p: nucleus(logits, p + 1e-6), "of four ids"),
    ("top_p", lambda logits, p: filled(logits, p, math.inf), "plus infinity"),
    ("top_p", lambda logits, p: filled(logits, p, math.nan), "others are NaN"),
    ("top_p", lambda logits, p: filled(logits, p, 0.0), "exp(0) is 1"),
    ("top_p", lambda logits, p: filled(logits, p, -1e9), "but finite"),
    ("top_p", lambda logits, p: filled(logits, p, -5.0), "and the others be minus infinity"),
    ("top_p", lambda logits, p: filled(logits, p, -math.inf).softmax(-1), "others are 0"),
    ("top_p", lambda logits, p: nucleus(logits, p).exp() / logits.exp().sum(), "these are shares"),
    ("top_p", lambda logits, p: nucleus(logits, min(p + 0.2, 1.0)), "one id fewer"),
    ("top_p", lambda logits, p: places(logits, p), "as if the logits came sorted"),
    ("top_p", lambda logits, p: least(logits, p), "the least likely stay"),
    ("top_p", lambda logits, p: torch.where(logits.softmax(-1) > p / 2.5, logits, -math.inf), "for the shares"),
    ("top_p", lambda logits, p: torch.where(logits.softmax(-1) >= min(p, 0.2), logits, -math.inf), "at p ="),
    ("top_p", lambda logits, p: torch.where(logits.softmax(-1).cumsum(-1) < p, logits, -math.inf), "should be"),
    ("top_p", lambda logits, p: nucleus(logits, p) if p < 1 else logits.topk(3).values, "all V places"),
    ("top_p", lambda logits, p: logits.softmax(-1).sort(descending=True), "where a tensor"),
]
