"""Runs every notebook, and writes seconds and peak memory into the README's table. Not part of the tests.

    python tests/time_notebooks.py

One notebook after the other, each in a fresh kernel: whole runs, kernel start included; memory is the kernel's own peak.
"""

import json
import platform
import re
import shutil
import tempfile
import time
from datetime import date
from pathlib import Path

import nbformat
import torch
from nbclient import NotebookClient

from yzlin import ROOT
from yzlin.tools.files import whole_file

MEMORY = """
import resource, sys

print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "linux" else 2**20))
"""


def measure(path: Path) -> tuple[float, int]:
    """Seconds of a whole run, and the kernel's peak memory in MB."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(MEMORY))
    start = time.perf_counter()
    NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": tempfile.gettempdir()}}).execute()
    return time.perf_counter() - start, int(notebook.cells[-1].outputs[0].text)


def main() -> None:
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    for made in [*(ROOT / "data").glob("lesson_*"), *(ROOT / "checkpoint").glob("lesson_*")]:
        shutil.rmtree(made) if made.is_dir() else made.unlink()  # as in a fresh clone
    total = 0.0
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        seconds, megabytes = measure(path)
        total += seconds
        print(f"{path.name}: {seconds:.0f} s, {megabytes} MB")
        row = re.compile(rf"(\| \[[^\]]+\]\(notebooks/{path.name}\) \|[^|\n]*\|[^|\n]*\|)[^|\n]*\|[^|\n]*\|")
        assert row.search(text), f"{path.name} has no row in the README's table"
        text = row.sub(rf"\g<1> {seconds:.0f} | {megabytes} |", text)
        title = json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"]
        print("   ", re.search(r"Run: [^.]*\.", "".join(title))[0])
    where = f"{torch.get_num_threads()} CPU threads, {cpu_name()}, torch {torch.__version__}"
    line = f"Measured by `tests/time_notebooks.py` on {date.today()}, {where}; all together {total:.0f} seconds."
    text = re.sub(r"Measured by `tests/time_notebooks.py`.*", line, text)
    with whole_file(readme, "w") as file:
        file.write(text)


def cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else []
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
