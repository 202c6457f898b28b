"""Unusual but right answers to the exercises of notebook 01."""

import re
from collections import Counter
from fractions import Fraction

import numpy as np
import torch

from yzlin.tokenizer import train_bpe


def by_code_point(text):
    return [1 + (ord(c) > 0x7F) + (ord(c) > 0x7FF) + (ord(c) > 0xFFFF) for c in text]


def by_first_bytes(text):
    starts = [i for i, byte in enumerate(text.encode()) if byte & 0xC0 != 0x80]
    return tuple(np.diff([*starts, len(text.encode())]).tolist())


def added_up(texts, encode):
    size = count = 0
    for text in texts:
        size, count = size + len(bytes(text, "utf-8")), count + len(encode(text))
    return np.float32(size / count)


def weighted_mean(texts, encode):
    counts = torch.tensor([len(encode(text)) for text in texts], dtype=torch.float64)
    ratios = torch.tensor([len(text.encode()) for text in texts]) / counts
    return (ratios * counts).sum() / counts.sum()


def by_pattern(piece, vocab):
    return re.findall("|".join(re.escape(token) for token in sorted(vocab, key=len, reverse=True)), piece) if piece else []


def by_recursion(piece, vocab):
    if not piece:
        return []
    token = max((token for token in vocab if piece.startswith(token)), key=len)
    return [token, *by_recursion(piece[len(token) :], vocab)]


def by_prefixes(piece, vocab):
    tokens = []
    while piece:
        tokens.append([piece[: i + 1] for i in range(len(piece)) if piece[: i + 1] in vocab][-1])
        piece = piece.removeprefix(tokens[-1])
    return np.array(tokens)


def by_the_package(counts, n):
    bpe = train_bpe(["\n".join(word for word, count in counts.items() for _ in range(count))], 257 + n)
    return [bpe.decode([i]) for i in range(256, bpe.n_vocab - 1)]


def by_repeating(counts, n):
    words, found = [list(word) for word, count in counts.items() for _ in range(count)], []
    while len(found) < n and any(len(word) > 1 for word in words):
        pairs = Counter(pair for word in words for pair in zip(word, word[1:], strict=False))
        best = sorted(pairs, key=lambda pair: (-pairs[pair], pair))[0]
        found.append(best[0] + best[1])
        for word in words:
            i = 0
            while i + 1 < len(word):
                if (word[i], word[i + 1]) == best:
                    word[i : i + 2] = ["".join(best)]
                i += 1
    return found


def by_replacing(counts, n):
    words, found = {f"|{'|'.join(word)}|": count for word, count in counts.items()}, []
    for _ in range(n):
        pairs = {}
        for word, count in words.items():
            parts = word.strip("|").split("|")
            for pair in zip(parts, parts[1:], strict=False):
                pairs[pair] = pairs.get(pair, 0) + count
        if not pairs:
            break
        left, right = min(pairs, key=lambda pair: (-pairs[pair], pair))
        both = re.compile(rf"(?<=\|){left}\|{right}(?=\|)")
        words = {both.sub(left + right, word): count for word, count in words.items()}
        found.append(left + right)
    return tuple(found)


RIGHT = [
    ("byte_counts", by_code_point),
    ("byte_counts", by_first_bytes),
    ("byte_counts", lambda text: torch.tensor([len(c.encode()) for c in text])),
    ("byte_counts", lambda text: np.array(list(map(len, map(str.encode, text))))),
    ("bytes_per_token", added_up),
    ("bytes_per_token", weighted_mean),
    ("bytes_per_token", lambda texts, encode: float(Fraction(len("".join(texts).encode()), sum(map(len, map(encode, texts)))))),
    ("longest_match", by_pattern),
    ("longest_match", by_recursion),
    ("longest_match", by_prefixes),
    ("merges", by_the_package),
    ("merges", by_repeating),
    ("merges", by_replacing),
]
