"""Plausible wrong answers to the exercises of notebook 07, each with a part of the hint that it should get."""

import math

import numpy as np
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


def length(grads):
    return torch.cat([grad.flatten() for grad in grads]).norm()


def over_logp(logp, targets, eps):
    return (1 - eps) * F.nll_loss(logp, targets) - eps * logp.mean()


def weighted(losses, counts):
    return sum(loss * count for loss, count in zip(losses, counts, strict=True))


def corrected(w, g, m, v, t, lr, b1, b2, eps, decay):
    new, m, v = adamw(w, g, m, v, t, lr, b1, b2, eps, decay)
    return new, m / (1 - b1**t), v / (1 - b2**t)


def with_v(w, g, m, v, t, lr, b1, b2, eps, decay, rule):
    new, m, _ = adamw(w, g, m, v, t, lr, b1, b2, eps, decay)
    return new, m, rule(v, g, b2, t)


def shrunk(w, lr, decay):
    return w * (1 - lr * decay)


def with_w(rule):
    """AdamW whose new w is made by this rule of the old w, the unbiased and the bare means, and the numbers."""

    def answer(w, g, m, v, t, lr, b1, b2, eps, decay):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        return rule(w, m / (1 - b1**t), v / (1 - b2**t), m, v, t, lr, eps, decay), m, v

    return answer


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
    ("schedule", lambda i, total, lr, *a: schedule(i, total, 1.0, *a), "times learning_rate"),
    ("schedule", lambda i, total, lr, warmup, decay: schedule(i, total, lr, 1, decay), "by equal steps"),
    (
        "schedule",
        lambda i, total, lr, warmup, decay: (
            lr * ((i + 1) / warmup) ** 2 if i < warmup else schedule(i, total, lr, warmup, decay)
        ),
        "by equal steps",
    ),
    ("schedule", lambda i, total, lr, warmup, decay: lr * min(1.0, 0.5 + i / 18) - lr * 0.4 * (i == 0), "straight line"),
    ("schedule", lambda i, total, lr, warmup, decay: schedule(i, total - 1, lr, warmup, decay), "last rate is 0"),
    ("schedule", lambda i, total, lr, warmup, decay: schedule(i, total, lr, warmup, decay + 1), "the first of the decay"),
    (
        "schedule",
        lambda i, total, lr, warmup, decay: schedule(i, total, lr, warmup, decay) - (i >= total - decay) * lr / 40,
        "the first of the decay",
    ),
    (
        "schedule",
        lambda i, total, lr, warmup, decay: schedule(i, total, lr, warmup, decay, shape=lambda x: 0.1 + 0.9 * x),
        "the last iteration, 99",
    ),
    ("schedule", lambda i, total, lr, warmup, decay: schedule(i, total, lr, warmup, decay, shape=lambda x: x**0.5), "straight"),
    (
        "schedule",
        lambda i, total, lr, warmup, decay: schedule(i, total, lr, warmup, decay) if i < warmup else None,
        "a `return`",
    ),
    ("schedule", lambda i, total, lr, warmup, decay: [schedule(i, total, lr, warmup, decay)], "a list of 1 where a number"),
    ("schedule", lambda *a: torch.tensor([schedule(*a)]), "the rate is one number"),
    ("schedule", lambda i, total, lr, warmup, decay: lr * i / (total - decay), "first rate is 0"),
    ("schedule", lambda i, total, lr, warmup, decay: lr * (i + 1) / (warmup if i < warmup else 0), "raised ZeroDivisionError"),
    ("clip", lambda grads, n: [grad * min(1.0, n / grad.norm().item()) for grad in grads], "the direction changes"),
    ("clip", lambda grads, n: [grad * n / grad.norm() for grad in grads], "gets the length max_norm for itself"),
    ("clip", lambda grads, n: [grad / length(grads) for grad in grads], "times max_norm"),
    ("clip", lambda grads, n: [grad * n / length(grads) ** 2 for grad in grads], "root is missing"),
    ("clip", lambda grads, n: [grad * n / sum(g.norm() for g in grads) for grad in grads], "do not add up"),
    ("clip", lambda grads, n: [grad * length(grads) / n for grad in grads], "other way round"),
    ("clip", lambda grads, n: [grad * n for grad in grads], "divide by the length as well"),
    ("clip", lambda grads, n: [grad * n / max(g.norm() for g in grads) for grad in grads], "the longest"),
    ("clip", lambda grads, n: [grad * n / sum(g.abs().sum() for g in grads) for grad in grads], "sizes are added"),
    ("clip", lambda grads, n: torch.nn.utils.clip_grad_norm_([torch.nn.Parameter(g) for g in grads], n), "return the list"),
    ("clip", lambda grads, n: (grad for grad in clip(grads, n)), "type generator: return the list"),
    ("clip", lambda grads, n: [grad.mul_(n / length(grads)) for grad in grads].clear(), "is there a `return`"),
    ("clip", lambda grads, n: [g if length(grads) > n else g / 2 for g in clip(grads, n)], "should stay as it is"),
    ("clip", lambda grads, n: clip(grads, n)[::-1], "the shape is (6,)"),
    ("clip", lambda grads, n: torch.cat([g.flatten() for g in clip(grads, n)]), "return the list"),
    ("clip", lambda grads, n: [grad.sign() * n for grad in grads], "the old direction"),
    ("smoothing", lambda logits, targets, eps: smooth(logits, targets, 1 - eps), "exchanged"),
    ("smoothing", lambda logits, targets, eps: smooth(logits, targets, eps, ids=-1.0), "wrong sign"),
    ("smoothing", lambda logits, targets, eps: smooth(logits, targets, eps, ids=0.0), "second part is missing"),
    ("smoothing", lambda logits, targets, eps: smooth(logits, targets, eps) * len(targets), "the sum over the places"),
    ("smoothing", lambda logits, targets, eps: smooth(logits, targets, eps) / math.log(2), "bits"),
    ("smoothing", lambda logits, targets, eps: smooth(logits, targets, eps, keep=0.0), "plain loss is missing"),
    ("smoothing", lambda logits, targets, eps: -F.log_softmax(logits, -1).mean(), "all V ids count the same"),
    ("smoothing", lambda logits, targets, eps: over_logp(F.log_softmax(logits, 0), targets, eps), "the last axis"),
    ("smoothing", lambda logits, targets, eps: over_logp(logits, targets, eps), "softmax is missing"),
    (
        "smoothing",
        lambda logits, targets, eps: F.cross_entropy(logits, targets, label_smoothing=eps, reduction="none"),
        "one loss for each place",
    ),
    ("smoothing", lambda logits, targets, eps: over_logp(logits.softmax(-1), targets, eps), "add (1 - eps)"),
    ("smoothing", lambda logits, targets, eps: (1 - eps) * F.cross_entropy(logits, targets) + eps, "add (1 - eps)"),
    ("smoothing", lambda logits, targets, eps: F.log_softmax(logits, -1), "the shape is (7, 11)"),
    ("accumulate", lambda losses, counts: weighted(losses, counts) / sum(counts), "leave it out"),
    ("accumulate", lambda losses, counts: sum(losses) / sum(counts), "first times its count"),
    ("accumulate", lambda losses, counts: sum(losses), "sum of the means"),
    ("accumulate", lambda losses, counts: sum(a / b for a, b in zip(losses, counts, strict=True)) / sum(counts), "not divided"),
    ("accumulate", lambda losses, counts: losses[-1], "the last micro-batch"),
    ("accumulate", lambda losses, counts: losses[0], "the first micro-batch"),
    ("accumulate", lambda losses, counts: max(losses), "the largest loss"),
    ("accumulate", lambda losses, counts: losses * counts / sum(counts), "raised TypeError"),
    ("accumulate", lambda losses, counts: [a * b for a, b in zip(losses, counts, strict=True)], "a list of 3 where a number"),
    ("accumulate", lambda losses, counts: weighted(losses, counts) / max(counts), "for losses"),
    (
        "accumulate",
        lambda losses, counts: sum(a * b / sum(counts) if b else a for a, b in zip(losses, counts, strict=True)),
        "leave it out",
    ),
    ("accumulate", lambda losses, counts: np.average(losses, weights=counts), "leave it out"),
    (
        "adamw",
        lambda w, g, m, v, t, lr, b1, b2, eps, decay: adamw(w, g + decay * w, m, v, t, lr, b1, b2, eps, 0),
        "Adam with L2",
    ),
    ("adamw", lambda *a: corrected(*a), "the bare m"),
    ("adamw", lambda w, g, m, *a: adamw(w, g, m + g, *a), "1 - beta1 is missing"),
    ("adamw", lambda w, g, m, v, t, lr, b1, *a: adamw(w, g, m, v, t, lr, 1 - b1, *a), "1 - beta1 are exchanged"),
    ("adamw", lambda w, g, m, v, t, lr, b1, b2, *a: adamw(w, g, m, v, t, lr, b2, b1, *a), "beta1 goes with m"),
    ("adamw", lambda *a: adamw(*a)[1:] + adamw(*a)[:1], "beta1 times the old m"),
    ("adamw", lambda *a: (adamw(*a)[1], adamw(*a)[0], adamw(*a)[2]), "the order is w, m, v"),
    ("adamw", lambda w, g, m, v, *a: (adamw(w, g, m, v, *a)[0], m, v), "the old m"),
    ("adamw", lambda w, g, m, v, *a: (*adamw(w, g, m, v, *a)[:2], v), "the old v"),
    ("adamw", lambda *a: with_v(*a, lambda v, g, b2, t: (b2 * v + (1 - b2) * g**2) / (1 - b2**t)), "the bare v"),
    ("adamw", lambda *a: with_v(*a, lambda v, g, b2, t: b2 * v + (1 - b2) * g), "not squared"),
    ("adamw", lambda *a: with_v(*a, lambda v, g, b2, t: b2 * v + g**2), "1 - beta2 is missing"),
    ("adamw", lambda *a: with_v(*a, lambda v, g, b2, t: b2 * v + ((1 - b2) * g) ** 2), "1 - beta2 is squared"),
    ("adamw", lambda *a: with_v(*a, lambda v, g, b2, t: (1 - b2) * v + b2 * g**2), "beta2 and 1 - beta2"),
    ("adamw", lambda *a: with_v(*a, lambda v, g, b2, t: 0.9 * v + 0.1 * g**2), "beta2 goes with v"),
    ("adamw", lambda *a: with_v(*a, lambda v, g, b2, t: b2 * v + (1 - b2) * adamw(*a)[1] ** 2), "m squared"),
    ("adamw", with_w(lambda w, a, b, m, v, t, lr, eps, decay: w + lr * decay * w - lr * a / (b.sqrt() + eps)), "w smaller"),
    ("adamw", with_w(lambda w, a, b, m, v, t, lr, eps, decay: w - lr * decay - lr * a / (b.sqrt() + eps)), "a number alone"),
    (
        "adamw",
        with_w(lambda w, a, b, m, v, t, lr, eps, decay: (w - lr * a / (b.sqrt() + eps)) * (1 - lr * decay)),
        "what the step has left",
    ),
    ("adamw", with_w(lambda w, a, b, m, v, t, lr, eps, decay: shrunk(w, lr, decay) - lr * a / (v.sqrt() + eps)), "only m is"),
    ("adamw", with_w(lambda w, a, b, m, v, t, lr, eps, decay: shrunk(w, lr, decay) - lr * m / (b.sqrt() + eps)), "only v is"),
    (
        "adamw",
        lambda w, g, m, v, t, lr, b1, b2, eps, decay: (
            shrunk(w, lr, decay)
            - lr * (b1 * m + (1 - b1) * g) / (1 - b2**t) / (((b2 * v + (1 - b2) * g**2) / (1 - b1**t)).sqrt() + eps),
            b1 * m + (1 - b1) * g,
            b2 * v + (1 - b2) * g**2,
        ),
        "exchanged below",
    ),
    ("adamw", lambda *a: (adamw(*a[:4], 1, *a[5:])[0], *adamw(*a)[1:]), "not by 1 - beta"),
    (
        "adamw",
        with_w(lambda w, a, b, m, v, t, lr, eps, decay: shrunk(w, lr, decay) - lr * a / (b + eps).sqrt()),
        "outside the root",
    ),
    ("adamw", with_w(lambda w, a, b, m, v, t, lr, eps, decay: shrunk(w, lr, decay) - lr * a / b.sqrt()), "eps is missing"),
    (
        "adamw",
        with_w(lambda w, a, b, m, v, t, lr, eps, decay: shrunk(w, lr, decay) - lr * a / (b / v.sqrt() + eps)),
        "not behind",
    ),
    ("adamw", with_w(lambda w, a, b, m, v, t, lr, eps, decay: shrunk(w, lr, decay) - a / (b.sqrt() + eps)), "lr is missing"),
    ("adamw", with_w(lambda w, a, b, m, v, t, lr, eps, decay: shrunk(w, lr, decay) - lr * a), "v is not used"),
    ("adamw", with_w(lambda w, a, b, m, v, t, lr, eps, decay: w), "w is not changed"),
    ("adamw", with_w(lambda w, a, b, m, v, t, lr, eps, decay: lr * a / (b.sqrt() + eps)), "the step alone"),
    ("adamw", with_w(lambda w, a, b, m, v, t, lr, eps, decay: w - lr * a.sign()), "torch.optim.AdamW's"),
    ("adamw", lambda *a: adamw(*a)[0], "return three tensors"),
]
