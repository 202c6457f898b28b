"""Every notebook from top to bottom under strict nbval: the outputs in the file are those that come now.

The outputs were saved by an earlier run, so this is a second one. A notebook that leaves files behind runs once more, and
finds them.
"""

import os
import subprocess
import sys

import pytest

from yzlin import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").rglob("*.ipynb"))


def files_of_runs():
    """The files where notebooks leave some, and when each was written."""
    rooms = [ROOT / name for name in ("data", "checkpoint", "figures", "notebooks")]
    return {path: path.stat().st_mtime_ns for room in rooms for path in room.rglob("*") if path.is_file()}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.relative_to(ROOT / "notebooks").as_posix() for path in NOTEBOOKS])
def test_notebook(path):
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-cell-timeout=600", "-q", "-p", "no:cacheprovider"]
    command += ["--nbval-sanitize-with", str(ROOT / "tests" / "sanitize.cfg"), str(path)]
    how = dict(cwd=ROOT, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})  # the saved outputs are a CPU's
    for attempt in ("first", "second"):
        before = files_of_runs()
        run = subprocess.run(command, **how, capture_output=True, text=True, encoding="utf-8", errors="replace")
        assert run.returncode == 0, f"{attempt} run of {path.name}:\n{run.stdout[-6000:]}\n{run.stderr[-2000:]}"
        if files_of_runs() == before:
            break
