from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ostinato.export.contracts.adapting import adapt
from ostinato.export.contracts.preparation import prepared
from ostinato.export.contracts.recurrent import inspect_module
from tests.zoo import modules_beginnings as beginnings
from tests.zoo import modules_signatures as zoo
from tests.zoo.entries import Entry

# Entry -> names of its outputs and of its states.
FOUND: list[tuple[Callable[[], Entry], list[str], list[str]]] = [
    (zoo.state_or_none, ["outputs"], ["state_0", "state_1"]),
    (zoo.pair_in_the_signature, ["outputs"], ["hc_0", "hc_1"]),
    (zoo.hx_or_none, ["outputs"], ["hx_0", "hx_1"]),
    (zoo.two_or_none_in_a_pair, ["outputs"], ["h", "c"]),
    (zoo.states_by_keyword, ["outputs"], ["h"]),
    (zoo.state_in_a_dict, ["outputs"], ["h", "c"]),
    (zoo.state_in_a_named_tuple, ["outputs"], ["h", "c"]),
    (zoo.state_in_a_dataclass, ["outputs"], ["hidden", "cell"]),
    (zoo.nested_lists_of_states, ["outputs"], [f"states_{layer}_{part}" for layer in range(3) for part in range(2)]),
    (zoo.states_in_a_dict_of_tuples, ["outputs"], ["fast_0", "fast_1", "slow"]),
    (zoo.init_hidden, ["outputs"], ["hidden_0", "hidden_1"]),
    (zoo.state_in_the_middle, ["output_0", "output_1"], ["h"]),
    (zoo.bare_gru_time_major, ["outputs"], ["hx"]),
    (zoo.bare_lstm_cell, ["outputs"], ["hx_0", "hx_1"]),
    (zoo.outputs_in_a_named_tuple, ["mean", "scale"], ["h"]),
    (zoo.all_in_one_dict, ["logits"], ["h"]),
    (zoo.answer_in_a_dataclass, ["logits"], ["state_0", "state_1"]),
    (zoo.tuple_of_outputs, ["output_0", "output_1"], ["state_0", "state_1"]),
    (zoo.once_and_per_step, ["scores", "kind", "summary"], ["state_0", "state_1"]),
    (zoo.attention_left_out, ["outputs"], ["h"]),
    (zoo.two_inputs_by_place, ["outputs"], ["h"]),
    (zoo.two_inputs_by_name, ["outputs"], ["h"]),
    (zoo.state_before_the_second_input, ["outputs"], ["h"]),
    (zoo.batch_in_a_dict, ["outputs"], ["state_0", "state_1"]),
    (zoo.inputs_in_a_tuple, ["outputs"], ["h"]),
    (zoo.context_by_name, ["outputs"], ["h"]),
    (zoo.context_behind_the_state, ["outputs"], ["h"]),
    (zoo.lightning_around_a_network, ["outputs"], ["state_0", "state_1"]),
    (zoo.strided, ["outputs"], ["h"]),
    (beginnings.state_of_one_name, ["outputs"], ["hidden"]),
    (beginnings.state_of_one_sequence_behind_the_layers, ["outputs"], ["hidden_0", "hidden_1"]),
    (beginnings.device_beside_the_batch, ["outputs"], ["hidden"]),
    (beginnings.cells_that_want_their_states, ["outputs"], ["state_0", "state_1"]),
    (beginnings.own_cell_that_wants_its_state, ["outputs"], ["h"]),
    (beginnings.any_number_of_states, ["outputs"], ["state_0", "state_1"]),
    (beginnings.rows_of_batch_and_steps, ["outputs"], ["hidden"]),
    (beginnings.rows_of_steps_and_batch, ["outputs"], ["hidden"]),
    (beginnings.states_in_an_object, ["outputs"], ["h", "c"]),
    (beginnings.frames_by_a_view, ["outputs"], ["h"]),
]


