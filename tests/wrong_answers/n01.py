"""Plausible wrong answers to the exercises of notebook 01, each with a part of the hint that it should get."""

import itertools
from collections import Counter


def greedy(piece, vocab, step=None):
    tokens, start = [], 0
    while start < len(piece):
        end = next(end for end in range(len(piece), start, -1) if piece[start:end] in vocab)
        tokens.append(piece[start:end])
        start = start + step if step else end
    return tokens


def shortest(piece, vocab):
    return [letter for letter in piece if letter in vocab]


def from_the_right(piece, vocab):
    tokens, end = [], len(piece)
    while end:
        start = next(start for start in range(end) if piece[start:end] in vocab)
        tokens.append(piece[start:end])
        end = start
    return tokens


def growing(piece, vocab):
    tokens, token = [], ""
    for letter in piece:
        if token and token + letter not in vocab:
            tokens.append(token)
            token = ""
        token += letter
    return tokens + [token] * bool(token)


def anywhere(piece, vocab):
    for size in range(len(piece), 0, -1):
        for start in range(len(piece) - size + 1):
            if piece[start : start + size] in vocab:
                middle = piece[start : start + size]
                return anywhere(piece[:start], vocab) + [middle] + anywhere(piece[start + size :], vocab)
    return []


def shortest_path(piece, vocab):
    ways = {0: []}
    for end in range(1, len(piece) + 1):
        found = [ways[start] + [piece[start:end]] for start in range(end) if piece[start:end] in vocab]
        ways[end] = min(found, key=len)
    return ways[len(piece)]


def train(counts, n, weighted=True, first=True, rarest=False, once=False, pick=min, result="".join):
    words, found = {word: list(word) for word in counts}, []
    for _ in range(n):
        pairs = Counter()
        for word, parts in words.items():
            for pair in zip(parts, parts[1:], strict=False):
                pairs[pair] += counts[word] if weighted else 1
        if not pairs and first:
            break
        goal = (min if rarest else max)(pairs.values())
        best = pick([pair for pair in pairs if pairs[pair] == goal])
        found.append(result(best))
        for word, parts in words.items():
            joined, i, done = [], 0, False
            while i < len(parts):
                if tuple(parts[i : i + 2]) == best and not (once and done):
                    joined.append(parts[i] + parts[i + 1])
                    i, done = i + 2, True
                else:
                    joined.append(parts[i])
                    i += 1
            words[word] = joined
    return found


def characters(counts, n):
    pairs = Counter()
    for word, count in counts.items():
        for pair in zip(word, word[1:], strict=False):
            pairs["".join(pair)] += count
    return sorted(pairs, key=lambda pair: (-pairs[pair], pair))[:n]


def ratio(texts, encode):
    return sum(len(text.encode()) for text in texts) / sum(len(encode(text)) for text in texts)


def ratios(texts, encode):
    return [len(text.encode()) / len(encode(text)) for text in texts]


def all_ids(texts, encode):
    return [token for text in texts for token in encode(text)]


def size(texts):
    return sum(len(text.encode()) for text in texts)


