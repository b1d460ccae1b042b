from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ostinato.models.networks.encoders import Cell, RecurrentEncoder

SHAPES: list[dict[str, Any]] = [
    {},
    {"bidirectional": True},
    {"num_layers": 2},
    {"num_layers": 2, "bidirectional": True},
]


def alone(encoder: RecurrentEncoder, embedded: Tensor) -> tuple[Tensor, Tensor]:
    """One source without any padding, ``[S, E]``, through the plain layers."""
    outputs, last = encoder.layers(embedded.unsqueeze(0))
    hidden = last[0] if isinstance(last, tuple) else last
    directions = 2 if encoder.layers.bidirectional else 1
    return outputs[0], hidden[-directions:, 0].flatten()


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("shape", SHAPES)
def test_each_source_is_read_as_if_it_were_alone(cell: Cell, shape: dict[str, Any]) -> None:
    torch.manual_seed(1)
    encoder = RecurrentEncoder(cell, 3, 4, **shape)
    embedded, lengths = torch.randn(3, 5, 3), torch.tensor([2, 5, 1])
    outputs, h_last = encoder(embedded, lengths)
    assert outputs.shape == (3, 5, encoder.output_size)
    for row, length in enumerate(lengths.tolist()):
        expected, expected_last = alone(encoder, embedded[row, :length])
        torch.testing.assert_close(outputs[row, :length], expected)
        torch.testing.assert_close(h_last[row], expected_last)
        assert not outputs[row, length:].any()


def test_the_last_hidden_state_is_that_of_the_last_true_step() -> None:
    torch.manual_seed(2)
    encoder = RecurrentEncoder("lstm", 3, 4)
    outputs, h_last = encoder(torch.randn(2, 5, 3), torch.tensor([3, 5]))
    assert torch.equal(h_last, torch.stack([outputs[0, 2], outputs[1, 4]]))


def test_in_both_directions_the_backward_one_ends_at_the_first_step() -> None:
    torch.manual_seed(3)
    encoder = RecurrentEncoder("gru", 3, 4, bidirectional=True)
    outputs, h_last = encoder(torch.randn(2, 5, 3), torch.tensor([3, 5]))
    assert encoder.output_size == 8
    assert torch.equal(h_last[:, :4], torch.stack([outputs[0, 2, :4], outputs[1, 4, :4]]))
    assert torch.equal(h_last[:, 4:], outputs[:, 0, 4:])


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("shape", SHAPES)
def test_neither_what_the_padding_holds_nor_how_much_of_it_there_is_counts(cell: Cell, shape: dict[str, Any]) -> None:
    torch.manual_seed(4)
    encoder = RecurrentEncoder(cell, 3, 4, **shape)
    embedded, lengths = torch.randn(2, 4, 3), torch.tensor([4, 2])
    expected, expected_last = encoder(embedded, lengths)
    more = torch.cat([embedded, torch.full((2, 3, 3), 99.0)], dim=1)
    more[1, 2:] = float("inf")
    outputs, h_last = encoder(more, lengths)
    torch.testing.assert_close(outputs[:, :4], expected)
    torch.testing.assert_close(h_last, expected_last)
