from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ostinato.export.contracts.decoder import (
    DecoderOptions,
    attention_shape,
    find_decoder,
    find_states,
    first_previous,
    named,
    valid_decoder,
)
from ostinato.export.contracts.symbols import PROBE_SIZES
from ostinato.export.errors import ExportError
from ostinato.service.artifact.decoder import Decoder, Memory
from tests.export.writers import NUM_SOUNDS, SIZE, SOUNDS, States, Writer

MEMORY = (Memory(name="memory", dtype="float32", shape=("B", "S", SIZE), made_by="memory"),)
BEGUN = [
    ((torch.zeros(batch, SIZE),), (torch.zeros(batch, steps, SIZE),), torch.full((batch,), steps, dtype=torch.int64))
    for batch, steps in PROBE_SIZES
]


def find(module: nn.Module, options: DecoderOptions = SOUNDS) -> Decoder:
    states = find_states([given[0] for given in BEGUN], ())
    begun_by = {state.name: state.input for state in states}
    return find_decoder(module, BEGUN, options, states=states, memory=MEMORY, lengths="lengths", begun_by=begun_by)


class Changed(Writer):
    """``Writer``, except for one part of its answer."""

    def __init__(self, part: str, change: Any) -> None:
        super().__init__()
        self.part = part
        self.change = change

    def decode(
        self, previous: Tensor, states: States, memory: States, lengths: Tensor
    ) -> tuple[Tensor, States, Tensor | None]:
        output, after, attention = super().decode(previous, states, memory, lengths)
        assert attention is not None
        parts: dict[str, Any] = {"output": output, "states": after, "attention": attention}
        parts[self.part] = self.change(parts[self.part])
        return parts["output"], parts["states"], parts["attention"]


def test_a_decoder_is_described_by_running_it() -> None:
    decoder = find(Writer())
    assert decoder.previous is not None
    assert (decoder.previous.shape, decoder.previous.num_codes) == (("B",), NUM_SOUNDS)
    assert (decoder.output.name, decoder.output.shape) == ("scores", ("B", NUM_SOUNDS))
    assert [(state.name, state.output, state.shape) for state in decoder.states] == [
        ("state_0", "state_0_next", ("B", SIZE))
    ]
    assert (decoder.start, decoder.stop, decoder.lengths, decoder.attention) == (0, 1, "lengths", "attention")
    assert attention_shape(decoder) == ("B", "S")


