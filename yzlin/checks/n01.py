"""The exercises of notebook 01: text to tokens."""

from __future__ import annotations

import itertools
import numbers
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from yzlin.checks import Wrong, compare, described, exercise, expect, numbers_of, run


def items(got: Any, kind: type, what: str) -> list:
    """The answer as a list, whose items are all of that kind. Raises Wrong for another thing."""
    if isinstance(got, Tensor):
        got = numbers_of(got)
    got = got.tolist() if isinstance(got, (Tensor, np.ndarray)) else got
    if not isinstance(got, (list, tuple)):
        raise Wrong(f"your code returned {described(got)}, and it should be a list of {what}.")
    strange = [item for item in got if not isinstance(item, kind)]
    if strange:
        raise Wrong(f"your list holds {described(strange[0])}, and it should hold {what} alone.")
    return list(got)


def agree(got: list, want: list, hints: dict[str, list], otherwise: str) -> None:
    """Raises Wrong unless the lists are equal: with the first hint whose wrong list it is."""
    if got == want:
        return
    for hint, wrong in hints.items():
        expect(got != wrong, hint)
    raise Wrong(otherwise)


@exercise
def check_byte_counts(answer) -> str:
    for text in (" ".join(("naïve", "猫", "😀", "cat")), "é猫a😀\nb", "ab"):
        want = [len(character.encode()) for character in text]
        got = items(run(answer, text), numbers.Real, "numbers")
        hints = {
            "these are the bytes themselves: count them, for each character.": list(text.encode()),
            "these are the code points: encode each character, and count its bytes.": [ord(letter) for letter in text],
            "the length of a character is always 1: take the length of its bytes.": [1] * len(text),
            "this is UTF-16, whose first two bytes are a mark: say utf-8.": [len(c.encode("utf-16")) for c in text],
            "this is UTF-16, in which a letter takes two bytes: say utf-8.": [len(c.encode("utf-16-le")) for c in text],
            "this is UTF-32, in which each character takes four bytes: say utf-8.": [4] * len(text),
            "these are the bytes of each word: a text is a row of characters.": [len(word.encode()) for word in text.split()],
            "the blanks are missing: a blank is a character, too.": [len(c.encode()) for c in text if not c.isspace()],
            "these are sums: each number should be for one character alone.": list(itertools.accumulate(want)),
            "the numbers stand the wrong way round.": want[::-1],
            "the numbers are sorted: leave them in the order of the text.": sorted(want),
        }
        agree(got, want, hints, f"for {text!r} it should be {want}, and yours is {got}.")
    return "a text has as many bytes as these numbers together."


@exercise
def check_bytes_per_token(answer) -> str:
    def encode(text: str) -> list[int]:
        return [len(piece) + 3 for piece in re.findall(r"\s?\S{1,3}", text)]

    long, short = " ".join(["hedgehogs"] * 5 + ["sang"]), " ".join(("é", "猫", "a", "b"))
    for texts in ([long, short], [short, "naïve", long, "x"]):
        sizes, ids = [len(text.encode()) for text in texts], [encode(text) for text in texts]
        size, count, letters = sum(sizes), sum(map(len, ids)), sum(map(len, texts))
        ratios = [size / len(row) for size, row in zip(sizes, ids, strict=True)]
        hints = {
            "this is the mean of the texts' ratios: a long text should count more than a short one.": sum(ratios) / len(ratios),
            "these are the texts' ratios added up: add bytes and tokens up, and divide once.": sum(ratios),
            "this counts characters: an é is one character and two bytes.": letters / count,
            "this is tokens per byte: turn it over.": count / size,
            "these are all the bytes: divide them by the number of tokens.": size,
            "these are all the tokens: there should be bytes above them.": count,
            "this is the first text alone: is the return inside of the loop?": ratios[0],
            "this is the last text alone: add up over the texts, do not begin anew with each.": ratios[-1],
            "these are bytes per word: encode says how many tokens there are.": size / sum(len(text.split()) for text in texts),
            "this divides by the sum of the ids: an id is a name, so count them.": size / sum(map(sum, ids)),
            "each different id is counted once: a token counts each time that it occurs.": size / len(set(sum(ids, []))),
            "// rounds down: divide with /.": size // count,
            "the result is rounded: give it as it is.": round(size / count, 2),
        }
        compare(run(answer, texts, encode), size / count, hints, "all the bytes, divided by all the tokens.")
    return "the larger this number, the more text fits the window."


def cut(piece: str, vocab: set[str], ends: Callable[[int], list[int]]) -> list[str]:
    """From the left: the first end that makes a token, then on behind it."""
    tokens, start = [], 0
    while start < len(piece):
        end = next(end for end in ends(start) if piece[start:end] in vocab)
        tokens.append(piece[start:end])
        start = end
    return tokens


def grown(piece: str, vocab: set[str]) -> list[str]:
    """From the left, one character more as long as that is a token."""
    tokens: list[str] = []
    for letter in piece:
        if tokens and tokens[-1] + letter in vocab:
            tokens[-1] += letter
        else:
            tokens.append(letter)
    return tokens


def longest_anywhere(piece: str, vocab: set[str]) -> list[str]:
    """First the longest token anywhere in the piece, then what stands before and behind it."""
    if not piece:
        return []
    found = max((token for token in sorted(vocab) if token in piece), key=len)
    before, behind = piece.split(found, 1)
    return [*longest_anywhere(before, vocab), found, *longest_anywhere(behind, vocab)]


