from __future__ import annotations

import torch

from ostinato.models.networks.context import ContextLayers
from ostinato.models.networks.layers import LayersRecipe, build_layers


def test_constants_go_in_with_each_step_through_weights_of_their_own() -> None:
    """Of the minimal layer: ``h_t = W x_t + V k + U h_{t-1}``, as Keras' ``constants``."""
    torch.manual_seed(0)
    network = ContextLayers(build_layers(LayersRecipe(cell="minimal", hidden_size=4), 3 + 2))
    weights = dict(network.named_parameters())
    w, v = torch.split(weights["layers.layers.0.input_weight"], [3, 2], dim=1)
    u = weights["layers.layers.0.recurrent_weight"]
    x, constants, h = torch.randn(2, 5, 3), torch.randn(2, 2), torch.zeros(2, 4)
    made, last = network(x, constants, *network.initial_state(2))
    for step in range(5):
        h = x[:, step] @ w.T + constants @ v.T + h @ u.T
        torch.testing.assert_close(made[:, step], h)
    torch.testing.assert_close(last[0], h)
