"""Training: one loop for a laptop and for many GPUs; a preset is a set of numbers."""

from __future__ import annotations

import argparse
import math
import os
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from tiktoken import Encoding
from torch import Tensor, nn

from yzlin.batches import SPLITS, Batches
from yzlin.device import Threads, autocast, compiled, keep_heap, pick_device, pick_dtype
from yzlin.distributed import World, join_world, lost_connection
from yzlin.generate import evaluation_mode, tell_stories
from yzlin.model import ModelArgs, yzlinGPT
from yzlin.optimizer import Both, make_optimizer
from yzlin.prepare import check_data, data_tokenizer
from yzlin.presets import PRESETS, TrainArgs, add_options, given_options
from yzlin.runs import LossNotFinite, Run, changes, check_same_run, open_run, saved_args, stop_signals
from yzlin.storybook import coherence
from yzlin.tokenizer import tokenizer_text
from yzlin.tools.meta import data_identity
from yzlin.tools.progress import Bar

FIRST_EVAL_BATCH = 2**40  # batches with this number or a higher one are for evaluation, never trained on


def get_lr(current_iter: int, args: TrainArgs) -> float:
    """The learning rate of an iteration: up in a line for warmup_iters, then down a cosine to min_lr at max_iters."""
    if current_iter < args.warmup_iters:
        return args.learning_rate * (current_iter + 1) / args.warmup_iters
    if current_iter >= args.max_iters:
        return args.min_lr
    progress = (current_iter - args.warmup_iters) / (args.max_iters - args.warmup_iters)
    return args.min_lr + 0.5 * (1 + math.cos(math.pi * progress)) * (args.learning_rate - args.min_lr)


def train_step(
    forward: nn.Module,
    optimizer: torch.optim.Optimizer | Both,
    scaler: torch.amp.GradScaler,
    micro_batches: list[tuple[Tensor, Tensor]],
    iteration: int,
    args: TrainArgs,
    world: World,
    loss_sum: Tensor,
) -> Tensor:
    """One iteration: the gradients of all micro-batches, averaged and clipped, then one step. Returns their norm.

    The mean loss is added to loss_sum, a tensor on the device: to read it here would make the CPU wait for the GPU.
    """
    for group in optimizer.param_groups:
        group["lr"] = get_lr(iteration, args)
    for number, (x, y) in enumerate(micro_batches, 1):
        with world.exchange_gradients(forward, number == len(micro_batches)):
            with autocast(world.device, args.dtype):
                loss = forward(x, y)[1] / len(micro_batches)
            scaler.scale(loss).backward()
        loss_sum += loss.detach()
    scaler.unscale_(optimizer)
    norm = torch.nn.utils.clip_grad_norm_(forward.parameters(), args.grad_clip or math.inf)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
    return norm


@torch.no_grad()
def estimate_loss(
    model: yzlinGPT, batches: Batches, eval_iters: int, dtype: str = "float32", world: World | None = None
) -> dict[str, float]:
    """The mean loss in nats per token over the same eval_iters batches of each split, without dropout.

    With several processes each takes its share of the batches, and all get the mean.
    """
    world = world or World(0, 1, batches.device)
    losses = {}
    for split in SPLITS:
        total = torch.zeros((), device=batches.device)
        for number in range(world.rank, eval_iters, world.size):
            x, y = batches.get_batch(split, FIRST_EVAL_BATCH + number)
            with evaluation_mode(model), autocast(batches.device, dtype):
                total += model(x, y)[1]
        losses[split] = world.sum(total).item() / eval_iters
    return losses


