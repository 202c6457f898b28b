"""Training: one loop for a laptop and for many GPUs; a preset is a set of numbers."""

from __future__ import annotations

import argparse
import csv
import math
import os
import signal
import time
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from filelock import FileLock, Timeout
from torch.nn.parallel import DistributedDataParallel
from tqdm.auto import tqdm

from yzlin.batches import Batches
from yzlin.checkpoint import load_checkpoint, save_checkpoint
from yzlin.device import autocast, keep_heap, pick_device, pick_dtype
from yzlin.many import any_rank, gather_rng, lost_connection, restore_rng
from yzlin.model import ModelArgs, yzlinGPT
from yzlin.prepare import data_tokenizer, load_meta
from yzlin.tokenizer import tokenizer_text
from yzlin.tools.files import whole_file


@dataclass
class TrainArgs:
    """Every number of a training run; any of them can be set on the command line (`--max_iters 2000`)."""

    # where
    data: str = "data/storybook"
    out: str = "checkpoint/storybook"
    init_from: str = "scratch"  # or "resume": go on from out/last.pt
    # the model
    n_layer: int = 4
    n_head: int = 4
    n_embed: int = 128
    block_size: int = 192
    dropout: float = 0.0
    bias: bool = False
    vocab_size: int = 0  # 0: as many as the tokenizer has
    # the batch
    batch_size: int = 8  # windows in a micro-batch
    accumulation: int = 1  # micro-batches an iteration, over all processes together
    align: bool = True  # windows begin at a story's start
    # the schedule
    max_iters: int = 4500
    learning_rate: float = 4e-3
    min_lr: float = 1e-4
    warmup_iters: int = 100
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.99
    grad_clip: float = 1.0  # 0: no clipping
    # the look at it
    eval_interval: int = 250
    eval_iters: int = 10  # batches of each split
    eval_stories: int = 40  # stories sampled at each evaluation and checked for coherence; for the storybook alone
    log_interval: int = 10
    # the machine
    device: str = "auto"
    dtype: str = "auto"
    compile: bool = False
    seed: int = 1337


PRESETS = {
    "cpu": TrainArgs(),
    "cuda": TrainArgs(
        data="data/tinystories",
        out="checkpoint/tinystories",
        n_layer=8,
        n_head=8,
        n_embed=768,
        block_size=128,
        vocab_size=50304,
        batch_size=64,
        accumulation=10,
        align=False,
        max_iters=8000,
        learning_rate=6e-4,
        min_lr=6e-5,
        weight_decay=0.1,
        beta2=0.95,
        warmup_iters=2000,
        eval_interval=1000,
        eval_iters=200,
        eval_stories=0,
        compile=True,
    ),
}

LOG_COLUMNS = [
    "iter", "tokens", "train_loss", "val_loss", "lr", "grad_norm", "tokens_per_s", "seconds", "coherence", "story"
]  # fmt: skip

FIRST_EVAL_BATCH = 2**40  # the batches from this number on are looked at, never trained on


def get_lr(current_iter: int, args: TrainArgs) -> float:
    """The learning rate of an iteration: up in a line for warmup_iters, then down a cosine to min_lr at max_iters."""
    if current_iter < args.warmup_iters:
        return args.learning_rate * (current_iter + 1) / args.warmup_iters
    if current_iter >= args.max_iters:
        return args.min_lr
    progress = (current_iter - args.warmup_iters) / (args.max_iters - args.warmup_iters)
    return args.min_lr + 0.5 * (1 + math.cos(math.pi * progress)) * (args.learning_rate - args.min_lr)


@torch.no_grad()
def estimate_loss(
    model: yzlinGPT, batches: Batches, eval_iters: int, dtype: str = "float32", rank: int = 0, world: int = 1
) -> dict[str, float]:
    """The mean loss in nats a token over the same eval_iters batches of each split, without dropout.

    With several processes each takes its share of the batches, and all get the mean.
    """
    was_training = model.training
    model.eval()
    losses = {}
    for split in ("train", "val"):
        total = torch.zeros((), device=batches.device)
        for number in range(rank, eval_iters, world):
            x, y = batches.get_batch(split, FIRST_EVAL_BATCH + number)
            with autocast(batches.device, dtype):
                total += model(x, y)[1]
        if world > 1:
            dist.all_reduce(total)
        losses[split] = total.item() / eval_iters
    model.train(was_training)
    return losses


class Stop(RuntimeError):
    """Training cannot go on; the message says why and what to do."""


