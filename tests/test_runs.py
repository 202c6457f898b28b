"""Whatever ends a run - a kill inside a save, SIGTERM, a full disk - nothing that was saved is lost. In its own process."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from tiny import assert_same_end, timeless

from yzlin.batches import Batches
from yzlin.checkpoint import load_checkpoint
from yzlin.device import compiled
from yzlin.model import ModelArgs, yzlinGPT
from yzlin.prepare import load_meta
from yzlin.presets import TrainArgs
from yzlin.train import train

posix = pytest.mark.skipif(os.name == "nt", reason="Windows knows neither SIGKILL nor limits on files")


@pytest.fixture
def args(args):
    return replace(args, max_iters=24, eval_iters=1)


def python(args: TrainArgs, before: str = "", after: str = "", on_log: str = "None") -> subprocess.Popen:
    """A training run in a process of its own; `before` and `after` are code around it, `on_log` is a function."""
    code = "import os, signal, sys\nfrom yzlin.train import *\n"
    code += f"{before}\nresult = train({args!r}, on_log={on_log}, progress=False)\n{after}"
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


# Dies at the n-th save when half of the file is written, or when it is whole and has not got its name yet.
HALF_WRITTEN = """
import torch
real, saves = torch.save, []
def save(checkpoint, file):
    saves.append(1)
    if len(saves) == {n}:
        file.write(b"half a checkpoint" * 1000)
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    real(checkpoint, file)
torch.save = save
"""
NOT_RENAMED = """
import os
real, saves = os.replace, []
def rename(a, b):
    saves.append(str(b).endswith(".pt"))
    if sum(saves) == {n} and saves[-1]:
        os.kill(os.getpid(), signal.SIGKILL)
    real(a, b)
os.replace = rename
"""
BETWEEN = "def on_log(row):\n    if row['iter'] == {n}:\n        os.kill(os.getpid(), signal.SIGKILL)"


@posix
@pytest.mark.parametrize(
    "deaths",
    [
        [HALF_WRITTEN.format(n=1), HALF_WRITTEN.format(n=2), HALF_WRITTEN.format(n=3)],
        [NOT_RENAMED.format(n=2), NOT_RENAMED.format(n=1), NOT_RENAMED.format(n=3)],
        [BETWEEN.format(n=n) for n in (2, 10, 22)],
    ],
    ids=["half written", "not renamed", "between saves"],
)
def test_killed_also_inside_a_save_it_ends_as_an_unbroken_run(args, tmp_path, deaths):
    train(args, progress=False)
    killed = replace(args, out=str(tmp_path / "killed"), init_from="auto")
    for death in deaths:
        process = python(killed, death, on_log="on_log" if "on_log" in death else "None")
        process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL
        for name in ("last.pt", "checkpoint.pt"):
            if os.path.exists(f"{killed.out}/{name}"):
                load_checkpoint(f"{killed.out}/{name}")  # whole
    train(killed, progress=False)
    assert_same_end(args.out, killed.out)
    assert timeless(f"{args.out}/log.csv") == timeless(f"{killed.out}/log.csv")
    assert (
        load_checkpoint(args.out + "/checkpoint.pt")["iter_num"] == load_checkpoint(killed.out + "/checkpoint.pt")["iter_num"]
    )


@posix
def test_sigterm_from_a_cluster_saves_and_says_how_to_go_on(args, tmp_path):
    train(args, progress=False)
    ended = replace(args, out=str(tmp_path / "ended"))
    after_eight = "lambda row: os.kill(os.getpid(), signal.SIGTERM) if row['iter'] == 8 else None"
    process = python(ended, after="print(result['message'])", on_log=after_eight)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and "stopped at iteration 8" in said and "--init_from resume" in said
    train(replace(ended, init_from="resume"), progress=False)
    assert_same_end(args.out, ended.out)


@posix
def test_a_disk_that_is_full_costs_nothing_that_was_saved(args):
    """A limit on the size of files stands for a full disk: the write itself fails, midway."""
    train(replace(args, max_iters=8), progress=False)
    before = {name: open(f"{args.out}/{name}", "rb").read() for name in ("last.pt", "checkpoint.pt")}
    limit = (
        "import resource\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before['last.pt']) // 2},) * 2)"
    )
    process = python(replace(args, init_from="resume"), limit)
    _, error = process.communicate(timeout=120)
    last = error.strip().splitlines()[-1]
    assert process.returncode and "could not be written" in last and "free some space" in last
    assert {name: open(f"{args.out}/{name}", "rb").read() for name in before} == before
    assert not [name for name in os.listdir(args.out) if name.endswith(".part")]
    assert train(replace(args, init_from="resume"), progress=False)["finished"]


def test_a_folder_that_cannot_be_written_is_refused_before_work_starts(args, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="cannot be written to.*choose another --out"):
        train(replace(args, out=str(tmp_path / "file" / "run")), progress=False)


@posix
def test_a_second_process_is_refused_while_the_first_runs_and_not_after_it_was_killed(args):
    first = python(replace(args, max_iters=100_000))
    while not os.path.exists(args.out + "/last.pt") and first.poll() is None:
        time.sleep(0.05)
    second = python(replace(args, init_from="auto"))
    assert "is in use by another training run" in second.communicate(timeout=120)[1].strip().splitlines()[-1]
    first.kill()
    first.communicate()
    with pytest.raises(ValueError, match="n_layer was 2 and is 1"):  # the lock has gone with the process
        train(replace(args, init_from="resume", n_layer=1), progress=False)


def test_without_a_compiler_the_model_runs_uncompiled_and_one_sentence_says_so(args, monkeypatch, capsys):
    def no_compiler(model):
        def broken(*_):
            raise RuntimeError("Compiler: cl is not found.")

        return broken

    monkeypatch.setattr(torch, "compile", no_compiler)
    assert train(replace(args, compile=True), progress=False)["finished"]
    said = capsys.readouterr().out.strip()
    assert len(said.splitlines()) == 1 and "uncompiled" in said


def test_compiled_or_not_the_loss_is_the_same(args):
    vocab_size = load_meta(args.data)["vocab_size"]
    model = yzlinGPT(ModelArgs(32, vocab_size, 1, 2, 16))
    batches = Batches(args.data, 32, 2)
    fast = compiled(model, batches.get_batch("train", 0), "float32")
    if fast is model:
        pytest.skip("no compiler here")
    x, y = batches.get_batch("val", 0)
    torch.testing.assert_close(fast(x, y)[1], model(x, y)[1])
    assert all(p.grad is None for p in model.parameters())  # the trial left nothing behind
