from __future__ import annotations

import pytest
import torch

from ostinato.models.networks.forecasts import Forecasts

UNIT = torch.tensor([[2.0]])


def values(forecasts: Forecasts, base: float, *learned: float) -> list[float]:
    given = torch.tensor([[list(learned)]])
    made: list[float] = forecasts.values(torch.full((1, 1, 1), base), given, UNIT).flatten().tolist()
    return made


def test_names_tell_target_part_and_step_in_the_order_of_the_numbers() -> None:
    assert Forecasts().names(("load",)) == ("load",)
    assert Forecasts("gaussian").names(("a", "b")) == ("a_mean", "a_std", "b_mean", "b_std")
    quantiles = Forecasts("pinball", (0.025, 0.5, 0.975), num_steps=2)
    assert quantiles.names(("a",)) == (
        *("a_p2.5_ahead_1", "a_p50_ahead_1", "a_p97.5_ahead_1"),
        *("a_p2.5_ahead_2", "a_p50_ahead_2", "a_p97.5_ahead_2"),
    )
    assert Forecasts("counts", has_dispersion=True).names(("n",)) == ("n_mean", "n_dispersion")


def test_answers_come_apart_by_step_target_and_part() -> None:
    forecasts = Forecasts("gaussian", num_steps=3)
    names = forecasts.names(("a", "b"))
    apart = forecasts.apart(torch.arange(12.0), 2)
    assert names[int(apart[1, 0, 1])] == "a_std_ahead_2"
    assert names[int(apart[2, 1, 0])] == "b_mean_ahead_3"


def test_what_has_learned_nothing_is_the_last_value() -> None:
    assert values(Forecasts(), 7.0, 0.0) == [7.0]
    assert values(Forecasts("gaussian"), 7.0, 0.0, 0.0) == pytest.approx([7.0, 2.0 * (0.5 + 0.001)])
    # squareplus(x) is x + 1 / (4 x), nearly.
    assert values(Forecasts("counts"), 70.0, 0.0) == pytest.approx([2 * (35 + 1 / 140)], rel=1e-5)
    assert values(Forecasts("pinball", (0.1, 0.5, 0.9)), 7.0, 0.0, 0.0, 0.0) == [6.0, 7.0, 8.0]


def test_a_mean_of_counts_is_positive_whatever_was_learned() -> None:
    assert values(Forecasts("counts"), 0.0, -50.0)[0] > 0.0


def test_no_forecast_falls_below_the_least() -> None:
    assert values(Forecasts(least=0.0), 1.0, -3.0) == [0.0]
    assert values(Forecasts("pinball", (0.1, 0.5, 0.9), least=0.0), 1.0, 0.0, -1.0, 0.0) == [0.0, 0.0, 0.0]
