from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ostinato.export.contracts.arguments import Place, WholeSequences, answers_whole_sequences, find_places
from ostinato.export.errors import ExportError
from ostinato.service.artifact.tensors import Input

X = Input(name="inputs", dtype="float32", shape=("B", "T", 2), features=("a", "b"))
Y = Input(name="more", dtype="float32", shape=("B", "T", 1), features=("m",))
WHO = Input(name="who", dtype="float32", shape=("B", 1), features=("w",))


def module(forward: Any, *, both_ways: bool = False) -> Any:
    made = type("Made", (nn.Module,), {"forward": forward})()
    made.layers = nn.LSTM(2, 3, bidirectional=both_ways)
    return made


def with_lengths(self: Any, x: Tensor, x_lens: Tensor) -> None: ...
def with_optional_lengths(self: Any, x: Tensor, lengths: Tensor | None = None) -> None: ...
def with_mask(self: Any, x: Tensor, mask: Tensor) -> None: ...
def with_padding_mask(self: Any, x: Tensor, src_key_padding_mask: Tensor) -> None: ...
def with_number(self: Any, x: Tensor, n: Tensor) -> None: ...
def with_default(self: Any, x: Tensor, temperature: float = 1.0) -> None: ...
def with_measured(self: Any, x: Tensor, mask: Tensor, hidden: Tensor | None = None) -> None: ...
def with_both(self: Any, x: Tensor, h0: Tensor | None = None, lengths: Tensor | None = None) -> None: ...
def plain(self: Any, x: Tensor) -> None: ...
def several(self: Any, who: Tensor, x: Tensor, lengths: Tensor, more: Tensor) -> None: ...
def with_two_unknown(self: Any, x: Tensor, n: Tensor, m: Tensor) -> None: ...


@pytest.mark.parametrize(
    ("forward", "places"),
    [
        (with_lengths, [("x", "input"), ("x_lens", "lengths")]),
        (with_optional_lengths, [("x", "input"), ("lengths", "lengths")]),
        (with_mask, [("x", "input"), ("mask", "mask")]),
        (with_padding_mask, [("x", "input"), ("src_key_padding_mask", "padding")]),
        (with_number, [("x", "input"), ("n", "lengths")]),
        (with_default, [("x", "input")]),
        (plain, [("x", "input")]),
    ],
)
def test_each_argument_is_given_what_its_name_and_place_say(forward: Any, places: list[tuple[Any, Any]]) -> None:
    assert find_places(module(forward), (X,), ()) == [Place(*place) for place in places]


def test_several_inputs_and_context_are_known_by_name_or_by_place() -> None:
    found = find_places(module(several), (X, Y), (WHO,))
    assert found == [
        Place("who", "context", 0),
        Place("x", "input", 0),
        Place("lengths", "lengths"),
        Place("more", "input", 1),
    ]


def test_an_argument_of_which_nothing_is_said_is_refused_by_name() -> None:
    with pytest.raises(ExportError, match="an argument 'm' that nothing is said of"):
        find_places(module(with_two_unknown), (X,), ())


def test_an_input_without_an_argument_is_refused() -> None:
    with pytest.raises(ExportError, match=r"forward\(x\) has no argument for 1 of the inputs"):
        find_places(module(plain), (X, Y), ())


@pytest.mark.parametrize(
    ("forward", "both_ways", "is_whole"),
    [
        (with_lengths, False, True),
        (with_mask, False, True),
        (plain, True, True),
        (plain, False, False),
        (with_number, True, False),
    ],
)
def test_a_module_that_takes_lengths_or_reads_both_ways_answers_whole_sequences(
    forward: Any, both_ways: bool, is_whole: bool
) -> None:
    assert answers_whole_sequences(module(forward, both_ways=both_ways)) is is_whole


def test_a_mask_that_is_an_input_tells_nothing_beside_a_state() -> None:
    assert not answers_whole_sequences(module(with_measured), ("x", "mask"))
    assert answers_whole_sequences(module(with_measured), ("x",))
    assert answers_whole_sequences(module(with_mask), ("x", "mask"))


def test_lengths_that_may_be_left_out_tell_nothing_beside_a_state() -> None:
    assert not answers_whole_sequences(module(with_both))
    assert answers_whole_sequences(module(with_both, both_ways=True))


def test_a_module_with_states_does_not() -> None:
    streams = module(with_lengths)
    streams.initial_state = lambda batch_size: torch.zeros(batch_size, 1)
    assert not answers_whole_sequences(streams)


def test_masks_are_made_from_the_lengths() -> None:
    def forward(self: Any, x: Tensor, mask: Tensor, padding_mask: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG001
        return mask, padding_mask

    masked = module(forward)
    whole = WholeSequences(masked, find_places(masked, (X,), ()), 1)
    mask, padding = whole(torch.zeros(2, 3, 2), torch.tensor([3, 1]))
    assert mask.tolist() == [[True, True, True], [True, False, False]]
    assert padding.tolist() == [[False, False, False], [False, True, True]]


def test_nested_answers_are_outputs_one_by_one() -> None:
    def forward(self: Any, x: Tensor) -> Any:  # noqa: ARG001
        return {"y": x, "more": (x, [x])}

    nested = module(forward)
    assert len(WholeSequences(nested, find_places(nested, (X,), ()), 1)(torch.zeros(2, 3, 2))) == 3
