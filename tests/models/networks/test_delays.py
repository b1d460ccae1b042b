from __future__ import annotations

import numpy as np
import pytest
import torch

from ostinato.models.networks.delays import NARX, TimeDelay
from ostinato.models.networks.initialisers import initialise
from tests.models.networks.plain import run_layer, weights_of

F = 3


@pytest.mark.parametrize(("taps", "delay"), [(1, 1), (3, 1), (3, 2), (2, 5)])
def test_a_time_delay_layer_reads_taps_that_lie_a_delay_apart(taps: int, delay: int) -> None:
    layer = TimeDelay(F, 4, taps, delay)
    initialise(layer, "torch", 1)
    weights = weights_of(layer)
    x = np.random.default_rng(0).standard_normal((12, F))
    made = run_layer(layer, x)
    for step in range(12):
        total = weights["bias"].copy()
        for tap in range(taps):
            past = step - tap * delay
            w = weights["input_weight"][:, (taps - 1 - tap) * F : (taps - tap) * F]
            total += w @ (x[past] if past >= 0 else np.zeros(F))
        np.testing.assert_allclose(made[step], np.tanh(total), atol=1e-5)


def test_a_time_delay_layer_is_torchs_causal_convolution() -> None:
    layer = TimeDelay(F, 4, 3, 2, activation="linear")
    initialise(layer, "torch", 1)
    x = torch.randn(2, 9, F)
    kernel = layer.input_weight.reshape(4, 3, F).transpose(1, 2)
    padded = torch.nn.functional.pad(x.transpose(1, 2), (4, 0))
    wanted = torch.nn.functional.conv1d(padded, kernel, layer.bias, dilation=2).transpose(1, 2)
    torch.testing.assert_close(layer(x, *layer.initial_state(2))[0], wanted)


@pytest.mark.parametrize(("taps", "output_taps"), [(1, 1), (3, 2), (2, 4)])
def test_narx_reads_its_last_inputs_and_outputs(taps: int, output_taps: int) -> None:
    layer = NARX(F, 5, 2, taps=taps, output_taps=output_taps)
    initialise(layer, "torch", 2)
    weights = weights_of(layer)
    x = np.random.default_rng(0).standard_normal((10, F))
    made = run_layer(layer, x)
    y = {-past: np.zeros(2) for past in range(1, 1 + output_taps)}
    for step in range(10):
        inputs = [x[step - tap] if step >= tap else np.zeros(F) for tap in range(taps)]
        outputs = [y[step - past] for past in range(1, 1 + output_taps)]
        w = np.hstack([weights["input_weight"], weights["recurrent_weight"]])
        hidden = np.tanh(w @ np.concatenate([*inputs, *outputs]) + weights["bias"])
        y[step] = weights["output_weight"] @ hidden + weights["output_bias"]
        np.testing.assert_allclose(made[step], y[step], atol=1e-5)
