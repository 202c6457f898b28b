"""The storybook: seeded stories for small children whose facts are known, and a checker of whether a story keeps them.

The word lists, openings, endings and plots are in data/storybook.txt; all of it was written for this course.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from yzlin import ROOT
from yzlin.tokenizer import EOT
from yzlin.tools.files import whole_file

PRONOUNS = {
    "he": {"child": "boy", "he": "he", "him": "him", "his": "his", "himself": "himself", "He": "He", "His": "His"},
    "she": {"child": "girl", "he": "she", "him": "her", "his": "her", "himself": "herself", "He": "She", "His": "Her"},
}
GENDER_OF = {"he": "he", "him": "he", "his": "he", "himself": "he", "boy": "he"}
GENDER_OF |= {"she": "she", "her": "she", "hers": "she", "herself": "she", "girl": "she"}
CHOICE, SLOT, WORD = re.compile(r"\(([^()]*)\)"), re.compile(r"\{(\w+)\}"), re.compile(r"[A-Za-z]+")


@dataclass
class Story:
    """A story and what must be remembered in it: hero, gender (he or she), thing, noun, helper, place, plot."""

    text: str
    facts: dict[str, str]


@dataclass
class Plot:
    """A row of template lines, and the kinds of things, places and helpers that fit it."""

    title: str
    kinds: dict[str, list[str]]
    lines: list[str] = field(default_factory=list)


@dataclass
class Book:
    """data/storybook.txt, read: lists maps a name to its words, adjectives a kind of things to what they can be."""

    lists: dict[str, list[str]]
    adjectives: dict[str, list[str]]
    plots: list[Plot]


@cache
def book() -> Book:
    """Reads data/storybook.txt, once."""
    lists: dict[str, list[str]] = {}
    adjectives: dict[str, list[str]] = {}
    plots: list[Plot] = []
    section = ""
    for line in (ROOT / "data" / "storybook.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section, _, described_by = line.strip("[]").partition(":")
            adjectives[section] = described_by.split()
        elif section == "plots" and line.startswith("#"):
            title, *kinds = (part.strip() for part in line.lstrip("# ").split("|"))
            plots.append(Plot(title, {kind.split(":")[0]: kind.split(":")[1].split() for kind in kinds}))
        elif section == "plots" and line:
            plots[-1].lines.append(line)
        elif line and not line.startswith("#"):
            if section.startswith(("openings", "interludes", "endings")):
                entries = [line]
            else:  # with commas an entry may be several words, without them each word is one
                entries = [entry.strip() for entry in line.split(",") if entry.strip()] if "," in line else line.split()
            lists.setdefault(section, []).extend(entries)
    return Book(lists, adjectives, plots)


def make_story(index: int, seed: int = 0) -> Story:
    """Story number `index` of a seed. The same on every machine: only random(), whose sequence Python keeps, is drawn."""
    rng = random.Random(f"{seed}:{index}")
    lists = book().lists

    def pick(words: list[str]) -> str:
        return words[int(rng.random() * len(words))]

    plot = pick(book().plots)
    gender = pick(["he", "she"])
    things = f"things {pick(plot.kinds['things'])}"
    noun = pick(lists[things])
    facts = {
        "hero": pick(lists["boys" if gender == "he" else "girls"]),
        "gender": gender,
        "noun": noun,
        "thing": f"{pick(book().adjectives[things])} {noun}",
        "place": pick(lists[f"places {pick(plot.kinds['places'])}"]),
        "helper": pick(lists[f"helpers {pick(plot.kinds['helpers'])}"]),
        "plot": plot.title,
    }
    words = {**facts, "name": facts["hero"], **PRONOUNS[gender]}

    def fill(line: str) -> str:
        line = CHOICE.sub(lambda match: pick(match[1].split("|")), line)
        # A list is drawn from once a story, so that a word that comes again is the same.
        for slot in SLOT.findall(line):
            if slot not in words:
                words[slot] = pick(lists[slot])
        return SLOT.sub(lambda match: words[match[1]], line)

    ends = [line for kind in plot.kinds.get("ends", ["thing", "friend"]) for line in lists[f"endings {kind}"]]
    told = [pick(lists["openings"]), *plot.lines[:4], pick(lists["interludes"]), *plot.lines[4:], pick(ends)]
    lines = [fill(line) for line in told]
    text = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", " ".join(lines))
    return Story(text, facts)


def stories(count: int, seed: int = 0) -> Iterator[Story]:
    """The first `count` stories of a seed."""
    return (make_story(index, seed) for index in range(count))


def write_storybook(path: str | Path, count: int, seed: int = 0) -> None:
    """Writes `count` stories to a text file, `<|endoftext|>` on a line of its own after each."""
    with whole_file(path, "w") as file:
        for story in stories(count, seed):
            file.write(f"{story.text}\n{EOT}\n")


def openings(count: int, seed: int = 1_000_000) -> list[str]:
    """Beginnings up to the hero's name, of stories that the training seeds do not hold: prompts to try a model with."""
    return [story.text[: story.text.index(story.facts["hero"]) + len(story.facts["hero"])] for story in stories(count, seed)]


