"""The exercises of notebook 06: Block and yzlinGPT."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yzlin.checks import compare, example, exercise, expect, numbers_of, run, unlike
from yzlin.model import ModelArgs, yzlinGPT


@exercise
def check_count(answer) -> str:
    for V, C, T, n in ((59, 12, 17, 3), (101, 24, 9, 5), (997, 48, 61, 7)):
        model = yzlinGPT(ModelArgs(block_size=T, vocab_size=V, n_layer=n, n_head=3, n_embed=C))
        want = sum(p.numel() for p in model.parameters())
        hints = {
            "the head is counted as well: it is the embedding's table, one tensor for both.": want + V * C,
            "the token embedding is missing: a row for each id.": want - V * C,
            "the position embedding is missing: a row for each position.": want - T * C,
            "the last norm, in front of the head, is missing.": want - C,
            "a block has two norms (one is the original project's way).": want - n * C,
            "the norms of the blocks are missing: two in each.": want - n * 2 * C,
            "all norms are missing: two in each block, and one in front of the head.": want - n * 2 * C - C,
            "4 C² a block are missing: the MLP has three matrices of C by 4C, attention has four of C by C.": want
            - n * 4 * C * C,
            "the MLP is 4C wide: its three matrices are C by 4C.": want - n * 9 * C * C,
            "attention has four C by C matrices: query, key, value and the projection.": want - n * C * C,
            "biases are counted: this model has none.": want + n * 13 * C,
            "a norm has one vector, the weight: RMSNorm has no bias.": want + n * 2 * C + C,
            "this is one block: there are n_layer of them.": want - (n - 1) * (16 * C**2 + 2 * C),
            "there is one last norm, not one in each block.": want + (n - 1) * C,
        }
        otherwise = f"for V={V}, C={C}, block_size={T}, n_layer={n} another number comes out."
        compare(run(answer, V, C, T, n), want, hints, otherwise, tolerance=1e-8)
    return "114,242,304 at full size."


@exercise
def check_mended(answer) -> str:
    for seed in (0, 1):
        x, (p, q, r, s) = example(3, 5, seed=seed), example(4, seed=seed + 2).abs() + 1.3

        def a(x: Tensor, p=p) -> Tensor:
            return p * x.sin() + 0.7

        def m(x: Tensor, q=q) -> Tensor:
            return q * x**3 - 0.4

        def an(x: Tensor, r=r) -> Tensor:
            return x / r + 0.3

        def mn(x: Tensor, s=s) -> Tensor:
            return (x / s).tanh()

        middle, normed = x + a(an(x)), an(x)
        want = middle + m(mn(middle))
        inner = normed + a(normed)
        hints = {
            "nothing is mended yet.": m(mn(inner + mn(inner))),
            "both branches read the same x: the MLP should read what attention wrote.": middle + m(mn(x)),
            "attention gets x without its norm.": x + a(x) + m(mn(x + a(x))),
            "the MLP gets x without its norm.": middle + m(middle),
            "the MLP gets attention's norm: it has one of its own.": middle + m(an(middle)),
            "attention gets the MLP's norm: it has one of its own.": x + a(mn(x)) + m(mn(x + a(mn(x)))),
            "a norm stands on the straight line: attention's norm belongs in its branch alone.": inner + m(mn(inner)),
            "the MLP's result is not added: what attention wrote must be added, too.": m(mn(middle)),
            "x is not added to attention's result.": a(an(x)) + m(mn(a(an(x)))),
            "the MLP's norm is added, not the MLP.": middle + mn(middle),
            "the MLP's norm stands on the straight line: it belongs in its branch alone.": mn(middle) + m(mn(middle)),
            "the MLP gets the sum of its input and its norm: it should get the norm alone.": middle
            + m(mn(middle + mn(middle))),
            "x is added again at the end: the straight line goes through attention's sum.": x + m(mn(middle)),
            "the norm comes before attention and the MLP, not behind them.": x + an(a(x)) + mn(m(x + an(a(x)))),
            "this is post-norm: the norm belongs on the branches, not on the sums.": mn(an(x + a(x)) + m(an(x + a(x)))),
            "the MLP comes first: attention first, then the MLP on the result.": (x + m(mn(x)) + a(an(x + m(mn(x))))),
            "the MLP is missing.": middle,
        }
        quiet = run(answer, x, torch.zeros_like, torch.zeros_like, an, mn)
        otherwise = "the values differ from norm, attention, plus, norm, MLP, plus."
        if not torch.equal(numbers_of(quiet), x.double()):
            otherwise = "with branches that give zero, x should come out as it went in, and does not: does a norm stand on "
            otherwise += "the straight line, or is an x missing or added twice?"
        compare(run(answer, x, a, m, an, mn), want, hints, otherwise)
    return "a block whose branches give zero does nothing: that is where a deep model begins."


def one_norm_block(answer, args: ModelArgs) -> nn.Module:
    """A block of the reader's class. Raises Wrong where it has other parts than the original's."""
    expect(isinstance(answer, type), "give the checker the class itself, not a block made of it, nor a function.")
    block = run(answer, args)
    expect(isinstance(block, nn.Module), "the class should be an nn.Module: class OneNormBlock(nn.Module).")
    names = sorted(name for name, _ in block.named_parameters())
    vectors = [name for name, p in block.named_parameters() if p.dim() == 1]
    biases = [name for name in vectors if name.endswith("bias")]
    expect(not biases, f"there is a bias, {' and '.join(biases)}: RMSNorm has none, and this model has none.")
    expect(len(vectors) != 2, f"there are two norm weights, {' and '.join(vectors)}: share one.")
    expect("norm.weight" in names, f"the norm's weight should be called norm.weight, as in the original: found {names}.")
    expect(
        {"attention.qkv_attention.weight", "mlp.gate.weight"} <= set(names),
        f"attention and mlp are missing or named otherwise: found {names}.",
    )
    has_forward = answer.forward is not nn.Module.forward
    expect(has_forward, "the class has no forward: `def forward` stands as far left as `def __init__`, not inside it.")
    return block


@exercise
def check_one_norm(answer) -> str:
    for C, H in ((12, 3), (20, 5)):
        torch.manual_seed(C)
        block = one_norm_block(answer, ModelArgs(n_embed=C, n_head=H))
        x, w = 3 * torch.randn(2, 7, C), torch.linspace(0.5, 2.3, C)
        with torch.no_grad():
            for weight in block.parameters():
                weight.copy_(torch.randn_like(weight) / 3 if weight.dim() > 1 else w)
            a, m = block.attention, block.mlp

            def norm(x: Tensor, w=w) -> Tensor:
                return F.rms_norm(x, w.shape, w, 1e-6)

            middle, bare = x + a(norm(x)), x + a(x)
            hints = {
                "the MLP reads without the norm: use it twice.": middle + m(middle),
                "attention reads without the norm: use it twice.": bare + m(norm(bare)),
                "the norm is not used: each branch reads through it.": bare + m(bare),
                "both branches read the same x: the MLP should read what attention wrote.": middle + m(norm(x)),
                "this is post-norm: the norm belongs on the branches.": norm(norm(bare) + m(norm(bare))),
                "the norm comes behind attention and the MLP: before them.": x + norm(a(x)) + norm(m(x + norm(a(x)))),
                "x is not added to attention's result.": a(norm(x)) + m(norm(a(norm(x)))),
                "the MLP's result is not added to what attention wrote.": m(norm(middle)),
                "nothing is added: each branch is added to what it read.": m(norm(a(norm(x)))),
                "x is added again at the end: the straight line goes through attention's sum.": x + m(norm(middle)),
                "the norm stands on the straight line.": norm(x) + a(norm(x)) + m(norm(norm(x) + a(norm(x)))),
                "the MLP is missing.": middle,
                "attention is missing.": x + m(norm(x)),
                "the MLP comes first: attention first, then the MLP on the result.": (x + m(norm(x)) + a(norm(x + m(norm(x))))),
            }
            want = middle + m(norm(middle))
            compare(run(block, x), want, hints, "the values differ from norm, attention, plus, norm, mlp, plus.")
    return "768 weights less a block: 114,236,160 at full size."


@exercise
def check_memory(answer) -> str:
    for N, V, C in ((123_457, 997, 48), (114_242_304, 50304, 768)):
        half = "half is missing: a float32 has 4 bytes, and AdamW keeps two running means beside weight and gradient."
        quarter = "these are the weights alone, or one byte a number: four numbers of 4 bytes for each weight."
        hints = {
            quarter: 4 * N,
            half: 8 * N,
            "AdamW keeps two running means, not one (or is the gradient missing?).": 12 * N,
            "a float32 has 4 bytes, not 8.": 32 * N,
            "these are bits: a byte has 8 of them.": 128 * N,
            "these are the weights: each of the four numbers has 4 bytes.": N,
            "these are gigabytes: return bytes.": 16 * N / 1e9,
            "these are gigabytes of 2^30: return bytes.": 16 * N / 2**30,
            "these are megabytes: return bytes.": 16 * N / 1e6,
            "tied=True is the model with one table for both: the other one has V x C more.": 16 * (N + V * C),
            "the N weights hold the shared table already: take nothing away.": 16 * (N - V * C),
        }
        otherwise = f"N={N:,}: four numbers of 4 bytes for each weight."
        compare(run(answer, N, V, C, True), 16 * N, hints, otherwise, tolerance=1e-8)
        hints = {
            "a head of its own has V x C weights more.": 16 * N,
            "the head's weights need a gradient and two means as well.": 16 * N + 4 * V * C,
            "the head's V x C weights have four numbers of 4 bytes each, like all others.": 16 * N + V * C,
            "the head is V x C weights more, not less.": 16 * (N - V * C),
            "the head's V x C weights come once: the embedding is in N already.": 16 * (N + 2 * V * C),
            "the head has V x C weights, not V.": 16 * (N + V),
            "this is the head alone: the N weights come with it.": 16 * V * C,
        }
        otherwise = f"N={N:,}, V={V:,}, C={C}: 16 bytes for each of the N weights and each of the head's."
        compare(run(answer, N, V, C, False), 16 * (N + V * C), hints, otherwise, tolerance=1e-8)
    return "1.8 GB; a head of its own would cost 0.6 GB more."


def expect_nucleus(kept: set[int], shares: Tensor, p: float) -> None:
    """Raises Wrong unless these ids are the fewest of the likeliest that have at least the share p together."""
    order = shares.argsort(descending=True).tolist()
    want = set(order[: int((shares[order].cumsum(0) < p).sum()) + 1])
    got, together = f"at p = {p:.3g} the ids {sorted(kept)} stay", shares[sorted(kept)].sum().item()
    said = f"{got}, and it should be {sorted(want)}, for the shares {[round(share, 3) for share in shares.tolist()]}."
    expect(
        kept,
        f"at p = {p:.3g} nothing is left: the likeliest id always stays, as p is a share of the sum, not a limit for each.",
    )
    if kept != want:
        likeliest, least = set(order[: len(kept)]), set(order[-len(want) :])
        short = "the id that reaches p belongs to the nucleus"
        expect(kept != likeliest or together >= p, f"those left have {together:.3f} together, less than p; {short}: {said}")
        expect(kept != likeliest, f"with one id fewer they would still have the share p: {said}")
        expect(
            kept != set(range(len(want))),
            f"the first ids stay, as if the logits came sorted: sort them, then put the result back. {said}",
        )
        expect(kept != least, f"the least likely stay: sort with the largest first. {said}")
    expect(kept == want, said)


@exercise
def check_top_p(answer) -> str:
    for seed, V in ((0, 7), (1, 12), (2, 9)):
        logits = 1.3 * example(V, seed=seed) + 3
        shares = logits.softmax(-1)
        ordered = shares.sort(descending=True).values.cumsum(0)
        middle = [((ordered[i] + ordered[i + 1]) / 2).item() for i in range(V - 1)]  # never where rounding could decide
        for p in (middle[1], *middle[2:5], ordered[0].item() / 3, 1.0):
            got = run(answer, logits, p)
            numbers = numbers_of(got)
            expect(numbers.shape == (V,), f"the shape is {tuple(numbers.shape)}: all V places, here {V}, should stay.")
            unlike(got, {"these are shares: return the logits.": torch.where(numbers > 0, shares, 0)})
            others = {
                "NaN": numbers.isnan(),
                "plus infinity": numbers == math.inf,
                "0, and exp(0) is 1, a share like any other": numbers == 0,
                "very small, but finite": (numbers.isfinite()) & (numbers < -100),
            }
            for what, where in others.items():
                expect(not where.any(), f"the others are {what}: minus infinity.")
            kept = numbers.isfinite()
            changed = "the logits that stay should stay as they were, and the others be minus infinity."
            compare(numbers[kept], logits[kept], {}, changed)
            expect_nucleus(set(kept.nonzero()[:, 0].tolist()), shares, p)
    stay = int(numbers_of(run(answer, torch.full((4,), 0.7), 0.5)).isfinite().sum())
    expect(
        stay == 2, f"of four ids with a share of 0.25 each, two have p = 0.5 together: yours are {stay}. Less than p, or equal?"
    )
    return "where the model is sure few ids stay, where it is not, many: top-k cannot do that."
