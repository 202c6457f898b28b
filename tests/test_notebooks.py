"""Every notebook from top to bottom under strict nbval: the outputs in the file are those that come now."""

import subprocess
import sys

import pytest

from yzlin import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").rglob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.relative_to(ROOT / "notebooks").as_posix() for path in NOTEBOOKS])
def test_notebook_twice(path):
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-cell-timeout=600", "-q", "-p", "no:cacheprovider"]
    command += ["--nbval-sanitize-with", str(ROOT / "tests" / "sanitize.cfg"), str(path)]
    for attempt in ("first", "second"):
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", errors="replace")
        assert run.returncode == 0, f"{attempt} run of {path.name}:\n{run.stdout[-6000:]}\n{run.stderr[-2000:]}"
