"""Text <-> token ids: GPT-2's byte-level BPE without a network, and a BPE learnt from your own text.

Both are a `tiktoken.Encoding`. A tokenizer's file has tiktoken's format: one line per token, its bytes in base64 and its rank.
Byte-pair encoding for text: Sennrich et al., 2016; on bytes, with a split pattern: Radford et al., 2019 (GPT-2).
"""

from __future__ import annotations

import base64
import hashlib
import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import regex
import tiktoken

from yzlin import ROOT
from yzlin.tools.files import need_file, whole_file

EOT = "<|endoftext|>"
"""The special token that stands between two stories."""

BUILT_IN = {"gpt2": ROOT / "data" / "gpt2.tiktoken", "storybook": ROOT / "data" / "storybook.tiktoken"}
SHA256 = {
    "gpt2": "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
    "storybook": "0d0872bb62d2fcb1190c43dc2f2952dd81570a8bde9b967b006c1c46736fe4aa",
}
LARGEST_FILE = 2**25  # bytes: GPT-2's has 0.8 million; no vocabulary for uint16 ids comes near

# GPT-2's: merges never cross these pieces: 's and the like, a word or a number or other signs with the blank before it, blanks.
SPLIT_PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""

Pair = tuple[bytes, bytes]
"""Two tokens that stand side by side."""


def load_tokenizer(name: str | Path = "gpt2", called: str | None = None) -> tiktoken.Encoding:
    """Loads "gpt2", "storybook" (the course's own), or a .tiktoken file by its path. Reads one local file, nothing else.

    called: the name that the tokenizer of a file gets; by default the file's. Raises FileNotFoundError, or ValueError for
    a damaged file, which is left as it is.
    """
    name = str(name)
    restore = f"restore it with `git checkout data/{name}.tiktoken`"
    advice = restore if name in BUILT_IN else "use gpt2, storybook or a .tiktoken file"
    path = need_file(BUILT_IN.get(name, Path(name)), "a tokenizer file", advice)
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError(f"{path} is not a tokenizer file: it has {path.stat().st_size:,} bytes, and none is so large.")
    data = path.read_bytes()
    if name in BUILT_IN and hashlib.sha256(data).hexdigest() != SHA256[name]:
        cause = "its line ends were changed to CRLF" if b"\r\n" in data else "its sha256 is not the known one"
        raise ValueError(f"{path} is damaged ({cause}): {restore}.")
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a tokenizer file: it should hold only base64 and numbers.") from error
    if name not in BUILT_IN:  # never "gpt2" for a file that is not
        name = called or (f"{path.name}.tiktoken" if path.name in BUILT_IN else path.name)
    return tokenizer_from_text(name, text)


def tokenizer_from_text(name: str, text: str) -> tiktoken.Encoding:
    """A tokenizer from the text of its file. The ids are the ranks; `<|endoftext|>` comes after the last.

    Raises ValueError for a text that is not that of a byte-level BPE: a line that cannot be read, a token or a rank that
    is there twice or missing, a token that is not made of two earlier ones (Sennrich's merges; lines were exchanged).
    """
    ranks: dict[bytes, int] = {}
    needs = "it needs all 256 bytes, and the ranks 0 to n - 1 once each"
    for number, line in enumerate(text.splitlines(), 1):
        where = f"the tokenizer {name} is damaged in line {number} ({line[:40]!r})"
        try:
            spelling, rank = line.split()
            token = base64.b64decode(spelling, validate=True)
        except ValueError as error:
            raise ValueError(f"{where}: it should be a token in base64 and its rank.") from error
        if not rank.isascii() or not rank.isdecimal() or len(rank) > 9:
            raise ValueError(f"{where}: its rank is not a number.")
        if token in ranks:
            raise ValueError(f"{where}: the token {token!r} is there twice; {needs}.")
        ranks[token] = int(rank)
    if sorted(ranks.values()) != list(range(len(ranks))) or any(bytes([byte]) not in ranks for byte in range(256)):
        raise ValueError(f"the tokenizer {name} is damaged: {needs}.")
    for token, rank in ranks.items():
        halves = ((token[:i], token[i:]) for i in range(1, len(token)))
        if len(token) != 1 and not any(ranks.get(a, rank) < rank and ranks.get(b, rank) < rank for a, b in halves):
            raise ValueError(f"the tokenizer {name} is damaged: its token {rank}, {token!r}, is not made of two earlier ones.")
    return _encoding(name, ranks)


