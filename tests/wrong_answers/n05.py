"""Plausible wrong answers to the exercises of notebook 05, each with a part of the hint that it should get."""

import torch
import torch.nn.functional as F
from torch import nn


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
    ("plain", lambda x, W1, W2: F.linear(F.linear(F.relu(x), W1), W2), "not in front of it"),
    ("plain", lambda x, W1, W2: F.relu(F.linear(x, W1)), "second matrix is missing"),
    ("plain", lambda x, W1, W2: F.silu(x @ W1.T) @ W2.T, "SiLU"),
    ("plain", lambda x, W1, W2: torch.sigmoid(x @ W1.T) @ W2.T, "sigmoid"),
    ("plain", lambda x, W1, W2: torch.tanh(x @ W1.T) @ W2.T, "tanh"),
    ("plain", lambda x, W1, W2: F.leaky_relu(x @ W1.T) @ W2.T, "leaky"),
    ("plain", lambda x, W1, W2: (x @ W1.T).abs() @ W2.T, "not its size"),
    ("plain", lambda x, W1, W2: (x @ W1.T).minimum(torch.tensor(0.0)) @ W2.T, "keeps what is negative"),
    ("plain", lambda x, W1, W2: x + F.relu(x @ W1.T) @ W2.T, "x is added"),
    ("plain", lambda x, W1, W2: F.relu(x @ W2) @ W1, "W1 and W2 are exchanged"),
    ("plain", lambda x, W1, W2: F.linear(x, W1, W2), "raised RuntimeError"),
    ("plain", lambda x, W1, W2: nn.Sequential(F.linear(x, W1), nn.ReLU()), "raised TypeError"),
    ("plain", lambda x, W1, W2: (F.relu(x @ W1.T) @ W2.T).mean(-1), "the shape is (2, 5)"),
    ("plain", lambda x, W1, W2: F.relu(x @ W1.T) @ W2.T + 0.01, "up, ReLU, down"),
    ("swiglu", gated(lambda g, u: F.gelu(g) * u), "gated GELU"),
    ("swiglu", gated(lambda g, u: F.silu(g * u)), "before the product"),
    ("swiglu", gated(lambda g, u: g * u), "nothing is bent"),
    ("swiglu", gated(lambda g, u: (g + torch.sigmoid(g)) * u), "not plus"),
    ("swiglu", gated(lambda g, u: F.silu(g) * g * u), "z comes once too often"),
    ("swiglu", gated(lambda g, u: g * torch.sigmoid(u) * u), "not around up"),
    ("swiglu", gated(lambda g, u: F.silu(g)), "up is missing"),
    ("swiglu", gated(lambda g, u: u * torch.sigmoid(g) * u), "the gate alone"),
    ("swiglu", lambda x, gate, up, down: F.silu(x @ gate.T) * (x @ up.T), "down is missing"),
    ("swiglu", gated(lambda g, u: torch.tanh(g) * u), "the values differ"),
    ("swiglu", lambda x, gate, up, down: F.silu(x @ gate) * (x @ up) @ down, "raised RuntimeError"),
    ("swiglu", lambda x, gate, up, down: [F.silu(x @ gate.T) * (x @ up.T) @ down.T], "a list of 1 where a tensor"),
    ("flops", lambda B, T, C: 8 * B * T * C**2 + 4 * B * T**2 * C, "the MLP is missing"),
    ("flops", lambda B, T, C: 24 * B * T * C**2, "attention is missing"),
    ("flops", lambda B, T, C: 14 * B * T * C**2 + 4 * B * T**2 * C, "the MLP is 4C wide"),
    ("flops", lambda B, T, C: 28 * B * T * C**2 + 4 * B * T**2 * C, "queries, keys and values"),
    ("flops", lambda B, T, C: 32 * B * T * C**2 + 4 * T**2 * C, "in the square of scores"),
    ("flops", lambda B, T, C: 32 * B * C**2 + 4 * B * T**2 * C, "each of the T tokens"),
    ("flops", lambda B, T, C: 32 * B * T * C**2 + 4 * B * T * C, "each token meets"),
    ("flops", lambda B, T, C: 96 * B * T * C**2 + 12 * B * T**2 * C, "forward alone"),
    ("flops", lambda B, T, C: 32 * B * T * C**2 + 4 * B * T * C**2, "another number"),
    ("flops", lambda B, T, C: 32 * B * T * C**2 + 4 * B * T**2 * C + T, "yours is"),
    ("flops", lambda B, T, C: f"{32 * B * T * C**2 + 4 * B * T**2 * C:,}", "type str where a number"),
    ("flops", lambda B, T, C: (32 * B * T * C**2, 4 * B * T**2 * C), "a tuple of 2 where a number"),
    ("squares", lambda C: (-torch.eye(C), -torch.eye(C), torch.ones(1, C)), "positive channels are lost"),
    ("squares", lambda C: (both(C), both(C), -torch.ones(1, 2 * C)), "minus the squared length"),
    ("squares", lambda C: (both(C), both(C), torch.full((1, 2 * C), 0.5)), "half"),
    ("squares", lambda C: (both(C), both(C), torch.full((1, 2 * C), 1 / C)), "mean of the squares"),
    ("squares", lambda C: (*2 * [torch.ones(2, C) * torch.tensor([[1.0], [-1.0]])], torch.ones(1, 2)), "square of the sum"),
    ("squares", lambda C: (*2 * [both(C)[[0, C]]], torch.ones(1, 2)), "first channel"),
    ("squares", lambda C: (both(C).T, both(C).T, torch.ones(1, 2 * C)), "gate and up are transposed"),
    ("squares", lambda C: (both(C), both(C), torch.ones(2 * C, 1)), "down should be (1, hidden)"),
    ("squares", lambda C: (both(C), both(C)[:C], torch.ones(1, 2 * C)), "gate and up should be (hidden, 3)"),
    ("squares", lambda C: (both(3), both(3), torch.ones(1, 6)), "gate and up should be (hidden, 5)"),
    ("squares", lambda C: (both(C), both(C)), "return three matrices"),
    ("squares", lambda C: (nn.Linear(C, 2 * C), nn.Linear(C, 2 * C), nn.Linear(2 * C, 1)), "type Linear where a matrix"),
    ("squares", lambda C: (both(C), both(C) + 1, torch.ones(1, 2 * C)), "something else"),
]
