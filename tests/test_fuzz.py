"""A few seeded rounds of every attack in fuzz.py; an hour of them by hand: `python tests/fuzz.py --minutes 60`."""

from fuzz import rounds


def test_whatever_comes_in_only_a_sentence_or_a_true_success_comes_out(tmp_path):
    counts, wrong, _ = rounds(seed=2026, room=tmp_path, most=25)
    assert not wrong, "\n".join(wrong)
    refused = {kind for kind, end in counts if end == "refused"}
    done = {kind for kind, end in counts if end == "done"}
    assert {"train", "generate", "checkpoint", "last", "log", "meta", "prepare"} <= refused & done | {"log", "last"}, counts
