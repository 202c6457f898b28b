"""What the story demo says under a story: how surprised the model was by its beginning, and whether the facts hold."""

from __future__ import annotations

import math

import tiktoken
import torch
from torch import Tensor

from yzlin.generate import encode_prompt, tell_stories
from yzlin.model import yzlinGPT
from yzlin.storybook import check_story

OWN = 32  # stories that the model begins itself, to know what a beginning usually costs
OWN_TOKENS = 32  # of each


@torch.no_grad()
def bits(model: yzlinGPT, ids: list[int]) -> Tensor:
    """What each token after the first costs the model: -log2 of its probability. At most a window; float32 (t,)."""
    window = torch.tensor([ids[: model.args.block_size]], device=model.lm_head.weight.device)
    chances = model(window[:, :-1])[0][0].float().log_softmax(-1)
    return -chances.gather(-1, window[0, 1:, None])[:, 0].cpu() / math.log(2)


def usual_bits(model: yzlinGPT, tokenizer: tiktoken.Encoding) -> list[Tensor]:
    """What the beginnings of the model's own stories cost it, told at temperature 1 from its whole vocabulary."""
    told = tell_stories(model, tokenizer, OWN, temperature=1.0, max_tokens=OWN_TOKENS)
    return [bits(model, encode_prompt(tokenizer, text)) for text in told if text]


def about_beginning(cost: Tensor, usual: list[Tensor]) -> str:
    """A sentence on a beginning that costs these bits. It surprises if it costs more a token than each of the usual ones.

    Both are counted over as many tokens, because the first tokens of any story cost more.
    """
    own = torch.tensor([each[: len(cost)].mean() for each in usual])
    numbers = f"{cost.mean():.1f} bits a token, where its own stories begin at {own.mean():.1f}"
    if cost.mean() > own.max():
        return f"This beginning surprises the model: {numbers}. What follows may be word salad."
    return f"This beginning is no surprise: {numbers}."


def about_story(story: str) -> str:
    """A sentence on what `check_story` finds in a whole story of the storybook's world."""
    check = check_story(story)
    if check.ok:
        return "The story keeps its facts together."
    more = f" ({len(check.problems) - 1} more)" if len(check.problems) > 1 else ""
    return f"The story does not hold: {check.problems[0]}{more}."
