"""The project's own files agree with each other."""

import json
import re
import subprocess
import sys

import pytest

from yzlin import ROOT, __version__

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


def test_the_package_is_thin():
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / "yzlin").glob("*.py")}
    assert sum(lengths.values()) < 3600, lengths
    assert max(lengths.values()) < 500, lengths


def test_importing_yzlin_needs_neither_widgets_nor_matplotlib():
    code = (
        "import sys, yzlin, yzlin.train, yzlin.generate; print(*{'ipywidgets', 'matplotlib', 'IPython'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and done.stdout.strip() == "", done.stdout + done.stderr


def test_arrows_point_one_way():
    imports = {
        path.stem: set(re.findall(r"^\s*from yzlin\.(\w+) import", path.read_text(encoding="utf-8"), re.M))
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