WRONG = [
    ("byte_counts", lambda text: list(text.encode("utf-8")), "the bytes themselves"),
    ("byte_counts", lambda text: [ord(letter) for letter in text], "code points"),
    ("byte_counts", lambda text: [len(letter) for letter in text], "always 1"),
    ("byte_counts", lambda text: [len(letter.encode("utf-16")) for letter in text], "a mark"),
    ("byte_counts", lambda text: [len(letter.encode("utf-16-be")) for letter in text], "two bytes"),
    ("byte_counts", lambda text: [len(letter.encode("utf-32-le")) for letter in text], "UTF-32"),
    ("byte_counts", lambda text: [len(word.encode()) for word in text.split()], "each word"),
    ("byte_counts", lambda text: [len(c.encode()) for c in text if c not in " \n"], "blanks are missing"),
    ("byte_counts", lambda text: list(itertools.accumulate(len(c.encode()) for c in text)), "sums"),
    ("byte_counts", lambda text: [len(c.encode()) for c in reversed(text)], "wrong way round"),
    ("byte_counts", lambda text: sorted(len(c.encode()) for c in text), "sorted"),
    ("byte_counts", lambda text: len(text.encode()), "a list of numbers"),
    ("byte_counts", lambda text: [c.encode() for c in text], "your list holds a value of type bytes"),
    ("byte_counts", lambda text: [1 if c.isascii() else 2 for c in text], "it should be"),
    ("byte_counts", lambda text: {c: len(c.encode()) for c in text}, "type dict"),
    ("byte_counts", lambda text: [len(c.encode("ascii")) for c in text], "raised UnicodeEncodeError"),
    ("bytes_per_token", lambda texts, encode: sum(ratios(texts, encode)) / len(texts), "mean of the texts' ratios"),
    ("bytes_per_token", lambda texts, encode: sum(ratios(texts, encode)), "added up"),
    ("bytes_per_token", lambda texts, encode: sum(map(len, texts)) / len(all_ids(texts, encode)), "counts characters"),
    ("bytes_per_token", lambda texts, encode: 1 / ratio(texts, encode), "turn it over"),
    ("bytes_per_token", lambda texts, encode: size(texts), "all the bytes:"),
    ("bytes_per_token", lambda texts, encode: len(all_ids(texts, encode)), "all the tokens:"),
    ("bytes_per_token", lambda texts, encode: ratios(texts, encode)[0], "first text alone"),
    ("bytes_per_token", lambda texts, encode: ratios(texts, encode)[-1], "last text alone"),
    ("bytes_per_token", lambda texts, encode: size(texts) / len(" ".join(texts).split()), "bytes per word"),
    ("bytes_per_token", lambda texts, encode: size(texts) / sum(all_ids(texts, encode)), "sum of the ids"),
    ("bytes_per_token", lambda texts, encode: size(texts) / len(set(all_ids(texts, encode))), "counted once"),
    ("bytes_per_token", lambda texts, encode: size(texts) // len(all_ids(texts, encode)), "rounds down"),
    ("bytes_per_token", lambda texts, encode: round(ratio(texts, encode), 2), "is rounded"),
    ("bytes_per_token", lambda texts, encode: ratios(texts, encode), "a list of 2 where a number"),
    ("bytes_per_token", lambda texts, encode: ratio(texts, encode) + 1, "all the bytes, divided by all the tokens"),
    ("bytes_per_token", lambda texts, encode: len(texts.encode()) / len(encode(texts)), "raised AttributeError"),
    ("longest_match", shortest, "single characters"),
    ("longest_match", lambda piece, vocab: greedy(piece, vocab)[:1], "only the first token"),
    ("longest_match", lambda piece, vocab: greedy(piece, vocab)[:-1], "last token is missing"),
    ("longest_match", lambda piece, vocab: greedy(piece, vocab)[::-1], "wrong way round"),
    ("longest_match", lambda piece, vocab: from_the_right(piece, vocab)[::-1], "you match from the right: begin"),
    ("longest_match", from_the_right, "from the right, and the tokens"),
    ("longest_match", lambda piece, vocab: greedy(piece, vocab, step=1), "by one character"),
    ("longest_match", growing, "stop growing"),
    ("longest_match", anywhere, "longest token anywhere"),
    ("longest_match", shortest_path, "the fewest tokens"),
    ("longest_match", lambda piece, vocab: list(dict.fromkeys(greedy(piece, vocab))), "once"),
    ("longest_match", lambda piece, vocab: [piece], "is not in vocab"),
    ("longest_match", lambda piece, vocab: ["un", "ness"], "together your tokens spell"),
    ("longest_match", lambda piece, vocab: greedy(piece, vocab) or [""], "an empty piece"),
    ("longest_match", lambda piece, vocab: greedy(piece, vocab - {"e"}), "raised StopIteration"),
    ("longest_match", lambda piece, vocab: [*"un", *greedy(piece[2:], vocab)], "for 'unhappiness' it should be"),
    ("longest_match", lambda piece, vocab: "|".join(greedy(piece, vocab)), "a list of strings"),
    ("merges", lambda counts, n: train(counts, n, weighted=False), "counted once"),
    ("merges", lambda counts, n: train(counts, n, pick=lambda pairs: pairs[0]), "not the one seen first"),
    ("merges", lambda counts, n: train(counts, n, pick=max), "last in the alphabet"),
    ("merges", lambda counts, n: train(counts, n, rarest=True), "the rarest"),
    ("merges", lambda counts, n: train(counts, n, once=True), "only once in each word"),
    ("merges", lambda counts, n: train({"".join(word * count for word, count in counts.items()): 1}, n), "across words"),
    ("merges", characters, "then count again"),
    ("merges", lambda counts, n: sorted(set("".join(counts))) + train(counts, n), "the single characters"),
    ("merges", lambda counts, n: train(counts, n + 1), "one merge too many"),
    ("merges", lambda counts, n: train(counts, n - 1), "last merge is missing"),
    ("merges", lambda counts, n: sorted(train(counts, n)), "their order is not"),
    ("merges", lambda counts, n: train(counts, n)[::-1], "the first one learnt"),
    ("merges", lambda counts, n: train(counts, n, result=tuple), "a tuple of 2"),
    ("merges", lambda counts, n: train(counts, n, first=False), "raised ValueError"),
    ("merges", lambda counts, n: train(counts, n)[1:], "merge 1 should be"),
    ("merges", lambda counts, n: Counter(train(counts, n)), "type Counter"),
]