def train(args: TrainArgs, on_log: Callable[[dict[str, Any]], None] | None = None, progress: bool = True) -> dict[str, Any]:
    """Trains as `args` says and returns {"iter_num", "best_val_loss", "finished", "message"}.

    Leaves in args.out: checkpoint.pt (the best on val loss), last.pt (to resume), log.csv (a row a log interval).
    on_log gets each row of the log as a dict when it is written, for a plot or an experiment tracker.
    """
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    device = pick_device(args.device)
    if device.type == "cuda" and world > 1:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    if world > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    if device.type == "cpu":
        keep_heap()
    if args.accumulation % world:
        raise ValueError(f"accumulation {args.accumulation} cannot be shared out to {world} processes: choose a multiple.")
    if args.init_from not in ("scratch", "resume", "auto"):
        raise ValueError(f"init_from is {args.init_from}: use scratch, resume or auto (resume if there is a run).")
    out = Path(args.out)
    with run_directory(out) if rank == 0 else nullcontext():
        try:
            return _train(args, out, device, rank, world, on_log, progress and rank == 0)
        except RuntimeError as error:
            if world == 1 or not lost_connection(error):
                raise
            raise RuntimeError(
                f"rank {rank}: another process of this job has ended, and its own message says why; what was saved last is in "
                f"{out}: go on with --init_from resume."
            ) from error


