"""The exercises of notebook 03: norms."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from yzlin.checks import example, exercise, expect, expect_close


@exercise
def check_rms(answer) -> str:
    x = 3 * example(2, 5, 12) + 1
    got = answer(x)
    expect(got.shape != (2, 5, 1), "the last axis is still there, with length 1: leave keepdim out.")
    expect(got.shape != (), "it is one number for the whole tensor: over which axis does your mean go?")
    if got.shape == (2, 5):
        expect(not torch.allclose(got, x.abs().mean(-1)), "this is the mean of the sizes: the root must come after the mean.")
        expect(not torch.allclose(got, x.pow(2).mean(-1)), "this is the mean square: the root is missing.")
        expect(not torch.allclose(got, x.norm(dim=-1)), "this is the length: a mean divides by the number of channels.")
        expect(not torch.allclose(got, x.std(-1), atol=0.05), "this takes the mean away first, as a standard deviation does.")
    expect_close(got, x.norm(dim=-1) / 12**0.5, "the values differ from sqrt(mean(x^2)).")
    return "the length of the vector divided by the root of the number of its channels is the same number."


@exercise
def check_layer_norm(answer) -> str:
    x, weight, bias = 3 * example(2, 5, 12) + 1, example(12, seed=1), example(12, seed=2)
    got = answer(x, weight, bias, 1e-5)
    want = F.layer_norm(x, (12,), weight, bias, 1e-5)
    if got.shape == want.shape:
        hints = {
            "the mean is not taken away: this is RMSNorm with a bias.": F.rms_norm(x, (12,), weight, 1e-5) + bias,
            "the bias is missing.": want - bias,
            "the weight is missing.": F.layer_norm(x, (12,), None, bias, 1e-5),
            "the variance is divided by C - 1 (torch's default): give var correction=0, or take the mean of the squares.": (
                (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True) + 1e-5) * weight + bias
            ),
        }
        for hint, wrong in hints.items():
            expect(not torch.allclose(got, wrong, atol=1e-5), hint)
    expect_close(got, want, "the values differ from torch's layer_norm: look at mean, variance, eps, in this order.")
    small = 1e-3 * x
    expect_close(
        answer(small, weight, bias, 1e-5), F.layer_norm(small, (12,), weight, bias, 1e-5), "is your eps inside the square root?"
    )
    return "the mean of the channels goes to the bias, and their spread to the weight."


@exercise
def check_mended(answer) -> str:
    x, weight = torch.cat([example(1, 5, 12), 50 * example(1, 5, 12, seed=1)]), example(12, seed=2)
    other = x.clone()
    other[1] = 0
    expect(
        torch.allclose(answer(x, weight)[0], answer(other, weight)[0]),
        "the first text changes when the second does: the mean goes over everything; name the axis, and keep it.",
    )
    expect_close(answer(x, weight), F.rms_norm(x, (12,), weight, 1e-6), "the values differ from RMSNorm's.")
    zero = torch.zeros(12, requires_grad=True)
    answer(zero, weight).sum().backward()
    expect(torch.isfinite(zero.grad).all(), "at a vector of zeros the gradient is not a number: eps belongs inside the root.")
    expect(answer(x.bfloat16(), weight).dtype == torch.bfloat16, "the result should have the dtype of x.")
    return "each token has a size of its own, and eps sits inside the root."


@exercise
def check_head_norm(answer) -> str:
    x, weight = example(2, 5, 12) * torch.arange(1, 13), example(3, 4, seed=1)
    got = answer(x, weight)
    want = torch.cat([F.rms_norm(part, (4,), weight[i], 1e-6) for i, part in enumerate(x.split(4, dim=-1))], dim=-1)
    if got.shape == want.shape:
        whole = F.rms_norm(x, (12,), weight.flatten(), 1e-6)
        expect(not torch.allclose(got, whole, atol=1e-4), "all channels share one size: the mean must go over one head's.")
        mixed = (weight * F.rms_norm(x.view(2, 5, 4, 3).transpose(2, 3), (4,), eps=1e-6)).reshape(2, 5, 12)
        expect(not torch.allclose(got, mixed, atol=1e-4), "the heads are cut wrongly: view as (B, T, H, D), the heads first.")
    expect_close(got, want, "the values differ from H norms of D channels each, side by side.", 1e-4)
    return "a loud head no longer drowns the others."


@exercise
def check_backward(answer) -> str:
    x = example(2, 5, 12).double().requires_grad_()
    grad = example(2, 5, 12, seed=1).double()
    F.rms_norm(x, (12,), eps=1e-6).backward(grad)
    got, x, want = answer(x.detach(), grad, 1e-6), x.detach(), x.grad
    r = torch.sqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
    if got.shape == want.shape:
        expect(not torch.allclose(got, grad / r), "this takes the root for a fixed number: it depends on x as well.")
        minus = (grad + x / r * (grad * x / r).mean(-1, keepdim=True)) / r
        expect(not torch.allclose(got, minus), "a sign: a larger x makes the root larger, and that makes y smaller.")
        total = (grad - x / r * (grad * x / r).sum(-1, keepdim=True)) / r
        expect(not torch.allclose(got, total), "the root holds a mean, so its slope has a factor 1 / C: a mean, not a sum.")
    expect_close(got, want, "the values differ from what autograd finds.", 1e-6)
    return "what is left of grad stands at a right angle to x: along x nothing can change."
