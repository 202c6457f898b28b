"""Writes the plan of lessons into docs/teaching.md, from what the notebooks say of themselves.

    python tests/plan_of_lessons.py

A notebook says "Read: 60 minutes" at its top, and "Break: 20 minutes so far." where a lesson ends ("Break: 20 minutes."
is the length of that lesson alone).
"""

import json
import re

from yzlin import ROOT

PAGE = ROOT / "docs" / "teaching.md"


def plan() -> str:
    """The table: notebook, minutes, lessons."""
    lines = ["| notebook | minutes | lessons of |", "|---|---|---|"]
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        total, lessons = int(re.search(r"^Read: (\d+) minutes", text, re.M)[1]), []
        for minutes, so_far in re.findall(r"^Break: (\d+) minutes( so far)?", text, re.M):
            lessons.append(int(minutes) - sum(lessons) if so_far else int(minutes))
        lessons += [total - sum(lessons)] if total > sum(lessons) else []
        title = re.search(r"^# (.*)", text, re.M)[1]
        lines.append(f"| [{title}](../notebooks/{path.name}) | {total} | {', '.join(map(str, lessons))} |")
    return "\n".join(lines)


def written(page: str) -> str:
    """The page with the plan in its place."""
    return re.sub(r"(?<=<!-- plan -->\n).*?(?=\n<!-- end of the plan -->)", plan().replace("\\", r"\\"), page, flags=re.S)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
