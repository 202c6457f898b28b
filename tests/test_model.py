"""The model against independent references: torch's own functions, float64, einsum, numbers counted by hand."""

import math

import pytest
import torch
import torch.nn.functional as F

from yzlin.model import MLP, Block, FlashAttention, ModelArgs, RMSNorm, sample_next, yzlinGPT

B, T, C, H, V = 2, 5, 12, 3, 31
ARGS = ModelArgs(block_size=8, vocab_size=V, n_layer=2, n_head=H, n_embed=C)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_rmsnorm_is_torch_rms_norm():
    norm = RMSNorm(C, eps=1e-3)
    torch.nn.init.normal_(norm.weight)
    x = torch.randn(B, T, C) * 0.01  # small, so that a misplaced eps shows
    torch.testing.assert_close(norm(x), F.rms_norm(x, (C,), norm.weight, eps=1e-3))


def test_rmsnorm_by_hand():
    y = RMSNorm(2, eps=0.0)(torch.tensor([[3.0, 4.0]]))
    torch.testing.assert_close(y, torch.tensor([[3.0, 4.0]]) / math.sqrt(12.5))


def test_rmsnorm_computes_in_float32_inside_bfloat16():
    x = torch.randn(64, 768)
    want = F.rms_norm(x.bfloat16().double(), (768,))
    got = RMSNorm(768)(x.bfloat16())
    assert got.dtype == torch.bfloat16
    assert (got.double() - want).abs().max() <= 2**-8 * want.abs().max()  # only the rounding of the result itself


def test_attention_is_explicit_masked_softmax_in_float64():
    attention = FlashAttention(ModelArgs(n_head=H, n_embed=C, bias=True)).double()
    x = torch.randn(B, T, C, dtype=torch.float64)
    want = torch.zeros(B, T, C, dtype=torch.float64)
    q, k, v = (x @ attention.qkv_attention.weight.T + attention.qkv_attention.bias).split(C, dim=-1)
    D = C // H
    for b in range(B):
        for h in range(H):
            cols = slice(h * D, (h + 1) * D)
            for t in range(T):
                scores = torch.stack([q[b, t, cols] @ k[b, s, cols] / math.sqrt(D) for s in range(t + 1)])
                want[b, t, cols] = sum(w * v[b, s, cols] for s, w in enumerate(scores.softmax(0)))
    want = want @ attention.context_projection.weight.T + attention.context_projection.bias
    torch.testing.assert_close(attention(x), want)


def test_mlp_is_the_einsum():
    mlp = MLP(ModelArgs(n_head=H, n_embed=C))
    x = torch.randn(B, T, C)
    up = torch.einsum("btc,hc->bth", x, mlp.up_projection.weight)
    gate = torch.einsum("btc,hc->bth", x, mlp.gate.weight)
    assert up.shape == (B, T, 4 * C)
    want = torch.einsum("bth,ch->btc", up * gate * (gate > 0), mlp.down_projection.weight)
    torch.testing.assert_close(mlp(x), want)


def test_block_adds_both_branches_to_the_stream():
    block = Block(ModelArgs(n_head=H, n_embed=C))
    x = torch.randn(B, T, C)
    middle = x + block.attention(F.rms_norm(x, (C,), block.attention_norm.weight, 1e-6))
    want = middle + block.mlp(F.rms_norm(middle, (C,), block.mlp_norm.weight, 1e-6))
    torch.testing.assert_close(block(x), want)


@pytest.mark.parametrize("t", range(1, 8))
def test_causality(t):
    model = yzlinGPT(ARGS).eval()
    idx = torch.randint(V, (B, 8))
    changed = idx.clone()
    changed[:, t] = (changed[:, t] + 1) % V
    before, after = model(idx)[0], model(changed)[0]
    torch.testing.assert_close(before[:, :t], after[:, :t], rtol=0, atol=0)
    assert (before[:, t:] - after[:, t:]).abs().amax(dim=(0, 2)).min() > 0  # from t on, every place sees the change


def test_parameter_counts_at_full_size():
    with torch.device("meta"):
        model = yzlinGPT(ModelArgs())
    assert sum(p.numel() for p in model.parameters()) == 114_242_304
    # The original shares one norm between the branches of a block: 8 x 768 fewer.
    assert sum(p.numel() for name, p in model.named_parameters() if "mlp_norm" not in name) == 114_236_160


def test_tied_weights_are_one_tensor():
    model = yzlinGPT(ARGS)
    assert model.lm_head.weight is model.transformer.token_embedding.weight
    assert sum(p.numel() == V * C for p in model.parameters()) == 1


def test_initialisation():
    model = yzlinGPT(ModelArgs(block_size=64, vocab_size=512, n_layer=8, n_head=4, n_embed=256, bias=True))
    for name, p in model.named_parameters():
        if name.endswith(".bias"):
            assert (p == 0).all(), name
        elif "norm" in name:
            assert (p == 1).all(), name
        else:
            branch_end = name.endswith(("context_projection.weight", "down_projection.weight"))
            assert p.std().item() == pytest.approx(0.02 / 4 if branch_end else 0.02, rel=0.05), name  # 4 = sqrt(2 * 8)
            assert abs(p.mean().item()) < 0.001, name


def test_loss_at_step_0_is_that_of_a_blind_guess():
    model = yzlinGPT(ModelArgs(block_size=32, vocab_size=1000, n_layer=2, n_head=2, n_embed=64))
    idx = torch.randint(1000, (8, 33))
    assert model(idx[:, :-1], idx[:, 1:])[1].item() == pytest.approx(math.log(1000), abs=0.1)