class Trainer:
    """What a run holds in memory: the model, its optimizer, its batches, and how far it has come.

    resumed: the checkpoint to go on from, or None for a new model. Raises ValueError where the numbers, the data and the
    checkpoint do not fit together.
    """

    def __init__(self, args: TrainArgs, run: Run, resumed: dict[str, Any] | None = None) -> None:
        self.run, self.world, device = run, run.world, run.world.device
        self.meta, self.tokenizer = check_data(args.data, args.block_size), data_tokenizer(args.data)
        self.model_args = model_args(args, self.meta)
        torch.manual_seed(args.seed)
        torch.set_float32_matmul_precision("high")  # TF32 for what stays float32 on a GPU that has it
        self.model = yzlinGPT(self.model_args).to(device)
        dtype = resumed["dtype"] if resumed and args.dtype == "auto" else pick_dtype(args.dtype, device)
        self.args = args = replace(args, dtype=dtype)
        self.optimizer = make_optimizer(self.model, args, device.type)
        self.scaler = torch.amp.GradScaler("cuda" if device.type == "cuda" else "cpu", enabled=dtype == "float16")
        eot = self.tokenizer.eot_token
        self.batches = Batches(args.data, args.block_size, args.batch_size, args.seed, args.align, eot, device)
        self.iteration, self.best_val_loss, self.seconds = 0, math.inf, 0.0
        self.loss_sum, self.loss_count = torch.zeros((), device=device), 0  # since the last row of the log
        if resumed:
            check_same_run(resumed, args, self.model_args, self.meta, run.saved())
            try:
                self._resume(resumed)
            except torch.OutOfMemoryError:
                raise
            except (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError) as error:
                if "CUDA error" in str(error):  # the card's fault, not the file's
                    raise
                raise ValueError(f"{run.saved()} is damaged ({type(error).__name__}): choose another --out.") from error
        forward = self.model
        if args.compile and self.iteration < args.max_iters:
            forward = compiled(self.model, [self.batches.get_batch("train", number) for number in (0, 1)], dtype)
        self.forward = self.world.share(forward)
        self.grad_norm = torch.zeros(())
        self._begin_lap()

    def _resume(self, resumed: dict[str, Any]) -> None:
        self.model.load_state_dict(resumed["model"])
        self.optimizer.load_state_dict(resumed["optimizer"])
        for group in self.optimizer.param_groups:  # the optimizer's state brings the old run's numbers along
            if "betas" in group:  # AdamW's
                group["betas"] = (self.args.beta1, self.args.beta2)
            if group["params"][0].dim() > 1:  # vectors never decay
                group["weight_decay"] = self.args.weight_decay
        if resumed["scaler"]:  # empty where the run was not in float16 so far
            self.scaler.load_state_dict(resumed["scaler"])
        self.iteration, self.best_val_loss = resumed["iter_num"], resumed["best_val_loss"]
        self.seconds, self.loss_count = resumed["seconds"], resumed["loss_count"]
        self.loss_sum += resumed["loss_sum"]
        self.world.restore_random_state(resumed["rng"])
        if (changed := changes(resumed, self.args)) and self.world.rank == 0:
            print(f"Resumed at iteration {self.iteration}, from here on with: {changed}.")

    def step(self) -> None:
        """One iteration on this process's share of the micro-batches."""
        first = self.iteration * self.args.accumulation + self.world.rank
        numbers = range(first, (self.iteration + 1) * self.args.accumulation, self.world.size)
        micro_batches = [self.batches.get_batch("train", number) for number in numbers]
        self.grad_norm = train_step(
            self.forward, self.optimizer, self.scaler, micro_batches, self.iteration, self.args, self.world, self.loss_sum
        )
        self.iteration += 1
        self.loss_count += 1

    def evaluate(self) -> tuple[dict[str, Any], bool]:
        """A row of the log with the losses on train and val and what the model tells, and whether val was never better."""
        self._check_finite(self.loss_sum.item())
        with self.pause():
            losses = estimate_loss(self.model, self.batches, self.args.eval_iters, self.args.dtype, self.world)
            self._check_finite(losses["val"])
            told = (None, None)
            if self.world.rank == 0:  # the one that writes the log; the others need no stories
                told = sample_stories(self.model, self.tokenizer, self.args.eval_stories, self.iteration)
        is_best = losses["val"] < self.best_val_loss
        self.best_val_loss = min(losses["val"], self.best_val_loss)
        return self.row(losses, *told), is_best

    def row(
        self, losses: dict[str, float] | None = None, coherence: float | None = None, story: str | None = None
    ) -> dict[str, Any]:
        """A row of the log, with the mean training loss and the speed since the row before."""
        self._check_finite(self.loss_sum.item())
        elapsed = time.perf_counter() - self.lap - self.paused
        self.seconds += elapsed
        args = self.args
        tokens_per_iter = args.accumulation * args.batch_size * args.block_size
        done = (self.iteration - self.lap_iteration) * tokens_per_iter
        row = {
            "iter": self.iteration,
            "tokens": self.iteration * tokens_per_iter,
            "train_loss": self.loss_sum.item() / self.loss_count if self.loss_count else losses["train"],
            "val_loss": losses["val"] if losses else None,
            "lr": get_lr(max(self.iteration - 1, 0), args),
            "grad_norm": self.grad_norm.item(),
            "tokens_per_s": round(done / elapsed, 1) if done else None,
            "seconds": round(self.seconds, 2),
            "coherence": coherence,
            "story": story,
        }
        self.loss_sum.zero_()
        self.loss_count = 0
        self._begin_lap()
        return row

    def _begin_lap(self) -> None:
        self.lap, self.lap_iteration, self.paused = time.perf_counter(), self.iteration, 0.0

    @contextmanager
    def pause(self) -> Iterator[None]:
        """What happens in this block is not training: its seconds do not count in the speed."""
        start = time.perf_counter()
        yield
        self.paused += time.perf_counter() - start

    def _check_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise LossNotFinite(self.run.advice(self.iteration, loss))

    def state(self) -> dict[str, Any]:
        """The checkpoint: all that exact resume and generation need. All processes must call it."""
        name = self.meta["tokenizer"]
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "model_args": asdict(self.model_args),
            "iter_num": self.iteration,
            "best_val_loss": self.best_val_loss,
            "seconds": self.seconds,
            "loss_sum": self.loss_sum.item(),
            "loss_count": self.loss_count,
            "dtype": self.args.dtype,
            "scaler": self.scaler.state_dict(),
            "rng": self.world.random_states(),
            "tokenizer": [name, None if name == "gpt2" else tokenizer_text(self.tokenizer)],
            "data": data_identity(self.meta),
            "train_args": asdict(self.args),
        }


