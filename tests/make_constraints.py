"""Writes constraints.txt out of pyproject.toml: `make constraints`. Needs the network; not part of `make test`.

uv resolves once for every Python and system. pip then looks at each pin as on the lowest patch release of each Python and on
each system: the pin must be there as a wheel, and its Requires-Python is written behind it, for tests/test_constraints.py.
A version that leaves out a patch release in between (networkx 3.6.1 does not install on 3.14.1) is not taken.
Pins that still hold are kept; `make constraints UPGRADE=--upgrade` takes the newest of everything but torch.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
TORCH = "torch==2.13.0"  # the release that the committed outputs were made with
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
PATCH_RELEASES = [f"{python}.{patch}" for python in PYTHONS for patch in range(31)]
# what a marker asks of a system, and the wheels that pip may take there
SYSTEMS = {
    "Linux x86-64": (dict(sys_platform="linux", platform_system="Linux", os_name="posix", platform_machine="x86_64"),
                     [f"manylinux_2_{minor}_x86_64" for minor in range(28, 4, -1)] + ["manylinux2014_x86_64"]),
    "Linux ARM": (dict(sys_platform="linux", platform_system="Linux", os_name="posix", platform_machine="aarch64"),
                  [f"manylinux_2_{minor}_aarch64" for minor in range(28, 16, -1)] + ["manylinux2014_aarch64"]),
    "macOS ARM": (dict(sys_platform="darwin", platform_system="Darwin", os_name="posix", platform_machine="arm64"),
                  ["macosx_14_0_arm64"]),
    "Windows": (dict(sys_platform="win32", platform_system="Windows", os_name="nt", platform_machine="AMD64"),
                ["win_amd64"]),
}  # fmt: skip
HEAD = f"""\
# One version of each package, for Python {PYTHONS[0]} to {PYTHONS[-1]}. pyproject.toml has the dependencies, with open ranges.
# Not written by hand: `make constraints` makes this file. Behind each pin stands what the package itself asks of Python.
"""


def marker_environment(python: str, system: dict[str, str]) -> dict[str, str]:
    """What CPython `python`, as "3.11.0", says of itself on this system."""
    short = ".".join(python.split(".")[:2])
    cpython = dict(implementation_name="cpython", platform_python_implementation="CPython", implementation_version=python)
    return cpython | system | dict(python_full_version=python, python_version=short, platform_release="", platform_version="")


def meant_for(pin: Requirement, python: str, system: dict[str, str]) -> bool:
    return not pin.marker or pin.marker.evaluate(marker_environment(python, system))


def refused(pin: Requirement, asked: str, system: dict[str, str]) -> list[str]:
    """The Pythons that the pin is meant for and that are outside of `asked`, the Requires-Python of its package."""
    inside = SpecifierSet("" if asked == "any" else asked)
    return [python for python in PATCH_RELEASES if meant_for(pin, python, system) and not inside.contains(python)]


def resolve(limits: list[str], options: list[str]) -> list[Requirement]:
    """uv's resolution for every Python and system at once; the pins of constraints.txt are kept where they hold."""
    with tempfile.TemporaryDirectory() as folder:
        pinned, bounds = Path(folder, "constraints.txt"), Path(folder, "limits.txt")
        if CONSTRAINTS.exists():
            pinned.write_bytes(CONSTRAINTS.read_bytes())
        bounds.write_text("\n".join(limits))
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--all-extras", "--no-header"]
        command += ["--no-annotate", "--python-version", PYTHONS[0], "--constraint", str(bounds), *options]
        command += [f"--upgrade-package={limit.split('!=')[0]}" for limit in limits if "!=" in limit]
        command += ["pyproject.toml", "--output-file", str(pinned)]
        environment = os.environ | {"UV_PYTHON_DOWNLOADS": "never"}
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, env=environment)
        return [Requirement(line) for line in pinned.read_text(encoding="utf-8").splitlines()]


def asked_of_python(pins: list[Requirement], python: str, wheels: list[str]) -> dict[Requirement, str]:
    """The Requires-Python of each pin, as pip finds the wheels for this Python. pip stops where one is not to be had."""
    with tempfile.TemporaryDirectory() as folder:
        names, report = Path(folder, "pins.txt"), Path(folder, "report.json")
        names.write_text("\n".join(f"{pin.name}{pin.specifier}" for pin in pins))
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps"]
        command += ["--only-binary", ":all:", "--python-version", python, "--target", folder, "--report", str(report)]
        command += [part for wheel in wheels for part in ("--platform", wheel)]
        subprocess.run([*command, "--requirement", str(names)], check=True)
        found = [item["metadata"] for item in json.loads(report.read_text(encoding="utf-8"))["install"]]
    by_name = {item["name"].lower().replace("_", "-").replace(".", "-"): item.get("requires_python", "any") for item in found}
    return {pin: by_name[pin.name] for pin in pins}


def look(pins: list[Requirement]) -> tuple[dict[Requirement, str], list[str]]:
    """(the Requires-Python of every pin, the versions that must not be taken); stops at the first of the latter."""
    asked: dict[Requirement, str] = {}
    for name, (system, wheels) in SYSTEMS.items():
        for python in PYTHONS:
            here = [pin for pin in pins if meant_for(pin, f"{python}.0", system)]
            asked |= asked_of_python(here, f"{python}.0", wheels)
            print(f"{name}, Python {python}: {len(here)} wheels are there", flush=True)
            if bad := [pin for pin in here if refused(pin, asked[pin], system)]:
                return asked, [f"{pin.name}!={str(pin.specifier)[2:]}" for pin in bad]
    return asked, []


def main() -> None:
    limits, bad = [TORCH], ["at first"]
    while bad:
        pins = resolve(limits, sys.argv[1:])
        asked, bad = look(pins)
        limits += bad
        print(*(f"resolved again with {limit}" for limit in bad), sep="\n", end="\n" if bad else "")
    pins = [pin for pin in pins if pin in asked]  # uv also pins for systems that the course does not name, such as emscripten
    lines = [str(pin).replace(";", " ;") + f"  # Requires-Python {asked[pin]}\n" for pin in pins]
    CONSTRAINTS.write_text(HEAD + "".join(lines), encoding="utf-8", newline="\n")
    print(f"{CONSTRAINTS.name}: {len(lines)} pins")


if __name__ == "__main__":
    main()
