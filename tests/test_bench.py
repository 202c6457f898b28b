"""The bench runs (how fast, no test says)."""

import json
import math

import pytest

from yzlin.model import ModelArgs
from yzlin.tools import bench

TINY = ModelArgs(block_size=16, vocab_size=64, n_layer=2, n_head=2, n_embed=32)


@pytest.mark.parametrize("way", bench.ways(TINY, 2, False), ids=lambda way: way.name)
def test_every_way_can_be_measured(way, book_data, monkeypatch):
    monkeypatch.setattr(bench, "keep_heap", lambda: False)
    lap = bench.measure(way, ModelArgs(block_size=16, vocab_size=3198, n_layer=2, n_head=2, n_embed=32), str(book_data), 0.01)
    parts = [lap[name] for name in ("data_ms", "forward_ms", "backward_ms", "optimizer_ms")]
    assert min(parts) > 0 and sum(parts) == pytest.approx(lap["step_ms"])
    assert lap["tokens_per_s"] == pytest.approx(way.batch_size * 16 / lap["step_ms"] * 1000)


def test_a_way_that_does_not_run_costs_no_other_its_numbers(monkeypatch, capsys):
    monkeypatch.setitem(bench.SIZES, "cpu", TINY)
    broken, works = (bench.Way(name, dtype, batch_size=2, vocab_size=3198) for name, dtype in (("a", "int7"), ("b", "float32")))
    result = bench.bench("cpu", 2, 1, 0.01, [broken, works])
    assert [row["way"] for row in result["rows"]] == ["b"] and math.isnan(result["rows"][0]["ratio"])
    assert "a\n  did not run: " in capsys.readouterr().err and " nan " in bench.table(result)
    result = bench.bench("cpu", 2, 1, 0.01, [works, broken])
    assert [row["ratio"] for row in result["rows"]] == [1.0]


def test_the_command_prints_a_table_and_json(monkeypatch, capsys):
    monkeypatch.setitem(bench.SIZES, "cpu", TINY)
    from yzlin.__main__ import main

    assert main(["bench", "--stories", "--rounds", "1"]) == 0
    assert "cache, bfloat16" in capsys.readouterr().out
    assert main(["bench", "--stories", "--rounds", "1", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert rows[0]["way"] == "original" and rows[0]["within_ratio"] == 1.0 and all(row["past"] > 0 for row in rows)
