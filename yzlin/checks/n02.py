"""The exercises of notebook 02: batches."""

from __future__ import annotations

import math

import numpy as np
import torch

from yzlin.checks import Wrong, compare, described, exercise, expect, numbers_of, parts, run, unlike


def expect_whole(value, what: str) -> None:
    """Raises Wrong where the numbers are not of an integer dtype."""
    numbers_of(value)
    kind = str(value.dtype) if hasattr(value, "dtype") else type(value).__name__
    expect("int" in kind, f"the dtype is {kind}: {what} are whole numbers, and nothing can be indexed with others.")


@exercise
def check_shift(answer) -> str:
    for B, T in ((3, 5), (4, 8)):
        ids = torch.randperm(1000, generator=torch.Generator().manual_seed(T))[: B * (T + 1)].view(B, T + 1)
        x, y = parts(run(answer, ids), 2, "return two tensors: x, y.")
        shapes = tuple(numbers_of(x).shape), tuple(numbers_of(y).shape)
        right_x, right_y = ids[:, :-1], ids[:, 1:]
        hints = {
            "the first axis is the batch: shift along the second.": (ids[:-1], ids[1:]),
            "y is x: a model that copies would be perfect.": (right_x, right_x),
            "x is y, and a model that copies would be perfect: x begins with the first token.": (right_y, right_y),
            "x and y are the wrong way round: y is what comes later.": (right_y, right_x),
            "roll brings the first token to the end, as if it came next: T + 1 ids hold only T pairs.": (ids, ids.roll(-1, 1)),
            "y is two places further on: the next token is one place further on.": (ids[:, :-2], ids[:, 2:]),
        }
        unlike((x, y), hints)
        expect(set(shapes) == {(B, T)}, f"x is {shapes[0]} and y is {shapes[1]}, and both should be ({B}, {T}).")
        compare(x, right_x, {}, "x should be all but the last token of each row.")
        compare(y, right_y, {}, "y should be all but the first token of each row.")
        expect_whole(x, "ids")
        expect_whole(y, "ids")
    return "T + 1 ids hold T examples."


@exercise
def check_gather(answer) -> str:
    tokens = np.random.default_rng(0).permutation(5000)[:100].astype(np.uint16)
    for starts, T in ((np.array([7, 30, 64, 18]), 5), (np.array([90, 0, 13]), 9)):  # 90 is the last start that fits
        got = run(answer, tokens, starts, T)
        want = np.stack([tokens[start : start + T + 1] for start in starts])
        places = starts[:, None] + np.arange(T + 1)
        hints = {
            "the target of the last place is missing: a row has T + 1 ids.": want[:, :-1],
            "rows and columns are exchanged: a row is a window.": want.T,
            "these are the places, not the tokens that stand there: index with them.": places,
            "the ids differ: each row begins one place too early.": tokens[places - 1],
            "each row begins one place too late.": tokens[(places + 1) % 100],
            "these are the first tokens of the windows alone: T more follow each.": tokens[starts],
            "this cuts up the file's beginning: each row has its own start.": tokens[: want.size].reshape(want.shape),
            "this is one long row: give it the shape (B, T + 1).": want.flatten(),
        }
        compare(got, want, hints, "the ids differ from those that a loop over the starts finds.")
        expect_whole(got, "ids")
    return "one index operation fetches the whole batch."


@exercise
def check_bits(answer) -> str:
    for nats, tokens, size in ((3.7, 1234, 5678), (1.3, 977, 3001)):
        got, want = run(answer, nats, tokens, size), nats * tokens / math.log(2) / size
        hints = {
            "these are nats a byte: one bit is ln 2 nats.": want * math.log(2),
            "divide by ln 2: a bit is less than a nat, so there are more of them.": want * math.log(2) ** 2,
            "tokens and bytes are exchanged: there are more bytes than tokens.": nats * size / tokens / math.log(2),
            "these are bits a token: divide them among the bytes.": nats / math.log(2),
            "these are the bits of the whole text: divide by its bytes.": want * size,
            "the tokens are missing: nats a token times tokens are all the nats.": nats / math.log(2) / size,
            "a nat is 1 / ln 2 bits: use math.log, not math.log10.": nats * tokens / math.log10(2) / size,
            "no factor 8: the bytes are counted, and their 8 bits each play no part.": want / 8,
            "do not multiply by 8: the bytes are counted, and their 8 bits each play no part.": want * 8,
            "the loss is a logarithm already: do not take another of it.": math.log2(nats) * tokens / size,
            "this is rounded: return all digits.": round(want, 2),
        }
        compare(got, want, hints, f"{nats} nats a token, {tokens} tokens and {size} bytes give another number of bits a byte.")
    return "two models with different tokenizers can now be compared."


