from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ostinato.models.networks.echo_state import EchoStateNetwork, EchoStateRecipe, Reservoir, ridge_regression
from tests.models.networks.plain import run_layer


def recipe(**changes: Any) -> EchoStateRecipe:
    return EchoStateRecipe.model_validate({"reservoir_size": 60, "washout_steps": 20} | changes)


def test_the_reservoir_has_its_spectral_radius_sparsity_and_scales() -> None:
    torch.manual_seed(0)
    asked = recipe(reservoir_size=200, spectral_radius=0.7, sparsity=0.8, input_scaling=0.3, bias_scaling=0.2)
    reservoir = Reservoir(asked, 2)
    radius = np.abs(np.linalg.eigvals(reservoir.recurrent_weight.double().numpy())).max()
    assert math.isclose(radius, 0.7, rel_tol=1e-5)
    assert abs(float((reservoir.recurrent_weight == 0).float().mean()) - 0.8) < 0.02
    assert 0.28 < float(reservoir.input_weight.abs().max()) <= 0.3
    assert 0.19 < float(reservoir.bias.abs().max()) <= 0.2


def test_it_is_the_papers_equations_with_output_feedback() -> None:
    torch.manual_seed(0)
    network = EchoStateNetwork(recipe(leak=0.3, feedback_scaling=0.4), 2, 1)
    inner = {name: value.double().numpy() for name, value in network.reservoir.named_buffers()}
    v, c = (value.double().numpy() for value in (network.readout.weight, network.readout.bias))
    x, s, y = np.random.default_rng(0).standard_normal((12, 2)), np.zeros(60), np.zeros(1)
    made = run_layer(network, x)
    for step in range(12):
        heard = inner["input_weight"] @ np.concatenate([x[step], y]) + inner["bias"]
        s = 0.7 * s + 0.3 * np.tanh(heard + inner["recurrent_weight"] @ s)
        y = v @ np.concatenate([x[step], s]) + c
        np.testing.assert_allclose(made[step], y, atol=1e-5)


@pytest.mark.parametrize("ridge", [1e-8, 1.0, 100.0])
def test_the_read_out_is_where_the_ridges_gradient_is_zero(ridge: float) -> None:
    torch.manual_seed(0)
    seen, wanted = torch.randn(80, 5) + 3.0, torch.randn(80, 2) - 7.0
    weight, bias = (each.requires_grad_() for each in ridge_regression(seen, wanted, ridge))
    errors = seen.double() @ weight.T + bias - wanted.double()
    cost = errors.square().sum() + ridge * weight.square().sum()
    for gradient in torch.autograd.grad(cost, [weight, bias]):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-9)


def delayed(num_steps: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noise, and what it was three steps before."""
    x = torch.rand(1, num_steps, 1, generator=torch.Generator().manual_seed(seed)) - 0.5
    return x, torch.cat([torch.zeros(1, 3, 1), x[:, :-3]], dim=1)


def test_it_learns_in_one_step_what_its_echo_holds() -> None:
    torch.manual_seed(0)
    network = EchoStateNetwork(recipe(), 1, 1)
    network.fit(*delayed(400, 0))
    x, targets = delayed(200, 1)
    made, _ = network(x, *network.initial_state(1))
    error = (made - targets)[:, 20:].square().mean().sqrt() / targets.std()
    assert float(error) < 0.05
    assert [name for name, weight in network.named_parameters() if weight.requires_grad] == []


def test_what_it_feeds_back_keeps_a_wave_going() -> None:
    """Learned from the true wave, it makes the wave out of its own outputs (Jaeger, 2001, section 6)."""
    torch.manual_seed(0)
    network = EchoStateNetwork(recipe(feedback_scaling=1.0, bias_scaling=0.3, ridge=1e-7), 1, 1)
    wave = 0.5 * torch.sin(torch.arange(600) / 5.0).reshape(1, -1, 1)
    nothing = torch.zeros_like(wave)
    network.fit(nothing[:, :500], wave[:, :500])
    heard = torch.cat([nothing[:, 1:500], wave[:, :499]], dim=-1)
    first = torch.zeros(1, 1, 2)
    _, echo = network.reservoir(torch.cat([first, heard], dim=1), *network.reservoir.initial_state(1))
    made, *_ = network(nothing[:, 500:], echo, wave[:, 499:500].transpose(0, 1))
    assert float((made - wave[:, 500:]).abs().max()) < 0.05


def test_so_sparse_that_nothing_recurs_it_is_left_as_it_is() -> None:
    torch.manual_seed(0)
    reservoir = Reservoir(recipe(reservoir_size=5, sparsity=0.99), 1)
    assert reservoir.recurrent_weight.isfinite().all()
