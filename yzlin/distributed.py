"""What the processes of one training run agree on (torch.distributed). With one process all of it does nothing."""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from yzlin.device import pick_device


@dataclass(frozen=True)
class World:
    """This process among the processes of the run: its number, how many there are, and its device."""

    rank: int
    size: int
    device: torch.device

    def share(self, model: nn.Module) -> nn.Module:
        """The model so that backward() averages the gradients over all processes (DistributedDataParallel)."""
        if self.size == 1:
            return model
        return DistributedDataParallel(model, device_ids=[self.device.index] if self.device.type == "cuda" else None)

    def exchange_gradients(self, forward: nn.Module, now: bool) -> Any:
        """The context of a micro-batch: gradients are added up here, and exchanged only once, at the last one."""
        return nullcontext() if self.size == 1 or now else forward.no_sync()

    def any(self, asked: bool) -> bool:
        """True on all processes as soon as one says so, so that all do the same at the same iteration."""
        if self.size == 1:
            return asked
        answer = torch.tensor(float(asked), device="cuda" if dist.get_backend() == "nccl" else "cpu")
        dist.all_reduce(answer)
        return answer.item() > 0

    def sum(self, value: Tensor) -> Tensor:
        """The sum over all processes, on each of them."""
        if self.size > 1:
            dist.all_reduce(value)
        return value

    def random_states(self) -> list[dict[str, Any]]:
        """The random state of each process (dropout draws from it), in the order of their ranks."""
        mine = {"cpu": torch.get_rng_state(), "cuda": None}
        if self.device.type == "cuda":
            mine["cuda"] = torch.cuda.get_rng_state(self.device)
        if self.size == 1:
            return [mine]
        everyone: list[Any] = [None] * self.size
        dist.all_gather_object(everyone, mine)
        return everyone

    def restore_random_state(self, states: list[dict[str, Any]]) -> None:
        """Takes this process's state up again. A process that is new to the run keeps its fresh one."""
        if self.rank >= len(states):
            return
        torch.set_rng_state(states[self.rank]["cpu"].cpu())
        if self.device.type == "cuda" and states[self.rank]["cuda"] is not None:
            torch.cuda.set_rng_state(states[self.rank]["cuda"].cpu(), self.device)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            dist.barrier()


def join_world(device: str) -> World:
    """The world that torchrun's variables RANK, WORLD_SIZE and LOCAL_RANK describe; one process where there are none."""
    rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    picked = pick_device(device)
    if size > 1 and picked.type == "cuda":
        picked = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    if picked.type == "cuda" and picked.index is not None:
        torch.cuda.set_device(picked)  # what asks for the memory or the dtype of "the" card means this one
    if size > 1:
        if not dist.is_initialized():
            dist.init_process_group("nccl" if picked.type == "cuda" else "gloo")
    return World(rank, size, picked)


def lost_connection(error: RuntimeError) -> bool:
    """Whether an exchange with the other processes failed, in gloo's words or in PyTorch's."""
    return isinstance(error, dist.DistError) or "gloo" in str(error).lower()
