from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ostinato.export.contracts.decoder import DecoderOptions
from ostinato.export.contracts.encoder_decoder import EncoderDecoder, inspect_encoder_decoder
from ostinato.export.errors import ExportError
from ostinato.service.artifact.tensors import Input
from tests.export.writers import (
    LETTERS,
    PAIRS,
    PATCH,
    SIZE,
    SOUNDS,
    NumberWriter,
    PatchWriter,
    States,
    Writer,
)

LOADS = DecoderOptions(feedback=True, output_features=("load",))


class Encoded(Writer):
    """``Writer``, except for what its encoder makes."""

    def __init__(self, change: Any) -> None:
        super().__init__()
        self.change = change

    def encode(self, source: Tensor, lengths: Tensor) -> tuple[States, States]:
        changed: tuple[States, States] = self.change(*super().encode(source, lengths))
        return changed


def inspect(module: nn.Module, source: Input = LETTERS, options: DecoderOptions = SOUNDS) -> EncoderDecoder:
    return inspect_encoder_decoder(module, source, options)


def test_memory_states_and_lengths_are_found() -> None:
    contract = inspect(Writer())
    decoder = contract.decoder
    assert contract.encoder_lengths == "lengths"
    assert [(part.name, part.made_by, part.shape) for part in decoder.memory] == [
        ("memory_0", "memory_0", ("B", "S", SIZE))
    ]
    assert decoder.begun_by == {"state_0": "state_0"}


def test_names_may_be_given() -> None:
    named = DecoderOptions(num_codes=6, stop=1, state_names=("h",), memory_names=("letters",))
    decoder = inspect(Writer(), options=named).decoder
    assert ([part.name for part in decoder.memory], [state.name for state in decoder.states]) == (["letters"], ["h"])


def test_a_source_of_a_fixed_size_comes_without_lengths() -> None:
    contract = inspect(PatchWriter(), PATCH)
    assert (contract.encoder_lengths, contract.decoder.lengths, contract.decoder.memory) == ("", "", ())
    _, [begun] = contract.encode(np.ones((2, 2, 2), np.float32), None)
    assert begun.tolist() == [[1.0] * 4] * 2


def test_steps_of_numbers_may_come_in_and_go_out() -> None:
    contract = inspect(NumberWriter(), PAIRS, LOADS)
    assert contract.decoder.memory == ()
    assert contract.decoder.output.features == ("load",)
    source = np.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], np.float32)
    _, [begun] = contract.encode(source, np.array([2, 1]))
    assert begun.tolist() == [[3.0, 4.0], [5.0, 6.0]]


def test_one_number_a_step_needs_no_axis_of_its_own() -> None:
    class Summed(NumberWriter):
        def encode(self, source: Tensor, lengths: Tensor) -> tuple[States, States]:
            return super().encode(torch.stack([source, -source], dim=2), lengths)

    load = Input(name="source", dtype="float32", shape=("B", "S"), features=("load",))
    assert inspect(Summed(), load, LOADS).source.source_axis == 1


def test_the_caller_s_module_stays_as_it_is() -> None:
    module = Writer().train()
    contract = inspect(module)
    assert module.training
    assert not contract.module.training
    assert module.letters.requires_grad
    assert not any(weight.requires_grad for weight in contract.module.parameters())


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (("B", "T"), "its steps are called 'S'"),
        (("S", "B"), "the batch comes first, then the steps 'S'"),
        (("B", 2, "S"), "the batch comes first, then the steps 'S'"),
    ],
)
def test_the_axes_of_a_source_are_checked(shape: tuple[int | str, ...], message: str) -> None:
    features = ("a", "b") if 2 in shape else ("a",)
    source = Input.model_validate({"name": "source", "dtype": "float32", "shape": shape, "features": features})
    with pytest.raises(ExportError, match=message):
        inspect(Writer(), source)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        # Three rows whatever the batch, five steps whatever the source.
        (lambda memory, states: ((memory[0][:3],), states), "memory 'memory_0' has shapes .*exactly one axis"),
        (lambda memory, states: ((memory[0].transpose(0, 1),), states), r"\['S', 'B', 4\]: the batch comes first"),
        (lambda memory, states: ((memory[0].transpose(1, 2),), states), r"\['B', 4, 'S'\]: the batch comes first"),
        (lambda memory, states: ((memory[0].bfloat16(),), states), "memory 'memory_0' has dtype bfloat16"),
        (lambda memory, states: (memory, (states[0][:3],)), "state 'state_0' has shapes .*exactly one axis"),
        (lambda memory, _states: (memory, memory), "state 'state_0' has an axis of the source's steps"),
        (lambda memory, states: (memory[0], states), r"encode must return \(memory, states\)"),
        (lambda _memory, _states: 1 / 0, r"encode fails on a source of shape \[3, 5\] and dtype int64 and lengths \[3"),
    ],
)
def test_an_encoder_that_breaks_the_contract_is_refused(change: Any, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        inspect(Encoded(change))


def test_memory_of_five_steps_is_not_taken_for_that_of_any_source() -> None:
    contract = inspect(Encoded(lambda memory, states: ((memory[0][:, :5],), states)))
    # It may be: a decoder that looks at the first five steps only. Its attention is then of five places.
    assert contract.decoder.memory[0].shape == ("B", 5, SIZE)


def test_a_source_of_a_fixed_size_has_no_memory_of_its_batch_s_steps() -> None:
    class Growing(PatchWriter):
        def encode(self, source: Tensor) -> tuple[States, States]:
            return (source.flatten(1).repeat(1, source.shape[0]),), (source.flatten(1),)

    with pytest.raises(ExportError, match="an axis that is neither the batch nor the steps"):
        inspect(Growing(), PATCH)


def test_an_encoder_without_lengths_for_a_source_with_steps_is_told() -> None:
    class Deaf(Writer):
        def encode(self, source: Tensor) -> tuple[States, States]:  # type: ignore[override]
            return super().encode(source, torch.full((len(source),), source.shape[1]))

    with pytest.raises(ExportError, match=r"Deaf.encode fails .* and lengths \[3\]: TypeError"):
        inspect(Deaf())


def test_a_name_that_is_given_twice_is_refused() -> None:
    with pytest.raises(ExportError, match="an input or output of the encoder is named twice among"):
        inspect(Writer(), options=DecoderOptions(num_codes=6, state_names=("source",)))
    with pytest.raises(ExportError, match="a decoder's input is named twice among"):
        inspect(Writer(), options=DecoderOptions(num_codes=6, state_names=("lengths",)))


def test_a_module_without_decode_is_refused() -> None:
    class Half(nn.Module):
        encode = Writer.encode

    with pytest.raises(ExportError, match=r"Half has no decode\(...\)"):
        inspect(Half())


def test_examples_are_checked() -> None:
    with pytest.raises(ExportError, match="an example has codes 0 to 9"):
        inspect_encoder_decoder(Writer(), LETTERS, SOUNDS, [[0, 9]])
