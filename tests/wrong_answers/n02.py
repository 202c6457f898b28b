"""Plausible wrong answers to the exercises of notebook 02, each with a part of the hint that it should get."""

import math

import numpy as np
import torch


def unigram(train, val, V, extra, after=0.0):
    counts = torch.bincount(train, minlength=V) + extra
    return -(counts / counts.sum())[val].log().mean()


def epoch(length, T, seed, step=None, end=None):
    starts = np.arange(0, length - T, step or T)
    return np.random.default_rng(seed).permutation(starts)


def share(counts):
    return counts / counts.sum()


def table(train, V, extra):
    return share(torch.bincount(train, minlength=V) + extra)


WRONG = [
    ("shift", lambda ids: (ids[:, :-1], ids[:, :-1]), "copies"),
    ("shift", lambda ids: (ids[:, 1:], ids[:, :-1]), "wrong way round"),
    ("shift", lambda ids: (ids[:-1], ids[1:]), "first axis"),
    ("shift", lambda ids: (ids, ids[:, 1:]), "both should be"),
    ("gather", lambda tokens, starts, T: tokens[starts[:, None] + np.arange(T)], "T + 1"),
    ("gather", lambda tokens, starts, T: tokens[starts[None] + np.arange(T + 1)[:, None]], "exchanged"),
    ("gather", lambda tokens, starts, T: starts[:, None] + np.arange(T + 1), "not the tokens"),
    ("gather", lambda tokens, starts, T: tokens[starts[:, None] + np.arange(1, T + 2) - 2], "differ"),
    ("bits", lambda nats, tokens, size: nats * tokens / size, "nats a byte"),
    ("bits", lambda nats, tokens, size: nats * tokens / size * math.log(2), "divide by ln 2"),
    ("bits", lambda nats, tokens, size: nats * size / tokens / math.log(2), "exchanged"),
    ("bits", lambda nats, tokens, size: nats / math.log(2), "bits a token"),
    ("unigram", lambda train, val, V, extra: unigram(train, val, V, 0.0), "infinite"),
    (
        "unigram",
        lambda train, val, V, extra: -((torch.bincount(train, minlength=V) + extra) / len(train))[val].log().mean(),
        "sum to more than 1",
    ),
    ("unigram", lambda train, val, V, extra: unigram(train, train, V, extra), "loss on train"),
    ("unigram", lambda train, val, V, extra: -unigram(train, val, V, extra), "the sign"),
    ("unigram", lambda train, val, V, extra: len(val) * unigram(train, val, V, extra), "the mean"),
    ("unigram", lambda train, val, V, extra: unigram(train, val, V, extra) / math.log(2), "bits"),
    ("epoch", lambda length, T, seed: epoch(length, T, seed, step=1), "a target twice"),
    ("epoch", lambda length, T, seed: epoch(length, T, seed, step=T + 1), "never seen"),
    ("epoch", lambda length, T, seed: np.arange(0, length - T, T), "shuffle"),
    ("epoch", lambda length, T, seed: epoch(length, T, 0), "another seed"),
    ("epoch", lambda length, T, seed: T * np.arange(length // T), "must fit"),
    ("shift", lambda ids: (ids[:, 1:], ids[:, 1:]), "x is y"),
    ("shift", lambda ids: (ids, ids.roll(-1, 1)), "roll brings"),
    ("shift", lambda ids: (ids[:, :-2], ids[:, 2:]), "two places"),
    ("shift", lambda ids: ids[:, :-1], "return two tensors"),
    ("shift", lambda ids: (ids[:, :-1].tolist(), ids[:, 1:].tolist()), "a list of 3 where a tensor"),
    ("shift", lambda ids: (ids[:, :-1].float(), ids[:, 1:].float()), "whole numbers"),
    ("shift", lambda ids: (ids[:, 0], ids[:, 1]), "both should be"),
    ("shift", lambda ids: (ids[:, :-1], ids[:, :-1] + 1), "y should be all but the first"),
    ("shift", lambda ids: (ids[:, :-1].flip(1), ids[:, 1:]), "x should be all but the last"),
    ("shift", lambda ids: [].append((ids[:, :-1], ids[:, 1:])), "is there a `return`"),
    ("shift", lambda ids: (ids[:, :-1], ids[:, 6]), "raised IndexError"),
    ("gather", lambda tokens, starts, T: tokens[starts[:, None] + np.arange(1, T + 2)], "one place too late"),
    ("gather", lambda tokens, starts, T: tokens[starts], "first tokens of the windows"),
    ("gather", lambda tokens, starts, T: tokens[: len(starts) * (T + 1)].reshape(-1, T + 1), "the file's beginning"),
    ("gather", lambda tokens, starts, T: tokens[(starts[:, None] + np.arange(T + 1)).flatten()], "one long row"),
    ("gather", lambda tokens, starts, T: [tokens[s : s + T + 1] for s in starts], "a list of 4 where a tensor"),
    ("gather", lambda tokens, starts, T: tokens[starts[:, None] + np.arange(T + 2)], "the shape is (4, 7)"),
    ("gather", lambda tokens, starts, T: tokens[starts[:, None] + np.arange(T + 1)] * 1.0, "whole numbers"),
    ("gather", lambda tokens, starts, T: tokens[starts + np.arange(T + 1)], "raised ValueError"),
    ("gather", lambda tokens, starts, T: tokens[starts : starts + T + 1], "raised TypeError"),
    ("gather", lambda tokens, starts, T: np.sort(tokens[starts[:, None] + np.arange(T + 1)]), "a loop over the starts"),
    ("bits", lambda nats, tokens, size: nats * tokens / math.log(2), "the whole text"),
    ("bits", lambda nats, tokens, size: nats / math.log(2) / size, "tokens are missing"),
    ("bits", lambda nats, tokens, size: nats * tokens / math.log10(2) / size, "not math.log10"),
    ("bits", lambda nats, tokens, size: nats * tokens / math.log(2) / size / 8, "no factor 8"),
    ("bits", lambda nats, tokens, size: 8 * nats * tokens / math.log(2) / size, "multiply by 8"),
    ("bits", lambda nats, tokens, size: math.log2(nats) * tokens / size, "a logarithm already"),
    ("bits", lambda nats, tokens, size: round(nats * tokens / math.log(2) / size, 2), "rounded"),
    ("bits", lambda nats, tokens, size: f"{nats * tokens / math.log(2) / size:.4f}", "type str where a number"),
    ("bits", lambda nats, tokens, size: nats / math.log(2) * (tokens // size), "yours is 0"),
    ("bits", lambda nats, tokens, size: torch.tensor([nats * tokens / math.log(2) / size]), "the shape is (1,)"),
    ("unigram", lambda train, val, V, extra: -table(train, V, 0.0).add(extra)[val].log().mean(), "before they become shares"),
    ("unigram", lambda train, val, V, extra: unigram(val, val, V, extra), "not in val"),
    (
        "unigram",
        lambda train, val, V, extra: -share(torch.bincount(train, minlength=V).float().clamp(min=extra))[val].log().mean(),
        "not to the unseen ids alone",
    ),
    ("unigram", lambda train, val, V, extra: -table(train, V, extra).log().mean(), "mean over the V ids"),
    ("unigram", lambda train, val, V, extra: torch.special.entr(table(train, V, extra)).sum(), "entropy"),
    ("unigram", lambda train, val, V, extra: -table(train, V, extra)[val].mean(), "logarithm is missing"),
    ("unigram", lambda train, val, V, extra: -table(train, V, extra)[val].mean().log(), "then the mean"),
    ("unigram", lambda train, val, V, extra: unigram(train, val, V, extra).exp(), "perplexity"),
    ("unigram", lambda train, val, V, extra: -table(train, 0, extra)[val].log().mean(), "minlength"),
    ("unigram", lambda train, val, V, extra: -table(train, V, extra)[val].log(), "the shape is (5,)"),
    ("unigram", lambda train, val, V, extra: unigram(train, val, V, 1.0), "count in train, add the extra"),
    (
        "epoch",
        lambda length, T, seed: T * np.random.default_rng(seed).choice((length - 1) // T, (length - 1) // T),
        "replacement",
    ),
    ("epoch", lambda length, T, seed: epoch(length - T, T, seed), "10 windows fit into 101"),
    ("epoch", lambda length, T, seed: 1 + epoch(length - 1, T, seed), "token 1 is never"),
    ("epoch", lambda length, T, seed: T + epoch(length - T, T, seed), "token 1 is never"),
    ("epoch", lambda length, T, seed: np.arange(0, length - T, T)[::-1].copy(), "beside their neighbour"),
    ("epoch", lambda length, T, seed: np.roll(np.arange(0, length - T, T), seed), "beside their neighbour"),
    ("epoch", lambda length, T, seed: epoch(length, T, seed)[:, None] + np.arange(T), "the starts alone"),
    ("epoch", lambda length, T, seed: epoch(length, T, seed) / 1, "whole numbers"),
    ("epoch", lambda length, T, seed: epoch(length, T, None), "the same seed"),
    ("epoch", lambda length, T, seed: np.random.default_rng(seed).shuffle(np.arange(0, length - T, T)), "is there a `return`"),
    ("epoch", lambda length, T, seed: np.random.default_rng(seed).permutation(length - T), "a target twice"),
    ("epoch", lambda length, T, seed: epoch(length, T, seed)[:0], "no window at all"),
    ("epoch", lambda length, T, seed: [*epoch(length, T, seed), "end"], "an array of <U"),
    ("epoch", lambda length, T, seed: [epoch(length, T, seed), epoch(length, T, seed)[1:]], "not all of it are numbers"),
]
