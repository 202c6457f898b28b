"""Every number of a training run: what it means, what it may be, and the two presets."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, fields
from typing import Any


def number(help: str, low: float, high: float) -> Any:
    """A field that must lie in low to high, both included."""
    return field(metadata={"help": help, "low": low, "high": high})


def word(help: str, choices: tuple[str, ...] = ()) -> Any:
    """A field that holds a text: any text, or one of the choices."""
    return field(metadata={"help": help, "choices": choices})


def switch(help: str) -> Any:
    """A field that is on or off."""
    return field(metadata={"help": help})


@dataclass
class TrainArgs:
    """Every number of a training run; each can be set on the command line (`--max_iters 2000`).

    There are no defaults: begin with a preset, `replace(PRESETS["cpu"], max_iters=2000)`. A value outside of its range
    raises ValueError, one sentence.
    """

    # where
    data: str = word("folder with train.bin, val.bin and meta.json, made by `prepare`")
    out: str = word("folder of the run: checkpoint.pt, last.pt, log.csv")
    init_from: str = word(
        "scratch: a new model; resume: go on from the last checkpoint in --out, with its numbers; auto: resume if there is one",
        ("scratch", "resume", "auto"),
    )
    # the model
    n_layer: int = number("layers (blocks)", 1, 1000)
    n_head: int = number("attention heads in a layer", 1, 1000)
    n_embed: int = number("channels of a token's vector (C), divisible by n_head", 1, 100_000)
    block_size: int = number("tokens in the window (T)", 1, 1_000_000)
    dropout: float = number("share of activations set to zero in training", 0, 0.95)
    bias: bool = switch("biases in the linear layers")
    vocab_size: int = number("rows of the embedding; 0: as many as the tokenizer has ids", 0, 1_000_000)
    # the batch
    batch_size: int = number("windows in a micro-batch", 1, 100_000)
    accumulation: int = number("micro-batches per iteration, over all processes together", 1, 100_000)
    align: bool = switch("let windows begin where a story begins, instead of anywhere")
    # the schedule
    max_iters: int = number("iterations in all", 1, 1_000_000_000)
    learning_rate: float = number("the highest learning rate, after the warm-up", 1e-9, 10)
    min_lr: float = number("the learning rate at the end of the cosine", 0, 10)
    warmup_iters: int = number("iterations in which the learning rate rises", 0, 1_000_000_000)
    optimizer: str = word("what moves the weights; muon: Muon the matrices of the blocks, AdamW the rest", ("adamw", "muon"))
    weight_decay: float = number("decay of the matrices", 0, 10)
    beta1: float = number("AdamW's memory of the gradient", 0, 0.9999)
    beta2: float = number("AdamW's memory of the squared gradient", 0, 0.999999)
    grad_clip: float = number("largest gradient norm; 0: no clipping", 0, 1_000_000)
    # the evaluation
    eval_interval: int = number("iterations between two evaluations and saves", 1, 1_000_000_000)
    eval_iters: int = number("batches of each split per evaluation", 1, 1_000_000)
    eval_stories: int = number("stories checked for coherence per evaluation; 0 where the text is not the storybook", 0, 10_000)
    log_interval: int = number("iterations per row of log.csv", 1, 1_000_000_000)
    # the machine
    device: str = word("auto, cpu, cuda, cuda:1, mps")
    dtype: str = word("what the forward pass computes in; auto: the fastest here", ("auto", "float32", "bfloat16", "float16"))
    compile: bool = switch("torch.compile the model")
    seed: int = number("of the weights, the batches and dropout", 0, 2**32 - 1)

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if "low" in f.metadata:
                check_value(f.name, value, **f.metadata, whole=f.type == "int")
            elif not isinstance(value, {"str": str, "bool": bool}[str(f.type)]):
                raise ValueError(f"{f.name} is {value}: give {'a text' if f.type == 'str' else 'True or False'}.")
            elif (choices := f.metadata.get("choices")) and value not in choices:
                raise ValueError(f"{f.name} is {value}: choose one of {', '.join(choices)}.")


def check_value(name: str, value: Any, help: str, low: float, high: float, whole: bool = False) -> None:
    """Raises ValueError, one sentence, where a value is not a number, or not a whole one, or not in low to high."""
    kind = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
        raise ValueError(f"{name} is {value}: choose a {'whole ' * whole}number from {low:g} to {high:g} ({help}).")


# A laptop and CI: the storybook, until stories are coherent after five minutes on two cores.
CPU = TrainArgs(
    data="data/storybook",
    out="checkpoint/storybook",
    init_from="scratch",
    n_layer=4,
    n_head=4,
    n_embed=128,
    block_size=192,
    dropout=0.0,
    bias=False,
    vocab_size=0,
    batch_size=8,
    accumulation=1,
    align=True,
    max_iters=4500,
    learning_rate=4e-3,
    min_lr=1e-4,
    warmup_iters=100,
    optimizer="adamw",
    weight_decay=0.01,
    beta1=0.9,
    beta2=0.99,
    grad_clip=1.0,
    eval_interval=250,
    eval_iters=10,
    eval_stories=40,
    log_interval=10,
    device="auto",
    dtype="auto",
    compile=False,
    seed=1337,
)

# The original run of yzlin-GPT: a tenth of TinyStories on one GPU, three hours on an RTX 3090.
CUDA = TrainArgs(
    data="data/tinystories",
    out="checkpoint/original",
    init_from="scratch",
    n_layer=8,
    n_head=8,
    n_embed=768,
    block_size=128,
    dropout=0.0,
    bias=False,
    vocab_size=50304,  # GPT-2's 50,257 ids, padded to a multiple of 64
    batch_size=64,
    accumulation=10,
    align=False,
    max_iters=8000,
    learning_rate=6e-4,
    min_lr=6e-5,
    warmup_iters=2000,
    optimizer="adamw",
    weight_decay=0.1,
    beta1=0.9,
    beta2=0.95,
    grad_clip=1.0,
    eval_interval=1000,
    eval_iters=200,
    eval_stories=0,
    log_interval=10,
    device="auto",
    dtype="auto",
    compile=True,
    seed=1337,
)

PRESETS = {"cpu": CPU, "cuda": CUDA}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Every field of TrainArgs as an option, with its help, its range and both presets' values."""
    parser.add_argument(
        "--preset", choices=PRESETS, help="the numbers to begin with [default: cuda if there is a GPU, else cpu]"
    )
    for f in fields(TrainArgs):
        low, high, choices = (f.metadata.get(key) for key in ("low", "high", "choices"))
        values = {name: getattr(preset, f.name) for name, preset in PRESETS.items()}
        same = len(set(values.values())) == 1
        default = f"default: {values['cpu']}" if same else ", ".join(f"{name}: {value}" for name, value in values.items())
        text = f"{f.metadata['help']} [{'' if low is None else f'{low:g} to {high:g}; '}{default}]"
        kind = {"int": int, "float": float, "str": str}.get(str(f.type))
        if kind:
            metavar = None if choices else {int: "N", float: "X", str: "TEXT"}[kind]
            parser.add_argument(f"--{f.name}", type=kind, choices=choices or None, help=text, metavar=metavar)
        else:
            parser.add_argument(f"--{f.name}", action=argparse.BooleanOptionalAction, default=None, help=text)


def given_options(options: argparse.Namespace) -> dict[str, Any]:
    """The fields that stand on the command line."""
    return {f.name: value for f in fields(TrainArgs) if (value := getattr(options, f.name)) is not None}
