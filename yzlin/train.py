"""Training: one loop for a laptop and for many GPUs; a preset is a set of numbers."""

from __future__ import annotations

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
from torch.nn.parallel import DistributedDataParallel
from tqdm.auto import tqdm

from yzlin.batches import Batches
from yzlin.checkpoint import load_checkpoint, save_checkpoint
from yzlin.device import autocast, keep_heap, pick_device, pick_dtype
from yzlin.model import ModelArgs, yzlinGPT
from yzlin.prepare import data_tokenizer, load_meta
from yzlin.tokenizer import tokenizer_text


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
    block_size: int = 160
    dropout: float = 0.0
    bias: bool = False
    vocab_size: int = 0  # 0: as many as the tokenizer has
    # the batch
    batch_size: int = 8  # windows in a micro-batch
    accumulation: int = 1  # micro-batches an iteration, over all processes together
    align: bool = True  # windows begin at a story's start
    # the schedule
    max_iters: int = 3000
    learning_rate: float = 4e-3
    min_lr: float = 4e-4
    warmup_iters: int = 100
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    grad_clip: float = 1.0  # 0: no clipping
    # the look at it
    eval_interval: int = 250
    eval_iters: int = 20
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
        warmup_iters=2000,
        eval_interval=1000,
        eval_iters=200,
        compile=True,
    ),
}

LOG_COLUMNS = ["iter", "tokens", "train_loss", "val_loss", "lr", "grad_norm", "tokens_per_s", "seconds"]


def get_lr(current_iter: int, args: TrainArgs) -> float:
    """The learning rate of an iteration: up in a line for warmup_iters, then down a cosine to min_lr at max_iters."""
    if current_iter < args.warmup_iters:
        return args.learning_rate * (current_iter + 1) / args.warmup_iters
    if current_iter >= args.max_iters:
        return args.min_lr
    progress = (current_iter - args.warmup_iters) / (args.max_iters - args.warmup_iters)
    return args.min_lr + 0.5 * (1 + math.cos(math.pi * progress)) * (args.learning_rate - args.min_lr)


@torch.no_grad()
def estimate_loss(model: yzlinGPT, batches: Batches, eval_iters: int, dtype: str = "float32") -> dict[str, float]:
    """The mean loss in nats a token over the same eval_iters batches of each split, without dropout."""
    was_training = model.training
    model.eval()
    losses = {}
    for split in ("train", "val"):
        total = torch.zeros((), device=batches.device)
        for number in range(eval_iters):
            x, y = batches.get_batch(split, -1 - number if split == "train" else number)
            with autocast(batches.device, dtype):
                total += model(x, y)[1]
        losses[split] = total.item() / eval_iters
    model.train(was_training)
    return losses