def model_args(args: TrainArgs, meta: dict[str, Any]) -> ModelArgs:
    """The model's shape, with the tokenizer's vocabulary where vocab_size is 0."""
    vocab_size = args.vocab_size or meta["vocab_size"]
    if vocab_size < meta["vocab_size"]:
        raise ValueError(f"vocab_size {vocab_size} is less than the {meta['vocab_size']} ids of {args.data}: leave it at 0.")
    shape = {name: getattr(args, name) for name in ("block_size", "n_layer", "n_head", "n_embed", "dropout", "bias")}
    return ModelArgs(vocab_size=vocab_size, **shape)


def sample_stories(model: yzlinGPT, tokenizer: Encoding, eval_stories: int, seed: int) -> tuple[float | None, str]:
    """Of eval_stories sampled stories (temperature 0.7) the share that keep their facts, 0 to 1, and the first of them.

    Where eval_stories is 0 the text is not the storybook: no share, one story.
    """
    told = tell_stories(model, tokenizer, eval_stories or 1, temperature=0.7, seed=seed)
    return coherence(told) if eval_stories else None, told[0]


def train(
    args: TrainArgs,
    on_log: Callable[[dict[str, Any]], None] | None = None,
    progress: bool = True,
    on_save: Callable[[Path], None] | None = None,
) -> dict[str, Any]:
    """Trains as `args` says and returns {"from_iter", "iter_num", "best_val_loss", "finished", "message"}.

    Leaves in args.out: checkpoint.pt (the best on val loss), last.pt (to resume), log.csv (one row per log interval).
    on_log gets each row of the log as a dict when it is written, for a plot or an experiment tracker; on_save gets the
    path of each checkpoint that was written. Where a run goes on with other numbers than before, one line names them.
    """
    world = join_world(args.device)
    if args.accumulation % world.size:
        raise ValueError(f"accumulation {args.accumulation} cannot be divided among {world.size} processes: choose a multiple.")
    if world.device.type == "cpu":
        keep_heap()
    elif world.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()  # the plot and the record show this run's own
    try:
        return run_once(args, world, on_log or (lambda row: None), progress, on_save)
    except torch.OutOfMemoryError as error:
        traceback.clear_frames(error.__traceback__)  # a notebook keeps the last error: it must not keep the model with it
        raise RuntimeError(
            f"the GPU has too little memory free for this run: halve batch_size and double accumulation ({error})"
        ) from None
    except RuntimeError as error:
        if world.size == 1 or not lost_connection(error):
            raise
        raise RuntimeError(
            f"rank {world.rank}: another process of this job has ended, and its own message says why; what was saved last is "
            f"in {args.out}: go on with --init_from resume."
        ) from error