def _train(
    args: TrainArgs,
    out: Path,
    device: torch.device,
    rank: int,
    world: int,
    on_log: Callable[[dict[str, Any]], None] | None,
    progress: bool,
) -> dict[str, Any]:
    meta, tokenizer = load_meta(args.data), data_tokenizer(args.data)
    vocab_size = args.vocab_size or meta["vocab_size"]
    if vocab_size < meta["vocab_size"]:
        raise ValueError(f"vocab_size {vocab_size} is less than the {meta['vocab_size']} ids of {args.data}: leave it at 0.")

    torch.manual_seed(args.seed)
    torch.set_float32_matmul_precision("high")  # TF32 for what stays float32 on a GPU that has it
    model_args = ModelArgs(
        block_size=args.block_size, vocab_size=vocab_size, n_layer=args.n_layer, n_head=args.n_head,
        n_embed=args.n_embed, dropout=args.dropout, bias=args.bias,
    )  # fmt: skip
    model = yzlinGPT(model_args).to(device)
    optimizer = model.configure_optimizers(args.weight_decay, args.learning_rate, (args.beta1, args.beta2), device.type)
    state: dict[str, Any] = {"iter_num": 0, "best_val_loss": math.inf, "seconds": 0.0, "loss_sum": 0.0, "loss_count": 0}

    last = out / "last.pt"
    if args.init_from == "scratch" and (last.exists() or (out / "checkpoint.pt").exists()):
        raise FileExistsError(
            f"{out} holds a run already: go on with --init_from resume, or choose another --out, or delete the folder."
        )
    resumed = None
    if args.init_from == "resume" or (args.init_from == "auto" and last.exists()):
        resumed = load_checkpoint(last, device)
        check_same_run(resumed, model_args, meta, last)
        model.load_state_dict(resumed["model"])
        optimizer.load_state_dict(resumed["optimizer"])
        state = {key: resumed[key] for key in state}
    dtype = resumed["dtype"] if resumed and args.dtype == "auto" else pick_dtype(args.dtype, device)
    scaler = torch.amp.GradScaler("cuda" if device.type == "cuda" else "cpu", enabled=dtype == "float16")
    if resumed:
        scaler.load_state_dict(resumed["scaler"])
        restore_rng(resumed["rng"], rank, device)
    log = Log(out / "log.csv", state["iter_num"] if resumed else None) if rank == 0 else None

    batches = Batches(args.data, args.block_size, args.batch_size, args.seed, args.align, tokenizer.eot_token, device)
    forward = compiled(model, batches) if args.compile else model
    if world > 1:
        forward = DistributedDataParallel(forward, device_ids=[device.index] if device.type == "cuda" else None)
    micro_steps = args.accumulation // world
    tokens_per_iter = args.accumulation * args.batch_size * args.block_size
    loss_sum = torch.tensor(state["loss_sum"], device=device)
    grad_norm = torch.zeros(())
    lap, lap_iter, paused = time.perf_counter(), state["iter_num"], 0.0  # paused: seconds of looking, not of training

    def write_row(losses: dict[str, float], coherence: float | None = None, story: str | None = None) -> None:
        """A row of the log: the mean training loss since the row before."""
        nonlocal lap, lap_iter, paused, loss_sum
        elapsed = time.perf_counter() - lap - paused
        train_loss = loss_sum.item() / state["loss_count"] if state["loss_count"] else losses["train"]
        state["seconds"] += elapsed
        done = (state["iter_num"] - lap_iter) * tokens_per_iter
        speed = round(done / elapsed, 1) if done else None
        row = {
            "iter": state["iter_num"], "tokens": state["iter_num"] * tokens_per_iter, "train_loss": train_loss,
            "val_loss": losses.get("val"), "lr": get_lr(max(state["iter_num"] - 1, 0), args), "grad_norm": grad_norm.item(),
            "tokens_per_s": speed, "seconds": round(state["seconds"], 2), "coherence": coherence,
            "story": story,
        }  # fmt: skip
        loss_sum, state["loss_count"] = torch.zeros((), device=device), 0
        lap, lap_iter, paused = time.perf_counter(), state["iter_num"], 0.0
        if log:
            log.write(row)
            bar.set_postfix_str(f"loss {train_loss:.3f}, {speed or 0:,.0f} tokens/s")
            if on_log:
                on_log(row)

    def save(name: str) -> None:
        rng = gather_rng(world, device)
        if rank == 0:
            save_checkpoint(
                out / name,
                {
                    "model": model.state_dict(), "optimizer": optimizer.state_dict(), "model_args": asdict(model_args),
                    **state, "loss_sum": loss_sum.item(), "dtype": dtype, "scaler": scaler.state_dict(), "rng": rng,
                    "tokenizer": [meta["tokenizer"], None if meta["tokenizer"] == "gpt2" else tokenizer_text(tokenizer)],
                    "data": {key: meta[key] for key in ("tokenizer", "vocab_size", "sha256")}, "train_args": asdict(args),
                },
            )  # fmt: skip

    def evaluate() -> None:
        nonlocal paused
        start = time.perf_counter()
        losses = estimate_loss(model, batches, args.eval_iters, dtype, rank, world)
        if not math.isfinite(losses["val"]):
            raise Stop(bad_loss(state["iter_num"], losses["val"], last))
        sample = sample_stories(model, tokenizer, args, state["iter_num"]) if rank == 0 else (None, None)
        paused += time.perf_counter() - start
        write_row(losses, *sample)
        start = time.perf_counter()
        if losses["val"] < state["best_val_loss"]:
            state["best_val_loss"] = losses["val"]
            if state["iter_num"]:
                save("checkpoint.pt")
        if state["iter_num"]:
            save("last.pt")
        paused += time.perf_counter() - start

    with (
        stop_signals() as stopped,
        tqdm(total=args.max_iters, initial=state["iter_num"], unit="iter", disable=not progress, dynamic_ncols=True) as bar,
    ):
        if not resumed:
            evaluate()
        while state["iter_num"] < args.max_iters and not any_rank(stopped, world):
            for group in optimizer.param_groups:
                group["lr"] = get_lr(state["iter_num"], args)
            for micro in range(micro_steps):
                number = state["iter_num"] * args.accumulation + micro * world + rank
                x, y = batches.get_batch("train", number)
                # Gradients are added up here and summed over the processes only once, at the last micro-step.
                wait = forward.no_sync() if world > 1 and micro < micro_steps - 1 else nullcontext()
                with wait:
                    with autocast(device, dtype):
                        loss = forward(x, y)[1] / micro_steps
                    scaler.scale(loss).backward()
                loss_sum += loss.detach()
            scaler.unscale_(optimizer)
            grad_norm = torch.nn.utils.clip_grad_norm_(model.parameters(), args.grad_clip or math.inf)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)
            state["iter_num"] += 1
            state["loss_count"] += 1
            bar.update()

            is_eval = state["iter_num"] % args.eval_interval == 0 or state["iter_num"] == args.max_iters
            if is_eval or state["iter_num"] % args.log_interval == 0:
                if not math.isfinite(loss_sum.item()):
                    raise Stop(bad_loss(state["iter_num"], loss_sum.item(), last))
                if is_eval:
                    evaluate()
                else:
                    write_row({})
        finished = state["iter_num"] >= args.max_iters
        if not finished:
            save("last.pt")
    if world > 1:
        dist.barrier()
    message = f"finished at iteration {state['iter_num']}: best val loss {state['best_val_loss']:.4f}, saved in {out}"
    if not finished:
        message = f"stopped at iteration {state['iter_num']}, saved in {last}: go on with --init_from resume --out {out}"
    return {
        "iter_num": state["iter_num"], "best_val_loss": state["best_val_loss"], "finished": finished, "message": message
    }  # fmt: skip


def bad_loss(iteration: int, loss: float, last: Path) -> str:
    there = f"{last} is the last good state" if last.exists() else "nothing was saved yet"
    return (
        f"the loss is {loss} at iteration {iteration}, so training stopped; {there}: resume with a lower learning_rate, "
        "a longer warmup_iters, or --dtype float32."
    )


