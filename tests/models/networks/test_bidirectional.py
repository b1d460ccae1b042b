from __future__ import annotations

from typing import Any

import pytest
import torch

from ostinato.models.networks.bidirectional import Bidirectional, BidirectionalRecipe


def build(**content: Any) -> Bidirectional:
    torch.manual_seed(0)
    return Bidirectional(BidirectionalRecipe.model_validate({"hidden_size": 4, **content}), 3)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_the_way_back_begins_at_a_rows_last_true_step(cell: str, num_layers: int) -> None:
    network = build(cell=cell, num_layers=num_layers).eval()
    x, lengths = torch.randn(3, 6, 3), torch.tensor([6, 2, 4])
    y, last = network(x, lengths)
    assert y.shape == (3, 6, network.output_size)
    for row, length in enumerate(lengths.tolist()):
        alone, _ = network.layers(x[row : row + 1, :length])
        torch.testing.assert_close(y[row, :length], alone[0])
        assert not y[row, length:].any()
        torch.testing.assert_close(last[row], torch.cat([alone[0, -1, :4], alone[0, 0, 4:]]))


def test_the_simple_cell_reads_backwards_what_it_reads_forwards() -> None:
    network = build(cell="rnn", activation="relu")
    layer, x = network.layers, torch.randn(1, 5, 3)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        layer.get_parameter(f"{name}_l0_reverse").data.copy_(layer.get_parameter(f"{name}_l0"))
    y, _ = network(x, torch.tensor([5]))
    turned, _ = network(x.flip(1), torch.tensor([5]))
    torch.testing.assert_close(y[..., :4], turned.flip(1)[..., 4:])


def test_the_last_answer_has_a_gradient_to_every_weight() -> None:
    network = build(cell="lstm", num_layers=2, dropout=0.3).train()
    y, last = network(torch.randn(2, 5, 3), torch.tensor([5, 3]))
    gradients = torch.autograd.grad(y.sum() + last.sum(), list(network.parameters()))
    assert all(gradient.any() for gradient in gradients)


def test_keras_initialiser_sets_the_forget_gates_of_both_ways() -> None:
    state = build(cell="lstm", initialiser="keras").state_dict()
    for way in ("", "_reverse"):
        total = state[f"layers.bias_ih_l0{way}"] + state[f"layers.bias_hh_l0{way}"]
        assert total.tolist() == [0.0] * 4 + [1.0] * 4 + [0.0] * 8
