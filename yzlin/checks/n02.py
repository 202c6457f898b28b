"""The exercises of notebook 02: batches."""

from __future__ import annotations

import math

import numpy as np
import torch

from yzlin.checks import exercise, expect, expect_close


@exercise
def check_shift(answer) -> str:
    ids = torch.arange(18).view(3, 6) ** 2
    got = answer(ids)
    expect(isinstance(got, tuple) and len(got) == 2, "return two tensors: x, y.")
    x, y = got
    expect(x.shape != (2, 6), "the first axis is the batch: shift along the second.")
    expect(x.shape == y.shape == (3, 5), f"x is {tuple(x.shape)} and y {tuple(y.shape)}, and both should be (3, 5).")
    expect(not torch.equal(x, y), "y is x: a model that copies would be perfect.")
    expect(not torch.equal(y, ids[:, :-1]), "x and y are the wrong way round: y is what comes later.")
    expect_close(x, ids[:, :-1], "x should be all but the last token of each row.")
    expect_close(y, ids[:, 1:], "y should be all but the first token of each row.")
    return "T + 1 ids hold T examples."


@exercise
def check_gather(answer) -> str:
    tokens, starts = np.arange(100, 200, dtype=np.uint16), np.array([7, 0, 94])
    got = np.asarray(answer(tokens, starts, 5))
    expect(got.shape != (3, 5), "the target of the last place is missing: a row has T + 1 ids.")
    expect(got.shape != (6, 3), "rows and columns are exchanged: a row is a window.")
    want = np.stack([tokens[start : start + 6] for start in starts])
    expect(got.shape == want.shape, f"the shape is {got.shape}, and it should be (3, 6).")
    expect(not np.array_equal(got, want - 100), "these are the places, not the tokens that stand there: index with them.")
    expect(np.array_equal(got, want), "the ids differ from those that a loop over the starts finds.")
    return "one index operation fetches the whole batch."


@exercise
def check_bits(answer) -> str:
    got = float(answer(2.0, 1000, 4000))
    expect(not math.isclose(got, 0.5), "these are nats a byte: one bit is ln 2 nats.")
    expect(not math.isclose(got, 0.5 * math.log(2)), "divide by ln 2: a bit is less than a nat, so there are more of them.")
    expect(not math.isclose(got, 8 / math.log(2)), "tokens and bytes are exchanged: there are more bytes than tokens.")
    expect(not math.isclose(got, 2 / math.log(2)), "these are bits a token: share them out to the bytes.")
    expect(math.isclose(got, 500 / math.log(2) / 1000), "2 nats a token, 4 bytes a token: that is 0.72 bits a byte.")
    return "two models with different tokenizers can now be compared."


@exercise
def check_unigram(answer) -> str:
    train, val = torch.tensor([0, 0, 0, 1, 1, 2]), torch.tensor([0, 1, 3, 0])
    got, V = float(answer(train, val, 5, 0.5)), 5
    expect(math.isfinite(got), "the loss is infinite: token 3 was never seen, so add the extra before the logarithm.")
    counts = torch.bincount(train, minlength=V).double()
    bare = -((counts + 0.5) / counts.sum())[val].log().mean().item()
    expect(
        not math.isclose(got, bare, rel_tol=1e-5), "the probabilities sum to more than 1: divide by the counts with the extra."
    )
    p = (counts + 0.5) / (counts + 0.5).sum()
    expect(not math.isclose(got, -p[train].log().mean().item(), rel_tol=1e-5), "this is the loss on train: look at val.")
    expect(not math.isclose(got, p[val].log().mean().item(), rel_tol=1e-5), "the sign: a loss is minus the logarithm.")
    expect(not math.isclose(got, -p[val].log().sum().item(), rel_tol=1e-5), "this is the sum: take the mean over val.")
    expect(not math.isclose(got, -p[val].log2().mean().item(), rel_tol=1e-5), "these are bits: use the natural logarithm.")
    expect_close(got, -p[val].log().mean(), "count in train, add the extra, make shares, then look at val's tokens.")
    return "a model must be better than this table of counts."


@exercise
def check_epoch(answer) -> str:
    for length, T in ((101, 10), (100, 10), (107, 10)):
        starts = np.asarray(answer(length, T, 0))
        expect(len(starts) > 0 and starts.max() + T < length, f"of {length} tokens a window of {T} and its target must fit.")
        targets = np.sort(np.concatenate([np.arange(start + 1, start + T + 1) for start in starts]))
        expect(len(np.unique(targets)) == len(targets), "some tokens are a target twice: neighbours should lie T apart.")
        missed = length - 1 - len(targets)
        expect(missed < T, f"{missed} of {length - 1} targets are never seen with T = {T}: neighbours should lie T apart.")
        expect(targets[0] == 1, "token 1 is never a target: one window begins at 0.")
    starts = np.asarray(answer(1001, 10, 0))
    expect(not np.array_equal(starts, np.sort(starts)), "the windows come in the order of the file: shuffle them.")
    expect(np.array_equal(starts, np.asarray(answer(1001, 10, 0))), "the same seed should give the same order.")
    expect(not np.array_equal(starts, np.asarray(answer(1001, 10, 1))), "another seed should give another order.")
    return "in one epoch each token is a target once, and no two runs need to see the same order."
