from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from ostinato.models.errors import RecipeError
from ostinato.models.networks.delays import TimeDelay
from ostinato.models.networks.layers import Layers, LayersRecipe, build_layers
from ostinato.models.networks.parallel import ParallelLayer
from ostinato.models.recipe import read_recipe

RECIPES: dict[str, dict[str, Any]] = {
    "elman": {"cell": "rnn", "num_layers": 2},
    "elman of ReLU": {"cell": "rnn", "activation": "relu", "initialiser": "orthogonal"},
    "jordan": {"cell": "jordan", "fed_back_size": 3, "num_layers": 2},
    "lstm": {"cell": "lstm", "num_layers": 2},
    "peepholes": {"cell": "lstm", "peepholes": True, "forget_bias": 1.0},
    "gru": {"cell": "gru"},
    "keras": {"cell": ["lstm", "gru"], "gate_activation": "hard_sigmoid", "initialiser": "keras"},
    "reset before": {"cell": "gru", "reset_after": False},
    "clockwork": {"cell": "clockwork", "periods": [1, 2, 3]},
    "gated feedback of RNN": {"cell": "gated_feedback", "feedback_cell": "rnn", "num_layers": 2},
    "gated feedback of LSTM": {"cell": "gated_feedback", "feedback_cell": "lstm", "num_layers": 2, "forget_bias": 1.0},
    "gated feedback of GRU": {"cell": "gated_feedback", "num_layers": 3, "initialiser": "orthogonal"},
    "time delay": {"cell": "time_delay", "taps": 4, "delay": 2, "num_layers": 2},
    "narx": {"cell": "narx", "taps": 2, "output_taps": 4, "fed_back_size": 2},
    "minimal": {"cell": "minimal"},
    "minimal with a gate": {"cell": "minimal_gated"},
    "minGRU": {"cell": "min_gru", "num_layers": 2},
    "minLSTM": {"cell": "min_lstm", "forget_bias": 1.0},
    "sLSTM": {"cell": "slstm", "num_layers": 2},
    "mLSTM": {"cell": "mlstm", "num_heads": 2},
    "RG-LRU": {"cell": "rg_lru", "num_layers": 2},
    "LRU": {"cell": "lru", "state_size": 5},
    "S5": {"cell": "s5"},
    "mamba": {"cell": "mamba", "state_size": 3},
    "RWKV-7": {"cell": "rwkv7", "num_heads": 2},
    "CfC": {"cell": "cfc", "num_layers": 2},
    "cnn-lstm": {"cell": ["time_delay", "lstm"], "initialiser": "keras"},
    "unlike": {"cell": ["gru", "lstm", "lstm", "rnn", "jordan"]},
}


def recipe_of(content: dict[str, Any], **more: Any) -> LayersRecipe:
    return LayersRecipe.model_validate({"hidden_size": 6, **content, **more})


def layers_of(content: dict[str, Any], **more: Any) -> Layers:
    torch.manual_seed(0)
    return build_layers(recipe_of(content, **more), 3)


def run(layers: Layers, x: Tensor) -> tuple[Tensor, ...]:
    made: tuple[Tensor, ...] = layers(x, *layers.initial_state(len(x)))
    return made


@pytest.mark.parametrize("name", RECIPES)
def test_a_sequence_answers_as_its_chunks_wherever_it_is_cut(name: str) -> None:
    layers = layers_of(RECIPES[name]).eval()
    x = torch.randn(2, 9, 3)
    whole, *last = run(layers, x)
    assert whole.shape == (2, 9, layers.output_size)
    assert len(last) == len(layers.state_names)
    states, parts = layers.initial_state(2), []
    for chunk in torch.split(x, [1, 4, 1, 3], dim=1):
        part, *states = layers(chunk, *states)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole)
    torch.testing.assert_close(list(states), last)


@pytest.mark.parametrize("name", RECIPES)
def test_states_have_the_batch_second_and_keep_their_shapes(name: str) -> None:
    layers = layers_of(RECIPES[name])
    before = layers.initial_state(4)
    _, *after = layers(torch.randn(4, 2, 3), *before)
    assert [state.shape for state in after] == [state.shape for state in before]
    assert {state.shape[1] for state in before} == {4}
    assert all(not state.any() for state in before)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("name", RECIPES)
def test_the_last_output_has_a_gradient_to_every_weight_and_to_the_first_step(name: str, dropout: float) -> None:
    layers = layers_of(RECIPES[name], recurrent_dropout=dropout).train()
    x = torch.randn(5, 5, 3, requires_grad=True)
    last = run(layers, x)[0][:, -1].square().sum()
    to_x, *to_weights = torch.autograd.grad(last, [x, *layers.parameters()])
    assert to_x[:, 0].any()
    names = [name for name, _ in layers.named_parameters()]
    assert [name for name, gradient in zip(names, to_weights, strict=True) if not gradient.any()] == []


