"""Plausible wrong answers to the exercises of notebook 03, each with a part of the hint that it should get."""

import torch
import torch.nn.functional as F


def mended(x, weight, eps=1e-6):
    return (weight * x.float() / torch.sqrt(x.float().pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype)


def head_norm(x, weight, eps=1e-6):
    B, T, C = x.shape
    heads = x.view(B, T, *weight.shape)
    return (weight * heads / torch.sqrt(heads.pow(2).mean(-1, keepdim=True) + eps)).reshape(B, T, C)


def backward(x, grad, eps=1e-6):
    r = torch.sqrt(x.pow(2).mean(-1, keepdim=True) + eps)
    y = x / r
    return (grad - y * (grad * y).mean(-1, keepdim=True)) / r


def size(x, eps=0.0, axis=-1):
    return torch.sqrt((x.pow(2).mean() if axis is None else x.pow(2).mean(axis, keepdim=True)) + eps)


def heads(x, weight, norm):
    return norm(x.view(*x.shape[:2], *weight.shape)).reshape(x.shape)


def pulled(x, grad, eps, first=1.0, second=1.0):
    r = size(x, eps)
    return grad / r * first - x / r * (grad * x / r).mean(-1, keepdim=True) / r * second


WRONG = [
    ("rms", lambda x: x.pow(2).mean(-1), "root is missing"),
    ("rms", lambda x: x.pow(2).sqrt().mean(-1), "after the mean"),
    ("rms", lambda x: x.pow(2).mean(-1, keepdim=True).sqrt(), "keepdim"),
    ("rms", lambda x: x.pow(2).mean().sqrt(), "which axis"),
    ("rms", lambda x: x.pow(2).sum(-1).sqrt(), "number of channels"),
    ("layer_norm", lambda x, w, b, e: F.rms_norm(x, (12,), w, e) + b, "mean is not taken away"),
    ("layer_norm", lambda x, w, b, e: F.layer_norm(x, (12,), w, None, e), "bias is missing"),
    ("layer_norm", lambda x, w, b, e: F.layer_norm(x, (12,), None, b, e), "weight is missing"),
    (
        "layer_norm",
        lambda x, w, b, e: w * (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True) + e) + b,
        "C - 1",
    ),
    (
        "layer_norm",
        lambda x, w, b, e: w * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True, correction=0) + e) + b,
        "inside the square root",
    ),
    ("mended", lambda x, w: (w * x.float() / (x.float().pow(2).mean().sqrt() + 1e-6)).to(x.dtype), "name the axis"),
    (
        "mended",
        lambda x, w: (w * x.float() / (x.float().pow(2).mean(-1, keepdim=True).sqrt() + 1e-6)).to(x.dtype),
        "inside the",
    ),
    ("mended", lambda x, w: mended(x.float(), w), "dtype"),
    ("head_norm", lambda x, w: F.rms_norm(x, (12,), w.flatten(), 1e-6), "one head's"),
    (
        "head_norm",
        lambda x, w: (w * F.rms_norm(x.view(2, 5, 4, 3).transpose(2, 3), (4,), eps=1e-6)).reshape(2, 5, 12),
        "heads are cut wrongly",
    ),
    ("head_norm", lambda x, w: w * F.rms_norm(x.view(2, 5, 3, 4), (4,), eps=1e-6), "the shape is"),
    ("head_norm", lambda x, w: head_norm(x, torch.ones_like(w)), "values differ"),
    ("backward", lambda x, g, e: g / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + e), "fixed number"),
    ("backward", lambda x, g, e: 2 * g / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + e) - backward(x, g), "a sign"),
    ("backward", lambda x, g, e: 12 * backward(x, g) - 11 * g / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + e), "not a sum"),
    ("backward", lambda x, g, e: backward(x, g) * 1.01, "autograd"),
    ("rms", lambda x: x.pow(2).mean(0).sqrt(), "over the first axis"),
    ("rms", lambda x: x.pow(2).mean(1).sqrt(), "last axis but one"),
    ("rms", lambda x: x.norm(dim=-1) / x.size(-1), "under the root"),
    ("rms", lambda x: x.std(-1, correction=0), "as a standard deviation does"),
    ("rms", lambda x: x.std(-1), "divides by C - 1"),
    ("rms", lambda x: x.mean(-1).pow(2).sqrt(), "square first"),
    ("rms", lambda x: x.mean(-1), "squares are missing"),
    ("rms", lambda x: x.pow(2).mean(-1).rsqrt(), "not rsqrt"),
    ("rms", lambda x: F.rms_norm(x, x.shape[-1:], eps=0.0), "the size alone"),
    ("rms", lambda x: torch.sqrt(x.pow(2).mean(-1) + 1e-6), "without"),
    ("rms", lambda x: x.norm(), "the shape is ()"),
    ("rms", lambda x: x.abs().amax(-1), "the values differ"),
    ("rms", lambda x: torch.sqrt(x.pow(2).mean(-1) + 1e-5), "for a small x"),
    ("rms", lambda x: [row.pow(2).mean().sqrt().item() for row in x.flatten(0, -2)], "a list of 10 where a tensor"),
    ("layer_norm", lambda x, w, b, e: w * (x - x.mean(-1, True)) / size(x, e) + b, "yours is of x"),
    ("layer_norm", lambda x, w, b, e: w * x / torch.sqrt(x.var(-1, correction=0, keepdim=True) + e) + b, "x needs it too"),
    ("layer_norm", lambda x, w, b, e: F.layer_norm(x, x.shape[-1:], eps=e), "weight and bias are missing"),
    ("layer_norm", lambda x, w, b, e: F.layer_norm(x, x.shape[-1:], b, w, e), "are exchanged"),
    ("layer_norm", lambda x, w, b, e: w * (F.layer_norm(x, x.shape[-1:], eps=e) + b), "multiplies the bias"),
    ("layer_norm", lambda x, w, b, e: F.layer_norm(x, x.shape[-1:], w, b, 0.0), "given eps"),
    ("layer_norm", lambda x, w, b, e: F.layer_norm(x, x.shape[-1:], w, b, 1e-5), "given eps"),
    ("layer_norm", lambda x, w, b, e: w * (x - x.mean(-1, True)) / (x.std(-1, keepdim=True) + e) + b, "torch's std"),
    (
        "layer_norm",
        lambda x, w, b, e: w * (x - x.mean(-1, True)) / (x.var(-1, correction=0, keepdim=True) + e) + b,
        "the root is missing",
    ),
    ("layer_norm", lambda x, w, b, e: w * (x - x.mean()) / torch.sqrt(x.var(correction=0) + e) + b, "name the axis"),
    ("layer_norm", lambda x, w, b, e: w * (x - x.mean(-1)) / torch.sqrt(x.var(-1) + e) + b, "raised RuntimeError"),
    ("layer_norm", lambda x, w, b, e: F.layer_norm(x, x.shape[-2:], eps=e) * w + b, "the values differ"),
    ("mended", lambda x, w: w * x.float() / (x.float().pow(2).mean().sqrt() + 1e-6), "name the axis"),
    ("mended", lambda x, w: w * x / size(x, 1e-6, -2), "last axis but one"),
    ("mended", lambda x, w: w * x / size(x, 1e-6, 0), "over the first axis"),
    ("mended", lambda x, w: w * x / (x.pow(2).mean(-1, keepdim=True) + 1e-6), "root is gone"),
    ("mended", lambda x, w: (x.float() / size(x.float(), 1e-6)).to(x.dtype), "weight is gone"),
    ("mended", lambda x, w, eps=1e-6: (w * x.float() / size(x.float(), 0)).to(x.dtype), "eps is gone"),
    ("mended", lambda x, w, eps=1e-6: mended(x, w), "the eps that is given"),
    ("mended", lambda x, w, eps=1e-6: (w * x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype), "in float32"),
    ("mended", lambda x, w, eps=1e-6: w * x.float() / torch.sqrt(x.float().pow(2).mean(-1) + eps), "raised RuntimeError"),
    ("mended", lambda x, w, eps=1e-6: mended(x, w, 1e-5), "where is eps"),
    ("mended", lambda x, w, eps=1e-6: F.layer_norm(x, x.shape[-1:], w, eps=eps), "differ from RMSNorm's"),
    ("mended", lambda x, w, eps=1e-6: mended(x, w, eps).bfloat16(), "differ"),
    ("mended", lambda x, w, eps=1e-6: mended(x, w, eps).numpy() if x.dtype == torch.float32 else None, "is there a `return`"),
    ("head_norm", lambda x, w: heads(x, w, lambda h: w * h / size(h, 1e-6, 2)), "over the heads"),
    ("head_norm", lambda x, w: heads(x, w, lambda h: w * h / size(h, 1e-6, None)), "over everything"),
    ("head_norm", lambda x, w: heads(x, w, lambda h: (w * h / size(h, 1e-6)).transpose(1, 2)), "mixed up"),
    ("head_norm", lambda x, w: heads(x, w, lambda h: w[0] * h / size(h, 1e-6)), "a weight of its own"),
    ("head_norm", lambda x, w: heads(x, w, lambda h: w * h / (size(h) + 1e-6)), "outside the root"),
    ("head_norm", lambda x, w: heads(x, w, lambda h: w * h / size(h)), "eps is missing"),
    ("head_norm", lambda x, w: heads(x, w, lambda h: w * F.layer_norm(h, h.shape[-1:], eps=1e-6)), "takes the mean away"),
    ("head_norm", lambda x, w: heads(x, w, lambda h: w.T * h / size(h, 1e-6)), "raised RuntimeError"),
    ("head_norm", lambda x, w: heads(x, w, lambda h: w * h / h.pow(2).mean(-1).sqrt()), "raised RuntimeError"),
    ("head_norm", lambda x, w: heads(x, w, lambda h: w * h / (h.pow(2).mean(-1, True) + 1e-6)), "side by side"),
    ("backward", lambda x, g, e: x / size(x, e), "the way forward"),
    ("backward", lambda x, g, e: backward(x, g, e) - g / size(x, e), "grad / r is missing"),
    ("backward", lambda x, g, e: backward(x, g, e) * size(x, e), "all is divided by r"),
    ("backward", lambda x, g, e: pulled(x, g, e, first=size(x, e)), "first part is divided"),
    ("backward", lambda x, g, e: pulled(x, g, e, second=size(x, e)), "one r is missing"),
    ("backward", lambda x, g, e: pulled(x, g, e, second=size(x, e) ** 2), "x stands in its place"),
    ("backward", lambda x, g, e: (g - x * (g * x / size(x, e)).mean(-1, True)) / size(x, e), "one r is missing"),
    ("backward", lambda x, g, e: (g - x / size(x, e) * (g * x).mean(-1, True)) / size(x, e), "one r is missing"),
    ("backward", lambda x, g, e: (g - x / size(x, e) * (g * x / size(x, e)).mean()) / size(x, e), "over everything"),
    ("backward", lambda x, g, e: (g - (g * x / size(x, e)).mean(-1, True)) / size(x, e), "y is missing"),
    ("backward", lambda x, g, e: (g - x**3 / size(x, e) ** 3) / size(x, e), "autograd"),
    ("backward", lambda x, g, e: (g - x / size(x, e) * (x / size(x, e)).pow(2).mean(-1, True)) / size(x, e), "grad is missing"),
    ("backward", lambda x, g, e: backward(x, g, 1e-6), "eps is missing"),
    ("backward", lambda x, g, e: (g - x / size(x, e) * (g * x / size(x, e)).mean(-1)) / size(x, e), "raised RuntimeError"),
]
