"""What goes over the line between a checker and an answer: values arrive as they were, and nothing else arrives."""

import json

import numpy as np
import pytest
import torch

from yzlin.model import ModelArgs
from yzlin.tools.pupil import packed, unpacked

VALUES = [
    *(
        None,
        True,
        3,
        2.5,
        "text",
        [1, (2.0, [])],
        torch.tensor(3.5),
        torch.zeros(0, 3),
        torch.randn(2, 5).T,
        torch.eye(3).bool(),
    ),
    *(torch.ones(2, dtype=torch.bfloat16), torch.arange(4).to(torch.uint8), torch.ones(2) * 1j, torch.eye(3).to_sparse()),
    *(np.arange(6).reshape(2, 3).T, np.zeros((0, 2), dtype=np.uint16), np.float32(1.5), np.array(True)),
]


@pytest.mark.parametrize("value", VALUES, ids=[str(type(value).__name__) for value in VALUES])
def test_a_value_arrives_as_it_was(value):
    got = unpacked(json.loads(json.dumps(packed(value))))
    if isinstance(value, torch.Tensor):
        assert got.dtype == value.dtype and torch.equal(got, value.to_dense())
    elif isinstance(value, (np.ndarray, np.generic)):
        assert type(got) is type(value) and got.dtype == value.dtype and np.array_equal(got, value)
    else:
        assert type(got) is type(value) and got == value


def test_what_is_not_data_arrives_as_a_nameless_thing_of_its_type():
    assert type(unpacked(packed(print))).__name__ == "builtin_function_or_method"
    assert type(unpacked(packed(torch.nn.Linear(2, 2)))).__name__ == "Linear"


def test_the_numbers_of_a_model_and_functions_go_one_way():
    assert unpacked(json.loads(json.dumps(packed(ModelArgs(n_head=3))))) == ModelArgs(n_head=3)
    held = []
    assert unpacked(packed([len, 3], held), lambda number: held[number]) == [len, 3]
    assert not callable(unpacked({"callable": 0}))


NOT_OURS = [{}, {"a": 1, "b": 2}, {"tensor": ["load", [1], ""]}, {"tensor": ["int64", [9], "AAAA"]}, {"list": 3}]
NOT_OURS += [{"array": ["O", [1], "AAAAAAAAAAA="]}, {"args": {"n_head": 3, "evil": 1}}]


@pytest.mark.parametrize("message", NOT_OURS)
def test_a_message_that_packed_did_not_write_is_an_error_and_runs_nothing(message):
    with pytest.raises((ValueError, TypeError, LookupError, AttributeError)):
        unpacked(message)
