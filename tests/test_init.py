"""What `import yzlin` does before anything else: the threads' waiting, in a process of its own, because it is set once."""

import os
import subprocess
import sys

import pytest

from yzlin import ROOT


@pytest.mark.parametrize(
    "own, expected",
    [
        ({}, "1000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "PASSIVE"}, "None"),
    ],
)
def test_threads_spin_shortly_unless_the_reader_says_otherwise(own, expected):
    clean = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    code = "import sys, os, yzlin; print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=clean | own, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [expected, "False"]  # torch comes after it
