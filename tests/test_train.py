"""Training: the schedule by hand, resume against an unbroken run, accumulation against one big batch, refusals."""

import gc
import math
import os
import shutil
import signal
import subprocess
import sys
import time
import weakref
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tiny import TINY, same, timeless, weights

from yzlin.batches import Batches
from yzlin.checkpoint import load_checkpoint, load_model
from yzlin.model import ModelArgs, yzlinGPT
from yzlin.optimizer import make_optimizer
from yzlin.prepare import load_meta, prepare
from yzlin.presets import PRESETS
from yzlin.runs import LossNotFinite, read_log
from yzlin.train import get_lr, train


def test_learning_rate_by_hand():
    args = replace(TINY, warmup_iters=4, max_iters=12, learning_rate=1.0, min_lr=0.2)
    got = [get_lr(i, args) for i in (0, 1, 3, 4, 8, 12, 99)]
    assert got == pytest.approx([0.25, 0.5, 1.0, 1.0, 0.6, 0.2, 0.2])
    assert get_lr(6, args) == pytest.approx(0.2 + 0.8 * (1 + math.cos(math.pi / 4)) / 2)


def test_the_original_run_is_a_preset():
    a = PRESETS["cuda"]
    assert (a.n_layer, a.n_head, a.n_embed, a.block_size, a.vocab_size) == (8, 8, 768, 128, 50304)
    assert (a.batch_size, a.accumulation, a.max_iters, a.warmup_iters) == (64, 10, 8000, 2000)
    assert (a.learning_rate, a.min_lr, a.beta1, a.beta2, a.weight_decay, a.grad_clip) == (6e-4, 6e-5, 0.9, 0.95, 0.1, 1.0)
    assert (a.eval_interval, a.eval_iters, a.log_interval) == (1000, 200, 10)


def test_the_cuda_preset_says_how_to_get_its_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="python -m yzlin download tinystories && python -m yzlin prepare"):
        train(PRESETS["cuda"], progress=False)


def test_a_run_leaves_what_it_promises(args):
    result = train(args, progress=False)
    assert result["finished"] and result["iter_num"] == 12
    rows = read_log(args.out + "/log.csv")
    assert [row["iter"] for row in rows] == [0, 2, 4, 6, 8, 10, 12]
    assert [row["iter"] for row in rows if row["val_loss"] is not None] == [0, 4, 8, 12]
    assert rows[-1]["tokens"] == 12 * 4 * 32
    vocab_size = load_meta(args.data)["vocab_size"]
    assert rows[0]["val_loss"] == pytest.approx(math.log(vocab_size), abs=0.1)
    assert rows[-1]["val_loss"] < rows[0]["val_loss"]
    best = load_checkpoint(args.out + "/checkpoint.pt")
    assert {"model", "optimizer", "model_args", "iter_num", "best_val_loss"} <= best.keys()
    assert best["best_val_loss"] == min(row["val_loss"] for row in rows if row["val_loss"] is not None)
    model, tokenizer, _ = load_model(args.out + "/checkpoint.pt")
    assert tokenizer.n_vocab == vocab_size == model.args.vocab_size and not model.training


def test_the_same_run_twice_is_the_same(args, tmp_path):
    train(args, progress=False)
    train(replace(args, out=str(tmp_path / "again")), progress=False)
    assert same(weights(args.out + "/last.pt"), weights(tmp_path / "again" / "last.pt"))


def test_a_stopped_run_goes_on_to_the_same_weights_and_log(args, tmp_path):
    train(args, progress=False)
    broken = replace(args, out=str(tmp_path / "broken"))
    for stop_at in (2, 6, 10):

        def stop(row, stop_at=stop_at):
            if row["iter"] == stop_at:
                signal.raise_signal(signal.SIGINT)  # Ctrl-C

        result = train(replace(broken, init_from="auto"), on_log=stop, progress=False)
        assert not result["finished"] and "--init_from resume" in result["message"]
    assert train(replace(broken, init_from="resume"), progress=False)["finished"]
    a, b = load_checkpoint(args.out + "/last.pt"), load_checkpoint(broken.out + "/last.pt")
    assert same(a["model"], b["model"])
    for state_a, state_b in zip(a["optimizer"]["state"].values(), b["optimizer"]["state"].values(), strict=True):
        assert same(state_a, state_b)
    assert timeless(args.out + "/log.csv") == timeless(broken.out + "/log.csv")


def test_a_killed_run_goes_on_to_the_same_weights_and_log(args, tmp_path):
    args = replace(args, max_iters=60)
    train(args, progress=False)
    out = tmp_path / "killed"
    options = [f"--{k}={v}" for k, v in vars(replace(args, out=str(out), init_from="auto")).items() if not isinstance(v, bool)]
    command = [sys.executable, "-m", "yzlin", "train", "--preset", "cpu", *options]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not (out / "last.pt").exists() and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    subprocess.run(command, check=True, capture_output=True)
    assert same(weights(args.out + "/last.pt"), weights(out / "last.pt"))
    assert timeless(args.out + "/log.csv") == timeless(out / "log.csv")


def test_a_run_that_is_finished_is_not_compiled_again(args, monkeypatch):
    train(args, progress=False)
    monkeypatch.setattr("yzlin.train.compiled", lambda *_: pytest.fail("a minute for nothing"))
    done = train(replace(args, init_from="resume", compile=True), progress=False)
    assert done["finished"] and done["from_iter"] == done["iter_num"] == args.max_iters


