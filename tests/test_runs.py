"""Whatever ends a run - a kill inside a save, SIGTERM, a full disk - nothing that was saved is lost. In its own process."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import assert_same_end, timeless

from yzlin.batches import Batches
from yzlin.checkpoint import load_checkpoint
from yzlin.device import compiled
from yzlin.model import ModelArgs, yzlinGPT
from yzlin.prepare import load_meta
from yzlin.presets import TrainArgs
from yzlin.runs import LossNotFinite
from yzlin.train import Trainer, train

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
import shutil
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
    fast = compiled(model, [batches.get_batch("train", number) for number in (0, 1)], "float32")
    if fast is model:
        pytest.skip("no compiler here")
    x, y = batches.get_batch("val", 0)
    torch.testing.assert_close(fast(x, y)[1], model(x, y)[1])
    assert all(p.grad is None for p in model.parameters())  # the trial left nothing behind


def cli(*words: str, **how) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "yzlin", *words], capture_output=True, text=True, timeout=120, **how)


def test_resume_on_the_command_line_is_the_same_run(args, tmp_path):
    """Nothing but --out is given: every number comes from the checkpoint, none from a preset."""
    train(args, progress=False)
    broken = replace(args, out=str(tmp_path / "broken"))

    def stop(row):
        if row["iter"] == 10:
            signal.raise_signal(signal.SIGINT)

    assert not train(broken, on_log=stop, progress=False)["finished"]
    done = cli("train", "--init_from", "resume", "--out", broken.out)
    assert done.returncode == 0 and "Resumed" not in done.stdout and "finished at iteration 24" in done.stdout, done.stderr
    assert_same_end(args.out, broken.out)
    assert timeless(f"{args.out}/log.csv") == timeless(f"{broken.out}/log.csv")


def test_what_is_given_at_a_resume_is_named_takes_effect_and_is_recorded(args):
    train(replace(args, max_iters=8), progress=False)
    given = ["--max_iters", "12", "--learning_rate", "1e-3", "--weight_decay", "0.5", "--beta2", "0.9", "--batch_size", "2"]
    done = cli("train", "--init_from", "resume", "--out", args.out, *given)
    assert done.returncode == 0, done.stderr
    line = "batch_size 4 -> 2; max_iters 8 -> 12; learning_rate 0.01 -> 0.001; weight_decay 0.01 -> 0.5; beta2 0.99 -> 0.9."
    assert f"Resumed at iteration 8, from here on with: {line}" in done.stdout
    saved = load_checkpoint(f"{args.out}/last.pt")
    groups = saved["optimizer"]["param_groups"]
    assert [group["weight_decay"] for group in groups] == [0.5, 0.0]
    assert all(tuple(group["betas"]) == (0.9, 0.9) and group["lr"] <= 1e-3 for group in groups)
    recorded = saved["train_args"]
    assert (recorded["weight_decay"], recorded["beta2"], recorded["batch_size"], recorded["max_iters"]) == (0.5, 0.9, 2, 12)


@pytest.mark.parametrize("init_from", ["resume", "auto"])
def test_checkpoint_pt_alone_is_gone_on_with_and_never_overwritten(args, init_from, tmp_path):
    train(args, progress=False)
    alone = replace(args, out=str(tmp_path / "alone"), init_from=init_from)
    os.mkdir(alone.out)
    half = replace(args, out=str(tmp_path / "half"))
    train(half, on_log=lambda row: row["iter"] == 8 and signal.raise_signal(signal.SIGINT), progress=False)
    os.replace(f"{half.out}/last.pt", f"{alone.out}/checkpoint.pt")
    assert train(alone, progress=False)["finished"]
    assert_same_end(args.out, alone.out)


@pytest.mark.parametrize("init_from", ["resume", "auto"])
def test_a_model_without_optimizer_state_is_refused_and_kept(args, init_from, tmp_path):
    train(replace(args, max_iters=4), progress=False)
    shipped = load_checkpoint(f"{args.out}/checkpoint.pt")
    del shipped["optimizer"], shipped["rng"]
    out = tmp_path / "shipped"
    out.mkdir()
    torch.save(shipped, out / "checkpoint.pt")
    before = (out / "checkpoint.pt").read_bytes()
    with pytest.raises(ValueError, match="has no optimizer and no rng, so training cannot go on from it"):
        train(replace(args, out=str(out), init_from=init_from), progress=False)
    assert (out / "checkpoint.pt").read_bytes() == before


@posix
def test_a_closed_terminal_saves(args, tmp_path):
    train(args, progress=False)
    ended = replace(args, out=str(tmp_path / "ended"))
    hang_up = "lambda row: os.kill(os.getpid(), signal.SIGHUP) if row['iter'] == 6 else None"
    before = "signal.signal(signal.SIGHUP, signal.SIG_DFL)"  # tests under nohup have it ignored
    said, _ = python(ended, before, "print(result['message'])", hang_up).communicate(timeout=120)
    assert "stopped at iteration 6" in said
    train(replace(ended, init_from="resume"), progress=False)
    assert_same_end(args.out, ended.out)


def test_weights_that_are_not_finite_are_never_saved(args, monkeypatch):
    """Ctrl-C after the loss has turned nan, before the log has noticed."""
    train(replace(args, max_iters=8), progress=False)
    before = {name: open(f"{args.out}/{name}", "rb").read() for name in ("last.pt", "checkpoint.pt")}

    def poison_and_stop(self):
        step(self)
        with torch.no_grad():
            self.model.lm_head.weight[0, 0] = float("nan")
        signal.raise_signal(signal.SIGINT)

    step = Trainer.step
    monkeypatch.setattr(Trainer, "step", poison_and_stop)
    with pytest.raises(LossNotFinite, match="last.pt is the last good state"):
        train(replace(args, init_from="resume"), progress=False)
    assert {name: open(f"{args.out}/{name}", "rb").read() for name in before} == before


@posix
def test_a_broken_pipe_ends_the_bar_and_not_the_run(args):
    options = [f"--{k}={v}" for k, v in vars(args).items() if not isinstance(v, bool)]
    process = subprocess.Popen(
        [sys.executable, "-m", "yzlin", "train", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stderr.close()  # as `... 2>&1 | head -1` does
    assert "finished at iteration 24" in process.communicate(timeout=120)[0] and process.returncode == 0


def test_a_bar_in_a_file_is_drawn_rarely(args):
    """`nohup python -m yzlin train > night.txt 2>&1`: a bar every ten seconds, or as often as the reader asks for."""
    options = [f"--{k}={v}" for k, v in vars(args).items() if not isinstance(v, bool)]
    command = [sys.executable, "-m", "yzlin", "train", *options, "--init_from", "scratch"]
    bars = {}
    for seconds in (None, "0"):
        environment = {k: v for k, v in os.environ.items() if k != "TQDM_MININTERVAL"}
        environment |= {"TQDM_MININTERVAL": seconds} if seconds else {}
        shutil.rmtree(args.out, ignore_errors=True)
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
        assert done.returncode == 0 and "24/24" in done.stderr, done.stderr
        bars[seconds] = done.stderr.count("iter/s")
    assert bars[None] <= 5 and bars["0"] >= 20, bars


def test_a_log_that_was_edited_is_refused_and_kept(args):
    train(replace(args, max_iters=8), progress=False)
    log = Path(args.out) / "log.csv"
    good = log.read_text(encoding="utf-8")
    for bad in (good.replace("train_loss", "loss", 1), good.replace("\n4,", "\nfour,", 1)):
        assert bad != good
        log.write_text(bad, encoding="utf-8")
        with pytest.raises(ValueError, match="log.csv is (not a log|damaged in line 4)"):
            train(replace(args, init_from="resume"), progress=False)
        assert log.read_text(encoding="utf-8") == bad


def test_a_run_that_failed_leaves_no_folder(args, tmp_path):
    out = tmp_path / "a" / "b"
    with pytest.raises(FileNotFoundError):
        train(replace(args, out=str(out), data="nowhere"), progress=False)
    assert not (tmp_path / "a").exists()


@pytest.fixture
def one_thread():
    """Compiled code adds the gradients of the embedding in any order, so with two threads no two runs are equal."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_resume_is_exact_when_compiled_with_dropout(args, tmp_path, one_thread):
    args = replace(args, compile=True, max_iters=8)
    train(args, progress=False)
    broken = replace(args, out=str(tmp_path / "broken"))
    train(broken, on_log=lambda row: row["iter"] == 6 and signal.raise_signal(signal.SIGINT), progress=False)
    train(replace(broken, init_from="resume"), progress=False)
    assert_same_end(args.out, broken.out)


def test_a_flipped_bit_in_a_checkpoint_is_a_sentence(args):
    train(replace(args, max_iters=4), progress=False)
    path = Path(args.out) / "checkpoint.pt"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="checkpoint.pt is damaged"):
        load_checkpoint(path)
