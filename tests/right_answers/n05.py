"""Unusual but right answers to the exercises of notebook 05."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


def plain_in_place(x, W1, W2):
    hidden = x @ W1.T
    hidden[hidden < 0] = 0
    return hidden @ W2.T


def plain_by_modules(x, W1, W2):
    mlp = nn.Sequential(nn.Linear(*W1.shape[::-1], bias=False), nn.ReLU(), nn.Linear(*W2.shape[::-1], bias=False))
    mlp[0].weight.data, mlp[2].weight.data = W1, W2
    return mlp(x)


def swiglu_in_numpy(x, gate, up, down):
    x, gate, up, down = (part.numpy().astype(np.float64) for part in (x, gate, up, down))
    z = x @ gate.T
    return z / (1 + np.exp(-z)) * (x @ up.T) @ down.T


def swiglu_token_by_token(x, gate, up, down):
    rows = [down @ ((gate @ row) * torch.sigmoid(gate @ row) * (up @ row)) for row in x.flatten(0, -2)]
    return torch.stack(rows).view(x.shape)


def flops_head_by_head(B, T, C, D=2):
    """Matrix by matrix, as the counter goes."""

    def product(m, k, n):
        return sum([m * k * n, m * k * n])

    heads = C // D
    attention = 4 * product(B * T, C, C) + B * heads * (product(T, D, T) + product(T, T, D))
    return attention + 2 * product(B * T, C, 4 * C) + product(B * T, 4 * C, C)


def squares_in_pairs(C):
    """Gates for x and -x of a channel side by side, with other scales that cancel."""
    gate = 0.5 * torch.eye(C).repeat_interleave(2, 0) * torch.tensor([1.0, -1.0]).repeat(C)[:, None]
    return gate, 4 * gate, torch.ones(1, 2 * C)


def squares_of_an_odd_width(C):
    """One hidden channel more than is needed; it is shut."""
    both = np.concatenate([np.eye(C), -np.eye(C), np.zeros((1, C))])
    return [both, both, np.ones((1, 2 * C + 1))]


def squares_turned(C):
    """Along the axes of any turned basis the squares sum to the same."""
    basis, _ = torch.linalg.qr(torch.randn(C, C, generator=torch.Generator().manual_seed(1)))
    both = torch.cat([basis, -basis])
    return nn.Parameter(both), nn.Parameter(both), torch.ones(1, 2 * C)


RIGHT = [
    ("plain", lambda x, W1, W2: F.linear(F.linear(x, W1).clamp(min=0), W2)),
    ("plain", lambda x, W1, W2: torch.einsum("ch,...h->...c", W2, torch.einsum("hc,...c->...h", W1, x).relu())),
    ("plain", lambda x, W1, W2: np.maximum(x.numpy() @ W1.numpy().T, 0) @ W2.numpy().T),
    ("plain", plain_in_place),
    ("plain", plain_by_modules),
    ("swiglu", lambda x, gate, up, down: (F.linear(x, up) * F.linear(x, gate) / (1 + (-(x @ gate.T)).exp())) @ down.T),
    ("swiglu", swiglu_in_numpy),
    ("swiglu", swiglu_token_by_token),
    ("flops", lambda B, T, C: 4 * B * T * C * (8 * C + T)),
    ("flops", lambda B, T, C: torch.tensor(32 * B * T * C**2 + 4 * B * T**2 * C)),
    ("flops", lambda B, T, C: np.float64(B) * T * (2 * 16 * C**2 + 4 * T * C)),
    ("flops", flops_head_by_head),
    ("squares", squares_in_pairs),
    ("squares", squares_of_an_odd_width),
    ("squares", squares_turned),
]
