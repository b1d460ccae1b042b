from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.docs.keras_page import KerasLayers, page_code

LAYERS = KerasLayers()
PAGE = page_code()


@torch.no_grad()
def answers(module: nn.Module, x: Any) -> Any:
    if isinstance(module, nn.RNNBase):
        return module(torch.as_tensor(x))[0].numpy()
    return module(torch.as_tensor(x), *module.initial_state(len(x)))[0].numpy()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("layer", "make"),
    [
        ("lstm", PAGE.lstm),
        ("gru", PAGE.gru),
        ("simple_rnn", PAGE.simple_rnn),
        ("gru_reset_before", PAGE.GRUResetBefore),
        ("lstm_hard", PAGE.HardLSTM),
    ],
)
def test_a_layer_with_keras_weights_answers_as_keras_did(layer: str, make: Any) -> None:
    np.testing.assert_allclose(answers(make(LAYERS.weights(layer)), LAYERS["x"]), LAYERS[f"{layer}/y"], atol=1e-6)


def test_steps_that_keras_masks_leave_the_state_and_are_answered_as_the_step_before() -> None:
    x, mask = LAYERS["x"], LAYERS["mask"]
    made = answers(
        PAGE.MaskedLayer(LAYERS.weights("gru_masked")), np.concatenate([x, mask[..., None].astype(np.float32)], axis=2)
    )
    np.testing.assert_allclose(made, LAYERS["gru_masked/y"], atol=1e-6)


def test_a_layer_that_goes_backwards_is_one_that_is_given_its_steps_from_the_last() -> None:
    made = answers(PAGE.gru(LAYERS.weights("gru_backwards")), LAYERS["x"][:, ::-1].copy())
    np.testing.assert_allclose(made, LAYERS["gru_backwards/y"], atol=1e-6)


def test_a_bidirectional_layer_is_one_each_way() -> None:
    weights, x = LAYERS.weights("bilstm"), LAYERS["x"]
    forward = answers(PAGE.lstm(weights[:3]), x)
    backward = answers(PAGE.lstm(weights[3:]), x[:, ::-1].copy())[:, ::-1]
    np.testing.assert_allclose(np.concatenate([forward, backward], axis=2), LAYERS["bilstm/y"], atol=1e-6)