@dataclass
class StoryCheck:
    """What check_story found: `flags` says of each fact whether it was kept, `problems` says what is wrong, in words."""

    flags: dict[str, bool]
    problems: list[str]
    facts: dict[str, str]

    @property
    def ok(self) -> bool:
        return not self.problems

    def note(self, flag: str, kept: bool, problem: str) -> None:
        """A fact is kept only if every note about it says so."""
        self.flags[flag] = self.flags.get(flag, True) and kept
        if not kept:
            self.problems.append(problem)

    def one_of_a_kind(self, flag: str, what: str, used: list[tuple[int, str]], at_least: int) -> str:
        """Notes whether all uses (place, word) are of one word, often enough; returns the first word, or ""."""
        kinds = list(dict.fromkeys(word for _, word in used))
        self.note(flag, len(kinds) <= 1, f"the {what} is first {kinds[0] if kinds else ''}, then {', '.join(kinds[1:])}")
        self.note(flag, len(used) >= at_least, f"the {what} is named {len(used)} times, and at least {at_least} are needed")
        return kinds[0] if kinds else ""


def check_story(text: str) -> StoryCheck:
    """Does a story, whoever wrote it, keep its facts? Works on any string.

    It looks words up in the storybook's lists, so it needs no knowledge of how the text was made: one hero from the
    first to the last lines, the hero's pronouns throughout, one thing with one look, one helper, one place, the lines
    of one plot in their order, known words only, and an ending.
    """
    lexicon, words, found = _lexicon(), WORD.findall(text), StoryCheck({}, [], {})
    lower = [word.lower() for word in words]

    def uses(kind: str) -> list[tuple[int, str]]:
        return [(i, word) for i, word in enumerate(lower) if word in lexicon[kind]]

    names = [(i, word) for i, word in enumerate(words) if word in lexicon["name"]]
    hero = found.one_of_a_kind("name_kept", "hero", names, 3)
    throughout = bool(names) and names[0][0] < 25 and names[-1][0] >= len(words) * 0.7
    found.note("name_kept", throughout, "the hero is not there from beginning to end")

    gender = lexicon["name"].get(hero, "")
    genders = {GENDER_OF[word] for word in lower if word in GENDER_OF}
    found.note("pronoun_agrees", genders == {gender}, f"the hero {hero} is {gender}, but the pronouns are {sorted(genders)}")

    nouns = uses("noun")
    noun = found.one_of_a_kind("thing_kept", "thing", nouns, 3)
    throughout = bool(nouns) and nouns[0][0] < len(words) / 2 and nouns[-1][0] >= len(words) / 2
    found.note("thing_kept", throughout, "the thing is not there both early and late")
    looks = {lower[i - 1] for i, _ in nouns if i and lower[i - 1] in lexicon["adjective"]}
    found.note("thing_kept", len(looks) == 1, f"the {noun} is {' and '.join(sorted(looks)) or 'never described'}")

    helper = found.one_of_a_kind("helper_kept", "helper", uses("helper"), 2)
    place = found.one_of_a_kind("place_kept", "place", uses("place"), 2)
    plot = _check_telling(found, text, words, lower)
    found.facts = {
        "hero": hero,
        "gender": gender,
        "thing": " ".join([*sorted(looks), noun]),
        "helper": helper,
        "place": place,
        "plot": plot,
    }
    return found


