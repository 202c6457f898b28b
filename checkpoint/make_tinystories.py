"""Makes the model of real text that comes with the course, from stories of the TinyStories data set.

    python checkpoint/make_tinystories.py TEXT        # a file or folder with stories, `<|endoftext|>` between them

Learns a tokenizer of 4,096 ids from the text, trains 4.4 million weights for about an hour and a half on two cores, and
measures bits per byte on the stories that were held out. Leaves checkpoint/tinystories: checkpoint.pt (without
optimizer state), log.csv. Stopped and run again, it goes on.
"""

import math
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F

from yzlin import ROOT
from yzlin.batches import Batches
from yzlin.checkpoint import load_checkpoint, load_model, save_checkpoint
from yzlin.prepare import load_meta, prepare
from yzlin.presets import PRESETS
from yzlin.train import train

DATA, RUN, SHIPPED = ROOT / "data" / "real", ROOT / "checkpoint" / "real", ROOT / "checkpoint" / "tinystories"
ARGS = replace(
    PRESETS["cpu"], data=str(DATA), out=str(RUN), init_from="auto", n_layer=6, n_head=4, n_embed=192, block_size=256,
    dropout=0.2, batch_size=12, max_iters=7500, optimizer="muon", learning_rate=4e-3, min_lr=4e-5, warmup_iters=200,
    weight_decay=0.1, eval_interval=500, eval_iters=40, eval_stories=0, log_interval=50,
)  # fmt: skip


@torch.no_grad()
def bits_per_byte(path: Path, data: Path) -> tuple[float, float]:
    """Bits per byte of the held-out stories, each read from its start to the window's end, and the standard error."""
    model, tokenizer, _ = load_model(path)
    T = model.args.block_size
    batches = Batches(data, T, 1, align=True, eot=tokenizer.eot_token)
    lengths = torch.tensor([len(tokenizer.decode_single_token_bytes(i)) for i in range(tokenizer.eot_token)] + [0])
    bits, counts = [], []
    starts = batches.starts["val"].reshape(-1)
    for first in range(0, len(starts), 16):
        windows = torch.from_numpy(batches.windows["val"][starts[first : first + 16]].astype("int64"))  # (up to 16, T + 1)
        logits = model(windows[:, :-1])[0].flatten(0, 1)
        nats = F.cross_entropy(logits, windows[:, 1:].flatten(), reduction="none").view(-1, T).sum(1)
        bits.append(nats / math.log(2))
        counts.append(lengths[windows[:, 1:]].sum(1).float())
    bits, counts = torch.cat(bits), torch.cat(counts)
    mean = (bits.sum() / counts.sum()).item()
    error = (bits - mean * counts).std().item() * len(bits) ** 0.5 / counts.sum().item()
    return mean, error


def main(text: str) -> None:
    if not (DATA / "meta.json").exists():
        prepare(text, DATA, "train:4096", block_size=ARGS.block_size)
    print(train(ARGS)["message"])
    mean, error = bits_per_byte(RUN / "checkpoint.pt", DATA)
    checkpoint = load_checkpoint(RUN / "checkpoint.pt")
    for key in ("optimizer", "rng", "scaler"):  # needed to go on with the training alone
        checkpoint.pop(key)
    checkpoint["train_args"].update(data="data/real", out="checkpoint/real")
    meta = load_meta(DATA)
    checkpoint["data"]["bytes_per_token"] = meta["text_bytes"]["val"] / meta["tokens"]["val"]
    checkpoint["bits_per_byte"] = mean
    SHIPPED.mkdir(exist_ok=True)
    save_checkpoint(SHIPPED / "checkpoint.pt", checkpoint)
    shutil.copy(RUN / "log.csv", SHIPPED / "log.csv")
    print(f"{mean:.3f} bits per byte (standard error {error:.3f}) on {meta['stories']['val']:,} stories never trained on")


if __name__ == "__main__":
    main(sys.argv[1])
