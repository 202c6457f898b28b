"""The exercises of notebook 07: the training loop."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from yzlin.checks import compare, example, exercise, expect, numbers_of, parts, run, unlike


def rates_of(answer, total: int, lr: float, warmup: int, decay: int) -> list[float]:
    """The rate of each iteration."""
    rates = [numbers_of(run(answer, i, total, lr, warmup, decay), "a number") for i in range(total)]
    expect(all(rate.dim() == 0 for rate in rates), f"the rate is one number, and yours has the shape {tuple(rates[0].shape)}.")
    return [rate.item() for rate in rates]


@exercise
def check_schedule(answer) -> str:
    for total, lr, warmup, decay in ((100, 0.37, 10, 20), (61, 6e-4, 7, 13), (20, 0.03, 8, 12)):  # the last has no level part
        rates = rates_of(answer, total, lr, warmup, decay)
        start, last = total - decay, total - 1

        def near(i: int, want: float, rates=rates) -> bool:
            return math.isclose(rates[i], want, rel_tol=1e-5)

        up = [lr * (i + 1) / warmup for i in range(warmup)]
        right = up + [lr * min(1.0, (total - i) / decay) for i in range(warmup, total)]
        given = f"of {total} iterations, warmup {warmup}, decay {decay}, rate {lr}"
        unlike(torch.tensor(rates), {"these are shares of the rate: times learning_rate.": torch.tensor(right) / lr})
        expect(rates[0] != 0, f"the first rate is 0: a step that goes nowhere. Iteration 0 has 1/{warmup} of the rate.")
        full = f"the last of the {warmup} warm-up iterations, number {warmup - 1}, should have the full rate"
        expect(near(warmup - 1, lr), f"{full} {lr}: yours {rates[warmup - 1]:.4g}.")
        expect(
            near(0, up[0]), f"in the warm-up the rate grows by equal steps: at 0 it is {up[0]:.4g}, and yours {rates[0]:.4g}."
        )
        expect(all(map(near, range(warmup), up)), "the warm-up should be a straight line.")
        level = all(near(i, lr) for i in range(warmup, start))
        expect(level, f"between warm-up and decay the rate should stay level, at {lr} ({given}).")
        expect(not near(last, lr), "the decay is missing: it begins decay iterations before the end.")
        expect(rates[last] != 0, f"the last rate is 0: a step that goes nowhere. The last has 1/{decay} of the rate.")
        steps = [rates[i] - rates[i + 1] for i in range(start, last)]
        expect(max(steps) - min(steps) < 1e-5 * lr, "the decay should be a straight line.")
        first = f"iteration {start} is the first of the decay, and has the full rate {lr}"
        expect(near(start, lr), f"{first}: yours {rates[start]:.4g}.")
        end = f"the last iteration, {last}, should have 1/{decay} of the rate, {lr / decay:.4g}"
        expect(near(last, lr / decay), f"{end}: yours {rates[last]:.4g}.")
    return "one can decide late how long to train: only the last part depends on the end."


@exercise
def check_clip(answer) -> str:
    for seed, max_norm in ((0, 0.7), (3, 1.9)):
        grads = [example(4, 3, seed=seed), 3 * example(5, seed=seed + 1), 0.2 * example(6, seed=seed + 2)]
        norm = math.sqrt(sum(grad.pow(2).sum().item() for grad in grads))
        added = sum(grad.norm().item() for grad in grads)
        one_length = "one length for all together."
        hints = {
            "nothing is clipped: all together are longer than max_norm.": grads,
            f"each tensor is clipped for itself: the direction changes; {one_length}": [
                grad * min(1.0, max_norm / grad.norm().item()) for grad in grads
            ],
            f"each tensor is clipped for itself, and to the length 1; {one_length}": [
                g / max(1.0, g.norm().item()) for g in grads
            ],
            f"each tensor gets the length max_norm for itself: {one_length}": [g * max_norm / g.norm() for g in grads],
            "this cuts single entries: scale the whole by one factor.": [grad.clamp(-max_norm, max_norm) for grad in grads],
            "all together have the length 1: times max_norm.": [grad / norm for grad in grads],
            "the root is missing: the length is the root of the sum of squares.": [g * max_norm / norm**2 for g in grads],
            "the lengths of the tensors do not add up: the root of the sum of all squares.": [
                g * max_norm / added for g in grads
            ],
            "divide by the length and multiply by max_norm: this is the other way round.": [g * norm / max_norm for g in grads],
            "divide by the length as well: times max_norm alone is not enough.": [g * max_norm for g in grads],
            "the length of the longest tensor is taken: one length for all together.": [
                g * max_norm / max(grad.norm() for grad in grads) for g in grads
            ],
            "the sizes are added, not the squares: the root of the sum of all squares.": [
                g * max_norm / sum(grad.abs().sum() for grad in grads) for g in grads
            ],
        }
        wanted = "return the list of the clipped gradients."
        got = parts(run(answer, grads, max_norm), len(grads), wanted)
        otherwise = "all together should have the length max_norm, and the old direction."
        compare(got, [grad * max_norm / norm for grad in grads], hints, otherwise)
        small = [grad * 0.4 * max_norm / norm for grad in grads]
        got = parts(run(answer, small, max_norm), len(small), wanted)
        hints = {"a short gradient is made longer: only a longer one than max_norm is changed.": [g / 0.4 for g in small]}
        compare(got, small, hints, "a gradient shorter than max_norm should stay as it is.")
    return "the direction stays, the length is bounded: one bad batch cannot throw the model far away."


@exercise
def check_smoothing(answer) -> str:
    for N, V, eps in ((7, 11, 0.13), (4, 5, 0.31)):
        logits, targets = 2 * example(N, V), torch.arange(3, 3 + 3 * N, 3) % V
        logp = F.log_softmax(logits, dim=-1)
        plain, uniform = F.cross_entropy(logits, targets), -logp.mean()
        rest = (V * uniform - plain) / (V - 1)  # the mean over the ids that are not the target
        want = F.cross_entropy(logits, targets, label_smoothing=eps)
        hints = {
            "nothing is smoothed.": plain,
            "the sign: a loss is minus the logarithm.": -want,
            "the share eps goes to all V ids, the target included: each gets eps / V.": (1 - eps) * plain + eps * rest,
            "eps is divided among the ids: each of the V gets eps / V, not eps.": (1 - eps) * plain + eps * V * uniform,
            "the target keeps only 1 - eps of its share.": plain + eps * uniform,
            "1 - eps and eps are exchanged.": eps * plain + (1 - eps) * uniform,
            "the second part has the wrong sign: both are minus the logarithm.": (1 - eps) * plain - eps * uniform,
            "the second part is missing: eps times the mean of -log p over all V ids.": (1 - eps) * plain,
            "this is the sum over the places: take the mean.": want * N,
            "these are bits: use the natural logarithm.": want / math.log(2),
            "the plain loss is missing: 1 - eps of it.": eps * uniform,
            "all V ids count the same: 1 - eps goes to the target.": uniform,
            "softmax goes over the ids, the last axis.": (1 - eps) * F.nll_loss(F.log_softmax(logits, 0), targets)
            - eps * F.log_softmax(logits, 0).mean(),
            "the softmax is missing: logits are not yet log p.": (1 - eps) * F.nll_loss(logits, targets) - eps * logits.mean(),
            "one loss for each place: return their mean.": F.cross_entropy(
                logits, targets, label_smoothing=eps, reduction="none"
            ),
        }
        otherwise = "add (1 - eps) times the plain loss and eps times the mean of -log p over all V ids."
        compare(run(answer, logits, targets, eps), want, hints, otherwise)
    return "with eps = 0.1 a model is no longer rewarded for being surer than about 90%. Does that help? A question for a race."


def micro_batch(targets: int, places: int, seed: int) -> float:
    """The mean loss of a micro-batch of which only so many targets count, as PyTorch gives it: NaN without any."""
    labels = torch.where(torch.arange(places) < targets, torch.arange(places) % 5, -1)
    return F.cross_entropy(example(places, 5, seed=seed), labels, ignore_index=-1).item()


@exercise
def check_accumulate(answer) -> str:
    for counts in ([100, 10, 50], [7, 31], [5, 0, 17]):  # in the last, one has no target: its loss is NaN
        losses = [micro_batch(count, max(counts) + 3, seed + 3) for seed, count in enumerate(counts)]
        pairs = [(loss, count) for loss, count in zip(losses, counts, strict=True) if count]
        total, full = sum(loss * count for loss, count in pairs), [loss for loss, _ in pairs]
        want, less = total / sum(counts), sum(losses) / sum(counts)
        hints = {
            "micro-batches with few targets count as much as those with many: weight by the counts.": sum(full) / len(full),
            "this is the sum over all targets: divide by how many there are.": total,
            "divide by the number of targets, not of micro-batches.": total / len(counts),
            "a mean is no sum yet: first times its count.": less,
            "this is the sum of the means: weight each by its count, then divide by all targets.": sum(full),
            "a mean is multiplied by its count, not divided by it.": sum(loss / count for loss, count in pairs) / sum(counts),
            "this is the last micro-batch alone.": losses[-1],
            "this is the first micro-batch alone.": losses[0],
            "this is the largest loss: the mean over all targets.": max(full),
        }
        if 0 in counts:
            empty = "a micro-batch without targets has a loss of NaN in PyTorch, and 0 times NaN is NaN: leave it out."
            hints = {empty: math.nan} | hints
        given = f"losses {[round(loss, 3) for loss in losses]} and counts {counts}."
        compare(run(answer, losses, counts), want, hints, f"the mean over all targets, for {given}")
    return "the mean of means is the mean only if all have the same size."


def torch_adamw(w: Tensor, grad: Tensor, m: Tensor, v: Tensor, t: int, lr, beta1, beta2, eps, decay) -> tuple[Tensor, ...]:
    """One step of torch.optim.AdamW from this state: w, m, v."""
    weight = torch.nn.Parameter(w.clone())
    weight.grad = grad.clone()
    optimizer = torch.optim.AdamW([weight], lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=decay)
    state = optimizer.state[weight]
    state.update(step=torch.tensor(float(t - 1)), exp_avg=m.clone(), exp_avg_sq=v.clone())
    optimizer.step()
    return weight.detach(), state["exp_avg"], state["exp_avg_sq"]


def adamw_mistakes(w, m, v, t, lr, beta1, beta2, eps, decay) -> dict[str, Tensor]:
    """What likely mistakes make of w, from the right new m and v."""
    kept, a, b = w - lr * decay * w, m / (1 - beta1**t), v / (1 - beta2**t)
    step = lr * a / (b.sqrt() + eps)
    other = lr * m / (1 - beta2**t) / ((v / (1 - beta1**t)).sqrt() + eps)
    return {
        "the weight decay is missing: w shrinks by lr x decay, apart from the gradient.": w - step,
        "the decay is lr x decay, not decay alone.": w - decay * w - step,
        "the decay makes w smaller: minus lr x decay x w.": w + lr * decay * w - step,
        "the decay is lr x decay times w: a number alone is taken away here.": w - lr * decay - step,
        "w shrinks by lr x decay of the old w: here of what the step has left.": (w - step) * (1 - lr * decay),
        "the means start at zero, so divide them by 1 - beta^t.": kept - lr * m / (v.sqrt() + eps),
        "only m is divided by 1 - beta^t: v as well.": kept - lr * a / (v.sqrt() + eps),
        "only v is divided by 1 - beta^t: m as well.": kept - lr * m / (b.sqrt() + eps),
        "the betas are exchanged below: m goes with beta1, v with beta2.": kept - other,
        "divide by 1 - beta^t, not by 1 - beta.": kept - lr * m / (1 - beta1) / ((v / (1 - beta2)).sqrt() + eps),
        "the sign: a step goes against the gradient.": kept + step,
        "divide by the root of v.": kept - lr * a / (b + eps),
        "eps belongs outside the root: root of v, plus eps.": kept - lr * a / (b + eps).sqrt(),
        "eps is missing: where v is 0, this is 0 / 0.": kept - lr * a / b.sqrt(),
        "v is divided by 1 - beta2^t under the root, not behind it.": kept - lr * a / (v.sqrt() / (1 - beta2**t) + eps),
        "lr is missing in the step.": kept - step / lr,
        "v is not used: divide by its root.": kept - lr * a,
        "w is not changed.": w,
        "this is the step alone: take it away from w.": step,
    }


@exercise
def check_adamw(answer) -> str:
    w, nothing = example(4, 3, seed=5).double(), torch.zeros(4, 3).double()
    slope, square = 0.4 * example(4, 3, seed=6).double(), example(4, 3, seed=7).double() ** 2
    middle, begin = (3, 0.1, 0.9, 0.95, 0.04, 0.2), (1, 0.03, 0.8, 0.97, 0.01, 0.3)  # t, lr, beta1, beta2, eps, decay
    later = (7, 0.3, 0.7, 0.85, 0.5, 0.6)
    for numbers, m, v in ((middle, slope, square), (begin, nothing, nothing), (later, -slope, square / 3)):
        t, lr, beta1, beta2, eps, decay = numbers
        grad = example(4, 3, seed=t).double()
        grad[2] *= t > 1  # at the begin, where v is 0 as well, eps alone keeps the step from 0 / 0
        got = parts(run(answer, w, grad, m, v, *numbers), 3, "return three tensors: w, m, v.")
        want = torch_adamw(w, grad, m, v, *numbers)
        hints = {
            "the decay went into the gradient: that is Adam with L2. The W stands for a decay of w itself.": (
                beta1 * m + (1 - beta1) * (grad + decay * w)
            ),
            "return the bare m: the division by 1 - beta^t is for the step alone.": want[1] / (1 - beta1**t),
            "1 - beta1 is missing in front of the gradient.": beta1 * m + grad,
            "beta1 and 1 - beta1 are exchanged.": (1 - beta1) * m + beta1 * grad,
            "this m has beta2: beta1 goes with m.": beta2 * m + (1 - beta2) * grad,
            "the order is w, m, v.": want[0],
            "the old m is returned.": m,
        }
        compare(got[1], want[1], hints, "m should be beta1 times the old m + (1 - beta1) times the gradient.")
        hints = {
            "return the bare v: the division by 1 - beta^t is for the step alone.": want[2] / (1 - beta2**t),
            "the gradient is not squared: beta2 v + (1 - beta2) grad^2.": beta2 * v + (1 - beta2) * grad,
            "1 - beta2 is missing in front of the square.": beta2 * v + grad**2,
            "1 - beta2 is squared with the gradient: only the gradient is.": beta2 * v + ((1 - beta2) * grad) ** 2,
            "beta2 and 1 - beta2 are exchanged.": (1 - beta2) * v + beta2 * grad**2,
            "this v has beta1: beta2 goes with v.": beta1 * v + (1 - beta1) * grad**2,
            "this is m squared: v keeps the mean of the squared gradients.": beta2 * v + (1 - beta2) * want[1] ** 2,
            "the old v is returned.": v,
        }
        compare(got[2], want[2], hints, "v should be beta2 times the old v + (1 - beta2) times the gradient squared.")
        otherwise = "the values differ from torch.optim.AdamW's."
        compare(got[0], want[0], adamw_mistakes(w, want[1], want[2], *numbers), otherwise)
    return "the step has about the size lr for every weight, however large its gradient is."
