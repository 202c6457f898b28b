"""What is said under a story."""

import math

import torch

from yzlin.model import ModelArgs, yzlinGPT
from yzlin.storybook import make_story
from yzlin.tokenizer import load_tokenizer
from yzlin.tools.verdict import about_beginning, about_story, bits, usual_bits

TOKENIZER = load_tokenizer("storybook")


def small_model(block_size=12):
    torch.manual_seed(0)
    return yzlinGPT(ModelArgs(block_size=block_size, vocab_size=TOKENIZER.n_vocab, n_layer=1, n_head=2, n_embed=16)).eval()


def test_bits_are_minus_log2_of_each_tokens_chance():
    model, ids = small_model(), [TOKENIZER.eot_token, *TOKENIZER.encode_ordinary("Once upon a time")]
    with torch.no_grad():
        chances = [model(torch.tensor([ids[:i]]))[0][0, -1].softmax(-1)[ids[i]].item() for i in range(1, len(ids))]
    torch.testing.assert_close(bits(model, ids), torch.tensor([-math.log2(chance) for chance in chances]))
    assert len(bits(model, ids * 10)) == 11  # a window has room for no more


def test_an_untrained_model_finds_its_own_stories_as_dear_as_blind_guessing():
    usual = usual_bits(small_model(), TOKENIZER)
    assert 25 <= len(usual) <= 32  # a story may be empty
    assert abs(torch.cat(usual).mean() - math.log2(TOKENIZER.n_vocab)) < 0.5


def test_a_beginning_surprises_if_it_costs_more_than_each_usual_one():
    usual = [torch.tensor([1.0, 3.0, 0.0, 0.0]), torch.tensor([2.0, 4.0, 0.0])]  # over two tokens: 2 and 3 bits
    no, yes = (about_beginning(torch.tensor([cost, cost]), usual) for cost in (3.0, 3.1))
    assert no == "This beginning is no surprise: 3.0 bits a token, where its own stories begin at 2.5."
    assert yes.startswith("This beginning surprises the model: 3.1 bits a token, where its own stories begin at 2.5. What")


def test_a_story_holds_or_the_first_problem_is_named():
    good = make_story(3).text
    assert about_story(good) == "The story keeps its facts together."
    assert about_story(good.replace('"', "", 1)) == "The story does not hold: a quotation is not closed."
    assert about_story("Once.").startswith("The story does not hold: the hero is named 0 times")
    assert about_story("Once.").endswith("more).")
