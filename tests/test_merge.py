"""Merging a newer notebook into a reader's copy: no answer and no update is lost."""

import copy
import random

from test_lab import cell, notebook

from yzlin.tools.merge import edited, fingerprints, merge


def test_merge_by_hand():
    """One cell of each kind: what the reader did to it, and what the update did."""
    given = notebook(*(cell(name, name) for name in ("kept", "ran", "mine", "m-gone", "deleted", "both", "moved")))
    mine = notebook(
        cell("own-first", "before everything"),
        *(cell("kept", "kept"), cell("ran", "ran"), cell("mine", "my answer"), cell("own", "behind my answer")),
        *(cell("m-gone", "m-gone"), cell("both", "my both"), cell("moved", "moved")),
    )
    newer = notebook(
        *(cell("moved", "moved"), cell("kept", "kept"), cell("ran", "ran, better"), cell("mine", "mine")),
        *(cell("deleted", "deleted"), cell("both", "their both"), cell("new", "new")),
    )
    merged = merge(mine, newer, fingerprints(given))
    assert ["".join(one["source"]) for one in merged.notebook["cells"]] == [
        *("before everything", "moved", "kept", "ran, better", "my answer", "behind my answer", "my both", "new"),
    ]
    assert (merged.new, merged.clashes) == (3, 1)  # ran, new and the one that is gone; both


def test_merge_loses_no_answer_and_no_update():
    """2,000 random histories, each judged by what a cell was, is here and is there."""
    chance = random.Random(0)
    for _ in range(2000):
        base = notebook(*(cell(f"c{i}", chance.choice("ab")) for i in range(chance.randint(0, 5))))
        mine, newer = copy.deepcopy(base), copy.deepcopy(base)
        for side, letters in ((mine, "mno"), (newer, "xyz")):
            for _ in range(chance.randint(0, 4)):
                place = chance.randint(0, len(side["cells"]))
                if chance.random() < 0.4:
                    side["cells"].insert(place, cell(f"{letters}{chance.random()}", chance.choice(letters)))
                elif place < len(side["cells"]):
                    if chance.random() < 0.3:
                        side["cells"].pop(place)
                    else:
                        side["cells"][place] = side["cells"][place] | {"source": chance.choice(letters)}
        merged, new, clashes = merge(mine, newer, fingerprints(base))
        was, here, there, now = map(fingerprints, (base, mine, newer, merged))
        assert len(now) == len(merged["cells"])
        for name in was | here | there:
            if here.get(name) != was.get(name) and name in here:  # what the reader wrote stays
                assert now[name] == here[name]
            elif here.get(name) == was.get(name):  # what the reader left alone follows the update
                assert now.get(name) == there.get(name)
        both = [name for name in there if here.get(name) != was.get(name) != there[name] != here.get(name)]
        assert clashes == len(both)
        kept = [name for name in now if name in there]
        assert kept == [name for name in there if name in now]
        if base == mine:
            assert now == there and not edited(merged, there)
        assert merge(merged, newer, there).notebook == merged
