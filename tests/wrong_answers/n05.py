"""Plausible wrong answers to the exercises of notebook 05, each with a part of the hint that it should get."""

import torch
import torch.nn.functional as F


def gated(make):
    return lambda x, gate, up, down: F.linear(make(F.linear(x, gate), F.linear(x, up)), down)


def both(C):
    return torch.cat([torch.eye(C), -torch.eye(C)])


WRONG = [
    ("plain", lambda x, W1, W2: x @ W1.T @ W2.T, "bend is missing"),
    ("plain", lambda x, W1, W2: F.relu(x @ W1.T @ W2.T), "in between"),
    ("plain", lambda x, W1, W2: F.relu(F.relu(x @ W1.T) @ W2.T), "no ReLU behind"),
    ("plain", lambda x, W1, W2: F.gelu(x @ W1.T) @ W2.T, "GELU"),
    ("plain", lambda x, W1, W2: F.relu(x @ W1) @ W2, "raised RuntimeError"),
    ("swiglu", gated(lambda g, u: F.relu(g) * u), "gated ReLU"),
    ("swiglu", gated(lambda g, u: g.sigmoid() * u), "alone is another gate"),
    ("swiglu", gated(lambda g, u: g * F.silu(u)), "not around up"),
    ("swiglu", gated(lambda g, u: F.silu(g) + u), "not added"),
    ("swiglu", gated(lambda g, u: F.silu(g) * F.silu(u)), "alone: up has none"),
    ("flops", lambda B, T, C: 16 * B * T * C**2 + 2 * B * T**2 * C, "two FLOPs"),
    ("flops", lambda B, T, C: 32 * B * T * C**2, "no weights"),
    ("flops", lambda B, T, C: 32 * B * T * C**2 + 2 * B * T**2 * C, "two products"),
    ("flops", lambda B, T, C: 24 * B * T * C**2 + 4 * B * T**2 * C, "three matrices"),
    ("flops", lambda B, T, C: 30 * B * T * C**2 + 4 * B * T**2 * C, "projection"),
    ("flops", lambda B, T, C: 32 * T * C**2 + 4 * T**2 * C, "batch is missing"),
    ("squares", lambda C: (torch.eye(C), torch.eye(C), torch.ones(1, C)), "are lost"),
    ("squares", lambda C: (both(C), both(C).abs(), torch.ones(1, 2 * C)), "the sign"),
    ("squares", lambda C: (both(C), both(C), 2 * torch.ones(1, 2 * C)), "twice"),
    ("squares", lambda C: (both(C), both(C), torch.ones(2 * C)), "(1, hidden)"),
]