def test_a_decoder_without_attention_has_none() -> None:
    assert find(Changed("attention", lambda _weights: None)).attention == ""


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("output", lambda y: y[:, :4], "the output scores 4 codes of 6"),
        ("output", lambda y: y.unsqueeze(0), r"has shape \[1, 'B', 6\]: it must be one step"),
        ("output", lambda y: y.sum(), "exactly one axis must have the size of the batch"),
        ("output", lambda y: y.bfloat16(), "the decoder's output has dtype bfloat16"),
        ("states", lambda states: (torch.cat([states[0]] * 2, 1),), r"state 'state_0' is .*\[3, 4\] .* \[3, 8\] after"),
        ("states", lambda states: (states[0].double(),), "state 'state_0' is torch.float32 .* torch.float64"),
        ("attention", lambda weights: weights[:, :3], r"the attention has shape \['B', 3\]: it must be \[B, S\]"),
        ("attention", lambda weights: weights.T, r"the attention has shape \['S', 'B'\]"),
    ],
)
def test_a_step_that_breaks_the_contract_is_refused(part: str, change: Any, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        find(Changed(part, change))


def test_what_a_step_raises_is_told_with_what_it_was_given() -> None:
    def fail(_output: Tensor) -> Tensor:
        raise RuntimeError("no such thing")

    with pytest.raises(
        ExportError,
        match=r"Changed.decode fails on previous torch.int64 \[3\], states \[\[3, 4\]\] and memory \[\[3, 5, 4\]\]: "
        "RuntimeError: no such thing",
    ):
        find(Changed("output", fail))


def test_a_state_with_the_source_s_steps_belongs_into_the_memory() -> None:
    with pytest.raises(ExportError, match="state 'state_0' has an axis of the source's steps"):
        find_states([(torch.zeros(batch, steps),) for batch, steps in PROBE_SIZES], ())


def test_a_state_without_a_batch_is_refused() -> None:
    with pytest.raises(ExportError, match="exactly one axis must have the size of the batch"):
        find_states([(torch.zeros(3, 2),) for _ in PROBE_SIZES], ())


def test_names_are_given_for_all_or_none() -> None:
    assert named("states", ("h", "c"), "state", 2) == ("h", "c")
    assert named("states", (), "state", 2) == ("state_0", "state_1")
    with pytest.raises(ExportError, match="states: two are named 'h'"):
        named("states", ("h", "h"), "state", 2)
    with pytest.raises(ExportError, match="1 names for 2 states"):
        named("states", ("h",), "state", 2)


def test_numbers_are_fed_back_where_they_are_asked_for_and_named() -> None:
    assert DecoderOptions().previous is None
    fed = DecoderOptions(feedback=True, output_features=("load", "wind")).previous
    assert fed is not None
    assert (fed.shape, fed.dtype) == (("B", 2), "float32")
    with pytest.raises(ExportError, match="with feedback, output_features must name the decoder's numbers"):
        _ = DecoderOptions(feedback=True).previous


def test_the_first_step_is_fed_the_start() -> None:
    fed = DecoderOptions(feedback=True, output_features=("load", "wind")).previous
    assert first_previous(None, 0, 2) is None
    rows = [first_previous(fed, 0.5, 2), first_previous(fed, [1.0, 2.0], 2)]
    assert [row.tolist() for row in rows if row is not None] == [[[0.5, 0.5]] * 2, [[1.0, 2.0]] * 2]
    with pytest.raises(ExportError, match=r"start \[1, 2, 3\] does not fit the decoder's input of shape \[2\]"):
        first_previous(fed, [1, 2, 3], 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": 6}, "start 6 is none of the 6 codes"),
        ({"stop": 6}, "stop 6 is none of the 6 codes"),
        ({"output_features": ("one",)}, "1 feature names for 6 features"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: Mapping[str, Any], message: str) -> None:
    class Deaf(Writer):
        """Takes any code."""

        def decode(
            self, previous: Tensor, states: States, memory: States, lengths: Tensor
        ) -> tuple[Tensor, States, Tensor | None]:
            return super().decode(previous.clamp(max=5), states, memory, lengths)

    with pytest.raises(ExportError, match=message):
        find(Deaf(), DecoderOptions(**{"num_codes": NUM_SOUNDS, **options}))


def test_a_decoder_that_the_manifest_refuses_is_told_why() -> None:
    output = {"name": "outputs", "dtype": "float32", "shape": ("B", 1), "features": ("load",)}
    with pytest.raises(ExportError, match="the decoder: attention needs a memory"):
        valid_decoder(output=output, attention="attention")


def test_attention_is_to_the_steps_where_a_memory_has_them() -> None:
    places = Memory(name="places", dtype="float32", shape=("B", 7, SIZE), made_by="places")
    output = {"name": "y", "dtype": "float32", "shape": ("B", 1), "features": ("y",)}
    decoder = valid_decoder(output=output, memory=(places, *MEMORY), attention="attention")
    assert attention_shape(decoder) == ("B", "S")
    assert decoder.attends_to_steps


def test_a_memory_of_fixed_places_has_fixed_attention() -> None:
    output = {"name": "outputs", "dtype": "float32", "shape": ("B", 1), "features": ("load",)}
    memory = Memory(name="memory", dtype="float32", shape=("B", 7, 2), made_by="seen")
    assert attention_shape(valid_decoder(output=output, memory=(memory,), attention="attention")) == ("B", 7)