@pytest.mark.parametrize("name", RECIPES)
def test_steps_that_are_all_zeros_leave_every_gradient_finite(name: str) -> None:
    """As padding is, and a first step whose readings are missing: their means, and a mask of zeros."""
    layers = layers_of(RECIPES[name]).train()
    y, *_ = run(layers, torch.cat([torch.zeros(2, 3, 3), torch.randn(2, 4, 3)], dim=1))
    y.square().sum().backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad.isfinite().all() for weight in layers.parameters() if weight.grad is not None)


@pytest.mark.parametrize("name", RECIPES)
def test_every_cell_learns_in_bfloat16_much_as_in_float32(name: str) -> None:
    layers, x = layers_of(RECIPES[name]).train(), torch.randn(2, 9, 3)
    true = run(layers, x)[0]
    with torch.autocast("cpu", torch.bfloat16):
        # The second window begins with the states that the first has left.
        first, *states = run(layers, x[:, :4])
        second, *_ = layers(x[:, 4:], *(state.detach() for state in states))
        both = torch.cat([first, second], dim=1).float()
    assert (both - true).abs().max() < 0.05 * true.abs().max()
    both.square().sum().backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad.isfinite().all() for weight in layers.parameters() if weight.grad is not None)


@pytest.mark.parametrize("name", [name for name in RECIPES if not name.startswith("gated feedback")])
def test_dropout_between_layers_leaves_what_goes_along_time(name: str) -> None:
    """What the first layer carries from step to step is what it is without dropout."""
    layers = layers_of(RECIPES[name], dropout=0.5)
    x = torch.randn(2, 7, 3)
    _, *quiet = run(layers.eval(), x)
    torch.manual_seed(1)
    made, *noisy = run(layers.train(), x)
    num_layers = len(recipe_of(RECIPES[name]).cells)
    torch.testing.assert_close(noisy[0][0], quiet[0][0])
    assert (num_layers == 1) == torch.allclose(made, run(layers.eval(), x)[0])


@pytest.mark.parametrize("name", RECIPES)
def test_recurrent_dropout_draws_one_mask_a_layer_however_many_the_steps(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = layers_of(RECIPES[name], recurrent_dropout=0.5)
    drawn: list[torch.Size] = []

    def dropout(like: Tensor, rate: float, *_: bool) -> Tensor:
        if rate > 0:
            drawn.append(like.shape)
        return like

    monkeypatch.setattr("torch.nn.functional.dropout", dropout)
    run(layers.eval(), torch.randn(2, 5, 3))
    assert drawn == []
    run(layers.train(), torch.randn(2, 5, 3))
    # Layers that hear each other are one; of some no weights read a state.
    cells = recipe_of(RECIPES[name]).cells
    unread = sum(isinstance(layer, (ParallelLayer, TimeDelay)) for layer in layers.layers)
    masks = 1 if "gated_feedback" in cells else len(cells) - unread
    assert [shape[0] for shape in drawn] == [2] * masks


def test_layers_of_one_cell_are_one_of_torchs_stacks() -> None:
    layers = layers_of({"cell": ["lstm", "lstm", "gru"]})
    assert layers.state_names == ("h_0", "c_0", "h_1")
    assert [state.shape for state in layers.initial_state(5)] == [(2, 5, 6), (2, 5, 6), (1, 5, 6)]
    assert layers_of({"cell": "lstm", "num_layers": 3}).state_names == ("h", "c")


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_that_was_written_out_is_read_again(name: str) -> None:
    recipe = recipe_of(RECIPES[name])
    assert LayersRecipe.model_validate(recipe.model_dump(mode="json")) == recipe


@pytest.mark.parametrize("cell", ["lstn", ["gru", "lstn"]])
def test_a_misspelt_cell_is_told_once_with_the_nearest(cell: Any, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(f"cell = {cell!r}\n")
    with pytest.raises(RecipeError) as refused:
        read_recipe(path, LayersRecipe)
    assert str(refused.value).count("minimal_gated") == 1
    assert str(refused.value).endswith("did you mean 'lstm'?")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ({"cell": "gru", "peepholes": True}, "peepholes: is of lstm, and no layer is that"),
        (
            {"cell": "gru", "forget_bias": 1.0},
            "forget_bias: is of lstm and gated_feedback and min_lstm and slstm and mlstm, and no layer is that",
        ),
        ({"cell": ["gru", "lstm"], "num_layers": 3}, "num_layers: is 3, but cell lists 2"),
        ({"cell": "rnn", "activation": "linear"}, "activation: of rnn it is tanh or relu"),
        ({"cell": "lstm", "periods": [1, 2]}, "periods: is of clockwork, and no layer is that"),
        ({"cell": "clockwork", "hidden_size": 10}, "hidden_size: 10 units make no 4 groups of one size"),
        ({"cell": "mlstm", "hidden_size": 10}, "hidden_size: 10 units make no 4 heads of one size"),
        ({"cell": "lstm", "interval": "gap"}, "interval: is of cfc, and no layer is that"),
        ({"cell": []}, "cell"),
        ({"cell": "lstm", "dropout": 1.0}, "dropout"),
    ],
)
def test_what_no_layer_has_is_refused(content: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        LayersRecipe.model_validate(content)
