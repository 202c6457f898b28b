"""Text <-> token ids: GPT-2's byte-level BPE without a network, and a BPE learnt from your own text.

Both are a `tiktoken.Encoding`. A tokenizer's file has tiktoken's format: a line a token, its bytes in base64 and its rank.
Byte-pair encoding for text: Sennrich et al., 2016; on bytes, with a split pattern: Radford et al., 2019 (GPT-2).
"""

from __future__ import annotations

import base64
import hashlib
import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import regex
import tiktoken

from yzlin import ROOT
from yzlin.files import is_lfs_pointer, whole_file

EOT = "<|endoftext|>"
"""The special token that stands between two stories."""

GPT2_SHA256 = "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"
BUILT_IN = {"gpt2": ROOT / "data" / "gpt2.tiktoken", "storybook": ROOT / "data" / "storybook.tiktoken"}

# GPT-2's: merges never cross these pieces: 's and the like, a word or a number or other signs with the blank before it, blanks.
SPLIT_PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""


def load_tokenizer(name: str | Path = "gpt2") -> tiktoken.Encoding:
    """ "gpt2", "storybook" (the course's own), or the path of a .tiktoken file. Reads one local file and nothing else."""
    path = BUILT_IN.get(str(name), Path(name))
    if not path.is_file():
        advice = "run `git checkout data`" if str(name) in BUILT_IN else "use gpt2, storybook or a .tiktoken file"
        raise FileNotFoundError(f"the tokenizer file {path} is missing: {advice}.")
    if is_lfs_pointer(path):
        raise ValueError(f"{path} is only a git-lfs pointer, not the tokenizer: run `git lfs pull`.")
    data = path.read_bytes()
    if name == "gpt2" and hashlib.sha256(data).hexdigest() != GPT2_SHA256:
        cause = "its line ends were changed to CRLF" if b"\r\n" in data else "its sha256 is not the known one"
        raise ValueError(f"{path} is damaged ({cause}): restore it with `git checkout data/gpt2.tiktoken`.")
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no tokenizer file: it should hold only base64 and numbers.") from error
    return tokenizer_from_text(str(name) if str(name) in BUILT_IN else path.stem, text)


def tokenizer_from_text(name: str, text: str) -> tiktoken.Encoding:
    """A tokenizer from the text of its file. The ids are the ranks; `<|endoftext|>` comes after the last."""
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(text.splitlines()):
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except ValueError as error:
            raise ValueError(f"the tokenizer {name} is damaged in line {number + 1} ({line[:40]!r}).") from error
    if sorted(ranks.values()) != list(range(len(ranks))) or any(bytes([byte]) not in ranks for byte in range(256)):
        raise ValueError(f"the tokenizer {name} is damaged: it needs all 256 bytes, and the ranks 0 to n - 1 once each.")
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

    `<|endoftext|>` in a text separates and is never learnt from. Of two merges that are equally frequent, the one whose
    bytes come first in order is made. A text too small for so many merges gives fewer. Raises ValueError for a
    vocab_size under 257.
    """
    if vocab_size < 257:
        raise ValueError(f"vocab_size is {vocab_size}: it must be at least 257, the 256 bytes and {EOT}.")
    words = _count_words(texts)
    counts = list(words.values())
    splits = [[bytes([byte]) for byte in word] for word in words]  # each word as its tokens: single bytes at first
    rank = {bytes([byte]): byte for byte in range(256)}

    # How often each two neighbours occur, under their joined bytes, and in which words. Kept up to date, never recounted.
    count: Counter[bytes] = Counter()
    where: defaultdict[bytes, set[int]] = defaultdict(set)
    for number, split in enumerate(splits):
        for joined in _neighbours(split):
            count[joined] += counts[number]
            where[joined].add(number)
    heap = [(-n, joined) for joined, n in count.items()]
    heapq.heapify(heap)

    while len(rank) < vocab_size - 1 and heap:
        n, token = heapq.heappop(heap)
        if -n != count[token]:
            continue  # an old entry: a newer one has the count of today
        rank[token] = len(rank)
        merge_now = {token}
        changed: set[bytes] = set()
        while merge_now:
            # A merge can bring together two neighbours that spell an older token. The encoder joins those at once.
            token = min(merge_now, key=rank.__getitem__)
            merge_now.remove(token)
            for number in where.pop(token):
                before, after = splits[number], _merge(splits[number], token)
                splits[number] = after
                for joined in _neighbours(before):
                    count[joined] -= counts[number]
                    changed.add(joined)
                for joined in _neighbours(after):
                    count[joined] += counts[number]
                    where[joined].add(number)
                    changed.add(joined)
                    if joined in rank:
                        merge_now.add(joined)
        for joined in changed:
            if count[joined] > 0:
                heapq.heappush(heap, (-count[joined], joined))
    return _encoding(name, rank)


def _count_words(texts: Iterable[str]) -> Counter[bytes]:
    """How often each piece of the split pattern occurs. Merges stay inside a piece, so each is looked at once."""
    pattern = regex.compile(SPLIT_PATTERN)
    words: Counter[str] = Counter()
    for text in texts:
        for part in text.split(EOT):
            words.update(pattern.findall(part))
    return Counter({word.encode(): count for word, count in words.items()})


def _neighbours(split: list[bytes]) -> list[bytes]:
    """What each two neighbours spell together."""
    return [left + right for left, right in zip(split, split[1:], strict=False)]


def _merge(split: list[bytes], token: bytes) -> list[bytes]:
    """The tokens of one word, with each two neighbours that spell `token` made one, from the left."""
    merged: list[bytes] = []
    i = 0
    while i < len(split):
        if i + 1 < len(split) and split[i] + split[i + 1] == token:
            merged.append(token)
            i += 2
        else:
            merged.append(split[i])
            i += 1
    return merged
