"""Unusual but right answers to the exercises of notebook 03."""

import numpy as np
import torch
import torch.nn.functional as F


def rms_by_loop(x):
    rows = [sum(value**2 for value in row) / len(row) for row in x.reshape(-1, x.size(-1)).tolist()]
    return torch.tensor(rows).sqrt().view(x.shape[:-1])


def layer_norm_in_numpy(x, weight, bias, eps):
    x, weight, bias = x.numpy(), weight.numpy(), bias.numpy()
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) * weight + bias


def layer_norm_in_place(x, weight, bias, eps):
    x -= x.mean(-1, keepdim=True)
    x /= (x.var(-1, correction=0, keepdim=True) + eps).sqrt_()
    return x.mul_(weight).add_(bias)


def layer_norm_by_moments(x, weight, bias, eps):
    x = x.double()
    variance = (x**2).mean(-1, keepdim=True) - x.mean(-1, keepdim=True) ** 2
    return weight * (x - x.mean(-1, keepdim=True)) * (variance + eps).rsqrt() + bias


def mended_in_place(x, weight, eps=1e-6):
    y = x.float().clone()
    y *= torch.rsqrt(y.square().mean(dim=-1, keepdim=True) + eps)
    y *= weight
    return y.to(x.dtype)


def mended_by_norm(x, weight, eps=1e-6):
    y = x.double()
    return (weight * y / (y.norm(dim=-1, keepdim=True) ** 2 / y.size(-1) + eps).sqrt()).to(x.dtype)


def head_norm_by_loop(x, weight):
    H, D = weight.shape
    return torch.cat([F.rms_norm(x[..., h * D : (h + 1) * D], (D,), weight[h], 1e-6) for h in range(H)], dim=-1)


def head_norm_by_einsum(x, weight):
    heads = x.unflatten(-1, weight.shape)
    squares = torch.einsum("bthd,bthd->bth", heads, heads) / weight.size(1)
    return torch.einsum("bthd,hd,bth->bthd", heads, weight, (squares + 1e-6).rsqrt()).flatten(2)


def head_norm_turned(x, weight):
    H, D = weight.shape
    heads = x.view(*x.shape[:2], H, D).transpose(1, 2)
    return (F.rms_norm(heads, (D,), eps=1e-6) * weight[:, None]).transpose(1, 2).reshape(x.shape)


def backward_by_matrix(x, grad, eps):
    C = x.size(-1)
    r = (x.pow(2).mean(-1, keepdim=True) + eps).sqrt()[..., None]
    slopes = torch.eye(C, dtype=x.dtype) / r - x[..., :, None] * x[..., None, :] / (C * r**3)
    return (slopes @ grad[..., None]).squeeze(-1)


def backward_in_numpy(x, grad, eps):
    x, grad = x.numpy(), grad.numpy()
    r = np.sqrt((x**2).mean(-1, keepdims=True) + eps)
    return grad / r - x * (grad * x).sum(-1, keepdims=True) / (x.shape[-1] * r**3)


RIGHT = [
    ("rms", lambda x: x.norm(dim=-1) / x.size(-1) ** 0.5),
    ("rms", lambda x: torch.einsum("...c,...c->...", x, x).div(x.size(-1)).sqrt()),
    ("rms", lambda x: np.sqrt(np.mean(np.square(x.numpy()), axis=-1))),
    ("rms", lambda x: x.double().square_().mean(dim=-1).sqrt_()),
    ("rms", rms_by_loop),
    ("layer_norm", lambda x, weight, bias, eps: F.layer_norm(x, x.shape[-1:], weight, bias, eps)),
    ("layer_norm", layer_norm_in_numpy),
    ("layer_norm", layer_norm_in_place),
    ("layer_norm", layer_norm_by_moments),
    ("mended", lambda x, weight, eps=1e-6: F.rms_norm(x.float(), x.shape[-1:], weight, eps).to(x.dtype)),
    ("mended", mended_in_place),
    ("mended", mended_by_norm),
    ("head_norm", head_norm_by_loop),
    ("head_norm", head_norm_by_einsum),
    ("head_norm", head_norm_turned),
    ("backward", backward_by_matrix),
    ("backward", backward_in_numpy),
    ("backward", lambda x, grad, eps: torch.func.vjp(lambda x: F.rms_norm(x, x.shape[-1:], eps=eps), x)[1](grad)[0]),
]
