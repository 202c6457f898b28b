"""Plausible wrong answers to the exercises of notebook 07, each with a part of the hint that it should get."""

import torch
import torch.nn.functional as F


def schedule(i, total, lr, warmup, decay, first=1, last=0, shape=lambda x: x):
    if i < warmup:
        return lr * (i + first) / warmup
    return lr * shape(min(1.0, (total - i - last) / decay))


def clip(grads, max_norm, always=False):
    norm = sum(grad.pow(2).sum() for grad in grads).sqrt()
    return [grad * max_norm / norm if always or norm > max_norm else grad for grad in grads]


def smooth(logits, targets, eps, keep=None, ids=1.0):
    logp = F.log_softmax(logits, dim=-1)
    plain = F.nll_loss(logp, targets)
    return (1 - eps if keep is None else keep) * plain - eps * logp.mean() * ids


def others(logits, targets, eps):
    logp = F.log_softmax(logits, dim=-1)
    target = logp[torch.arange(len(targets)), targets]
    return -((1 - eps) * target + eps * (logp.sum(-1) - target) / (logits.size(-1) - 1)).mean()


def adamw(w, g, m, v, t, lr, b1, b2, eps, decay, unbias=True, sign=-1, power=0.5, shrink=None):
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
    a, b = (m / (1 - b1**t), v / (1 - b2**t)) if unbias else (m, v)
    return w * (1 - (lr * decay if shrink is None else shrink)) + sign * lr * a / (b**power + eps), m, v


WRONG = [
    ("schedule", lambda *a: schedule(*a, first=0), "first rate is 0"),
    ("schedule", lambda i, total, lr, warmup, decay: schedule(i, total, lr, warmup + 1, decay), "number 9"),
    ("schedule", lambda i, total, lr, warmup, decay: schedule(i, total, lr, warmup, 10**-9), "decay is missing"),
    ("schedule", lambda i, total, lr, warmup, decay: schedule(i, total, lr, warmup, total), "stay level"),
    ("schedule", lambda *a: schedule(*a, last=1), "last rate is 0"),
    ("schedule", lambda *a: schedule(*a, shape=lambda x: x**1.01), "straight line"),
    ("clip", lambda grads, n: [grad / max(1.0, grad.norm().item()) for grad in grads], "for itself"),
    ("clip", lambda grads, n: [grad.clamp(-n, n) for grad in grads], "single entries"),
    ("clip", lambda grads, n: clip(grads, n, always=True), "made longer"),
    ("clip", lambda grads, n: grads, "all together"),
    ("smoothing", lambda logits, targets, eps: F.cross_entropy(logits, targets), "nothing is smoothed"),
    ("smoothing", others, "target included"),
    ("smoothing", lambda logits, targets, eps: smooth(logits, targets, eps, keep=1.0), "1 - eps"),
    ("smoothing", lambda logits, targets, eps: smooth(logits, targets, eps, ids=11), "eps / V, not eps"),
    ("smoothing", lambda logits, targets, eps: -smooth(logits, targets, eps), "the sign"),
    ("accumulate", lambda losses, counts: sum(losses) / len(losses), "as much as"),
    ("accumulate", lambda losses, counts: sum(a * b for a, b in zip(losses, counts, strict=True)), "the sum"),
    (
        "accumulate",
        lambda losses, counts: sum(a * b for a, b in zip(losses, counts, strict=True)) / len(losses),
        "not of micro",
    ),
    ("adamw", lambda *a: adamw(*a, unbias=False), "start at zero"),
    ("adamw", lambda *a: adamw(*a, sign=1), "the sign"),
    ("adamw", lambda *a: adamw(*a, power=1), "root of v"),
    ("adamw", lambda *a: adamw(*a, shrink=0.0), "decay is missing"),
    ("adamw", lambda *a: adamw(*a, shrink=0.2), "lr x decay"),
    ("adamw", lambda w, g, m, v, *a: adamw(w, g, m, v * 0 + g, *a), "beta2"),
]