def fewest(piece: str, vocab: set[str]) -> list[str]:
    """The fewest tokens that spell the piece."""
    best: list[list[str]] = [[]]
    for end in range(1, len(piece) + 1):
        best.append(min(([*best[i], piece[i:end]] for i in range(end) if piece[i:end] in vocab), key=len))
    return best[-1]


@exercise
def check_longest_match(answer) -> str:
    # In the first piece each likely mistake gives other tokens.
    words = {"un", "unha", "unhap", "nhappines", "appiness", "ppiness", "pin", "ness", "ss", "si", "ing", "sing"}
    for piece in ("unhappiness", "singingsing", ""):
        vocab = words | set(piece)
        N = len(piece)
        want = cut(piece, vocab, lambda start, N=N: list(range(N, start, -1)))
        got = items(run(answer, piece, vocab), str, "strings")
        expect(piece or not got, f"an empty piece has no tokens, and your list has {len(got)}.")
        starts = range(N)
        longest = [max((piece[i:j] for j in range(i + 1, N + 1) if piece[i:j] in vocab), key=len) for i in starts]
        turned = cut(piece[::-1], {token[::-1] for token in vocab}, lambda start, N=N: list(range(N, start, -1)))
        hints = {
            "each token is here once: one that occurs twice belongs there twice.": list(dict.fromkeys(want)),
            "these are single characters: try the longest end first.": list(piece),
            "only the first token is here: go on behind it.": want[:1],
            "the last token is missing: go on to the end of the piece.": want[:-1],
            "the tokens stand the wrong way round.": want[::-1],
            "you match from the right: begin at the left.": [token[::-1] for token in turned[::-1]],
            "you match from the right, and the tokens stand the wrong way round.": [token[::-1] for token in turned],
            "you go on by one character: go on behind the token.": longest,
            "you stop growing where one character more is not a token: still more characters may be one.": grown(piece, vocab),
            "you take the longest token anywhere first: begin at the left.": longest_anywhere(piece, vocab),
            "these are the fewest tokens: this tokenizer does not look so far ahead.": fewest(piece, vocab),
        }
        if got != want:
            unlike = [hint for hint, wrong in hints.items() if got == wrong]
            expect(not unlike, unlike[0] if unlike else "")
            unknown = [token for token in got if token not in vocab]
            expect(not unknown, f"{unknown[0] if unknown else ''!r} is not in vocab.")
            expect("".join(got) == piece, f"together your tokens spell {''.join(got)!r}, and the piece is {piece!r}.")
        agree(got, want, {}, f"for {piece!r} it should be {want}, and yours is {got}.")
    return "one look from the left and no ranks: simpler than BPE, and other tokens."


def learnt(
    counts: dict[str, int],
    n: int,
    weight: Callable[[int], int] = lambda count: count,
    choose: Callable[[list], Any] = min,
    most: Callable[[Any], int] = max,
    once: bool = False,
) -> list[str]:
    """The first n merges; the other parameters make the likely mistakes."""
    splits, found = {word: list(word) for word in counts}, []
    while len(found) < n:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, parts in splits.items():
            for pair in itertools.pairwise(parts):
                pairs[pair] += weight(counts[word])
        if not pairs:
            break
        best = choose([pair for pair in pairs if pairs[pair] == most(pairs.values())])
        found.append("".join(best))
        for word, parts in splits.items():
            i = 0
            while i + 1 < len(parts):
                if (parts[i], parts[i + 1]) == best:
                    parts[i : i + 2] = [found[-1]]
                    if once:
                        break
                i += 1
            splits[word] = parts
    return found


@exercise
def check_merges(answer) -> str:
    fruit = {"banana": 4, "bandana": 2, "cabana": 3, "nab": 6, "canna": 1}
    for counts, n in ((fruit, 7), ({"newer": 3, "wider": 2, "lower": 2, "low": 5, "slow": 1}, 6), ({"zoo": 1, "ox": 3}, 9)):
        want = learnt(counts, n)
        first: Counter[str] = Counter()
        text: dict[str, int] = {"".join(word * count for word, count in counts.items()): 1}
        for word, count in counts.items():
            for pair in itertools.pairwise(word):
                first["".join(pair)] += count
        hints = {
            "each word is counted once: a word that occurs 5 times counts its pairs 5 times.": learnt(
                counts, n, lambda count: 1
            ),
            "among equals the pair that comes first in the alphabet is wanted, not the one seen first.": learnt(
                counts, n, choose=lambda pairs: pairs[0]
            ),
            "among equals you take the last in the alphabet.": learnt(counts, n, choose=max),
            "you take the rarest pair: the most frequent is wanted.": learnt(counts, n, most=min),
            "a pair is merged only once in each word: merge it wherever it stands.": learnt(counts, n, once=True),
            "your pairs run across words: count inside of each word.": learnt(text, n),
            "these are the most frequent pairs of characters: merge, then count again.": sorted(
                first, key=lambda pair: (-first[pair], pair)
            )[:n],
            "the single characters are in the list: give the merges alone.": sorted(set("".join(counts))) + want,
            "there is one merge too many.": learnt(counts, n + 1),
            "the last merge is missing.": want[:-1],
            "the merges are right and their order is not: give them as they were learnt.": sorted(want),
            "the merges stand the wrong way round: the first one learnt comes first.": want[::-1],
        }
        got = items(run(answer, counts, n), str, "strings")
        place = next((i for i, (a, b) in enumerate(zip(got, want, strict=False)) if a != b), min(len(got), len(want)))
        wanted = repr(want[place]) if place < len(want) else "the end"
        agree(got, want, hints, f"for the counts {counts} merge {place + 1} should be {wanted}.")
    return "this is the whole training of a tokenizer; train_bpe is only faster."
