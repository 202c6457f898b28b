"""What several processes of one training run agree on (torch.distributed); with one process all of it does nothing."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist


def lost_connection(error: RuntimeError) -> bool:
    """Whether an exchange with the other processes failed, in gloo's words or in PyTorch's."""
    return isinstance(error, dist.DistError) or "gloo" in str(error).lower()


def any_rank(stopped: list[int], world: int) -> bool:
    """True on all processes as soon as one was asked to stop, so that they stop at the same iteration."""
    if world == 1:
        return bool(stopped)
    asked = torch.tensor(float(bool(stopped)), device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(asked)
    return asked.item() > 0


def gather_rng(world: int, device: torch.device) -> list[dict[str, Any]]:
    """The random state of each process (dropout draws from it), in the order of their ranks."""
    mine = {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None}
    if world == 1:
        return [mine]
    everyone: list[Any] = [None] * world
    dist.all_gather_object(everyone, mine)
    return everyone


def restore_rng(states: list[dict[str, Any]], rank: int, device: torch.device) -> None:
    if rank >= len(states):  # resumed with more processes than before: a fresh state is as good as any
        return
    torch.set_rng_state(states[rank]["cpu"].cpu())
    if device.type == "cuda" and states[rank]["cuda"] is not None:
        torch.cuda.set_rng_state(states[rank]["cuda"].cpu(), device)
