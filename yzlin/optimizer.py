"""What moves the weights: AdamW all of them, or Muon the matrices of the blocks and AdamW the rest."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from yzlin.model import yzlinGPT
from yzlin.presets import TrainArgs


def orthogonal(G: Tensor) -> Tensor:
    """The matrix G (m, n) with its singular values brought near 1 and its singular vectors kept, in G's dtype.

    Five turns of a Newton-Schulz iteration, which acts on each singular value s as 3.4445 s - 4.775 s^3 + 2.0315 s^5. It
    does not converge: in float32, values above a 500th of G's norm end between 0.68 and 1.21, much smaller ones below.
    """
    X = G.mT if G.size(0) > G.size(1) else G
    X = X / (X.norm() + 1e-7)  # so that no singular value is above 1
    for _ in range(5):
        A = X @ X.mT
        X = 3.4445 * X + (-4.775 * A + 2.0315 * A @ A) @ X
    return X.mT if G.size(0) > G.size(1) else X


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal, for matrices (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/).

    A gradient has few large singular values and many small ones; in a step they are all about equal. An orthogonal matrix
    (m, n) has entries of about 1 / sqrt(max(m, n)), so the factor of step() makes 0.2 of each, a usual step of AdamW (Liu
    et al., 2025, arXiv:2502.16982): AdamW's learning rate and decay are a good start.
    """

    def __init__(
        self, matrices: list[Tensor], lr: float, weight_decay: float, momentum: float = 0.95, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__(matrices, dict(lr=lr, weight_decay=weight_decay, momentum=momentum))
        self.dtype = dtype  # of the iteration, which needs no more than two digits

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    alike.setdefault(p.shape, []).append(p)
            for shape, matrices in alike.items():  # together: few large products are faster than many small ones
                ahead = torch.stack([self._ahead(p, group["momentum"]) for p in matrices])
                steps = torch.vmap(orthogonal)(ahead.to(self.dtype))
                for p, step in zip(matrices, steps, strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.sub_(step, alpha=group["lr"] * 0.2 * max(shape) ** 0.5)

    def _ahead(self, p: Tensor, momentum: float) -> Tensor:
        """The gradient of p and what the momentum, which takes it up here, will still make of it (Nesterov)."""
        if "momentum" not in self.state[p]:
            self.state[p]["momentum"] = torch.zeros_like(p)
        return p.grad + momentum * self.state[p]["momentum"].mul_(momentum).add_(p.grad)


class Both:
    """AdamW and Muon behind what training asks of one optimizer; each moves its own weights.

    Under a GradScaler the CPU waits for the GPU once a step, to see whether the gradients are finite.
    """

    def __init__(self, adamw: torch.optim.AdamW, muon: Muon) -> None:
        self.adamw, self.muon = adamw, muon

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return self.adamw.param_groups + self.muon.param_groups

    def step(self) -> None:
        self.adamw.step()
        self.muon.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.adamw.zero_grad(set_to_none)
        self.muon.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        return {"adamw": self.adamw.state_dict(), "muon": self.muon.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.adamw.load_state_dict(state["adamw"])
        self.muon.load_state_dict(state["muon"])


def make_optimizer(model: yzlinGPT, args: TrainArgs, device_type: str) -> torch.optim.AdamW | Both:
    """The optimizer that `args` names, for all weights of the model. Embeddings, head and vectors stay with AdamW."""
    adamw = model.configure_optimizers(args.weight_decay, args.learning_rate, (args.beta1, args.beta2), device_type)
    if args.optimizer == "adamw":
        return adamw
    matrices = [p for p in model.transformer.blocks.parameters() if p.dim() == 2 and p.requires_grad]
    taken = {id(p) for p in matrices}
    for group in adamw.param_groups:
        group["params"] = [p for p in group["params"] if id(p) not in taken]
    dtype = torch.bfloat16 if args.dtype == "bfloat16" else torch.float32  # float16 turns small slopes into 0
    return Both(adamw, Muon(matrices, args.learning_rate, args.weight_decay, dtype=dtype))
