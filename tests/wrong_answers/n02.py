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
]
