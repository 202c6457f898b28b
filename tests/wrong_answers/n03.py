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
]