def test_targets_of_minus_1_are_left_out():
    model = yzlinGPT(ARGS)
    idx, targets = torch.randint(V, (B, T)), torch.randint(V, (B, T))
    targets[0, 2:] = -1
    logits, loss = model(idx, targets)
    kept = [(b, t) for b in range(B) for t in range(T) if targets[b, t] >= 0]
    want = -sum(logits[b, t].log_softmax(0)[targets[b, t]] for b, t in kept) / len(kept)
    torch.testing.assert_close(loss, want)


def test_every_parameter_gets_a_gradient():
    model = yzlinGPT(ARGS)
    idx = torch.randint(V, (B, 9))
    model(idx[:, :-1], idx[:, 1:])[1].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize(
    ("idx", "word"),
    [
        (torch.zeros(1, 9, dtype=torch.long), "window of 8"),
        (torch.tensor([[0, V]]), "vocabulary"),
        (torch.tensor([[-1, 0]]), "vocabulary"),
    ],
)
def test_bad_input_is_one_clear_error(idx, word):
    with pytest.raises(ValueError, match=word):
        yzlinGPT(ARGS)(idx)


@pytest.mark.parametrize(
    "bad", [dict(n_embed=10, n_head=3), dict(n_layer=0), dict(block_size=0), dict(dropout=1.0), dict(dropout=-0.1)]
)
def test_bad_model_args_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        ModelArgs(**bad)


def test_dropout_acts_in_training_only():
    model = yzlinGPT(ModelArgs(block_size=8, vocab_size=V, n_layer=2, n_head=H, n_embed=C, dropout=0.5))
    idx = torch.randint(V, (B, T))
    assert not torch.equal(model(idx)[0], model(idx)[0])
    model.eval()
    assert torch.equal(model(idx)[0], model(idx)[0])


def test_optimizer_decays_matrices_and_spares_vectors():
    model = yzlinGPT(ModelArgs(block_size=8, vocab_size=V, n_layer=1, n_head=H, n_embed=C, bias=True))
    optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.95), "cpu")
    decay, spared = optimizer.param_groups
    assert decay["weight_decay"] == 0.1 and spared["weight_decay"] == 0.0
    assert all(p.dim() == 2 for p in decay["params"]) and all(p.dim() == 1 for p in spared["params"])
    assert sum(p.numel() for g in (decay, spared) for p in g["params"]) == sum(p.numel() for p in model.parameters())


def test_it_learns_one_batch_by_heart():
    model = yzlinGPT(ModelArgs(block_size=8, vocab_size=V, n_layer=2, n_head=2, n_embed=32))
    optimizer = model.configure_optimizers(0.0, 1e-2, (0.9, 0.95), "cpu")
    idx = torch.randint(V, (4, 9))
    for _ in range(150):
        loss = model(idx[:, :-1], idx[:, 1:])[1]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05


def test_generate_keeps_the_text_and_sees_the_window():
    model = yzlinGPT(ARGS).eval()
    idx = torch.randint(V, (B, 6))
    out = model.generate(idx, 10, temperature=0)
    assert out.shape == (B, 16) and torch.equal(out[:, :6], idx)
    for t in range(6, 16):  # greedy, by hand
        want = model(out[:, max(0, t - 8) : t])[0][:, -1].argmax(-1)
        assert torch.equal(out[:, t], want)


def test_sample_next_follows_the_probabilities():
    logits = torch.tensor([[0.0, 1.0, 2.0, 3.0]]).expand(20000, 4)
    counts = sample_next(logits, temperature=2.0).flatten().bincount(minlength=4) / 20000
    torch.testing.assert_close(counts, (logits[0] / 2).softmax(0), atol=0.015, rtol=0)


def test_top_k_cuts_all_but_the_k_likeliest():
    logits = torch.tensor([[0.0, 1.0, 2.0, 3.0]]).expand(20000, 4)
    counts = sample_next(logits, top_k=2).flatten().bincount(minlength=4) / 20000
    torch.testing.assert_close(counts, torch.tensor([0, 0, 0.269, 0.731]), atol=0.015, rtol=0)  # 1 / (1 + e) = 0.269
    assert (sample_next(logits, top_k=1) == 3).all() and (sample_next(logits, top_k=99) <= 3).all()


@pytest.mark.parametrize(("top_p", "left"), [(0.6, [3]), (0.7, [3, 2]), (0.88, [3, 2]), (0.9, [3, 2, 1]), (1.0, [3, 2, 1, 0])])
def test_top_p_leaves_the_fewest_that_reach_the_share(top_p, left):
    logits = torch.tensor([[0.0, 1.0, 2.0, 3.0]]).expand(20000, 4)  # shares 0.032, 0.087, 0.237, 0.644
    counts = sample_next(logits, top_p=top_p).flatten().bincount(minlength=4) / 20000
    want = torch.zeros(4)
    want[left] = logits[0].softmax(0)[left]
    torch.testing.assert_close(counts, want / want.sum(), atol=0.015, rtol=0)


def test_top_p_is_of_what_top_k_has_left():
    logits = torch.tensor([[0.0, 1.0, 2.0, 3.0]]).expand(20000, 4)
    assert (sample_next(logits, top_k=2, top_p=0.7) == 3).all()  # of 3 and 2 alone, 3 has 0.731
    assert (sample_next(logits, top_k=2, top_p=0.75) == 2).any()


@pytest.mark.parametrize(
    "bad", [dict(temperature=-1.0), dict(temperature=math.nan), dict(top_k=0), dict(top_p=0.0), dict(top_p=1.1)]
)
def test_bad_sampling_numbers_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        sample_next(torch.zeros(1, 4), **bad)
