from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ostinato.export.contracts.module import check_methods, run_decoder, run_encoder, to_arrays, to_tensor, to_tensors
from ostinato.export.errors import ExportError

ROW = torch.zeros(1, 2)


class Answers(nn.Module):
    """Returns what it was made with, from both methods."""

    def __init__(self, answer: object) -> None:
        super().__init__()
        self.answer = answer

    def encode(self, *_given: Tensor) -> object:
        return self.answer

    def decode(self, *_given: object) -> object:
        return self.answer


def test_a_module_without_a_method_is_told_what_both_are() -> None:
    check_methods(Answers(None), ("encode", "decode"))
    with pytest.raises(ExportError, match=r"Linear has no encode\(...\): an encoder-decoder has encode\(source"):
        check_methods(nn.Linear(1, 1), ("encode", "decode"))


@pytest.mark.parametrize("answer", [ROW, (ROW,), ((ROW,), ROW), ((ROW,), (1,)), [(), ()], ((), (), ())])
def test_encode_returns_two_tuples_of_tensors(answer: object) -> None:
    with pytest.raises(ExportError, match=r"encode must return \(memory, states\), two tuples"):
        run_encoder(Answers(answer), ROW, None)


@pytest.mark.parametrize("answer", [ROW, (ROW, (ROW,)), (None, (ROW,), None), (ROW, ROW, None), (ROW, (ROW,), 1.0)])
def test_decode_returns_an_output_states_and_attention_or_none(answer: object) -> None:
    with pytest.raises(ExportError, match=r"decode must return \(output, states, attention or None\)"):
        run_decoder(Answers(answer), None, (ROW,), (), None)


def test_decode_returns_as_many_states_as_it_was_given() -> None:
    with pytest.raises(ExportError, match="decode returned 2 states and was given 1"):
        run_decoder(Answers((ROW, (ROW, ROW), None)), None, (ROW,), (), None)


def test_lists_are_as_good_as_tuples() -> None:
    assert run_encoder(Answers(([ROW], [])), ROW, torch.ones(1)) == ((ROW,), ())
    assert run_decoder(Answers((ROW, [ROW], None)), None, (ROW,), (), None) == (ROW, (ROW,), None)


def test_arrays_and_tensors_are_the_same_numbers() -> None:
    turned = np.arange(6.0).reshape(2, 3).T
    assert to_tensor(None) is None
    [back] = to_arrays(to_tensors((turned,)))
    assert back.tolist() == turned.tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
