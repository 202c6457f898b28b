"""The doctor: it says what is so, a line each, whatever it meets."""

import os
import subprocess
import sys

import pytest
import torch
from packaging.requirements import Requirement

from yzlin import ROOT
from yzlin.prepare import prepare
from yzlin.tools import doctor


def run(*words: str, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "yzlin", *words], capture_output=True, text=True, encoding="utf-8", timeout=300, cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | env,
    )  # fmt: skip


def test_command_line_doctor():
    done = run("doctor")
    assert done.returncode == 0 and done.stdout.startswith("ok   Python") and "intact" in done.stdout
    assert done.stdout.count("intact") >= 3 and "FIX" not in done.stdout and done.stdout.endswith("This machine is ready.\n")
    for name in (
        "torch",
        "requests",
        "filelock",
        "processor:",
        "checkpoint/storyteller/checkpoint.pt: intact",
        "tokenizer gpt2",
    ):
        assert f"\nok   {name}" in done.stdout


@pytest.mark.parametrize("name", ["torch", "tiktoken"])
def test_the_doctor_works_where_a_package_does_not_import(name, tmp_path):
    (tmp_path / f"{name}.py").write_text("raise OSError('libcudart.so.12: cannot open shared object file')")
    done = run("doctor", PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]))
    bad = [line for line in done.stdout.splitlines() if line.startswith("FIX")]
    assert done.returncode == 1 and len(bad) == 1 and bad[0].startswith(f"FIX  {name} ") and "libcudart" in bad[0]
    assert "ok   disk:" in done.stdout and done.stdout.endswith("1 to fix, see above.\n") and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise ImportError('no DLL here')", "no DLL here"),
        ("import no_such_module", "No module named 'no_such_module'"),
        ("import sys; sys.exit(3)", "SystemExit 3"),
        ("1 / 0", "division by zero"),
        ("raise RuntimeError", "RuntimeError"),
        ("def f(:", "invalid syntax"),
    ],
)
def test_whatever_an_import_raises_is_a_line(body, words, tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(doctor, "version", lambda name: "1.0")
    ok, line = doctor.package(Requirement("broken-package"), {})
    assert not ok and line.startswith("broken-package 1.0 does not import") and words in line


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize(("cuda", "words"), [(None, "built without CUDA"), ("13.0", "driver may be too old")])
def test_a_card_that_pytorch_cannot_use_is_named(cuda, words, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    assert not any("NVIDIA" in line for _, line in doctor.device())
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}")
    (line,) = [line for ok, line in doctor.device() if ok and "NVIDIA" in line]
    assert words in line and "pytorch.org" in line


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("gain, words", [(3.6, "takes 1/3.6 of float32's time"), (0.05, "takes 20.0 times float32's time")])
def test_what_bfloat16_gains_is_said_in_words_that_can_be_read(gain, words, monkeypatch):
    monkeypatch.setattr("yzlin.device.bfloat16_gain", lambda: gain)
    (line,) = [line for _, line in doctor.device() if line.startswith("bfloat16:")]
    assert words in line and ("float32 is used" in line) == (gain < 1)


def test_every_package_of_the_project_is_looked_at_and_one_that_is_missing_or_old_is_a_line(monkeypatch):
    needed = ["numpy", "numpy>=999", "no-such-package>=1", "tqdm ; python_version < '3'", "pytest ; extra == 'test'"]
    monkeypatch.setattr(doctor, "requires", lambda name: needed)
    good, old, missing = doctor.packages()
    assert good[0] and good[1].startswith("numpy ")
    assert not old[0] and "numpy>=999 is needed" in old[1]
    assert not missing[0] and missing[1].startswith("no-such-package is missing")


def test_the_project_itself_may_be_missing(monkeypatch):
    def requires(name):
        raise doctor.PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "requires", requires)
    ((ok, line),) = doctor.packages()
    assert not ok and "yzlin is not installed" in line


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A course in another folder: its model is the shipped one, its data a little storybook."""
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    monkeypatch.setattr(doctor, "SHIPPED_MODELS", ("storyteller",))
    (tmp_path / "checkpoint" / "storyteller").mkdir(parents=True)
    model = tmp_path / "checkpoint" / "storyteller" / "checkpoint.pt"
    model.write_bytes((ROOT / "checkpoint" / "storyteller" / "checkpoint.pt").read_bytes())
    prepare("storybook", tmp_path / "data" / "book", "storybook", count=60, progress=False, block_size=16)
    (tmp_path / "data" / "download").mkdir()
    (tmp_path / "data" / "a file").write_text("x")
    return tmp_path


def test_what_is_there_is_looked_at(house):
    assert all(ok for ok, _ in [*doctor.models(), *doctor.data()])
    ((_, line),) = doctor.data()
    assert line.startswith("data/book: ") and line.endswith(" to validate")


GARBAGE = {
    "garbage": lambda path: path.write_bytes(b"garbage"),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1000]) if path.exists() else path.write_bytes(b"PK"),
    "git-lfs": lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"),
    "folder": lambda path: (path.unlink(missing_ok=True), path.mkdir()),
    "missing": lambda path: path.unlink(missing_ok=True),
    "dangling link": lambda path: (path.unlink(missing_ok=True), path.symlink_to("nowhere")),
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_a_shipped_model_that_is_not_what_it_should_be(kind, house):
    if kind == "dangling link" and os.name == "nt":
        pytest.skip("Windows makes no links for everybody")
    GARBAGE[kind](house / "checkpoint" / "storyteller" / "checkpoint.pt")
    ((ok, line),) = doctor.models()
    assert not ok and "git checkout checkpoint/storyteller/checkpoint.pt" in line and "\n" not in line


@pytest.mark.parametrize("kind", set(GARBAGE) - {"missing"})
@pytest.mark.parametrize("name", ["checkpoint/mine/last.pt", "data/book/train.bin", "data/book/meta.json", "data/new/val.bin"])
def test_other_things_that_are_not_what_they_seem(name, kind, house):
    if kind == "dangling link" and os.name == "nt":
        pytest.skip("Windows makes no links for everybody")
    path = house / name
    path.parent.mkdir(exist_ok=True)
    GARBAGE[kind](path)
    lines = [line for ok, line in [*doctor.models(), *doctor.data()] if not ok]
    assert len(lines) == 1 and path.parent.name in lines[0] and "\n" not in lines[0]


def test_a_check_that_fails_is_a_line_and_the_next_one_follows(monkeypatch):
    for name in ("python", "packages", "device", "processor", "disk", "tokenizers", "models", "data"):
        monkeypatch.setattr(doctor, name, boom if name != "disk" else lambda: iter([(True, "disk: fine")]))
    found = list(doctor.look())
    assert [ok for ok, _ in found] == [False] * 4 + [True] + [False] * 3
    assert all("the check itself failed (RuntimeError boom)" in line for ok, line in found if not ok)


def boom():
    raise RuntimeError("boom")


def test_a_damaged_tokenizer_is_a_line(tmp_path, monkeypatch):
    from yzlin import tokenizer as tk

    data = tk.BUILT_IN["storybook"].read_bytes().splitlines(keepends=True)
    (tmp_path / "storybook.tiktoken").write_bytes(b"".join(data[:-1]))
    monkeypatch.setitem(tk.BUILT_IN, "storybook", tmp_path / "storybook.tiktoken")
    good, bad = doctor.tokenizers()
    assert good[0] and not bad[0] and "git checkout data/storybook.tiktoken" in bad[1]


def test_pins_of_a_universal_constraints_file(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    assert doctor.pinned() == {}
    (tmp_path / "constraints.txt").write_text(
        "# made by a resolver\n"
        "--index-url https://example.org/simple\n"
        "Jupyter_Core==5.9.1\n"
        "    # via jupyterlab\n"
        "numpy==1.0 ; python_full_version < '3.0'\n"
        "numpy==2.0 ; python_full_version >= '3.0' and (sys_platform == 'none' or sys_platform != 'none')\n"
        "pywinpty==3.0 ; os_name == 'never'\n"
        "torch==2.13.0  # a word\n"
        "regex==1.0 \\\n"
        "    --hash=sha256:0000\n"
        "zstandard==0.1 ; extra == 'zstd'\n"
    )
    assert doctor.pinned() == {"jupyter-core": "5.9.1", "numpy": "2.0", "torch": "2.13.0", "regex": "1.0"}


def test_a_busy_processor_is_said_with_what_it_costs(monkeypatch):
    monkeypatch.setattr(doctor.time, "thread_time", lambda: 0.0)  # this process gets no time at all
    ((ok, line),) = doctor.processor()
    assert ok and "other programs take 100%" in line and "100.0 times as long" in line


def test_the_shipped_models_are_those_of_the_repository():
    listed = subprocess.run(["git", "ls-files", "checkpoint"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    tracked = {line.split("/")[1] for line in listed.stdout.splitlines() if line.endswith("checkpoint.pt")}
    assert tracked == set(doctor.SHIPPED_MODELS)
