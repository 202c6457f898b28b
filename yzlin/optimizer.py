"""What moves the weights: AdamW all of them, or Muon the matrices of the blocks and AdamW the rest."""

from __future__ import annotations

from typing import Any

import torch

from yzlin.model import yzlinGPT
from yzlin.presets import TrainArgs


class Both:
    """AdamW and Muon behind what training asks of one optimizer; each moves its own weights."""

    def __init__(self, adamw: torch.optim.Optimizer, muon: torch.optim.Optimizer) -> None:
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


def make_optimizer(model: yzlinGPT, args: TrainArgs, device_type: str) -> torch.optim.Optimizer | Both:
    """The optimizer that `args` names, for all weights of the model.

    muon (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/): the step of a matrix is its momentum with all
    singular values brought near 1, so that no direction is left out. Its length is matched to AdamW's (Liu et al., 2025,
    arXiv:2502.16982), so the learning rate and the decay are those of AdamW. Embeddings, head and vectors stay with AdamW.
    Raises RuntimeError where PyTorch is too old to have it.
    """
    adamw = model.configure_optimizers(args.weight_decay, args.learning_rate, (args.beta1, args.beta2), device_type)
    if args.optimizer == "adamw":
        return adamw
    if not hasattr(torch.optim, "Muon"):
        raise RuntimeError(f"optimizer muon needs PyTorch 2.9 or newer, here is {torch.__version__}: use --optimizer adamw.")
    matrices = [p for p in model.transformer.blocks.parameters() if p.dim() == 2]
    taken = {id(p) for p in matrices}
    for group in adamw.param_groups:
        group["params"] = [p for p in group["params"] if id(p) not in taken]
    how = dict(weight_decay=args.weight_decay, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    return Both(adamw, torch.optim.Muon(matrices, lr=args.learning_rate, **how))
