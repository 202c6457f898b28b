"""The project's own files agree with each other."""

import ast
import io
import json
import math
import re
import subprocess
import sys
import tokenize

import pytest

from yzlin import ROOT, __version__
from yzlin.presets import PRESETS
from yzlin.tokenizer import load_tokenizer

if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DEPENDENCIES = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return listed.stdout.splitlines()


def name_of(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9_.-]+", requirement)[0].lower().replace("_", "-")


def test_every_dependency_is_pinned_in_the_constraints():
    pins = {name_of(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")}
    assert {name_of(requirement) for requirement in DEPENDENCIES} <= pins


def test_dependencies_stand_in_pyproject_alone():
    conda = (ROOT / "environment.yml").read_text()
    assert "--editable .[test]" in conda and "--constraint constraints.txt" in conda
    listed = re.findall(r"^\s+- ([a-z][a-z0-9-]*)", conda, re.M)
    assert set(listed) == {"conda-forge", "python", "pip"}
    for file in ("Makefile", ".github/workflows/ci.yml"):
        assert "constraints.txt" in (ROOT / file).read_text() and ".[test]" in (ROOT / file).read_text()


def test_what_is_installed_is_what_is_pinned():
    from importlib.metadata import version

    from yzlin.tools.doctor import pinned

    differ = {name: version(name) for name in map(name_of, DEPENDENCIES) if version(name).split("+")[0] != pinned()[name]}
    if differ:
        pytest.skip(f"other versions are installed on purpose: {differ}")


def test_one_version():
    assert PROJECT["version"] == __version__


def test_what_a_run_makes_is_not_tracked_and_nothing_is_large():
    for name in tracked():
        assert not re.search(r"\.(bin|part)$|last\.pt$|\.egg-info", name), name
        assert (ROOT / name).stat().st_size < 25e6, name


FRONT_ROOMS = ("model", "tokenizer", "batches", "presets", "train", "runs", "distributed", "checkpoint", "generate")
MODULES = sorted((ROOT / "yzlin").rglob("*.py"))


def code_lines(text: str) -> int:
    """Lines that hold code: neither blank, nor a comment, nor a docstring."""
    documented = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            documented.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    nothing = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in nothing:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - documented)


def test_lines_of_code_are_counted_rightly():
    text = '"""Doc\nstring."""\n\n# why\nx = """two\nlines"""\n\ndef f():\n    "doc"\n    return (\n        x\n    )\n'
    assert code_lines(text) == 6


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT / "yzlin").as_posix())
def test_a_file_can_be_read_aloud(path):
    text = path.read_text(encoding="utf-8")
    assert code_lines(text) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno + 1 <= 60, node.name


def test_what_a_lecture_reads_is_short():
    lengths = {name: code_lines((ROOT / "yzlin" / f"{name}.py").read_text(encoding="utf-8")) for name in FRONT_ROOMS}
    assert sum(lengths.values()) < 1300, lengths


def test_every_room_has_its_tests():
    rooms = {path.stem for path in MODULES if path.parent.name != "checks" and not path.stem.startswith("__")}
    tests = {path.stem.removeprefix("test_") for path in (ROOT / "tests").glob("test_*.py")}
    assert rooms <= tests, rooms - tests


def test_the_counts_in_the_readme_are_those_of_the_course():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    lessons = sorted((ROOT / "notebooks").glob("*.ipynb"))
    stubs = 0
    for path in lessons:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        stubs += sum("raise NotImplementedError" in "".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert int(re.search(r"hold (\d+) exercises", readme)[1]) == stubs
    assert len(re.findall(r"^\| \[\d\d ", readme, re.M)) == len(lessons)
    cpu, cuda = PRESETS["cpu"], PRESETS["cuda"]
    row = next(line for line in readme.splitlines() if line.startswith("| schedule"))
    assert f"{cpu.max_iters:,} iterations" in row and f"{cuda.max_iters:,} iterations" in row
    row = next(line for line in readme.splitlines() if line.startswith("| model"))
    for preset in (cpu, cuda):
        shape = f"{preset.n_layer} layers, {preset.n_head} heads, {preset.n_embed} wide, window {preset.block_size}"
        assert shape in row
    assert f"{load_tokenizer('storybook').n_vocab:,} ids" in readme
    shipped = (ROOT / "checkpoint" / "storyteller" / "checkpoint.pt").stat().st_size
    assert f"({shipped / 1e6:.0f} MB)" in readme


def test_importing_yzlin_needs_neither_widgets_nor_matplotlib():
    code = (
        "import sys, yzlin, yzlin.train, yzlin.generate; print(*{'ipywidgets', 'matplotlib', 'IPython'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and done.stdout.strip() == "", done.stdout + done.stderr


def test_arrows_point_one_way():
    imports = {
        path.stem: set(re.findall(r"^\s*from yzlin\.([\w.]+) import", path.read_text(encoding="utf-8"), re.M))
        for path in (ROOT / "yzlin").glob("*.py")
    }
    assert imports["model"] == set()
    assert not any("demo" in used for used in imports.values())
    assert not any("plots" in used for name, used in imports.items() if name != "demo")


def test_the_readme_lists_the_notebooks_and_its_links_lead_somewhere():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"(notebooks/{path.name})" in readme
        title = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"])
        assert title.startswith("# ")
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", readme):
        assert (ROOT / link).exists(), link


def test_the_shipped_model_tells_coherent_stories():
    from yzlin.checkpoint import load_model
    from yzlin.generate import tell_stories
    from yzlin.storybook import coherence

    path = ROOT / "checkpoint" / "storyteller" / "checkpoint.pt"
    model, tokenizer, checkpoint = load_model(path)
    assert path.with_name("log.csv").exists() and checkpoint["train_args"]
    assert coherence(tell_stories(model, tokenizer, 100, temperature=0.7, seed=11)) >= 0.95


def test_the_shipped_model_of_real_text_is_as_its_card_says():
    from yzlin.checkpoint import load_model
    from yzlin.generate import tell_stories
    from yzlin.runs import read_log

    folder = ROOT / "checkpoint" / "tinystories"
    card = (folder / "README.md").read_text(encoding="utf-8")
    model, tokenizer, checkpoint = load_model("tinystories")
    assert (folder / "checkpoint.pt").stat().st_size < 25e6
    assert f"Reaches** {checkpoint['bits_per_byte']:.3f} bits per byte" in card
    best = min(row["val_loss"] for row in read_log(folder / "log.csv") if row["val_loss"])
    logged = best / math.log(2) / checkpoint["data"]["bytes_per_token"]  # over 480 windows, not all
    assert logged == pytest.approx(checkpoint["bits_per_byte"], abs=0.02)
    told = tell_stories(model, tokenizer, ["Once upon a time, there was a"] * 4, temperature=0.7, seed=3, max_tokens=60)
    assert len(set(told)) == 4 and all(len(story.split()) > 30 for story in told)
