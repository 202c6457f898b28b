"""Several processes: the same weights as one process, rank 0 alone writes, a lost process costs nothing that was saved."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace

import psutil
import pytest
import torch
from tiny import weights

from yzlin.checkpoint import load_checkpoint
from yzlin.runs import read_log
from yzlin.train import train

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="torchrun with gloo is not tried on Windows")


@pytest.fixture
def args(args, tmp_path):
    return replace(
        args, out=str(tmp_path / "one"), n_embed=32, dropout=0.0, accumulation=4, warmup_iters=4, learning_rate=1e-3,
        min_lr=1e-4, eval_iters=3,
    )  # fmt: skip


def torchrun(args, processes):
    """Starts `torchrun --nproc-per-node=processes -m yzlin train` with these numbers."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command += ["-m", "yzlin", "train", "--preset", "cpu"]
    for name, value in asdict(args).items():
        command += [f"--{'' if value else 'no-'}{name}"] if isinstance(value, bool) else [f"--{name}", str(value)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_two_processes_are_one_with_twice_the_accumulation(args, tmp_path, optimizer):
    args = replace(args, optimizer=optimizer)
    train(args, progress=False)
    two = replace(args, out=str(tmp_path / "two"))
    job = torchrun(two, 2)
    output = job.communicate(timeout=120)[0]
    assert job.returncode == 0, output
    for name, weight in weights(f"{args.out}/last.pt").items():
        torch.testing.assert_close(weights(f"{two.out}/last.pt")[name], weight, atol=1e-5, rtol=1e-4)
    one_log, two_log = read_log(f"{args.out}/log.csv"), read_log(f"{two.out}/log.csv")
    assert [row["iter"] for row in two_log] == [row["iter"] for row in one_log], "rank 0 alone writes"
    assert [row["tokens"] for row in two_log] == [row["tokens"] for row in one_log]
    for a, b in zip(one_log, two_log, strict=True):
        assert (a["val_loss"] is None) == (b["val_loss"] is None)
        if a["val_loss"] is not None:
            assert a["val_loss"] == pytest.approx(b["val_loss"], abs=1e-4), "the evaluation is averaged over the processes"
    assert output.count("finished at iteration 12") == 1


def test_a_killed_process_ends_the_job_and_the_run_goes_on_with_another_number(args, tmp_path):
    broken = replace(args, out=str(tmp_path / "broken"), max_iters=100_000, eval_interval=4)
    job = torchrun(broken, 2)
    deadline = time.monotonic() + 90
    while not os.path.exists(f"{broken.out}/last.pt") and time.monotonic() < deadline and job.poll() is None:
        time.sleep(0.02)
    workers = [process for process in psutil.Process(job.pid).children() if process.environ().get("RANK") == "1"]
    workers[0].send_signal(signal.SIGKILL)
    output = job.communicate(timeout=120)[0]
    assert job.returncode != 0
    assert "another process of this job has ended" in output and "--init_from resume" in output, output
    saved = load_checkpoint(f"{broken.out}/last.pt")["iter_num"]
    assert saved > 0 and saved % 4 == 0

    whole = replace(args, out=str(tmp_path / "whole"), max_iters=saved + 4)
    train(whole, progress=False)
    train(replace(broken, init_from="resume", max_iters=saved + 4), progress=False)
    assert load_checkpoint(f"{broken.out}/last.pt")["iter_num"] == saved + 4
    assert [row["iter"] for row in read_log(f"{broken.out}/log.csv")] == [
        row["iter"] for row in read_log(f"{whole.out}/log.csv")
    ]


def test_resumed_with_another_number_of_processes_it_ends_in_the_same_weights(args, tmp_path):
    train(args, progress=False)
    changed = replace(args, out=str(tmp_path / "changed"))
    stop = []

    def after_six(row):
        stop.append(row["iter"])
        if row["iter"] == 6:
            signal.raise_signal(signal.SIGTERM)  # as a cluster does before it takes the machine away

    assert not train(changed, on_log=after_six, progress=False)["finished"] and stop[-1] == 6
    job = torchrun(replace(changed, init_from="resume"), 2)
    output = job.communicate(timeout=120)[0]
    assert job.returncode == 0, output
    for name, weight in weights(f"{args.out}/last.pt").items():
        torch.testing.assert_close(weights(f"{changed.out}/last.pt")[name], weight, atol=1e-5, rtol=1e-4)


def test_an_accumulation_that_cannot_be_divided_is_refused(args):
    job = torchrun(replace(args, accumulation=3), 2)
    output = job.communicate(timeout=120)[0]
    assert job.returncode != 0 and "accumulation 3 cannot be divided among 2 processes" in output
