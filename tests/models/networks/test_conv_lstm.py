from __future__ import annotations

import numpy as np
import torch

from ostinato.models.networks.conv_lstm import CNNLSTM, ConvLSTM2D, FrameEncoder
from ostinato.models.networks.layers import LayersRecipe, build_layers
from tests.models.networks.plain import GATES, Floats


def convolve(frame: Floats, kernel: Floats) -> Floats:
    """``[C, P, Q]`` by ``[K, C, 3, 3]`` to ``[K, P, Q]``, a number at a time."""
    _, height, width = frame.shape
    padded = np.pad(frame, ((0, 0), (1, 1), (1, 1)))
    made = np.zeros((len(kernel), height, width))
    for k, row, column in np.ndindex(made.shape):
        made[k, row, column] = (kernel[k] * padded[:, row : row + 3, column : column + 3]).sum()
    return made


def test_it_is_the_papers_equations() -> None:
    torch.manual_seed(0)
    layer = ConvLSTM2D(2, 3, (4, 5), gate_activation="hard_sigmoid")
    weights = {name: weight.detach().double().numpy() for name, weight in layer.named_parameters()}
    s = GATES["hard_sigmoid"]
    x = np.random.default_rng(0).standard_normal((6, 2, 4, 5))
    made, *_ = layer(torch.from_numpy(x[None]).float(), *layer.initial_state(1))
    h = c = np.zeros((3, 4, 5))
    for step in range(6):
        read = convolve(x[step], weights["input_weight"]) + convolve(h, weights["recurrent_weight"])
        i, f, n, o = np.split(read + weights["bias"][:, None, None], 4)
        c = s(f) * c + s(i) * np.tanh(n)
        h = s(o) * np.tanh(c)
        np.testing.assert_allclose(made[0, step].detach().numpy(), h, atol=1e-5)


def test_frames_answer_as_their_chunks_wherever_they_are_cut() -> None:
    torch.manual_seed(0)
    encoder = FrameEncoder(1, 2, (8, 8))
    network = CNNLSTM(encoder, build_layers(LayersRecipe(cell="gru", hidden_size=5), encoder.output_size))
    for layer in (network, ConvLSTM2D(1, 2, (8, 8))):
        x = torch.randn(2, 7, 1, 8, 8)
        whole, *last = layer(x, *layer.initial_state(2))
        states, parts = layer.initial_state(2), []
        for chunk in torch.split(x, [1, 4, 2], dim=1):
            part, *states = layer(chunk, *states)
            parts.append(part)
        torch.testing.assert_close(torch.cat(parts, dim=1), whole)
        torch.testing.assert_close(list(states), last)


def test_each_frame_is_seen_by_itself() -> None:
    torch.manual_seed(0)
    encoder = FrameEncoder(1, 2, (8, 8))
    x = torch.randn(2, 3, 1, 8, 8)
    torch.testing.assert_close(encoder(x)[1, 2], encoder(x[1:, 2:])[0, 0])


def test_the_last_frame_has_a_gradient_to_every_weight_and_to_the_first() -> None:
    torch.manual_seed(0)
    layer = ConvLSTM2D(1, 2, (4, 4))
    x = torch.randn(1, 4, 1, 4, 4, requires_grad=True)
    last = layer(x, *layer.initial_state(1))[0][:, -1].sum()
    to_x, *to_weights = torch.autograd.grad(last, [x, *layer.parameters()])
    assert to_x[:, 0].any()
    assert all(gradient.any() for gradient in to_weights)
