"""constraints.txt holds on every Python that it claims, by each package's own Requires-Python. No network is needed."""

import re
from importlib.metadata import PackageNotFoundError, metadata

import pytest
from make_constraints import CONSTRAINTS, PATCH_RELEASES, SYSTEMS, TORCH, meant_for, refused
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from yzlin import ROOT

LINES = [line for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]


def read(line: str) -> tuple[Requirement, str]:
    """A pin with its marker, and the Requires-Python behind it."""
    pin, asked = re.fullmatch(r"(.*?)  # Requires-Python (.*)", line).groups()
    return Requirement(pin), asked


PINS = [read(line) for line in LINES]


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_pin_installs_on_every_patch_release_that_it_is_meant_for(name):
    system = SYSTEMS[name][0]
    wrong = {str(pin): pythons for pin, asked in PINS if (pythons := refused(pin, asked, system))}
    assert not wrong


def test_a_pin_that_leaves_out_patch_releases_is_found():
    """The pin with which the first version of this file failed on Debian 12, whose Python is 3.11.2."""
    line = 'soupsieve==4.1.2 ; python_version >= "3.11"  # Requires-Python >=3.11.5'
    assert refused(*read(line), SYSTEMS["Linux x86-64"][0]) == [f"3.11.{patch}" for patch in range(5)]


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_package_has_one_version_in_one_place(name):
    named = re.findall(r'^ *"([A-Za-z0-9-]+)[^"]*",', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    assert "torch" in named and "ipywidgets" in named
    for python in PATCH_RELEASES:
        pins = [pin.name for pin, _ in PINS if meant_for(pin, python, SYSTEMS[name][0])]
        assert len(pins) == len(set(pins)), sorted(pin for pin in pins if pins.count(pin) > 1)
        assert set(named) <= set(pins), python


def test_what_requires_python_says_is_what_the_installed_packages_say():
    compared = 0
    for pin, asked in PINS:
        try:
            installed = metadata(pin.name)
        except PackageNotFoundError:
            continue
        if pin.specifier.contains(installed["Version"]):
            assert SpecifierSet(asked.replace("any", "")) == SpecifierSet(installed["Requires-Python"] or ""), pin
            compared += 1
    assert compared > 20


def test_it_names_versions_and_nothing_else():
    assert any(line.startswith(f"{TORCH}  #") for line in LINES), "torch is pinned for every Python and system"
    for pin, _ in PINS:
        assert re.fullmatch(r"==[\w.]+", str(pin.specifier)) and not pin.url and not pin.extras, pin
