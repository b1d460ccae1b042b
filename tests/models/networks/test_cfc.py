from __future__ import annotations

import numpy as np
import pytest
import torch

from ostinato.models.data.series import TrainingStatistics
from ostinato.models.errors import RecipeError
from ostinato.models.networks.cfc import CfC
from ostinato.models.networks.classifier import ClassifierRecipe, StreamClassifier, build_classifier
from ostinato.models.networks.layers import LayersRecipe, build_layers
from ostinato.models.networks.step_encoder import StepFeatures
from tests.models.networks.plain import GATES, drawn, run_layer, weights_of


def test_it_is_the_papers_equations() -> None:
    layer = drawn(CfC(2, 5))
    w, s = weights_of(layer), GATES["sigmoid"]
    x, h = np.random.default_rng(0).normal(0, 2, (12, 3)), np.zeros(5)
    made = run_layer(layer, x)
    for step in range(12):
        interval = x[step, 2]
        z = np.tanh(w["input_weight"] @ x[step] + w["recurrent_weight"] @ h + w["bias"])
        f, c, g, other = np.split(w["head_weight"] @ z + w["head_bias"], 4)
        kept = s(-(f * interval + c))
        h = kept * np.tanh(g) + (1 - kept) * np.tanh(other)
        np.testing.assert_allclose(made[step], h, atol=1e-5)


def test_every_layer_of_a_stack_hears_the_interval() -> None:
    torch.manual_seed(0)
    recipe = LayersRecipe(cell=("cfc", "lstm", "cfc"), hidden_size=4, interval="gap")
    layers = build_layers(recipe, 3, ("load", "gap"))
    heard: list[torch.Tensor] = []
    for layer in layers.layers:
        layer.register_forward_pre_hook(lambda _module, given: heard.append(given[0]))
    x = torch.randn(2, 6, 3)
    layers(x, *layers.initial_state(2))
    assert [each.shape[-1] for each in heard] == [3 + 1, 4, 4 + 1]
    assert torch.equal(heard[0][..., -1], x[..., 1])
    assert torch.equal(heard[2][..., -1], x[..., 1])


def test_without_an_interval_steps_are_even() -> None:
    layers = build_layers(LayersRecipe(cell="cfc", hidden_size=4), 3)
    (layer,) = layers.layers
    x = torch.randn(2, 6, 3)
    made, _ = layers(x, *layers.initial_state(2))
    wanted, _ = layer(torch.cat([x, torch.ones(2, 6, 1)], dim=-1), *layers.initial_state(2))
    assert torch.equal(made, wanted)


def test_a_classifier_of_streams_hears_the_interval_where_its_encoder_puts_it() -> None:
    """Behind a word, and so first of the amounts."""
    features = StepFeatures(
        ("word", "gap"), (3, 0), TrainingStatistics((1.0, 5.0), (1.0, 2.0), (0.0,) * 2, (9.0,) * 2, ())
    )
    recipe = ClassifierRecipe(cell="cfc", interval="gap", hidden_size=4, bidirectional=False)
    network = build_classifier(features, recipe, 2)
    assert isinstance(network, StreamClassifier)
    assert network.layers.interval_place == 0


def test_an_interval_that_is_no_amount_is_refused() -> None:
    recipe = LayersRecipe(cell="cfc", interval="gab")
    with pytest.raises(RecipeError, match=r"network.interval: 'gab' is no feature that is an amount: load, gap"):
        build_layers(recipe, 3, ("load", "gap"))
