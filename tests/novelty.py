"""How coherent and how new are the shipped model's stories? Not part of the tests.

    python tests/novelty.py [stories]

Prints the share of coherent stories with its standard error, how many occur whole in the training text, and how many share
a run of n words with it; beside them the same of stories newly drawn from the generator, which nobody could call copies.
"""

import sys
from collections.abc import Iterable

from yzlin import ROOT
from yzlin.checkpoint import load_model
from yzlin.generate import tell_stories
from yzlin.storybook import coherence, stories


def runs(words: list[str], n: int) -> Iterable[int]:
    """Each run of n words, as a number."""
    return (hash(tuple(words[i : i + n])) for i in range(len(words) - n + 1))


def main(count: int) -> None:
    model, tokenizer, _ = load_model(ROOT / "checkpoint" / "storyteller" / "checkpoint.pt")
    told = tell_stories(model, tokenizer, count, temperature=0.7, seed=2026)
    share = coherence(told)
    print(f"coherent: {share:.3f}, standard error {(share * (1 - share) / count) ** 0.5:.3f}, of {count} stories")
    train = [story.text for story in stories(20000)]  # the whole corpus, val included
    print(f"whole copies: {len(set(map(str.strip, told)) & set(train))}; different stories: {len(set(told))}")
    drawn = [story.text for story in stories(count, seed=5_000_000)]
    for n in (20, 30, 40, 50, 60, 80):
        known = {run for text in train for run in runs(text.split(), n)}
        shares = [sum(any(run in known for run in runs(text.split(), n)) for text in texts) / count for texts in (told, drawn)]
        print(f"a run of {n} words or more in the training text: {shares[0]:.3f} of the model's, {shares[1]:.3f} of the drawn")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
