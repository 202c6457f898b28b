"""Muon beside AdamW: which weights each moves, one step against an SVD, exact resume, refusals."""

import signal
from dataclasses import replace

import pytest
import torch
from tiny import TINY, same, timeless

from yzlin.checkpoint import load_checkpoint
from yzlin.model import ModelArgs, yzlinGPT
from yzlin.optimizer import Muon, make_optimizer
from yzlin.train import train

MUON = replace(TINY, optimizer="muon", learning_rate=0.01, weight_decay=0.1)


def small_model():
    torch.manual_seed(0)
    return yzlinGPT(ModelArgs(block_size=8, vocab_size=32, n_layer=2, n_head=2, n_embed=16, bias=True))


def test_each_weight_is_moved_once_and_only_the_matrices_of_the_blocks_by_muon():
    model = small_model()
    optimizer = make_optimizer(model, MUON, "cpu")
    names = {id(p): name for name, p in model.named_parameters()}
    moved = [names[id(p)] for group in optimizer.param_groups for p in group["params"]]
    assert sorted(moved) == sorted(names.values())
    by_muon = {names[id(p)] for group in optimizer.muon.param_groups for p in group["params"]}
    parts = ("attention.qkv_attention", "attention.context_projection", "mlp.up_projection", "mlp.gate", "mlp.down_projection")
    assert by_muon == {f"transformer.blocks.{layer}.{part}.weight" for layer in (0, 1) for part in parts}
    decays = {names[id(p)]: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert all(decays[name] == (0.1 if p.dim() == 2 else 0.0) for name, p in model.named_parameters())


def test_a_step_of_a_matrix_has_the_gradients_directions_all_about_as_long():
    model = small_model()
    optimizer = make_optimizer(model, MUON, "cpu")
    matrix = model.transformer.blocks[0].mlp.gate.weight  # (64, 16)
    before = matrix.detach().clone()
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    U, S, V = torch.linalg.svd(matrix.grad, full_matrices=False)
    optimizer.step()
    step = ((1 - 0.01 * 0.1) * before - matrix) / (0.01 * 0.2 * 64**0.5)  # without decay, rate and AdamW's length
    lengths = U.T @ step @ V.T
    assert (lengths - lengths.diag().diag()).abs().max() < 0.05
    assert 0.6 < lengths.diag().min() and lengths.diag().max() < 1.3 and S.max() / S.min() > 2


def test_a_stopped_run_goes_on_to_the_same_weights(args, tmp_path):
    args = replace(args, optimizer="muon")
    train(args, progress=False)
    broken = replace(args, out=str(tmp_path / "broken"))
    train(broken, on_log=lambda row: row["iter"] == 6 and signal.raise_signal(signal.SIGINT), progress=False)
    assert train(replace(broken, init_from="resume"), progress=False)["finished"]
    a, b = (load_checkpoint(f"{run.out}/last.pt") for run in (args, broken))
    assert same(a["model"], b["model"]) and timeless(f"{args.out}/log.csv") == timeless(f"{broken.out}/log.csv")
    for part in ("adamw", "muon"):
        states = (saved["optimizer"][part]["state"].values() for saved in (a, b))
        assert all(same(one, other) for one, other in zip(*states, strict=True))


def test_a_gradient_that_overflows_moves_nothing_under_the_scaler():
    model = small_model()
    optimizer = make_optimizer(model, MUON, "cpu")
    scaler = torch.amp.GradScaler("cpu")
    x = torch.randint(32, (2, 8))
    for times, moves in ((1.0, True), (torch.inf, False), (1.0, True)):
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        scaler.scale(model(x, x)[1] * times).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        assert all(torch.equal(p, before[name]) != moves for name, p in model.named_parameters() if "bias" not in name)
    assert all(torch.isfinite(state["momentum"]).all() for state in optimizer.muon.state.values())


def test_a_frozen_matrix_stays_and_the_others_move():
    model = small_model()
    frozen, free = (block.attention.qkv_attention.weight for block in model.transformer.blocks)
    frozen.requires_grad = False
    before = frozen.detach().clone(), free.detach().clone()
    optimizer = make_optimizer(model, MUON, "cpu")
    x = torch.randint(32, (2, 8))
    model(x, x)[1].backward()
    optimizer.step()
    assert torch.equal(frozen, before[0]) and not torch.equal(free, before[1])


def test_what_is_given_at_a_resume_takes_effect(args):
    train(replace(args, optimizer="muon", max_iters=4), progress=False)
    train(replace(args, optimizer="muon", weight_decay=0.5, beta2=0.9, init_from="resume"), progress=False)
    saved = load_checkpoint(f"{args.out}/last.pt")["optimizer"]
    assert [group["weight_decay"] for group in saved["adamw"]["param_groups"]] == [0.5, 0.0]
    assert all(tuple(group["betas"]) == (0.9, 0.9) for group in saved["adamw"]["param_groups"])
    assert [group["weight_decay"] for group in saved["muon"]["param_groups"]] == [0.5]


def test_a_checkpoint_of_before_the_choice_was_trained_with_adamw(args):
    train(replace(args, max_iters=4), progress=False)
    saved = load_checkpoint(f"{args.out}/last.pt")
    del saved["train_args"]["optimizer"]
    torch.save(saved, f"{args.out}/last.pt")
    assert train(replace(args, init_from="resume"), progress=False)["finished"]


def test_a_run_keeps_its_optimizer(args):
    train(replace(args, max_iters=4), progress=False)
    with pytest.raises(ValueError, match="was trained with adamw: give --optimizer adamw"):
        train(replace(args, optimizer="muon", init_from="resume"), progress=False)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="PyTorch before 2.9 has no Muon of its own")
@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(16, 16), (48, 16), (16, 64)])
def test_muon_is_pytorchs_to_the_digits_of_bfloat16(shape, dtype, decay):
    torch.manual_seed(0)
    mine = torch.randn(shape, requires_grad=True)
    theirs = mine.detach().clone().requires_grad_()
    ours = Muon([mine], lr=0.1, weight_decay=decay, dtype=dtype)
    reference = torch.optim.Muon([theirs], lr=0.1, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
    before = mine.detach().clone()
    for _ in range(5):
        mine.grad = torch.randn(shape)
        theirs.grad = mine.grad.clone()
        ours.step()
        reference.step()
    apart = (mine - theirs).norm() / (theirs - before).norm()
    assert apart < 0.04  # theirs computes in bfloat16
