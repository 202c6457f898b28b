"""The exercises of notebook 06: Block and yzlinGPT."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from yzlin.checks import exercise, expect, expect_close
from yzlin.model import ModelArgs, yzlinGPT


@exercise
def check_count(answer) -> str:
    for V, C, T, n in ((50, 12, 16, 3), (50304, 768, 128, 8)):
        with torch.device("meta"):
            model = yzlinGPT(ModelArgs(block_size=T, vocab_size=V, n_layer=n, n_head=3, n_embed=C))
        want, got = sum(p.numel() for p in model.parameters()), answer(V, C, T, n)
        expect(got != want + V * C, "the head is counted as well: it is the embedding's table, one tensor for both.")
        expect(got != want - T * C, "the position embedding is missing: a row for each position.")
        expect(got != want - C, "the last norm, in front of the head, is missing.")
        expect(got != want - n * C, "a block has two norms (one is the original project's way).")
        expect(got != want - n * 4 * C * C, "the MLP has three matrices: up, gate, down.")
        expect(got != want - n * C * C, "attention has four C by C matrices: query, key, value and the projection.")
        expect(got == want, f"for V={V}, C={C}, block_size={T}, n_layer={n} it is {want:,}, and yours is {got:,}.")
    return "114,242,304 at full size."


@exercise
def check_mended(answer) -> str:
    x = torch.tensor([1.0, 2.0, 4.0])

    def parts(name: str) -> Tensor:
        return answer(x, *functions[name])

    functions = {
        "nothing": (lambda x: 0 * x, lambda x: 0 * x, lambda x: x / 2, lambda x: x / 2),
        "attention": (lambda x: 3 * x + 1, lambda x: 0 * x, lambda x: x / 2, lambda x: x / 2),
        "mlp": (lambda x: 0 * x, lambda x: x**2, lambda x: x / 2, lambda x: x / 4),
        "both": (lambda x: 3 * x + 1, lambda x: x**2, lambda x: x / 2, lambda x: x / 4),
    }
    nothing = parts("nothing")
    expect(
        not torch.allclose(nothing, 0 * x), "with branches that give zero, nothing is left of x: the MLP must be added, too."
    )
    expect_close(
        nothing, x, "with branches that give zero, x should come out as it went in: a norm stands on the straight line."
    )
    expect(not torch.allclose(parts("attention"), x + 3 * x + 1), "attention gets x without its norm.")
    expect_close(parts("attention"), x + 3 * x / 2 + 1, "the attention branch should be attention(attention_norm(x)), once.")
    expect(not torch.allclose(parts("mlp"), x + x**2), "the MLP gets x without its norm.")
    expect(not torch.allclose(parts("mlp"), x + (x / 2) ** 2), "the MLP gets attention's norm: it has one of its own.")
    expect_close(parts("mlp"), x + (x / 4) ** 2, "the MLP branch should be mlp(mlp_norm(x)), once.")
    middle = x + 3 * x / 2 + 1
    expect(
        not torch.allclose(parts("both"), middle + (x / 4) ** 2),
        "both branches read the same x: the MLP should read what attention wrote.",
    )
    expect_close(parts("both"), middle + (middle / 4) ** 2, "first attention, then the MLP on the result.")
    return "a block whose branches give zero does nothing: that is where a deep model begins."


@exercise
def check_one_norm(answer) -> str:
    torch.manual_seed(0)
    block = answer(ModelArgs(n_embed=12, n_head=3))
    names = {name for name, _ in block.named_parameters()}
    vectors = [name for name, p in block.named_parameters() if p.dim() == 1]
    expect(len(vectors) != 2, f"there are two norm weights, {' and '.join(vectors)}: share one.")
    expect(
        "norm.weight" in names, f"the norm's weight should be called norm.weight, as in the original: found {sorted(names)}."
    )
    expect({"attention.qkv_attention.weight", "mlp.gate.weight"} <= names, "attention and mlp are missing, or named otherwise.")
    x = torch.randn(2, 5, 12)
    with torch.no_grad():
        block.norm.weight.copy_(torch.linspace(0.5, 2, 12))
        got = block(x)
        w = block.norm.weight

        def norm(x: Tensor) -> Tensor:
            return F.rms_norm(x, (12,), w, 1e-6)

        middle = x + block.attention(norm(x))
        expect(not torch.allclose(got, middle + block.mlp(middle), atol=1e-5), "the MLP reads without the norm: use it twice.")
        parallel = middle + block.mlp(norm(x))
        expect(
            not torch.allclose(got, parallel, atol=1e-5),
            "both branches read the same x: the MLP should read what attention wrote.",
        )
        post = norm(norm(x + block.attention(x)) + block.mlp(norm(x + block.attention(x))))
        expect(not torch.allclose(got, post, atol=1e-5), "this is post-norm: the norm belongs on the branches.")
        expect_close(got, middle + block.mlp(norm(middle)), "the values differ from norm, attention, plus, norm, mlp, plus.")
    return "768 weights less a block: 114,236,160 at full size."


@exercise
def check_memory(answer) -> str:
    N, V, C = 114_242_304, 50304, 768
    got = answer(N, V, C, True)
    expect(got != 4 * N, "these are the weights alone: gradient and the two means have the same size.")
    expect(got != 8 * N, "AdamW's two running means are missing.")
    expect(got != 12 * N, "AdamW keeps two running means, not one (or is the gradient missing?).")
    expect(got != 32 * N, "a float32 has 4 bytes, not 8.")
    expect(got == 16 * N, f"four numbers of 4 bytes for each weight: {16 * N:,}, and yours is {got:,}.")
    apart = answer(N, V, C, False)
    expect(apart != 16 * N, "a head of its own has V x C weights more.")
    expect(apart != 16 * N + 4 * V * C, "the head's weights need a gradient and two means as well.")
    expect(apart == 16 * (N + V * C), f"with a head of its own it is {16 * (N + V * C):,}, and yours is {apart:,}.")
    return "1.8 GB; a head of its own would cost 0.6 GB more."


@exercise
def check_top_p(answer) -> str:
    shares = torch.tensor([0.1, 0.4, 0.05, 0.3, 0.15])
    logits = shares.log() + 3
    for p, want in ((0.5, {1, 3}), (0.75, {1, 3, 4}), (0.05, {1}), (1.0, {0, 1, 2, 3, 4})):
        got = answer(logits.clone(), p)
        expect(got.shape == logits.shape, f"the shape is {tuple(got.shape)}: all V places should stay, in their order.")
        kept = set(torch.isfinite(got).nonzero()[:, 0].tolist())
        expect(kept, f"at p = {p} nothing is left: the likeliest id always stays.")
        if p == 0.5:
            expect(kept != {1}, "the id that reaches p belongs to the nucleus: without it the rest has less than p.")
            expect(kept != {0, 1, 2, 4}, "these are the wrong ids: put the result back in the order of the ids.")
            expect(
                kept != {i for i in range(5) if shares[i] >= p}, "p is a share of the sum, not the least probability of one id."
            )
        expect(
            kept == want,
            f"for shares {[0.1, 0.4, 0.05, 0.3, 0.15]} and p = {p} the ids {sorted(want)} stay, yours {sorted(kept)}.",
        )
        places = sorted(kept)
        expect(torch.allclose(got[places], logits[places]), "the logits that stay should stay as they were.")
    expect(math.isinf(got.min()) or p == 1.0, "the others should be minus infinity.")
    return "where the model is sure few ids stay, where it is not, many: top-k cannot do that."
