"""yzlin: the final code of the course's notebooks, from plain text to a small GPT that tells stories."""

from pathlib import Path

__version__ = "0.1.0"

ROOT = Path(__file__).resolve().parent.parent
"""The folder that holds notebooks/, yzlin/, data/ and checkpoint/."""