@exercise
def check_unigram(answer) -> str:
    # Ids 4 and, in the second, 9 are never seen in train; ids 9 and 10 are above all that train holds.
    train = torch.tensor([3, 8, 3, 0, 5, 3, 1, 0, 6, 7, 7, 3, 2, 8, 0])
    for val, extra in ((torch.tensor([0, 3, 4, 3, 8]), 0.3), (torch.tensor([9, 0, 5, 4, 3, 3, 3]), 0.7)):
        V = 11
        counts = torch.bincount(train, minlength=V).double()
        p = (counts + extra) / (counts + extra).sum()
        in_val = torch.bincount(val, minlength=V) + extra
        want, seen = -p[val].log().mean(), counts[:9] + extra  # seen: as bincount gives it without minlength
        unseen = torch.where(counts == 0, extra, counts)
        hints = {
            "the loss is infinite: a token of val was never seen, so add the extra before the logarithm.": math.inf,
            "the probabilities sum to more than 1: divide by the counts with the extra.": -((counts + extra) / len(train))[val]
            .log()
            .mean(),
            "this is the loss on train: look at val.": -p[train].log().mean(),
            "count in train, not in val.": -(in_val / in_val.sum())[val].log().mean(),
            "the sign: a loss is minus the logarithm.": -want,
            "this is the sum: take the mean over val.": want * len(val),
            "these are bits: use the natural logarithm.": want / math.log(2),
            "the extra goes into the counts, before they become shares.": -(counts / len(train) + extra)[val].log().mean(),
            "the extra goes to each of the V counts, not to the unseen ids alone.": -(unseen / unseen.sum())[val].log().mean(),
            "this is the mean over the V ids: look up the tokens of val, each as often as it comes.": -p.log().mean(),
            "this is the entropy of the shares: look up the tokens of val.": -(p * p.log()).sum(),
            "the logarithm is missing.": -p[val].mean(),
            "first the logarithm of each, then the mean.": -p[val].mean().log(),
            "this is the perplexity: the loss is its logarithm.": want.exp(),
        }
        if val.max() < len(seen):
            hints["not all V ids have a count: minlength=V."] = -(seen / seen.sum())[val].log().mean()
        compare(
            run(answer, train, val, V, extra), want, hints, "count in train, add the extra, make shares, look at val's tokens."
        )
    return "a model must be better than this table of counts."


def starts_of(answer, length: int, T: int, seed: int) -> np.ndarray:
    """The starts of windows as a flat array of integers. A list or a tensor will do."""
    got = run(answer, length, T, seed)
    if isinstance(got, (list, tuple, range)):
        try:
            got = np.array(got)
        except (TypeError, ValueError, RuntimeError):
            raise Wrong(f"your code returned {described(got)}, and not all of it are numbers.") from None
    starts = numbers_of(got, "a list or an array of starts")
    expect(starts.dim() == 1, f"the shape is {tuple(starts.shape)}: return the starts alone, one number for each window.")
    expect(len(starts) > 0, f"there is no window at all for length {length} and T {T}.")
    expect_whole(got, "starts")
    return starts.numpy()


@exercise
def check_epoch(answer) -> str:
    for length, T in ((101, 10), (100, 10), (107, 10), (58, 7)):
        starts, want = np.sort(starts_of(answer, length, T, 3)), T * np.arange((length - 1) // T)
        fits = f"of {length} tokens a window of {T} and its target must fit"
        expect(starts.min() >= 0 and starts.max() + T < length, f"{fits}: no start below 0 or above {length - 1 - T}.")
        again = len(starts) - len(np.unique(starts))
        expect(not again, f"{again} starts come more than once: shuffle the starts, do not draw with replacement.")
        gaps = np.diff(starts)
        expect((gaps >= T).all(), f"some tokens are a target twice: neighbours should lie T = {T} apart.")
        expect(starts[0] == 0, "token 1 is never a target: one window begins at 0.")
        missed = length - 1 - T * len(starts)
        expect((gaps == T).all(), f"{missed} of {length - 1} targets are never seen: neighbours should lie T = {T} apart.")
        expect(len(starts) == len(want), f"{len(want)} windows fit into {length} tokens with T = {T}: yours are {len(starts)}.")
    starts = starts_of(answer, 1001, 10, 3)
    expect(not np.array_equal(starts, np.sort(starts)), "the windows come in the order of the file: shuffle them.")
    expect((np.abs(np.diff(starts)) == 10).mean() < 0.5, "most windows still come beside their neighbour: shuffle them all.")
    expect(np.array_equal(starts, starts_of(answer, 1001, 10, 3)), "the same seed should give the same order.")
    expect(not np.array_equal(starts, starts_of(answer, 1001, 10, 4)), "another seed should give another order.")
    return "in one epoch each token is a target once, and no two runs need to see the same order."
