"""The stories are what the course says they are, and the checker tells a coherent story from a broken one."""

import hashlib
import random
import re

import pytest

from yzlin.storybook import (
    GENDER_OF,
    PRONOUNS,
    SLOT,
    WORD,
    _lexicon,
    book,
    check_story,
    coherence,
    make_story,
    openings,
    stories,
)

COUNT = 20_000


@pytest.fixture(scope="module")
def everything():
    return list(stories(COUNT))


def test_size_and_variety(everything):
    texts = [story.text for story in everything]
    assert len(set(texts)) == COUNT
    assert len(book().plots) >= 40 and len({story.facts["plot"] for story in everything}) == len(book().plots)
    lengths = [len(text.split()) for text in texts]
    assert 90 <= sum(lengths) / COUNT <= 160 and max(lengths) <= 165
    assert len({word.lower() for text in texts for word in WORD.findall(text)}) > 1500
    for fact, least in (("hero", 100), ("thing", 300), ("helper", 50), ("place", 30)):
        assert len({story.facts[fact] for story in everything}) >= least


def test_the_same_bytes_everywhere():
    text = "\n".join(story.text for story in stories(200))
    assert hashlib.sha256(text.encode()).hexdigest() == "1ac157fa74b7f0b3195f5514389cb91cb9fc5fe8031411d4061d1631c6e55d57"
    assert make_story(7).text == make_story(7).text != make_story(7, seed=1).text


def test_no_gaps_and_no_slips(everything):
    for story in everything:
        assert not re.search(r"[{}|()\[\]]|  | [,.!?]|^\s|\s$|\bNone\b", story.text), story.text
        assert not re.search(r"\b[Aa] [aeiou]|\b[Aa]n [^aeiouh]", story.text), story.text
        assert not re.search(r"\b(\w+) \1\b", re.sub("xx", "", story.text)), story.text


def test_every_story_is_coherent(everything):
    for story in everything:
        check = check_story(story.text)
        assert check.ok, (check.problems, story.text)
        assert {key: check.facts[key] for key in ("hero", "gender", "thing", "helper", "place", "plot")} == {
            key: story.facts[key] for key in ("hero", "gender", "thing", "helper", "place", "plot")
        }


def test_template_words_never_pass_for_a_fact():
    lexicon = _lexicon()
    fixed = [line for plot in book().plots for line in plot.lines]
    lists = book().lists
    fixed += [
        w for key, words in lists.items() if not key.startswith(("things", "places", "helpers", "girls", "boys")) for w in words
    ]
    for line in fixed:
        for word in WORD.findall(SLOT.sub(" ", line)):
            for group in ("noun", "helper", "place"):
                assert word.lower() not in lexicon[group], (word, line)
            assert word not in lexicon["name"] and word.lower() not in GENDER_OF, (word, line)
    groups = [set(lexicon[group]) for group in ("noun", "helper", "place", "name")]
    assert sum(map(len, groups)) == len(set().union(*groups))


def swap_word(text: str, old: str, new: str) -> str:
    return re.sub(rf"\b{old}\b", new, text)


def halves(text: str) -> tuple[str, str]:
    sentences = re.split(r"(?<=[.!?]) (?=[A-Z])", text)
    middle = len(sentences) // 2
    return " ".join(sentences[:middle]), " ".join(sentences[middle:])


def renamed(story, rng):
    first, second = halves(story.text)
    others = [name for name, gender in _lexicon()["name"].items() if gender == story.facts["gender"] != name]
    return first + " " + swap_word(second, story.facts["hero"], rng.choice([n for n in others if n != story.facts["hero"]]))


def pronoun_flipped(story, rng):
    mine, other = PRONOUNS[story.facts["gender"]], PRONOUNS["she" if story.facts["gender"] == "he" else "he"]
    swap = {mine[key]: other[key] for key in mine if key != "child"}
    found = [match for match in WORD.finditer(story.text) if match[0] in swap]
    match = rng.choice(found)
    return story.text[: match.start()] + swap[match[0]] + story.text[match.end() :]


def other_thing_found(story, rng):
    first, second = halves(story.text)
    return (
        first
        + " "
        + swap_word(second, story.facts["noun"], rng.choice([n for n in _lexicon()["noun"] if n != story.facts["noun"]]))
    )


def ending_dropped(story, rng):
    return story.text[: re.search(r"[.!?]\"? (?=[^.!?]*[.!?]\"?$)", story.text).end() - 1]


def ending_cut(story, rng):
    words = story.text.split(" ")
    return " ".join(words[: rng.randrange(len(words) * 3 // 4, len(words))])


def spliced(story, rng):
    return halves(story.text)[0] + " " + halves(make_story(rng.randrange(10**6), seed=5).text)[1]


@pytest.mark.parametrize("corrupt", [renamed, pronoun_flipped, other_thing_found, ending_dropped, ending_cut, spliced])
def test_a_broken_story_is_rejected(corrupt, everything):
    rng = random.Random(0)
    broken = [(story.text, corrupt(story, rng)) for story in everything[:500]]
    assert all(before != after for before, after in broken)
    assert sum(not check_story(after).ok for _, after in broken) >= 0.95 * len(broken)


@pytest.mark.parametrize("text", ["", " ", "\U0001f600", "a" * 100_000, "He. " * 20_000, "<|endoftext|>", '"', "\x00\n"])
def test_no_text_is_a_problem_for_the_checker(text):
    assert not check_story(text).ok


def test_coherence_is_the_share_of_good_stories(everything):
    good = [story.text for story in everything[:3]]
    assert coherence(good) == 1.0 and coherence([*good, "Once upon a time."]) == 0.75


def test_openings_are_new_and_end_with_the_name(everything):
    beginnings = openings(50)
    assert all(WORD.findall(text)[-1] in _lexicon()["name"] for text in beginnings)
    assert not {story.text for story in stories(50, seed=1_000_000)} & {story.text for story in everything}
