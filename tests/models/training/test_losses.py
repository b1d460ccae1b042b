from __future__ import annotations

import math

import pytest
import torch

from ostinato.models.networks.forecasts import Forecasts
from ostinato.models.training.losses import ForecastLoss

NAN = float("nan")


def loss_of(forecasts: Forecasts, answers: list[float], truth: float, scale: float = 1.0) -> float:
    """Of one forecast one step ahead."""
    loss = ForecastLoss(forecasts, torch.tensor([[scale]]))
    return loss(torch.tensor([[[answers]]]), torch.tensor([[[truth]]])).item()


def test_a_missing_target_counts_neither_in_the_error_nor_in_the_gradient() -> None:
    forecast = torch.tensor([1.0, 5.0, 9.0], requires_grad=True)
    loss = ForecastLoss(Forecasts(), torch.ones(1, 1))(
        forecast.reshape(3, 1, 1, 1), torch.tensor([2.0, NAN, 6.0]).reshape(3, 1, 1)
    )
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == (1 + 3) / 2
    assert forecast.grad is not None
    assert forecast.grad.tolist() == [-0.5, 0.0, 0.5]


def test_targets_all_missing_are_no_error_and_no_gradient() -> None:
    forecast = torch.ones(1, 1, 1, 1, requires_grad=True)
    loss = ForecastLoss(Forecasts(), torch.ones(1, 1))(forecast, torch.full((1, 1, 1), NAN))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0.0
    assert forecast.grad is not None
    assert forecast.grad.flatten().tolist() == [0.0]


def test_pinball_loss_by_hand() -> None:
    loss = ForecastLoss(Forecasts("pinball", (0.1, 0.5, 0.9), num_steps=2), torch.tensor([[2.0], [4.0]]))
    forecasts = torch.tensor([[[1.0, 2.0, 5.0], [0.0, 1.0, 2.0]]]).unsqueeze(-2)
    # Truth 3: errors 2, 1, -2 cost 0.1 x 2 + 0.5 x 1 + 0.1 x 2 = 0.9, in units of 2: 0.45.
    # Truth 4: errors 4, 3, 2 cost 0.4 + 1.5 + 1.8 = 3.7, in units of 4: 0.925.
    assert loss(forecasts, torch.tensor([[[3.0], [4.0]]])).item() == pytest.approx((0.45 + 0.925) / 2)
    assert loss(forecasts, torch.tensor([[[3.0], [NAN]]])).item() == pytest.approx(0.45)
    # Of the first step ahead alone.
    assert loss(forecasts[:, :1], torch.tensor([[[3.0]]])).item() == pytest.approx(0.45)


def test_each_loss_by_hand() -> None:
    assert loss_of(Forecasts("absolute"), [1.0], 4.0, scale=2.0) == pytest.approx(1.5)
    assert loss_of(Forecasts("squared"), [1.0], 4.0, scale=2.0) == pytest.approx(2.25)
    # Off by three halves of a spread of 2, which is one unit.
    assert loss_of(Forecasts("gaussian"), [1.0, 2.0], 4.0, scale=2.0) == pytest.approx(0.5 * 1.5**2)
    assert loss_of(Forecasts("gaussian"), [1.0, 2.0], 1.0) == pytest.approx(math.log(2.0))
    assert loss_of(Forecasts("counts"), [2.0], 3.0) == pytest.approx(2.0 - 3.0 * math.log(2.0))


def test_the_negative_binomial_is_that_of_the_book() -> None:
    # Dispersion 1/2: r = 2; with mean 2 the chance of success is 1/2. Of 3: C(4, 3) (1/2)^2 (1/2)^3 = 1/8.
    forecasts = Forecasts("counts", has_dispersion=True)
    assert loss_of(forecasts, [2.0, 0.5], 3.0) == pytest.approx(math.log(8.0), rel=1e-5)
    # Nearly without dispersion it is Poisson's: e^-2 2^3 / 6.
    assert loss_of(forecasts, [2.0, 1e-5], 3.0) == pytest.approx(2 - math.log(8 / 6), rel=1e-2)