def test_accumulation_is_one_big_batch(args, tmp_path):
    plain = replace(args, dropout=0.0, max_iters=3, weight_decay=0.0)
    train(replace(plain, accumulation=4), progress=False)
    # The same 16 windows an iteration, their loss averaged in one go, by a bare loop.
    torch.manual_seed(plain.seed)
    model = yzlinGPT(ModelArgs(32, load_meta(args.data)["vocab_size"], 2, 2, 16))
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.99), weight_decay=0.0)
    batches = Batches(args.data, 32, 4, plain.seed, True, load_meta(args.data)["vocab_size"] - 1)
    for step in range(3):
        optimizer.param_groups[0]["lr"] = get_lr(step, plain)
        x, y = (torch.cat(part) for part in zip(*(batches.get_batch("train", step * 4 + i) for i in range(4)), strict=True))
        model(x, y)[1].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    got = weights(args.out + "/last.pt")
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(got[name], weight, atol=1e-5, rtol=1e-4)


def test_float16_with_the_scaler_runs(args):
    result = train(replace(args, dtype="float16", max_iters=4), progress=False)
    assert result["finished"] and load_checkpoint(args.out + "/last.pt")["scaler"]["scale"] > 0


@pytest.mark.parametrize("dtypes", [("float32", "float16"), ("float16", "float32")])
def test_a_run_goes_on_in_another_dtype(args, dtypes, capsys):
    """A card without bfloat16 takes over a run from one that has it: there was no scaler before."""
    first, second = dtypes
    train(replace(args, dtype=first, max_iters=4), progress=False)
    assert train(replace(args, dtype=second, max_iters=8, init_from="resume"), progress=False)["finished"]
    assert f"dtype {first} -> {second}" in capsys.readouterr().out
    assert bool(load_checkpoint(args.out + "/last.pt")["scaler"]) == (second == "float16")


def test_a_disk_without_room_for_the_checkpoints_is_refused_before_the_first_step(args, monkeypatch):
    rows, free = [], SimpleNamespace(free=10**5)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    with pytest.raises(OSError, match="needs 0.0 GB for its checkpoints.*choose another --out"):
        train(args, on_log=rows.append, progress=False)
    assert not rows
    free.free = 10**9
    train(args, progress=False)
    size = os.path.getsize(args.out + "/last.pt")
    there = size + os.path.getsize(args.out + "/checkpoint.pt")
    free.free = 3 * size - there + 10**5
    assert train(replace(args, init_from="resume"), progress=False)["finished"]  # what is there is written over


def test_a_gpu_that_is_too_small_is_a_sentence(args, monkeypatch):
    def step(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    made = []

    def noted(model, *rest):
        made.append(weakref.ref(model))
        return make_optimizer(model, *rest)

    monkeypatch.setattr("yzlin.train.train_step", step)
    monkeypatch.setattr("yzlin.train.make_optimizer", noted)
    with pytest.raises(RuntimeError, match="halve batch_size and double accumulation .*Tried to allocate 2.00 GiB") as caught:
        train(args, progress=False)
    gc.collect()
    assert caught.value and made[0]() is None, "the error, which a notebook keeps, keeps the model and its memory"


def test_a_card_that_fails_during_a_resume_is_not_the_files_fault(args, monkeypatch):
    train(replace(args, max_iters=4), progress=False)

    def fails(*_):
        raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr("yzlin.train.Trainer._resume", fails)
    with pytest.raises(RuntimeError, match="^CUDA error: unspecified launch failure"):
        train(replace(args, max_iters=8, init_from="resume"), progress=False)


def test_a_run_is_never_overwritten(args):
    train(args, progress=False)
    with pytest.raises(FileExistsError, match="resume"):
        train(args, progress=False)
    before = weights(args.out + "/last.pt")
    assert train(replace(args, init_from="auto"), progress=False)["finished"]  # over already: nothing to do
    assert same(before, weights(args.out + "/last.pt"))


def test_other_model_or_other_data_is_refused(args, tmp_path):
    train(args, progress=False)
    with pytest.raises(ValueError, match="n_layer was 2 and is 3"):
        train(replace(args, init_from="resume", n_layer=3), progress=False)
    prepare("storybook", tmp_path / "other", "storybook", count=400, seed=9, progress=False)
    with pytest.raises(ValueError, match="other data"):
        train(replace(args, init_from="resume", data=str(tmp_path / "other")), progress=False)


@pytest.mark.parametrize(
    ("change", "error", "word"),
    [
        (dict(data="nowhere"), FileNotFoundError, "prepare"),
        (dict(init_from="resume"), FileNotFoundError, "missing"),
        (dict(init_from="magic"), ValueError, "magic"),
        (dict(vocab_size=100), ValueError, "vocab_size"),
        (dict(device="cuda:99"), ValueError, "cuda"),
        (dict(dtype="float8"), ValueError, "float8"),
    ],
)
def test_refused_before_work_starts(args, change, error, word):
    with pytest.raises(error, match=word):
        train(replace(args, **change), progress=False)
    assert not os.path.exists(args.out + "/last.pt")


def test_a_run_directory_belongs_to_one_run(args):
    def second(row):
        with pytest.raises(RuntimeError, match="in use"):
            train(replace(args, init_from="auto"), progress=False)

    train(replace(args, max_iters=2), on_log=second, progress=False)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_state(args, monkeypatch):
    train(replace(args, max_iters=8, eval_interval=4), progress=False)
    before = weights(args.out + "/last.pt")
    forward = yzlinGPT.forward

    def poisoned(self, idx, targets=None):
        logits, loss = forward(self, idx, targets)
        return logits, loss * math.nan

    monkeypatch.setattr(yzlinGPT, "forward", poisoned)
    with pytest.raises(LossNotFinite, match="the loss is nan at iteration 10.*last good"):
        train(replace(args, init_from="resume"), progress=False)
    assert same(before, weights(args.out + "/last.pt"))
