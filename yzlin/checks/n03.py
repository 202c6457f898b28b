"""The exercises of notebook 03: norms."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from yzlin.checks import compare, example, exercise, expect, numbers_of, run


def size(x: Tensor, eps: float = 0.0, axis: int | None = -1) -> Tensor:
    """The root of the mean of the squares, the axis kept with length 1."""
    squares = x.pow(2)
    return (squares.mean() if axis is None else squares.mean(axis, keepdim=True)).add(eps).sqrt()


@exercise
def check_rms(answer) -> str:
    shifted, plain, small = 3 * example(2, 5, 12) + 1, example(4, 7, seed=1), 1e-3 * example(6, 9, seed=2)
    for said, x in (("this", shifted), ("another", plain), ("a small", small)):
        want, squares, C = size(x)[..., 0], x.pow(2), x.size(-1)
        hints = {
            "the last axis is still there, with length 1: leave keepdim out.": want[..., None],
            "it is one number for the whole tensor: over which axis does your mean go?": size(x, axis=None),
            "the mean goes over the first axis: the channels are the last.": size(x, axis=0)[0],
            "the mean goes over the last axis but one: the channels are the last.": size(x, axis=-2).squeeze(-2),
            "this is the mean of the sizes: the root must come after the mean.": x.abs().mean(-1),
            "this is the mean square: the root is missing.": squares.mean(-1),
            "this is the length: a mean divides by the number of channels.": x.norm(dim=-1),
            "divide by the number of channels under the root, not behind it.": x.norm(dim=-1) / C,
            "this takes the mean away first, as a standard deviation does.": x.std(-1, correction=0),
            "this takes the mean away first, and divides by C - 1, as torch.std does.": x.std(-1),
            "square first, then the mean: here plus and minus cancel.": x.mean(-1).abs(),
            "the squares are missing: here plus and minus cancel.": x.mean(-1),
            "this is 1 over the size: sqrt, not rsqrt.": 1 / want,
            "this is x divided by its size: return the size alone.": x / want[..., None],
            "there is an eps in it: this one is without.": size(x, 1e-6)[..., 0],
        }
        compare(run(answer, x), want, hints, f"for {said} x the values differ from sqrt(mean(x^2)).")
    return "the length of the vector divided by the root of the number of its channels is the same number."


@exercise
def check_layer_norm(answer) -> str:
    # The first shows that the eps given is used, the small one where it stands.
    for shape, scale, eps in (((2, 5, 12), 3.0, 0.3), ((4, 7), 3.0, 1e-5), ((3, 5, 9), 3e-3, 1e-5)):
        x, weight, bias = scale * (example(*shape) + 0.4), example(shape[-1], seed=1), example(shape[-1], seed=2)
        centred = x - x.mean(-1, keepdim=True)
        variance = centred.pow(2).mean(-1, keepdim=True)
        normed, sample = centred / (variance + eps).sqrt(), x.var(-1, keepdim=True)
        everything = (x - x.mean()) / (x.var(correction=0) + eps).sqrt()
        hints = {
            "the mean is not taken away: this is RMSNorm with a bias.": x / size(x, eps) * weight + bias,
            "the variance is of what is left when the mean is gone; yours is of x.": centred / size(x, eps) * weight + bias,
            "the mean is taken away for the variance alone: x needs it too.": x / (variance + eps).sqrt() * weight + bias,
            "the bias is missing.": normed * weight,
            "the weight is missing.": normed + bias,
            "weight and bias are missing.": normed,
            "weight and bias are exchanged.": normed * bias + weight,
            "the weight multiplies the bias as well: first times weight, then plus bias.": (normed + bias) * weight,
            "the variance is divided by C - 1 (torch's default): give var correction=0, or take the mean of the squares.": (
                centred / (sample + eps).sqrt() * weight + bias
            ),
            "the given eps is not inside the square root.": centred / variance.sqrt() * weight + bias,
            "is your eps inside the square root?": centred / (variance.sqrt() + eps) * weight + bias,
            "torch's std divides by C - 1, and eps belongs inside the square root: variance plus eps, then the root.": (
                centred / (sample.sqrt() + eps) * weight + bias
            ),
            "the root is missing.": centred / (variance + eps) * weight + bias,
            "mean and variance go over everything: name the axis, and keep it.": everything * weight + bias,
        }
        got = run(answer, x, weight, bias, eps)
        want = F.layer_norm(x, shape[-1:], weight, bias, eps)
        compare(got, want, hints, "the values differ from torch's layer_norm: look at mean, variance, eps, in this order.")
    return "the mean of the channels goes to the bias, and their spread to the weight."


@exercise
def check_mended(answer) -> str:
    for shape in ((2, 5, 12), (4, 7)):
        weight = example(shape[-1], seed=2)
        x = example(*shape) * torch.linspace(3, 40, shape[0]).view(-1, *[1] * (len(shape) - 1))
        want = weight * x / size(x)
        hints = {
            "the mean goes over everything, so each text changes with the others: name the axis, and keep it.": (
                weight * x / size(x, axis=None)
            ),
            "the mean goes over the last axis but one: the channels are the last.": weight * x / size(x, axis=-2),
            "the mean goes over the first axis: the channels are the last.": weight * x / size(x, axis=0),
            "the root is gone.": weight * x / size(x).pow(2),
            "the weight is gone.": x / size(x),
        }
        compare(run(answer, x, weight), want, hints, "the values differ from RMSNorm's.")
        small = 1e-3 * example(*shape, seed=3)  # its mean square is near eps
        hints = {
            "eps belongs inside the root: outside it the gradient at a vector of zeros is not a number.": (
                weight * small / (size(small) + 1e-6)
            ),
            "eps is gone: a vector of zeros becomes 0 / 0.": weight * small / size(small),
        }
        compare(run(answer, small, weight), weight * small / size(small, 1e-6), hints, "small values differ: where is eps?")
    for dtype in (torch.bfloat16, torch.float16):
        x = (300 * example(2, 5, 12)).to(dtype)
        got, weight = run(answer, x, example(12, seed=2)), example(12, seed=2)
        numbers_of(got)
        expect(getattr(got, "dtype", None) == dtype, f"x is {dtype}, and the result is not: it should have the dtype of x.")
        lost = f"in {dtype} the values are far off (300² is more than float16 can hold): square and sum in float32."
        compare(got, weight * x.float() / size(x.float()), {}, lost, tolerance=0.02)
    got, want = run(answer, small, example(7, seed=2), 1e-4), example(7, seed=2) * small / size(small, 1e-4)
    compare(got, want, {}, "with another eps the values differ: use the eps that is given.")
    return "each token has a size of its own, and eps sits inside the root."


@exercise
def check_head_norm(answer) -> str:
    for (B, T, H, D), scale in (((2, 5, 3, 4), 1.0), ((3, 4, 5, 7), 1.0), ((2, 6, 3, 5), 1e-3)):
        x, weight = scale * example(B, T, H * D) * torch.arange(1, H * D + 1), example(H, D, seed=1)
        heads, other = x.view(B, T, H, D), x.view(B, T, D, H).transpose(2, 3)
        want = (weight * heads / size(heads, 1e-6)).flatten(2)
        turned = weight[:, None] * heads.transpose(1, 2) / size(heads.transpose(1, 2), 1e-6)  # (B, H, T, D)
        hints = {
            "all channels share one size: the mean must go over one head's.": x / size(x, 1e-6) * weight.flatten(),
            "the heads are cut wrongly: view as (B, T, H, D), heads first.": (weight * other / size(other, 1e-6)).flatten(2),
            "the values differ by the weight: it is missing.": (heads / size(heads, 1e-6)).flatten(2),
            f"the shape is {(B, T, H, D)}: lay the heads side by side again, (B, T, C).": want.view(B, T, H, D),
            "the mean goes over the heads, channel by channel: the last axis is the channels of one head.": (
                (weight * heads / size(heads, 1e-6, axis=2)).flatten(2)
            ),
            "the mean goes over everything: over the last axis alone.": (weight * heads / size(heads, 1e-6, None)).flatten(2),
            "tokens and heads are mixed up: swap their axes back before you reshape.": turned.reshape(B, T, H * D),
            "each head has a weight of its own: here all have the first one's.": (
                (weight[0] * heads / size(heads, 1e-6)).flatten(2)
            ),
            "eps stands outside the root.": (weight * heads / (size(heads) + 1e-6)).flatten(2),
            "eps is missing: a head of zeros becomes 0 / 0.": (weight * heads / size(heads)).flatten(2),
            "this takes the mean away, as LayerNorm does: RMSNorm does not.": (
                (weight * F.layer_norm(heads, (D,), eps=1e-6)).flatten(2)
            ),
        }
        compare(run(answer, x, weight), want, hints, "the values differ from H norms of D channels each, side by side.")
    return "a loud head no longer drowns the others."


@exercise
def check_backward(answer) -> str:
    for shape, eps in (((2, 5, 12), 1e-6), ((4, 7), 0.3)):
        x, grad = example(*shape).double(), example(*shape, seed=1).double()
        leaf = x.clone().requires_grad_()
        F.rms_norm(leaf, shape[-1:], eps=eps).backward(grad)
        r = size(x, eps)
        y, bare = x / r, x / size(x)
        pull = (grad * y).mean(-1, keepdim=True)
        hints = {
            "this takes the root for a fixed number: it depends on x as well.": grad / r,
            "this is y, the way forward: its gradient is asked for.": y,
            "this is the way through r alone: grad / r is missing.": -y * pull / r,
            "a sign: a larger x makes the root larger, and that makes y smaller.": (grad + y * pull) / r,
            "the root holds a mean, so its slope has a factor 1 / C: a mean, not a sum.": (grad - y * pull * shape[-1]) / r,
            "all is divided by r: here that is missing.": grad - y * pull,
            "the first part is divided by r as well.": grad - y * pull / r,
            "one r is missing in the second part: y = x / r stands twice in it, and all is divided by r.": grad / r - y * pull,
            "y is x / r: here x stands in its place, twice.": (grad - x * (grad * x).mean(-1, keepdim=True)) / r,
            "the mean goes over everything: each token has its own.": (grad - y * (grad * y).mean()) / r,
            "y is missing behind the minus: each channel gets its part of the mean.": (grad - pull) / r,
            "grad is missing behind the minus: y times the mean of grad times y.": (grad - y * y.pow(2).mean(-1, keepdim=True))
            / r,
            "eps is missing in r.": (grad - bare * (grad * bare).mean(-1, keepdim=True)) / size(x),
        }
        compare(run(answer, x, grad, eps), leaf.grad, hints, "the values differ from what autograd finds.")
    return "what is left of grad stands at a right angle to x: along x nothing can change."
