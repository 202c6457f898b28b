"""Unusual but right answers to the exercises of notebook 07."""

import math

import numpy as np
import torch
import torch.nn.functional as F


def schedule_by_cases(current_iter, max_iters, learning_rate, warmup, decay):
    if current_iter >= max_iters - decay:
        return learning_rate - learning_rate / decay * (current_iter - (max_iters - decay))
    if current_iter >= warmup:
        return learning_rate
    return learning_rate / warmup * (1 + current_iter)


def schedule_by_interpolation(current_iter, max_iters, learning_rate, warmup, decay):
    at, height = [-1, warmup - 1, max_iters - decay, max_iters], [0, learning_rate, learning_rate, 0]
    return np.interp(current_iter, at, height)


def schedule_in_torch(current_iter, max_iters, learning_rate, warmup, decay):
    factors = torch.tensor([1.0, (current_iter + 1) / warmup, (max_iters - current_iter) / decay])
    return learning_rate * factors.min()


def clip_in_place(grads, max_norm):
    norm = torch.stack([grad.norm() for grad in grads]).norm()
    for grad in grads:
        grad *= (max_norm / (norm + 1e-7)).clamp(max=1.0)
    return grads


def clip_by_torch(grads, max_norm):
    weights = [torch.nn.Parameter(torch.zeros_like(grad)) for grad in grads]
    for weight, grad in zip(weights, grads, strict=True):
        weight.grad = grad
    torch.nn.utils.clip_grad_norm_(weights, max_norm)
    return tuple(weight.grad for weight in weights)


def clip_in_python(grads, max_norm):
    length = math.sqrt(sum(float(value) ** 2 for grad in grads for value in grad.flatten()))
    return [grad.numpy() / max(1.0, length / max_norm) for grad in grads]


def smooth_by_asking(logits, targets, eps):
    V = logits.size(-1)
    asked = torch.full_like(logits, eps / V)
    asked[torch.arange(len(targets)), targets] += 1 - eps
    return F.cross_entropy(logits, asked)


def smooth_by_loops(logits, targets, eps):
    total = 0.0
    for row, target in zip(logits.tolist(), targets.tolist(), strict=True):
        norm = math.log(sum(math.exp(value) for value in row))
        for i, value in enumerate(row):
            total += (eps / len(row) + (1 - eps) * (i == target)) * (norm - value)
    return total / len(targets)


def smooth_in_numpy(logits, targets, eps):
    logits, targets = logits.numpy().astype(np.float64), targets.numpy()
    logp = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    asked = (1 - eps) * np.eye(logits.shape[1])[targets] + eps / logits.shape[1]
    return -(asked * logp).sum(1).mean()


def accumulated_by_loop(losses, counts):
    total = n = 0
    for loss, count in zip(losses, counts, strict=True):
        if not math.isnan(loss):
            total, n = total + loss * count, n + count
    return total / n


def adamw_in_place(w, grad, m, v, t, lr, beta1, beta2, eps, decay):
    w *= 1 - lr * decay
    m.mul_(beta1).add_(grad, alpha=1 - beta1)
    v.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
    w.addcdiv_(m / (1 - beta1**t), (v / (1 - beta2**t)).sqrt_().add_(eps), value=-lr)
    return w, m, v


def adamw_by_lerp(w, grad, m, v, t, lr, beta1, beta2, eps, decay):
    """As PyTorch writes it: the correction of v goes to the root and to the length of the step."""
    m, v = torch.lerp(m, grad, 1 - beta1), torch.lerp(v, grad.square(), 1 - beta2)
    bottom = v.sqrt() / math.sqrt(1 - beta2**t) + eps
    return [w - lr * (decay * w + m / (1 - beta1**t) / bottom), m, v]


def adamw_in_numpy(w, grad, m, v, t, lr, beta1, beta2, eps, decay):
    w, grad, m, v = (part.numpy() for part in (w, grad, m, v))
    m, v = m + (1 - beta1) * (grad - m), v + (1 - beta2) * (grad**2 - v)
    return w - lr * decay * w - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps), m, v


RIGHT = [
    ("schedule", schedule_by_cases),
    ("schedule", schedule_by_interpolation),
    ("schedule", schedule_in_torch),
    ("clip", clip_in_place),
    ("clip", clip_by_torch),
    ("clip", clip_in_python),
    ("smoothing", smooth_by_asking),
    ("smoothing", smooth_by_loops),
    ("smoothing", smooth_in_numpy),
    ("accumulate", accumulated_by_loop),
    ("accumulate", lambda losses, counts: sum(a * b for a, b in zip(losses, counts, strict=True) if b) / sum(counts)),
    ("accumulate", lambda losses, counts: np.nansum(np.array(losses) * np.array(counts)) / np.sum(counts)),
    ("accumulate", lambda losses, counts: (torch.tensor(losses).nan_to_num() @ torch.tensor(counts).float()) / sum(counts)),
    ("adamw", adamw_in_place),
    ("adamw", adamw_by_lerp),
    ("adamw", adamw_in_numpy),
]