@pytest.mark.parametrize(("entry", "outputs", "states"), FOUND, ids=[each[0].__name__ for each in FOUND])
def test_what_a_forward_takes_and_gives_is_found(
    entry: Callable[[], Entry], outputs: list[str], states: list[str]
) -> None:
    module, options = entry()
    given = options.pop("inputs")
    contract = inspect_module(module, given, **options)
    assert [part.name for part in contract.made] == outputs
    assert [state.name for state in contract.states] == states
    sequence, begin = contract.draw(np.random.default_rng(3), 2, 6), contract.initial_states(2)
    whole, last = contract.run(contract, sequence, begin)
    chunks, after = contract.run(contract, sequence, begin, cuts=(1, 4))
    np.testing.assert_allclose(last[0], after[0], atol=1e-6)
    for one, other in zip(contract.named(whole).values(), contract.named(chunks).values(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_inputs_that_are_given_by_name_are_the_same_as_by_place() -> None:
    answers = []
    for entry in (zoo.two_inputs_by_place, zoo.two_inputs_by_name, zoo.batch_in_a_dict):
        module, options = entry()
        adapter = adapt(prepared(module), options["inputs"])
        load, weekday = torch.ones(2, 3, 2), torch.tensor([[1, 2, 3], [4, 5, 6]])
        answers.append(adapter(load, weekday, *adapter.initial_state(2))[0])
    torch.testing.assert_close(answers[0], answers[1], rtol=0, atol=0)
    assert not torch.equal(answers[0], answers[2])  # an LSTM, and no GRU


def test_zeros_are_inferred_and_said() -> None:
    adapter = adapt(prepared(zoo.zeros_made_within()[0]), [zoo.one("x", "B", "T", 3)])
    (begun,) = adapter.initial_state(4)
    assert begun.shape == (1, 4, zoo.H)
    assert not begun.any()
    assert "has no initial_state: run without states it begins with zeros, as was measured" in adapter.notes[0]


def test_zeros_are_said_where_nothing_tells_what_a_module_begins_with() -> None:
    adapter = adapt(prepared(beginnings.own_cell_that_wants_its_state()[0]), [zoo.one("x", "B", "T", 3)])
    (begun,) = adapter.initial_state(4)
    assert begun.shape == (4, 5)
    assert not begun.any()
    assert "does not begin without states: it is begun with zeros; its states are h" in adapter.notes[0]


def test_the_state_of_one_sequence_is_that_of_each() -> None:
    module = beginnings.state_of_one_sequence_behind_the_layers()[0]
    h, c = adapt(prepared(module), [zoo.one("x", "B", "T", 3)]).initial_state(3)
    assert h.shape == c.shape == (1, 3, zoo.H)
    assert not h.any()
    assert bool((c == 1).all())


@pytest.mark.parametrize("entry", [beginnings.rows_of_batch_and_steps, beginnings.rows_of_steps_and_batch])
def test_rows_of_batch_and_steps_are_given_their_axes(entry: Callable[[], Entry]) -> None:
    module, options = entry()
    given = options["inputs"]
    adapter = adapt(prepared(module), [given])
    sizes = {"B": 2, "T": 3}
    shape = [size if isinstance(size, int) else sizes[size] for size in given.shape]
    x = torch.arange(math.prod(shape)).reshape(shape).to(getattr(torch, given.dtype))
    states = adapter.initial_state(2)
    made = adapter(x, *states)[0]
    assert made.shape[:2] == x.shape[:2]
    rows = module.eval()(x, *states)[0]
    torch.testing.assert_close(made.flatten(0, 1), rows, rtol=0, atol=0)
    assert "batch and steps in one axis" in adapter.notes[-1]


def test_a_first_state_that_was_learned_is_found_among_the_parameters() -> None:
    module: Any = zoo.learned_first_state()[0]
    adapter = adapt(prepared(module), [zoo.one("x", "B", "T", 3)])
    (begun,) = adapter.initial_state(2)
    torch.testing.assert_close(begun, module.first.detach().expand(1, 2, zoo.H), rtol=0, atol=0)
    assert "begins with tensors of its own" in adapter.notes[0]


def test_a_module_that_keeps_the_contract_is_not_wrapped() -> None:
    class Network(nn.Module):
        def initial_state(self, batch_size: int) -> torch.Tensor:
            return torch.zeros(batch_size, 3)

        def forward(self, x: torch.Tensor, last: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, last + x.sum(1)

    assert type(inspect_module(Network(), zoo.one("x", "B", "T", 3)).module).__name__ == "Network"