def sample_stories(model: yzlinGPT, tokenizer: Any, args: TrainArgs, iteration: int) -> tuple[float | None, str]:
    """Of eval_stories sampled stories (temperature 0.7) the share that keep their facts, 0 to 1, and the first of them.

    Where eval_stories is 0 the text is not the storybook: no share, one story.
    """
    from yzlin.generate import tell_stories
    from yzlin.storybook import coherence

    told = tell_stories(model, tokenizer, args.eval_stories or 1, temperature=0.7, seed=iteration)
    return coherence(told) if args.eval_stories else None, told[0]


def compiled(model: yzlinGPT, batches: Batches) -> Any:
    """The model through torch.compile, or the model itself, with one sentence, where that does not work."""
    try:
        fast = torch.compile(model)
        fast(*batches.get_batch("train", 0))[1].backward()  # compiles now, so that what is missing shows now
        return fast
    except Exception as error:  # a missing compiler shows in many forms
        print(f"torch.compile does not work here ({type(error).__name__}), so the model runs uncompiled: slower, but equal.")
        return model
    finally:
        model.zero_grad(set_to_none=True)


def check_same_run(resumed: dict[str, Any], model_args: ModelArgs, meta: dict[str, Any], path: Path) -> None:
    """Raises ValueError where a checkpoint is not of this model and this data."""
    was, now = resumed["model_args"], asdict(model_args)
    differ = [f"{key} was {was.get(key)} and is {now[key]}" for key in now if was.get(key) != now[key]]
    if differ:
        raise ValueError(f"{path} is of another model ({'; '.join(differ)}): give the same numbers, or another --out.")
    if "optimizer" not in resumed or "rng" not in resumed:
        raise ValueError(f"{path} has no optimizer state, so training cannot go on from it: train from scratch.")
    differ = [key for key, value in resumed["data"].items() if meta[key] != value]
    if differ:
        raise ValueError(
            f"{path} was trained on other data ({', '.join(differ)} differ): name the same --data, or another --out."
        )


@contextmanager
def run_directory(out: Path):
    """Makes the folder of a run and holds it for this process alone; the lock goes with the process, however it ends."""
    lock = FileLock(out / ".lock", timeout=0)
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise RuntimeError(f"{out} is in use by another training run: wait for it, or choose another --out.") from error
    except OSError as error:
        raise OSError(f"{out} cannot be written to ({error.strerror}): choose another --out.") from error
    try:
        yield
    finally:
        lock.release()


class Log:
    """log.csv, a row at a time. On resume the rows after the resumed iteration are dropped: they come again."""

    def __init__(self, path: Path, resumed_at: int | None) -> None:
        self.path = path
        rows = []
        if resumed_at is not None and path.exists():
            rows = [row for row in read_log(path) if row["iter"] <= resumed_at]
        with whole_file(path, "w") as file:
            writer = csv.DictWriter(file, LOG_COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    def write(self, row: dict[str, Any]) -> None:
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, LOG_COLUMNS, lineterminator="\n").writerow(row)


def read_log(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a log.csv: iter and tokens as int, story as it is, the rest as float, None where there is no value.

    A last row that a crash cut off is left out.
    """
    rows = []
    with Path(path).open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if None in row.values():
                continue
            story = row.pop("story", None) or None
            numbers = {key: float(value) if value else None for key, value in row.items()}
            rows.append({**numbers, "iter": int(row["iter"]), "tokens": int(row["tokens"]), "story": story})
    return rows


@contextmanager
def stop_signals():
    """Ctrl-C, the stop button of a notebook and SIGTERM ask the loop to stop after this iteration.

    Yields a list that is empty until then. A second Ctrl-C interrupts at once.
    """
    stopped: list[int] = []

    def ask(number: int, frame: Any) -> None:
        if stopped and number == signal.SIGINT:
            raise KeyboardInterrupt
        stopped.append(number)

    try:
        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: signals go elsewhere
        before = {}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Every field of TrainArgs as an option."""
    parser.add_argument("--preset", choices=PRESETS, default="cuda" if torch.cuda.is_available() else "cpu")
    for field in fields(TrainArgs):
        kind = {"int": int, "float": float, "str": str}.get(str(field.type))
        if kind:
            parser.add_argument(f"--{field.name}", type=kind)
        else:
            parser.add_argument(f"--{field.name}", action=argparse.BooleanOptionalAction)


def main(options: argparse.Namespace) -> int:
    given = {field.name: getattr(options, field.name) for field in fields(TrainArgs)}
    args = replace(PRESETS[options.preset], **{name: value for name, value in given.items() if value is not None})
    result = train(args)
    if int(os.environ.get("RANK", 0)) == 0:
        print(result["message"])
    return 0
