"""Unusual but right answers to the exercises of notebook 02."""

import math
import random

import numpy as np
import torch


def shift_by_loop(ids):
    x, y = torch.zeros_like(ids[:, 1:]), torch.zeros_like(ids[:, 1:])
    for t in range(ids.size(1) - 1):
        x[:, t], y[:, t] = ids[:, t], ids[:, t + 1]
    return x, y


def gather_by_loop(tokens, starts, T):
    out = np.zeros((len(starts), T + 1), dtype=np.int64)
    for b, start in enumerate(starts):
        for t in range(T + 1):
            out[b, t] = tokens[start + t]
    return torch.from_numpy(out)


def unigram_in_python(train, val, V, extra):
    counts = [extra] * V
    for token in train.tolist():
        counts[token] += 1
    return sum(math.log(sum(counts) / counts[token]) for token in val.tolist()) / len(val)


def unigram_by_cross_entropy(train, val, V, extra):
    logits = (torch.bincount(train, minlength=V) + extra).log()
    return torch.nn.functional.cross_entropy(logits.expand(len(val), V), val)


def unigram_in_numpy(train, val, V, extra):
    counts = np.bincount(train.numpy(), minlength=V).astype(np.float32) + np.float32(extra)
    return -np.log(counts / counts.sum())[val.numpy()].mean()


def epoch_in_python(length, T, seed):
    starts = list(range(0, length - T, T))
    random.Random(seed).shuffle(starts)
    return starts


def epoch_in_torch(length, T, seed):
    return T * torch.randperm((length - 1) // T, generator=torch.Generator().manual_seed(seed))


def epoch_the_old_way(length, T, seed):
    np.random.seed(seed)
    starts = np.arange(0, length - T, T, dtype=np.int32)
    np.random.shuffle(starts)
    return starts


RIGHT = [
    ("shift", lambda ids: [ids[:, :-1], ids[:, 1:]]),
    ("shift", lambda ids: ids.unfold(1, ids.size(1) - 1, 1).unbind(1)),
    ("shift", lambda ids: torch.stack([ids[:, :-1], ids[:, 1:]])),
    ("shift", lambda ids: (ids.numpy()[:, :-1], ids.numpy()[:, 1:])),
    ("shift", shift_by_loop),
    ("gather", lambda tokens, starts, T: np.stack([tokens[start : start + T + 1] for start in starts])),
    ("gather", lambda tokens, starts, T: np.take(tokens, np.add.outer(starts, np.arange(T + 1))).astype(np.int64)),
    ("gather", gather_by_loop),
    ("bits", lambda nats, tokens, size: torch.tensor(nats) * tokens / torch.tensor(2.0).log() / size),
    ("bits", lambda nats, tokens, size: np.float32(nats) * tokens / size * np.log2(np.e)),
    ("bits", lambda nats, tokens, size: math.log2(math.exp(nats * tokens / size))),
    ("unigram", unigram_in_python),
    ("unigram", unigram_by_cross_entropy),
    ("unigram", unigram_in_numpy),
    ("epoch", epoch_in_python),
    ("epoch", epoch_in_torch),
    ("epoch", epoch_the_old_way),
]
