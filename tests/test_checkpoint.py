"""Checkpoints: never code, never half, damaged ones refused in a sentence, those of the original project read."""

import os
import pickle
from dataclasses import replace

import pytest
import torch

from yzlin.checkpoint import convert_keys, load_checkpoint, load_model, save_checkpoint
from yzlin.model import ModelArgs, yzlinGPT
from yzlin.train import train


def test_a_checkpoint_that_would_run_code_does_not(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "boom"),)

    torch.save({"model": Bomb(), "model_args": {}}, tmp_path / "bomb.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Bomb()))
    for name in ("bomb.pt", "plain.pt"):
        with pytest.raises(ValueError, match="not loaded|damaged"):
            load_checkpoint(tmp_path / name)
    assert not (tmp_path / "boom").exists()


def test_damaged_checkpoints_are_refused(args, tmp_path):
    train(replace(args, max_iters=2), progress=False)
    data = open(args.out + "/last.pt", "rb").read()
    for cut in (0, 10, len(data) // 2, len(data) - 10):
        (tmp_path / "cut.pt").write_bytes(data[:cut])
        with pytest.raises(ValueError, match="cut.pt"):
            load_checkpoint(tmp_path / "cut.pt")
    (tmp_path / "pointer.pt").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(ValueError, match="git-lfs"):
        load_checkpoint(tmp_path / "pointer.pt")
    torch.save({"weights": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="no model"):
        load_checkpoint(tmp_path / "other.pt")


def test_a_failed_save_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"model": 1})
    before = path.read_bytes()

    def half(checkpoint, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match="free some space"):
        save_checkpoint(path, {"model": 2})
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_of_the_original_project_loads(tmp_path):
    args = ModelArgs(block_size=8, vocab_size=50257, n_layer=2, n_head=2, n_embed=8)
    model = yzlinGPT(args)
    state = {}
    for name, weight in model.state_dict().items():
        if "mlp_norm" not in name:
            state["_orig_mod." + name.replace("attention_norm", "norm")] = weight + 0.5 * ("norm" in name)
    torch.save({"model": state, "model_args": vars(args), "iter_num": 7, "best_val_loss": torch.tensor(1.5)}, tmp_path / "o.pt")
    loaded, tokenizer, checkpoint = load_model(tmp_path / "o.pt")
    assert tokenizer.name == "gpt2" and checkpoint["iter_num"] == 7
    for block in loaded.transformer.blocks:
        assert torch.equal(block.attention_norm.weight, torch.full((8,), 1.5))
        assert torch.equal(block.mlp_norm.weight, torch.full((8,), 1.5))
    assert "transformer.norm.weight" in convert_keys(state)