def run_once(
    args: TrainArgs,
    world: World,
    on_log: Callable[[dict[str, Any]], None],
    progress: bool,
    on_save: Callable[[Path], None] | None,
) -> dict[str, Any]:
    """`train`, but for what it says where the memory or the connection is lost."""
    with open_run(args.out, world, on_save) as run:
        resumed = run.to_resume(args.init_from)
        trainer, fresh = Trainer(args, run, resumed), resumed is None
        del resumed  # its weights are the model's now
        from_iter = trainer.iteration
        run.need_room(12 * sum(p.numel() for p in trainer.model.parameters()))  # the weights and AdamW's two means
        run.open_log(None if fresh else trainer.iteration)
        finished = loop(trainer, fresh, on_log, progress)
        world.wait()
    best = trainer.best_val_loss
    message = f"finished at iteration {trainer.iteration}: best val loss {best:.4f}, saved in {run.out}"
    if not finished:
        message = (
            f"stopped at iteration {trainer.iteration}, saved in {run.last}: go on with --init_from resume --out {run.out}"
        )
    where = {"from_iter": from_iter, "iter_num": trainer.iteration}
    return {**where, "best_val_loss": best, "finished": finished, "message": message}


def loop(trainer: Trainer, fresh: bool, on_log: Callable[[dict[str, Any]], None], progress: bool) -> bool:
    """Steps until max_iters or until somebody asks to stop. Returns whether the run is finished."""
    args, run, world = trainer.args, trainer.run, trainer.world

    def report(row: dict[str, Any]) -> None:
        if world.rank == 0:
            with trainer.pause():  # to draw a plot is not training
                run.log(row)
                bar.say(f"loss {row['train_loss']:.3f}, {row['tokens_per_s'] or 0:,.0f} tokens/s{threads}")
                on_log(row)

    bar = Bar(args.max_iters, trainer.iteration, progress and world.rank == 0)
    with stop_signals() as asked, bar, Threads(world.device, world.size) as threads:
        if fresh:
            report(trainer.evaluate()[0])
        while trainer.iteration < args.max_iters and not world.any(bool(asked)):
            threads.run(trainer.step)
            bar.update()
            if trainer.iteration % args.eval_interval == 0 or trainer.iteration == args.max_iters:
                row, is_best = trainer.evaluate()
                report(row)
                with trainer.pause():
                    run.save(trainer.state(), is_best)
            elif trainer.iteration % args.log_interval == 0:
                report(trainer.row())
        finished = trainer.iteration >= args.max_iters
        if not finished:
            run.save(trainer.state())
    return finished


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_options(parser)


def chosen_preset(options: argparse.Namespace) -> TrainArgs:
    """The preset that is asked for, else the one for this machine; a line where it asks for a GPU and there is none."""
    kind = pick_device(options.device or "auto").type
    if options.preset == "cuda" and kind == "cpu":
        print("The cuda preset on a CPU takes weeks: PyTorch finds no GPU here (`python -m yzlin doctor` says more).")
    return PRESETS[options.preset or ("cuda" if kind == "cuda" else "cpu")]


def main(options: argparse.Namespace) -> int:
    given, preset = given_options(options), chosen_preset(options)
    args = replace(preset, **given)
    if args.init_from != "scratch":  # a run goes on with its own numbers, and with those that are given now
        args = replace(preset, **(saved_args(args.out) | {"out": args.out, "init_from": args.init_from} | given))
    result = train(args)
    if int(os.environ.get("RANK", 0)) == 0:
        print(result["message"])
    return 0
