"""yzlin: the final code of the course's notebooks, from plain text to a small GPT that tells stories."""

import os
from pathlib import Path

__version__ = "0.1.0"

ROOT = Path(__file__).resolve().parent.parent
"""The folder that holds notebooks/, yzlin/, data/ and checkpoint/."""

# The threads of a matrix product wait for each other, and GNU's OpenMP (in PyTorch's Linux builds) waits by spinning: beside
# a busy program on the same cores all becomes several times slower. A short spin costs next to nothing on an idle machine.
# It is read once, when torch is imported; a value or a policy of the reader's own stays. `python -m yzlin bench --threads`.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