def _check_telling(found: StoryCheck, text: str, words: list[str], lower: list[str]) -> str:
    """Notes whether the lines are those of one plot in their order, and the words those of the storybook; returns the plot."""
    plot, told, total, foreign, in_order = _follow_plot(text)
    found.note("plot_kept", told >= total / 2, f"only {told} of the {total} lines of a plot are told")
    found.note("plot_kept", not foreign, f"lines of {', '.join(sorted(foreign))} stand in {plot}")
    found.note("plot_kept", in_order, f"the lines of {plot} are not in their order")

    found.note("ends", any(ending.search(text.rstrip()) for ending in _endings()), "the story has no ending")
    strange = sorted(set(lower) - _lexicon()["known"].keys())
    found.note("words_known", not strange, f"words that the storybook does not have: {', '.join(strange[:5])}")
    found.note("whole", text.count('"') % 2 == 0, "a quotation is not closed")
    found.note("whole", 50 <= len(words) <= 220, f"{len(words)} words are not the usual length of a story")
    return plot


def coherence(texts: Iterable[str]) -> float:
    """The share of texts that check_story finds nothing wrong with: 0 to 1. Raises ValueError if there are no texts."""
    checks = [check_story(text).ok for text in texts]
    if not checks:
        raise ValueError("coherence is a share of texts, and there are none: give at least one.")
    return sum(checks) / len(checks)


@cache
def _lexicon() -> dict[str, dict[str, str]]:
    """Which words are names (with their gender), nouns of things, their adjectives, helpers, places, or known at all."""
    lists, adjectives = book().lists, book().adjectives
    groups = {key: {w: key for name, words in lists.items() if name.startswith(start) for w in words}
              for key, start in (("noun", "things "), ("helper", "helpers "), ("place", "places "))}  # fmt: skip
    groups["name"] = {name: "she" for name in lists["girls"]} | {name: "he" for name in lists["boys"]}
    groups["adjective"] = {word: key for key, words in adjectives.items() for word in words}
    lines = [line for plot in book().plots for line in plot.lines] + [word for words in lists.values() for word in words]
    text = " ".join(SLOT.sub(" ", line) for line in lines) + " an " + " ".join(groups["adjective"])
    known = {*WORD.findall(text.lower()), *GENDER_OF} - {"hers"}
    groups["known"] = {word: "" for word in known}
    return groups


@cache
def _endings() -> list[re.Pattern[str]]:
    lines = [line for name, lines in book().lists.items() if name.startswith("endings") for line in lines]
    return [re.compile(_pattern(line) + r"$") for line in lines]


@cache
def _plot_lines() -> list[tuple[str, int, str, re.Pattern[str]]]:
    """Each line of each plot: title, number, its longest piece without choices or slots (a quick look), its pattern."""
    return [
        (plot.title, i, max(re.split(r"\{\w+\}|\([^()]*\)|\b[Aa] ", line), key=len), re.compile(_pattern(line)))
        for plot in book().plots
        for i, line in enumerate(plot.lines)
    ]


def _pattern(line: str) -> str:
    """A template line as a regular expression: any of its choices, the right sort of words for each slot."""
    sorts = {"name": "[A-Z][a-z]+", "thing": "[a-z]+ [a-z]+", "noun": "[a-z]+", "helper": "[a-z]+", "place": "[a-z]+"}
    sorts |= {slot: f"(?:{word}|{PRONOUNS['she'][slot]})" for slot, word in PRONOUNS["he"].items()}
    pattern = ""
    for part in re.split(r"(\{\w+\}|[(|)])", line):
        if part in ("(", "|", ")"):
            pattern += "(?:" if part == "(" else part
        elif part.startswith("{"):
            pattern += sorts.get(part.strip("{}"), r"[\w' ]+?")
        else:
            pattern += re.sub(r"\b([Aa])\\ $", r"\1n?\\ ", re.escape(part))
    return pattern


def _follow_plot(text: str) -> tuple[str, int, int, set[str], bool]:
    """The plot that most lines belong to, how many of its lines are told, of how many, other plots' lines, the order."""
    found = [
        (title, i, match.start())
        for title, i, piece, pattern in _plot_lines()
        if piece in text and (match := pattern.search(text))
    ]
    if not found:
        return "no plot", 0, 1, set(), False
    plot = Counter(title for title, _, _ in found).most_common(1)[0][0]
    places = [start for title, _, start in found if title == plot]
    total = next(len(p.lines) for p in book().plots if p.title == plot)
    return plot, len(places), total, {title for title, _, _ in found} - {plot}, places == sorted(places)
