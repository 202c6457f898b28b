"""The numbers of a run: every field has a word of help and a range, and nothing outside of it gets through."""

import math
import subprocess
import sys
from dataclasses import MISSING, fields, replace

import pytest

from yzlin.presets import CPU, CUDA, PRESETS, TrainArgs

NUMBERS = [field for field in fields(TrainArgs) if "low" in field.metadata]


def test_every_field_has_help_and_none_has_a_hidden_default():
    for field in fields(TrainArgs):
        assert len(field.metadata["help"]) > 10, field.name
        assert field.default is MISSING and field.default_factory is MISSING, field.name
    kinds = {"int": int, "float": float, "bool": bool, "str": str}
    for preset in (CPU, CUDA):
        for field in fields(TrainArgs):
            assert isinstance(getattr(preset, field.name), kinds[field.type]), field.name


@pytest.mark.parametrize("field", NUMBERS, ids=lambda field: field.name)
def test_what_is_out_of_range_is_one_sentence(field):
    low, high = field.metadata["low"], field.metadata["high"]
    for edge in (low, high):
        assert getattr(replace(CPU, **{field.name: edge}), field.name) == edge
    for wrong in (low - 1, high + 1, math.nan, math.inf, -math.inf, 10**18, "many", None, True):
        with pytest.raises(ValueError, match=rf"^{field.name} is .*: choose a (whole )?number from \S+ to \S+ \(.+\)\.$"):
            replace(CPU, **{field.name: wrong})


@pytest.mark.parametrize(("name", "wrong"), [("init_from", "magic"), ("dtype", "float8")])
def test_a_word_is_one_of_the_choices(name, wrong):
    with pytest.raises(ValueError, match=rf"^{name} is {wrong}: choose one of "):
        replace(CPU, **{name: wrong})


def test_the_help_names_every_option_its_meaning_and_both_presets():
    done = subprocess.run([sys.executable, "-m", "yzlin", "train", "--help"], capture_output=True, text=True)
    text = " ".join(done.stdout.split())
    for field in fields(TrainArgs):
        assert f"--{field.name}" in text and field.metadata["help"] in text, field.name
        a, b = (getattr(preset, field.name) for preset in PRESETS.values())
        assert (f"default: {a}" if a == b else f"cpu: {a}, cuda: {b}") in text, field.name
    assert "examples:" in text and "None" not in text
