"""Unusual but right answers to the exercises of notebook 06."""

import math

import numpy as np
import torch
from torch import nn

from yzlin.model import MLP, Block, FlashAttention, ModelArgs, RMSNorm, yzlinGPT


def count_a_model(V, C, block_size, n_layer):
    with torch.device("meta"):
        model = yzlinGPT(ModelArgs(block_size, V, n_layer, 1, C))
    return sum(weight.numel() for weight in model.parameters())


def count_by_loop(V, C, block_size, n_layer):
    total = torch.tensor(V * C + block_size * C)
    for _ in range(n_layer):
        total += 3 * C * C + C * C + 2 * C * 4 * C + 4 * C * C + C + C
    return total + C


def mended_in_place(x, attention, mlp, attention_norm, mlp_norm):
    x += attention(attention_norm(x))
    x += mlp(mlp_norm(x))
    return x


def mended_by_loop(x, *parts):
    for part, norm in zip(parts[:2], parts[2:], strict=True):
        x = torch.add(x, part(norm(x)))
    return x.double()


class TorchNorm(nn.Module):
    """PyTorch's own norm."""

    def __init__(self, args):
        super().__init__()
        self.attention, self.mlp, self.norm = FlashAttention(args), MLP(args), nn.RMSNorm(args.n_embed, eps=1e-6)

    def forward(self, x):
        x = self.attention(self.norm(x)) + x
        return self.mlp(self.norm(x)) + x


class FromBlock(Block):
    """The package's Block, whose two norms become one."""

    def __init__(self, args):
        super().__init__(args)
        del self.attention_norm, self.mlp_norm
        self.norm = RMSNorm(args.n_embed)

    def forward(self, x):
        for part in (self.attention, self.mlp):
            x = x + part(self.norm(x))
        return x


class InPlace(FromBlock):
    def forward(self, x):
        x = x.clone()
        x += self.attention(self.norm(x))
        x += self.mlp(self.norm(x))
        return x


def top_p_by_loop(logits, p):
    shares = [math.exp(logit - max(logits.tolist())) for logit in logits.tolist()]
    left, together = list(range(len(shares))), 0.0
    out = torch.full((len(shares),), -math.inf)
    while left and together < p * sum(shares):
        best = max(left, key=lambda i: shares[i])
        left.remove(best)
        together += shares[best]
        out[best] = logits[best]
    return out


def top_p_in_numpy(logits, p):
    logits = logits.numpy().astype(np.float64)
    shares = np.exp(logits) / np.exp(logits).sum()
    order = np.argsort(-shares)
    before = np.cumsum(shares[order]) - shares[order]
    logits[order[before >= p]] = -np.inf
    return logits


def top_p_in_place(logits, p):
    ordered, ids = torch.sort(logits, descending=True)
    reached = ordered.softmax(-1).cumsum(-1) >= p
    reached[1:] = reached[:-1].clone()
    reached[0] = False
    logits[ids[reached]] = -torch.inf
    return logits


RIGHT = [
    ("count", lambda V, C, T, n: C * (V + T + 1 + n * (2 + 16 * C))),
    ("count", count_a_model),
    ("count", count_by_loop),
    ("count", lambda V, C, T, n: float(V * C + T * C + n * (4 * C**2 + 12 * C**2 + 2 * C) + C)),
    ("mended", mended_in_place),
    ("mended", mended_by_loop),
    ("mended", lambda x, a, m, an, mn: (y := a(an(x)) + x) + m(mn(y))),
    ("one_norm", TorchNorm),
    ("one_norm", FromBlock),
    ("one_norm", InPlace),
    ("memory", lambda N, V, C, tied: (N + (not tied) * V * C) * torch.finfo(torch.float32).bits // 8 * 4),
    ("memory", lambda N, V, C, tied: sum(4 * (N if tied else N + V * C) for _ in ("itself", "gradient", "m", "v"))),
    ("memory", lambda N, V, C, tied: np.float64(N + (0 if tied else V * C)) * 2**4),
    ("top_p", top_p_by_loop),
    ("top_p", top_p_in_numpy),
    ("top_p", top_p_in_place),
]
