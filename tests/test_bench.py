"""The bench: its FLOPs are counted rightly, and it runs (how fast, no test says)."""

import json

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from yzlin.model import ModelArgs, yzlinGPT
from yzlin.tools import bench

TINY = ModelArgs(block_size=16, vocab_size=64, n_layer=2, n_head=2, n_embed=32)


def test_flops_per_token_at_full_size():
    # By hand: 6 x (50,304 x 768 + 8 x 16 x 768^2 + 17 x 768) + 12 x 8 x 768 x 128.
    assert bench.flops_per_token(ModelArgs()) == 6 * (50304 * 768 + 8 * 16 * 768**2 + 17 * 768) + 12 * 8 * 768 * 128
    assert bench.flops_per_token(ModelArgs()) / 1e6 == pytest.approx(694.3, abs=0.1)


def test_flops_per_token_are_those_of_pytorchs_counter():
    args = ModelArgs(n_layer=2)
    with torch.device("meta"):
        model, ids = yzlinGPT(args), torch.zeros(2, 128, dtype=torch.int64)
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            model(ids, ids)[1].backward()
    assert counter.get_total_flops() / ids.numel() == pytest.approx(bench.flops_per_token(args), rel=0.03)


@pytest.mark.parametrize("way", bench.ways(TINY, 2, False), ids=lambda way: way.name)
def test_every_way_can_be_measured(way, book_data, monkeypatch):
    monkeypatch.setattr(bench, "keep_heap", lambda: False)
    lap = bench.measure(way, ModelArgs(block_size=16, vocab_size=3198, n_layer=2, n_head=2, n_embed=32), str(book_data), 0.01)
    parts = [lap[name] for name in ("data_ms", "forward_ms", "backward_ms", "optimizer_ms")]
    assert min(parts) > 0 and sum(parts) == pytest.approx(lap["step_ms"])
    assert lap["tokens_per_s"] == pytest.approx(way.batch_size * 16 / lap["step_ms"] * 1000)


def test_the_command_prints_a_table_and_json(monkeypatch, capsys):
    monkeypatch.setitem(bench.SIZES, "cpu", TINY)
    from yzlin.__main__ import main

    assert main(["bench", "--stories", "--rounds", "1"]) == 0
    assert "cache, bfloat16" in capsys.readouterr().out
    assert main(["bench", "--stories", "--rounds", "1", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert rows[0]["way"] == "original" and rows[0]["within_ratio"] == 1.0 and all(row["past"] > 0 for row in rows)
