"""The checkers of the exercises: the stub is told from an answer, likely mistakes get the right hint, right answers pass.

The wrong answers stand in tests/wrong_answers, each with a part of its hint, and unusual right ones in tests/right_answers.
The usual right ones are the solution notebooks, whose outputs nbval holds true.
"""

import ast
import importlib
import importlib.util
import json
import math
import re

import numpy as np
import pytest
import torch
from torch import nn

from yzlin import ROOT, checks

NUMBERS = sorted(path.stem for path in (ROOT / "yzlin" / "checks").glob("n*.py"))


def answers(kind: str, number: str) -> list[tuple]:
    """WRONG or RIGHT of the data file of that notebook."""
    name = f"{kind}_{number}"
    spec = importlib.util.spec_from_file_location(name, ROOT / "tests" / f"{kind}_answers" / f"{number}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, kind.upper())


WRONG = [(number, *wrong) for number in NUMBERS for wrong in answers("wrong", number)]
RIGHT = [(number, *right) for number in NUMBERS for right in answers("right", number)]


def checkers(number: str) -> dict:
    module = importlib.import_module(f"yzlin.checks.{number}")
    return {name: check for name, check in vars(module).items() if re.fullmatch(r"check_\w+", name)}


EXERCISES = [(number, name) for number in NUMBERS for name in checkers(number)]


def said(number: str, folder: str) -> dict[str, str]:
    """What each checker printed in the notebook of that number."""
    (path,) = (ROOT / "notebooks" / folder).glob(f"{number[1:]}_*.ipynb")
    printed = {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        call = re.search(r"^(check_\w+)\(\w+\)$", "".join(cell["source"]), re.M)
        if call and call[1] in checkers(number):
            printed[call[1]] = "".join("".join(output.get("text", "")) for output in cell["outputs"])
    return printed


@pytest.mark.parametrize(("number", "name", "answer", "hint"), WRONG, ids=[f"{w[0]}-{w[1]}-{w[3]}" for w in WRONG])
def test_a_wrong_answer_gets_the_right_hint(number, name, answer, hint, capsys):
    checkers(number)[f"check_{name}"](answer)
    printed = capsys.readouterr().out
    assert printed.startswith("not yet: ") and hint in printed
    assert printed.count("\n") == 1 and "stumbled" not in printed


@pytest.mark.parametrize(("number", "name", "answer"), RIGHT, ids=[f"{r[0]}-{r[1]}-{r[2].__name__}" for r in RIGHT])
def test_an_unusual_right_answer_is_accepted(number, name, answer, capsys):
    checkers(number)[f"check_{name}"](answer)
    assert capsys.readouterr().out == said(number, "solutions")[f"check_{name}"]


@pytest.mark.parametrize(("number", "name"), EXERCISES)
def test_every_exercise_has_ten_wrong_and_three_right_answers(number, name):
    assert sum((w[0], f"check_{w[1]}") == (number, name) for w in WRONG) >= 10
    assert sum((r[0], f"check_{r[1]}") == (number, name) for r in RIGHT) >= 3


def texts(number: str) -> list[list[str]]:
    """The messages in a checker's source, each as its literal pieces; neither docstrings nor what follows "ok: "."""
    tree = ast.parse((ROOT / "yzlin" / "checks" / f"{number}.py").read_text(encoding="utf-8"))
    skip = {node.value for node in ast.walk(tree) if isinstance(node, (ast.Expr, ast.Return))}
    skip |= {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    found = []
    for node in ast.walk(tree):
        pieces = node.values if isinstance(node, ast.JoinedStr) else [node]
        literal = [piece.value for piece in pieces if isinstance(piece, ast.Constant) and isinstance(piece.value, str)]
        if node not in skip and any(" " in piece.strip() for piece in literal):
            found.append(literal)
    return found


@pytest.mark.parametrize("number", NUMBERS)
def test_every_message_of_a_checker_is_said_to_some_wrong_answer(number, capsys):
    for _, name, answer, _ in (wrong for wrong in WRONG if wrong[0] == number):
        checkers(number)[f"check_{name}"](answer)
    printed = capsys.readouterr().out
    unsaid = [text for text in texts(number) if not all(piece in printed for piece in text)]
    assert len(texts(number)) > 30 and not unsaid, unsaid


@pytest.mark.parametrize("number", NUMBERS)
def test_stubs_say_not_attempted_and_solutions_say_ok(number):
    stubs, solutions = said(number, "."), said(number, "solutions")
    assert stubs.keys() == solutions.keys() == checkers(number).keys() and len(stubs) >= 3
    assert set(stubs.values()) == {"not attempted yet\n"}
    assert all(re.fullmatch(r"ok: .+\n", text) for text in solutions.values()), solutions


def test_there_are_enough_exercises():
    assert sum(len(checkers(number)) for number in NUMBERS) >= 24


def stub(*inputs):
    raise NotImplementedError


def broken(*inputs):
    return torch.zeros(2, 2, dtype=torch.bool) - True


def made(name: str, function):
    """The function, or for the exercise that asks for a class one whose making calls it."""
    return type("Made", (), {"__init__": lambda self, *inputs: function(*inputs)}) if name == "check_one_norm" else function


ODD = [
    *(
        3,
        2.5,
        True,
        "text",
        b"bytes",
        [],
        (),
        {},
        [1, 2, 3],
        (None, None),
        (None, None, None),
        object(),
        len,
        math.nan,
        10**400,
    ),
    *(torch.tensor(3.0), torch.zeros(0), torch.zeros(3, 4), torch.full((2, 5, 12), math.nan), torch.zeros(2, 5, 12) * 1j),
    *(torch.zeros(7, dtype=torch.bool), torch.eye(5).to_sparse(), np.array(["a", "b"]), np.zeros((2, 2), dtype=object)),
    *((torch.zeros(2), "text"), (torch.zeros(2), [1], {}), [torch.zeros(4, 3)] * 3, [[1], [2, 3]], nn.Linear(3, 3), float),
    *(torch.zeros(5, 5, device="meta"), torch.zeros(5, 5, requires_grad=True), np.float16(3), range(3), (i for i in range(2))),
]


@pytest.mark.parametrize(("number", "name"), EXERCISES)
def test_whatever_is_returned_the_checker_does_not_stumble(number, name, capsys):
    check = checkers(number)[name]
    for odd in ODD:
        check(lambda *inputs, odd=odd: odd)
        printed = capsys.readouterr().out
        assert printed.startswith("not yet: ") and "stumbled" not in printed and printed.count("\n") == 1, (odd, printed)


@pytest.mark.parametrize(("number", "name"), EXERCISES)
def test_stubs_and_what_is_no_function_are_told_apart(number, name, capsys):
    check = checkers(number)[name]
    for answer, words in (
        (made(name, stub), "not attempted yet\n"),
        (torch.zeros(3), "without brackets"),
        (None, "this is None"),
        (made(name, broken), "raised RuntimeError: Subtraction"),
    ):
        check(answer)
        assert words in capsys.readouterr().out
    if name != "check_one_norm":  # a class returns an object of its own
        check(lambda *inputs: None)
        assert "returned None: is there a `return`?" in capsys.readouterr().out


def test_the_readers_random_numbers_go_on_as_before(capsys):
    torch.manual_seed(0)
    want = torch.randn(3)
    torch.manual_seed(0)
    for name in ("count", "one_norm"):
        checkers("n06")[f"check_{name}"](next(answer for _, which, answer in RIGHT if which == name))
    assert torch.equal(torch.randn(3), want) and capsys.readouterr().out.count("ok: ") == 2


class Indented(nn.Module):
    def __init__(self, args):
        super().__init__()
        self.norm, self.attention, self.mlp = nn.RMSNorm(args.n_embed), nn.Identity(), nn.Identity()

        def forward(self, x):
            return x


def test_a_forward_inside_init_is_not_called_a_stub(capsys):
    importlib.import_module("yzlin.checks.n06").check_one_norm(Indented)
    assert capsys.readouterr().out.startswith("not yet: ")
    with pytest.raises(checks.Wrong, match="NotImplementedError: Module .Indented. is missing"):
        checks.run(Indented(type("Args", (), {"n_embed": 4})), torch.zeros(2, 4))


def helper(x):
    return x @ torch.zeros(99, 3)  # the shapes do not fit


def test_the_line_that_broke_is_the_readers_own(capsys):
    def rms(x):
        y = x + 1
        return torch.nn.functional.layer_norm(y, (99,))

    check = importlib.import_module("yzlin.checks.n03").check_rms
    line = rms.__code__.co_firstlineno + 2
    check(rms)
    assert f"(line {line}: return torch.nn.functional.layer_norm(y, (99,)))" in capsys.readouterr().out
    check(lambda x: helper(x))
    assert f"(line {helper.__code__.co_firstlineno + 1}: return x @ torch.zeros(99, 3)" in capsys.readouterr().out
    check(lambda: None)
    assert "takes 0 positional arguments but 1 was given\n" in capsys.readouterr().out


def test_an_answer_gets_copies():
    x = torch.ones(3)
    assert checks.run(lambda x: x.mul_(5.0), x).tolist() == [5.0, 5.0, 5.0] and x.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("got", "want", "agree"),
    [
        (np.float32(0.1), 0.1, True),
        (torch.tensor(0.1, dtype=torch.float64), 0.100002, False),
        (1e-9, 2e-9, False),
        ([torch.ones(2), np.ones(3)], (torch.ones(2), torch.ones(3)), True),
        (torch.ones(1), torch.tensor(1.0), False),
        (torch.tensor([math.inf, 1.0]), torch.tensor([math.inf, 1.0]), True),
        (torch.tensor([math.inf, 1.0]), torch.tensor([-math.inf, 1.0]), False),
        (torch.tensor([math.nan, 1.0]), torch.tensor([3.0, 1.0]), False),
        (114_242_304, 114_242_305, True),
        (torch.tensor([True, False]), torch.tensor([1.0, 0.0]), True),
    ],
)
def test_values_are_compared_as_a_reader_would(got, want, agree):
    assert checks.same(got, want) is agree


def test_the_score_counts_what_is_ok(capsys):
    module = importlib.import_module("yzlin.checks.n02")
    module.check_shift(lambda ids: (ids[:, :-1], ids[:, 1:]))
    module.check_gather(lambda tokens, starts, T: tokens)
    for name in ("bits", "unigram", "epoch"):
        checkers("n02")[f"check_{name}"](stub)
    capsys.readouterr()
    checks.score("02")
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "1 of 5 done" and len(printed) == 6
    assert printed[1].split() == ["ok", "shift"] and printed[2].split() == ["not", "yet", "gather"]
    assert printed[3].split() == ["not", "attempted", "yet", "bits"]
    assert list(checks.exercises("02")) == list(said("n02", "."))
    with pytest.raises(ValueError, match="two digits"):
        checks.score("4")