def tokenizer_text(tokenizer: tiktoken.Encoding) -> str:
    """The text of the tokenizer's file, for a checkpoint to carry inside."""
    tokens = (tokenizer.decode_single_token_bytes(rank) for rank in range(tokenizer.n_vocab - 1))
    return "".join(f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(tokens))


def save_tokenizer(tokenizer: tiktoken.Encoding, path: str | Path) -> None:
    """Writes the tokenizer's file, whole or not at all."""
    with whole_file(path, "w") as file:
        file.write(tokenizer_text(tokenizer))


def _encoding(name: str, ranks: dict[bytes, int]) -> tiktoken.Encoding:
    return tiktoken.Encoding(name, pat_str=SPLIT_PATTERN, mergeable_ranks=ranks, special_tokens={EOT: len(ranks)})


def train_bpe(texts: Iterable[str], vocab_size: int, name: str = "bpe") -> tiktoken.Encoding:
    """Learns a byte-level BPE: the 256 bytes, then merges, then the one special token: vocab_size ids.

    Each step merges the pair of neighbours that is most frequent; of equally frequent pairs, the one whose bytes come
    first. `<|endoftext|>` in a text separates and is never learnt from. A text too small for so many merges gives fewer.
    Raises ValueError for a vocab_size under 257.
    """
    if vocab_size < 257:
        raise ValueError(f"vocab_size is {vocab_size}: it must be at least 257, the 256 bytes and {EOT}.")
    words = _count_words(texts)
    counts = list(words.values())
    splits = [[bytes([byte]) for byte in word] for word in words]  # each word as its tokens: single bytes at first
    tokens = [bytes([byte]) for byte in range(256)]

    # How often each pair occurs, and in which words. Kept up to date, never recounted.
    count: Counter[Pair] = Counter()
    where: defaultdict[Pair, set[int]] = defaultdict(set)
    for number, split in enumerate(splits):
        for pair in pairwise(split):
            count[pair] += counts[number]
            where[pair].add(number)
    heap = [(-n, pair) for pair, n in count.items()]
    heapq.heapify(heap)

    while len(tokens) < vocab_size - 1 and heap:
        n, best = heapq.heappop(heap)
        if -n != count[best]:
            continue  # an old entry: a newer one has the count of today
        # Always a new token: where the same bytes stand between two cuts, the merges so far have cut them up alike, so
        # no other pair can have spelt it before. tiktoken, which knows tokens and not pairs, merges as we do here.
        tokens.append(best[0] + best[1])
        changed: set[Pair] = set()
        for number in where.pop(best):
            before, after = splits[number], _merge(splits[number], best)
            splits[number] = after
            for pair in pairwise(before):
                count[pair] -= counts[number]
            for pair in pairwise(after):
                count[pair] += counts[number]
                where[pair].add(number)
            changed.update(pairwise(before), pairwise(after))
        for pair in changed:
            if count[pair] > 0:
                heapq.heappush(heap, (-count[pair], pair))
    return _encoding(name, {token: rank for rank, token in enumerate(tokens)})


def _count_words(texts: Iterable[str]) -> Counter[bytes]:
    """How often each piece of the split pattern occurs. Merges stay inside a piece, so each is looked at once."""
    pattern = regex.compile(SPLIT_PATTERN)
    words: Counter[str] = Counter()
    for text in texts:
        for part in text.split(EOT):
            words.update(pattern.findall(part))
    return Counter({word.encode(): count for word, count in words.items()})


def _merge(split: list[bytes], pair: Pair) -> list[bytes]:
    """The tokens of one word, with each two neighbours that are `pair` made one, from the left."""
    merged: list[bytes] = []
    i = 0
    while i < len(split):
        if tuple(split[i : i + 2]) == pair:
            merged.append(pair[0] + pair[1])
            i += 2
        else:
            merged.append(split[i])
            i += 1
    return merged
