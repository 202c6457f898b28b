"""`python -m yzlin page`: one HTML file in which a trained model tells stories, in any browser, without a network.

The file holds the weights in float16, the tokenizer, and plain JavaScript that computes the model with a KV cache. Its
content security policy lets nothing run but its own two blocks of style and script, and forbids every connection.
"""

from __future__ import annotations

import argparse
import base64
import json
import textwrap
from dataclasses import asdict
from pathlib import Path

import tiktoken
import torch

from yzlin.checkpoint import checkpoint_path, load_model
from yzlin.model import yzlinGPT
from yzlin.storybook import openings
from yzlin.tools.files import whole_file
from yzlin.tools.html import asset, filled, hash_of

SCRIPTS = ("engine.js", "words.js", "page.js")


def page(run: str | Path, to: str | Path, beginnings: list[str] | None = None) -> None:
    """Writes the page of a run, whole or not at all. beginnings: of stories, for a reader to pick from; None chooses some.

    Raises FileExistsError if there is a file already, ValueError for a weight that float16 cannot hold.
    """
    if Path(to).exists():
        raise FileExistsError(f"{to} is there already: choose another --to, or delete it first.")
    model, tokenizer, _ = load_model(run)
    if beginnings is None:
        beginnings = [*openings(6), ""] if tokenizer.name == "storybook" else ["Once upon a time", ""]
    html = page_text(model, tokenizer, checkpoint_path(run).resolve().parent.name, beginnings)
    Path(to).parent.mkdir(parents=True, exist_ok=True)
    with whole_file(to, "w") as file:
        file.write(html)


def page_text(model: yzlinGPT, tokenizer: tiktoken.Encoding, name: str, beginnings: list[str]) -> str:
    """The whole page. Everything of the run's stands in data blocks, which a browser neither runs nor shows."""
    weights = {key: half(key, weight) for key, weight in model.state_dict().items() if key != "lm_head.weight"}
    about = {
        "name": name,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "args": {**asdict(model.args), "n_vocab": tokenizer.n_vocab},
        "beginnings": beginnings,
        "weights": list(weights),
    }
    tokens = (tokenizer.decode_single_token_bytes(rank) for rank in range(tokenizer.eot_token))
    blocks = [
        ("model", json.dumps(about).replace("<", "\\u003c")),  # "<" could end the block
        ("tokens", "\n".join(base64.b64encode(token).decode() for token in tokens)),
        *weights.items(),
    ]
    style = asset("page.css")
    script = "".join(asset(part) for part in SCRIPTS)
    policy = f"default-src 'none'; script-src {hash_of(script)}; style-src {hash_of(style)}; img-src data:; "
    policy += "base-uri 'none'; form-action 'none'"
    data = "\n".join(f'<script type="text/plain" id="{key}">{text}</script>' for key, text in blocks)
    return filled("page.html", policy=policy, style=style, data=data, script=script)


def half(name: str, weight: torch.Tensor) -> str:
    """A weight in float16, little-endian, in base64."""
    rounded = weight.detach().to(torch.float16)
    if not torch.isfinite(rounded).all():
        raise ValueError(f"{name} holds a number that float16 cannot hold (not finite, or above 65,504).")
    return base64.b64encode(rounded.cpu().contiguous().numpy().astype("<f2").tobytes()).decode()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = textwrap.fill(
        "Writes one HTML file, about 2.7 bytes per parameter, in which the model tells stories in any browser, without a "
        "network: its ten likeliest tokens to pick from, temperature, top-k, and where each head looks back.",
        width=80,
    )
    parser.add_argument("run", help="a run: its name under checkpoint/, its folder or checkpoint.pt")
    parser.add_argument("--to", required=True, metavar="FILE", help="as in story.html; it must not be there yet")
    parser.add_argument("--beginning", action="append", help="of a story, for a reader to pick; may be given several times")


def main(options: argparse.Namespace) -> int:
    page(options.run, options.to, options.beginning)
    size = Path(options.to).stat().st_size / 1e6
    print(f"{options.to}: {size:.1f} MB. Open it with a double click, or send it to a phone.")
    if size > 100:
        print("This is too large for most phones; a computer needs a while to open it, and writes slowly past the window.")
    return 0
