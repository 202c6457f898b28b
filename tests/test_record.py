"""The record of a run: slices that go on, and numbers that agree with the log and with a hand count."""

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch

from yzlin import ROOT
from yzlin.__main__ import main
from yzlin.presets import PRESETS
from yzlin.runs import read_log
from yzlin.tools import record

CPU = torch.device("cpu")
TINY = "--n_layer 1 --n_head 1 --n_embed 16 --block_size 16 --batch_size 2 --max_iters 6 --eval_interval 3 --eval_iters 1"


@pytest.fixture
def run(book_data, tmp_path, monkeypatch):
    """A folder, and the command that records a tiny run in it."""
    monkeypatch.setattr(record, "peak_flops", lambda device: (1e12, "a number of this test"))
    out = tmp_path / "run"
    words = f"record --preset cpu {TINY} --eval_stories 2 --log_interval 1 --device cpu --dtype float32".split()
    return out, [*words, "--data", str(book_data), "--out", str(out)]


def test_a_run_in_slices_ends_where_an_unbroken_one_ends(run, capsys):
    out, command = run
    calls = 0
    while calls < 10:  # a slice ends at the first row after its minutes: here at each
        calls += 1
        assert main([*command, "--minutes", "0.00001"]) == 0
        found = json.loads((out / "record.json").read_text(encoding="utf-8"))
        if found["finished"]:
            break
        assert "the same command goes on" in capsys.readouterr().out
    assert calls > 2 and len(found["slices"]) == calls
    assert [part["from"] for part in found["slices"]] == [0] + [part["to"] for part in found["slices"][:-1]]
    assert found["minutes_in_all"] == pytest.approx(sum(part["minutes"] for part in found["slices"]), abs=0.01)
    assert [row["iter"] for row in read_log(out / "log.csv")] == [0, 1, 2, 3, 4, 5, 6]
    assert found["iterations"] == 6 and found["tokens"] == 6 * 2 * 16 and found["dtype"] == "float32"
    # 6 FLOPs for each weight but the positions' (V and 16 channels, a block of 16 x 16 x 16, three norms), and attention
    flops = 6 * (3198 * 16 + 16 * 16**2 + 3 * 16) + 12 * 16 * 16
    assert found["mfu"] == pytest.approx(found["tokens_per_s"] * flops / 1e12)
    assert found["kwh"] is None
    text = (out / "record.md").read_text(encoding="utf-8")
    assert "| energy | not measured |" in text and f"torch {torch.__version__}" in text and "6 of 6" in text
    assert (out / "record.png").read_bytes().startswith(b"\x89PNG")
    assert main(command) == 0 and "finished" in capsys.readouterr().out
    assert len(json.loads((out / "record.json").read_text(encoding="utf-8"))["slices"]) == calls


@pytest.mark.skipif(os.name == "nt", reason="Windows starts nothing with a signal ignored")
def test_a_slice_ends_also_where_a_script_started_it_in_the_background(run):
    """`command &` in a script: the shell has it ignore Ctrl-C's signal."""
    out, command = run
    done = subprocess.run(
        [sys.executable, "-m", "yzlin", *command, "--minutes", "0.00001"], capture_output=True, text=True, timeout=300,
        cwd=ROOT, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )  # fmt: skip
    assert done.returncode == 0 and "the same command goes on" in done.stdout, done.stderr
    assert json.loads((out / "record.json").read_text(encoding="utf-8"))["iterations"] < 6


def test_a_slice_leaves_room_for_a_wait_as_long_as_the_longest(monkeypatch):
    """Rows at 25, 40, 50 and 60 seconds: the next may come at 75, as the second came 15 later. The start's 25 come once."""
    seconds = iter([0, 25, 40, 50, 60, 1000])
    stopped = []
    monkeypatch.setattr(record, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    monkeypatch.setattr(record, "signal", SimpleNamespace(raise_signal=stopped.append, SIGTERM=signal.SIGTERM))

    def train(args, on_log):
        for iteration in range(4):
            assert not stopped, "one row too late"
            on_log({"iter": iteration})
        return {"from_iter": 0, "iter_num": 3, "finished": False}

    monkeypatch.setattr(record, "train", train)
    found = record.run_slice(PRESETS["cpu"], 70 / 60, record.PowerMeter(CPU))
    assert stopped == [signal.SIGTERM] and found["to"] == 3


def test_time_and_energy_of_iterations_that_were_not_recorded_are_not_known(run, monkeypatch):
    out, command = run
    assert main(["train", *command[1:], "--max_iters", "3"]) == 0  # half of it without a record
    monkeypatch.setattr(record.PowerMeter, "kwh", 0.5)
    assert main(command) == 0
    found = json.loads((out / "record.json").read_text(encoding="utf-8"))
    assert found["slices"][0]["from"] == 3 and found["iterations"] == 6
    assert found["minutes_in_all"] is None and found["kwh"] is None
    text = (out / "record.md").read_text(encoding="utf-8")
    assert "| minutes in all | not known: " in text and "| energy | not measured |" in text


def test_a_system_that_does_not_say_its_memory_has_a_record_all_the_same(run, monkeypatch):
    monkeypatch.setattr(record, "peak_memory", lambda device: float("nan"))  # as on Windows
    out, command = run
    assert main(command) == 0
    assert "| most memory | not measured |" in (out / "record.md").read_text(encoding="utf-8")
    assert json.loads((out / "record.json").read_text(encoding="utf-8"))["peak_memory_bytes"] is None


def test_energy_is_power_times_time():
    """A command that says 100 watts, ten times in a second, between words that are no numbers."""
    code = "import time\nprint('[N/A]', flush=True)\nfor _ in range(10):\n print(100.0, flush=True); time.sleep(0.1)"
    start = time.monotonic()
    with record.PowerMeter(CPU, [sys.executable, "-c", code]) as meter:
        meter.process.wait()
        meter.thread.join()
    most = 100 * (time.monotonic() - start) / 3.6e6
    assert meter.readings == 10 and 50 / 3.6e6 < meter.kwh <= most  # at least half a second of 100 watts


def test_readings_that_come_all_at_once_are_not_taken_for_no_energy():
    """A program that keeps its lines back for four seconds: no reading says what was between."""
    code = "import time\ntime.sleep(4)\nfor _ in range(8): print(100.0)"
    with record.PowerMeter(CPU, [sys.executable, "-c", code]) as meter:
        meter.process.wait()
        meter.thread.join()
    assert meter.readings == 8 and meter.kwh is None


def test_without_a_gpu_energy_is_not_measured():
    with record.PowerMeter(CPU) as meter:
        pass
    assert meter.command is None and meter.kwh is None


def test_minutes_must_be_positive(run, capsys):
    assert main([*run[1], "--minutes", "0"]) == 2
    assert "choose a number above 0" in capsys.readouterr().err
