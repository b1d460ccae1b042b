from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from ostinato.models.networks.initialisers import Initialiser
from ostinato.models.networks.layers import LayersRecipe, build_layers
from ostinato.models.networks.layers_recipe import CellName

H, F = 12, 5
GATES: dict[CellName, int] = {"rnn": 1, "lstm": 4, "gru": 3}


def weights(cell: CellName, initialiser: Initialiser, *, own: bool = False, **more: float) -> dict[str, Tensor]:
    """The four of a layer by what they are, of torch's or of ours."""
    torch.manual_seed(0)
    asked = {"gate_activation": "hard_sigmoid"} if own else {}
    recipe = {"cell": cell, "hidden_size": H, "initialiser": initialiser, **asked, **more}
    found = build_layers(LayersRecipe.model_validate(recipe), F).state_dict()
    places = {"input": ("weight_ih", "input_weight"), "recurrent": ("weight_hh", "recurrent_weight")}
    places |= {"bias": ("bias_ih", "bias"), "second": ("bias_hh", "recurrent_bias")}
    return {
        place: weight
        for place, names in places.items()
        for name, weight in found.items()
        if name.rpartition(".")[2].removesuffix("_l0") in names
    }


CELLS = [("rnn", False), ("lstm", False), ("gru", False), ("lstm", True), ("gru", True)]


@pytest.mark.parametrize(("cell", "own"), CELLS)
def test_orthogonal_makes_each_gates_recurrent_weights_orthogonal(cell: CellName, own: bool) -> None:
    drawn = weights(cell, "orthogonal", own=own)
    gates = torch.split(drawn["recurrent"], H)
    assert len(gates) == GATES[cell]
    for gate in gates:
        torch.testing.assert_close(gate @ gate.T, torch.eye(H), rtol=0, atol=1e-5)
    assert not any(torch.allclose(one, other) for one, other in pairwise(gates))
    assert not drawn["bias"].any()
    limit = math.sqrt(6 / (F + H))
    assert 0.8 * limit < float(drawn["input"].abs().max()) <= limit


@pytest.mark.parametrize(("cell", "own"), CELLS)
def test_keras_draws_all_gates_as_one_matrix(cell: CellName, own: bool) -> None:
    drawn, gates = weights(cell, "keras", own=own), GATES[cell]
    # Keras' kernel is [H, G H], with orthogonal rows.
    torch.testing.assert_close(drawn["recurrent"].T @ drawn["recurrent"], torch.eye(H), rtol=0, atol=1e-5)
    limit = math.sqrt(6 / (F + gates * H))
    assert 0.8 * limit < float(drawn["input"].abs().max()) <= limit
    forget = torch.zeros(gates * H)
    if cell == "lstm":
        forget[H : 2 * H] = 1.0
    assert torch.equal(drawn["bias"], forget)
    assert "second" not in drawn or not drawn["second"].any()


@pytest.mark.parametrize(("cell", "own"), CELLS)
def test_torch_draws_as_torchs_layers_do(cell: CellName, own: bool) -> None:
    drawn, limit = weights(cell, "torch", own=own), 1 / math.sqrt(H)
    for weight in drawn.values():
        assert 0.7 * limit < float(weight.abs().max()) <= limit


@pytest.mark.parametrize("own", [False, True])
def test_a_forget_bias_is_that_of_both_biases_together(own: bool) -> None:
    drawn = weights("lstm", "orthogonal", own=own, forget_bias=2.5)
    total = drawn["bias"] + drawn.get("second", torch.zeros(4 * H))
    assert total.tolist() == [0.0] * H + [2.5] * H + [0.0] * 2 * H


def test_one_seed_draws_the_same_again() -> None:
    first, again = weights("gru", "orthogonal"), weights("gru", "orthogonal")
    assert all(torch.equal(first[name], again[name]) for name in first)
