"""Unusual but right answers to the exercises of notebook 04."""

import math

import numpy as np
import torch
import torch.nn.functional as F


def head_by_loops(x, Wq, Wk, Wv):
    q, k, v = x @ Wq, x @ Wk, x @ Wv
    rows = []
    for t in range(len(x)):
        scores = torch.stack([q[t] @ k[s] / math.sqrt(len(q[t])) for s in range(t + 1)])
        rows.append(scores.softmax(0) @ v[: t + 1])
    return torch.stack(rows)


def head_renormed(x, Wq, Wk, Wv):
    """The softmax first, then the mask, then each row divided by what is left."""
    shares = ((x @ Wq) @ (x @ Wk).T / Wq.size(1) ** 0.5).softmax(-1).tril()
    return shares / shares.sum(-1, keepdim=True) @ (x @ Wv)


def head_in_numpy(x, Wq, Wk, Wv):
    x, Wq, Wk, Wv = (part.numpy().astype(np.float64) for part in (x, Wq, Wk, Wv))
    scores = np.exp(x @ Wq @ (x @ Wk).T / np.sqrt(Wq.shape[1])) * np.tri(len(x))
    return scores / scores.sum(1, keepdims=True) @ x @ Wv


def head_of_large_minus(x, Wq, Wk, Wv):
    """The mask is added: -1e9 instead of minus infinity."""
    scores = torch.einsum("td,sd->ts", x @ Wq, x @ Wk) / math.sqrt(Wq.size(1))
    scores += torch.full_like(scores, -1e9).triu(1)
    return torch.softmax(scores, dim=1) @ (x @ Wv)


def mended_by_einsum(q, k, v):
    T, D = q.shape[-2:]
    scores = torch.einsum("bhtd,bhsd->bhts", q, k) / D**0.5
    scores += torch.full((T, T), -torch.inf).triu(1)
    return torch.einsum("bhts,bhsd->bthd", scores.softmax(-1), v).flatten(2)


def mended_by_heads(q, k, v):
    heads = range(q.size(1))
    return torch.cat([F.scaled_dot_product_attention(q[:, h], k[:, h], v[:, h], is_causal=True) for h in heads], dim=-1)


def scaled_by_loop(q, k, v, scale):
    y = torch.empty_like(v)
    for h, factor in enumerate(scale.tolist()):
        y[:, h] = F.scaled_dot_product_attention(q[:, h], k[:, h], v[:, h], is_causal=True, scale=factor)
    return y


def scaled_by_einsum(q, k, v, scale):
    past = torch.ones(q.size(2), q.size(2)).tril().bool()
    scores = torch.einsum("bhtd,bhsd,h->bhts", q, k, scale)
    return torch.where(past, scores, -math.inf).softmax(-1) @ v


def scaled_by_keys(q, k, v, scale):
    """The keys are scaled, and the root that SDPA divides by is undone."""
    return F.scaled_dot_product_attention(q, k * scale[None, :, None, None] * q.size(-1) ** 0.5, v, is_causal=True)


def rope_by_complex(x):
    T, D = x.shape
    angle = torch.outer(torch.arange(T), 10000 ** (-2 * torch.arange(D // 2) / D))
    y = torch.complex(*x.chunk(2, dim=-1)) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([y.real, y.imag], dim=-1)


def rope_by_loops(x):
    T, D = x.shape
    y = torch.zeros(T, D)
    for t in range(T):
        for i in range(D // 2):
            angle = t * 10000 ** (-2 * i / D)
            a, b = x[t, i].item(), x[t, i + D // 2].item()
            y[t, i] = a * math.cos(angle) - b * math.sin(angle)
            y[t, i + D // 2] = a * math.sin(angle) + b * math.cos(angle)
    return y


def rope_as_llama(x):
    """x cos + rotate_half(x) sin, with the angles written twice."""
    T, D = x.shape
    angle = torch.arange(T)[:, None] / 10000 ** (torch.arange(0, D, 2) / D)
    angle = torch.cat([angle, angle], dim=-1)
    a, b = x.chunk(2, dim=-1)
    return x * angle.cos() + torch.cat([-b, a], dim=-1) * angle.sin()


def rope_in_numpy(x):
    x = x.numpy().copy()
    T, half = len(x), x.shape[1] // 2
    angle = np.arange(T)[:, None] * 10000.0 ** (-np.arange(half) / half)
    a, b = x[:, :half].copy(), x[:, half:].copy()
    x[:, :half], x[:, half:] = a * np.cos(angle) - b * np.sin(angle), a * np.sin(angle) + b * np.cos(angle)
    return x


def merge_in_place(m1, s1, o1, m2, s2, o2):
    m = torch.where(m1 > m2, m1, m2)
    s1 *= (m1 - m).exp_()
    s2 *= (m2 - m).exp_()
    o1 *= s1
    o1 += o2 * s2
    s1 += s2
    return [m, s1, o1 / s1]


def merge_by_logs(m1, s1, o1, m2, s2, o2):
    m = torch.stack([m1, m2]).amax(0)
    logs = torch.stack([m1 + s1.log(), m2 + s2.log()])
    return m, (logs.logsumexp(0) - m).exp(), (logs.softmax(0) * torch.stack([o1, o2])).sum(0)


def merge_by_sigmoid(m1, s1, o1, m2, s2, o2):
    m, share = torch.maximum(m1, m2), torch.sigmoid(m1 + s1.log() - m2 - s2.log())
    return m, s1 * (m1 - m).exp() + s2 * (m2 - m).exp(), torch.lerp(o2, o1, share)


RIGHT = [
    ("mask", lambda T: torch.arange(T)[:, None] >= torch.arange(T)),
    ("mask", lambda T: ~torch.triu(torch.ones(T, T), diagonal=1).bool()),
    ("mask", lambda T: torch.tensor([[s <= t for s in range(T)] for t in range(T)])),
    ("mask", lambda T: torch.ones(T, T).tril() == 1),
    ("mask", lambda T: torch.from_numpy(np.tri(T, dtype=bool))),
    ("head", head_by_loops),
    ("head", head_renormed),
    ("head", head_in_numpy),
    ("head", head_of_large_minus),
    ("mended", mended_by_einsum),
    ("mended", mended_by_heads),
    ("mended", lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True).permute(0, 2, 1, 3).flatten(2)),
    ("head_scale", scaled_by_loop),
    ("head_scale", scaled_by_einsum),
    ("head_scale", scaled_by_keys),
    ("rope", rope_by_complex),
    ("rope", rope_by_loops),
    ("rope", rope_as_llama),
    ("rope", rope_in_numpy),
    ("merge", merge_in_place),
    ("merge", merge_by_logs),
    ("merge", merge_by_sigmoid),
]
