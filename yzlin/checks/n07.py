"""The exercises of notebook 07: the training loop."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from yzlin.checks import example, exercise, expect, expect_close


@exercise
def check_schedule(answer) -> str:
    """Warm-up 10 of 100 iterations, decay over the last 20, largest rate 0.4."""
    rates = [float(answer(i, 100, 0.4, 10, 20)) for i in range(100)]
    expect(rates[0] > 0, "the first rate is 0: a step that goes nowhere. Iteration 0 is the first of the warm-up: 1/10 of it.")
    expect(
        math.isclose(rates[9], 0.4),
        f"the last of the 10 warm-up iterations, number 9, should have the full rate: {rates[9]:.3f}.",
    )
    expect(
        math.isclose(rates[0], 0.04),
        f"in the warm-up the rate grows by equal steps: at 0 it is 0.04, and yours {rates[0]:.3f}.",
    )
    expect(all(math.isclose(rate, 0.4) for rate in rates[10:80]), "between warm-up and decay the rate should stay level.")
    expect(rates[99] < 0.05, "the decay is missing: it begins decay iterations before the end.")
    expect(rates[99] > 0, "the last rate is 0: a step that goes nowhere. Of 20 decay iterations the last has 1/20 of the rate.")
    steps = [rates[i] - rates[i + 1] for i in range(80, 99)]
    expect(max(steps) - min(steps) < 1e-9, "the decay should be a straight line.")
    expect(
        math.isclose(rates[80], 0.4) and math.isclose(rates[99], 0.02),
        f"iteration 80 has 0.4, 99 has 0.02: yours {rates[80]:.3f}, {rates[99]:.3f}.",
    )
    return "one can decide late how long to train: only the last part depends on the end."


@exercise
def check_clip(answer) -> str:
    grads = [example(4, 3), 2 * example(5, seed=1)]
    norm = math.sqrt(sum(grad.pow(2).sum().item() for grad in grads))
    before = [grad.clone() for grad in grads]
    got = answer([grad.clone() for grad in grads], 1.0)
    expect(got is not None and len(got) == 2, "return the list of the clipped gradients.")
    each = [grad / max(1.0, grad.norm().item()) for grad in before]
    expect(
        not all(torch.allclose(a, b) for a, b in zip(got, each, strict=True)),
        "each tensor is clipped for itself: the direction changes. One length for all together.",
    )
    expect(
        not all(torch.allclose(a, b.clamp(-1, 1)) for a, b in zip(got, before, strict=True)),
        "this cuts single entries: scale the whole by one factor.",
    )
    for a, b in zip(got, before, strict=True):
        expect_close(a, b / norm, "all together should have the length max_norm, and the old direction.", 1e-4)
    small = answer([0.01 * grad for grad in before], 1.0)
    for a, b in zip(small, before, strict=True):
        expect(
            not torch.allclose(a, b / norm, rtol=1e-3),
            "a short gradient is made longer: only a longer one than max_norm is changed.",
        )
        expect_close(a, 0.01 * b, "a gradient shorter than max_norm should stay as it is.")
    return "the direction stays, the length is bounded: one bad batch cannot throw the model far away."


@exercise
def check_smoothing(answer) -> str:
    logits, targets = 2 * example(7, 11), torch.tensor([0, 3, 10, 5, 5, 1, 7])
    got, logp = answer(logits, targets, 0.1), F.log_softmax(logits, dim=-1)
    want, plain = F.cross_entropy(logits, targets, label_smoothing=0.1), F.cross_entropy(logits, targets)
    got = torch.as_tensor(got)
    expect(got.shape == (), f"the shape is {tuple(got.shape)}: the loss is one number, the mean over the places.")
    expect(not torch.allclose(got, plain), "nothing is smoothed.")
    expect(not torch.allclose(got, -want), "the sign: a loss is minus the logarithm.")
    others = 0.9 * plain - 0.1 * (logp.sum(-1) - logp[torch.arange(7), targets]).mean() / 10
    expect(not torch.allclose(got, others), "the share eps goes to all V ids, the target included: each gets eps / V.")
    total = 0.9 * plain - 0.1 * logp.sum(-1).mean()
    expect(not torch.allclose(got, total), "eps is shared out: each of the V ids gets eps / V, not eps.")
    full = plain - 0.1 * logp.mean()
    expect(not torch.allclose(got, full), "the target keeps only 1 - eps of its share.")
    expect_close(got, want, "it should be (1 - eps) times the plain loss + eps times the mean of -log p over all V ids.")
    return "a model is no longer rewarded for being surer than 90%: some say that helps, for stories it rarely does."


@exercise
def check_accumulate(answer) -> str:
    losses, counts = [2.0, 4.0, 1.0], [100, 10, 50]
    got = float(answer(losses, counts))
    expect(
        not math.isclose(got, 7 / 3), "micro-batches with few targets count as much as those with many: weight by the counts."
    )
    expect(not math.isclose(got, 290.0), "this is the sum over all targets: divide by how many there are.")
    expect(not math.isclose(got, 290 / 3), "divide by the number of targets, not of micro-batches.")
    expect(math.isclose(got, 290 / 160), "the mean over all targets of all micro-batches: (2 x 100 + 4 x 10 + 1 x 50) / 160.")
    expect(math.isclose(float(answer([3.0, 0.0], [5, 0])), 3.0), "a micro-batch without targets should not count.")
    return "the mean of means is the mean only if all have the same size."


@exercise
def check_adamw(answer) -> str:
    w, first, second = example(4, 3).double(), example(4, 3, seed=1).double(), example(4, 3, seed=2).double()
    weight = torch.nn.Parameter(w.clone())
    optimizer = torch.optim.AdamW([weight], lr=0.1, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.2)
    got, m, v = w.clone(), torch.zeros_like(w), torch.zeros_like(w)
    for t, grad in enumerate((first, second), 1):
        weight.grad = grad.clone()
        before = weight.detach().clone()
        optimizer.step()
        result = answer(got, grad.clone(), m, v, t, 0.1, 0.9, 0.95, 1e-8, 0.2)
        expect(isinstance(result, tuple) and len(result) == 3, "return three tensors: w, m, v.")
        new, m, v = result
        expect_close(
            m, optimizer.state[weight]["exp_avg"], "m should be beta1 times the old m + (1 - beta1) times the gradient.", 1e-6
        )
        expect_close(
            v,
            optimizer.state[weight]["exp_avg_sq"],
            "v should be beta2 times the old v + (1 - beta2) times the gradient squared.",
            1e-6,
        )
        step = 0.1 * (m / (1 - 0.9**t)) / ((v / (1 - 0.95**t)).sqrt() + 1e-8)
        expect(
            not torch.allclose(new, before - step),
            "the weight decay is missing: w shrinks by lr x decay, apart from the gradient.",
        )
        expect(not torch.allclose(new, before - 0.2 * before - step), "the decay is lr x decay, not decay alone.")
        bare = 0.1 * m / (v.sqrt() + 1e-8)
        expect(not torch.allclose(new, before * 0.98 - bare), "the means start at zero, so divide them by 1 - beta^t.")
        expect(not torch.allclose(new, before * 0.98 + step), "the sign: a step goes against the gradient.")
        expect(
            not torch.allclose(new, before * 0.98 - 0.1 * m / (1 - 0.9**t) / (v / (1 - 0.95**t) + 1e-8)),
            "divide by the root of v.",
        )
        expect_close(new, weight.detach(), "the values differ from torch.optim.AdamW's.", 1e-6)
        got = new
    return "the step has about the size lr for every weight, however large its gradient is."
