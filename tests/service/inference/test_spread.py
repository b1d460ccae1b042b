from __future__ import annotations

import math

import numpy as np
import pytest

from ostinato.service.artifact.distribution import targets_of
from ostinato.service.errors import InvalidInput, RunFailed
from ostinato.service.inference.spread import draw, own_quantiles

QUANTILES = targets_of(("x_p10", "x_p50", "x_p90"), {})[0]
POISSON = targets_of(("x_mean",), {}, counts=True)[0]
BINOMIAL = targets_of(("x_mean", "x_dispersion"), {})[0]


def test_a_poisson_distribution_has_the_quantiles_of_its_sums() -> None:
    mean = 3.5
    reached = np.cumsum([math.exp(-mean) * mean**count / math.factorial(count) for count in range(40)])
    asked = [0.01, 0.2, 0.5, 0.8, 0.999]
    expected = [float(np.argmax(reached >= probability)) for probability in asked]
    assert own_quantiles(POISSON, np.array([[mean]]), asked)[0].tolist() == expected


def test_counts_of_millions_are_taken_for_normal() -> None:
    low, median, high = own_quantiles(POISSON, np.array([[4e6]]), [0.1, 0.5, 0.9])[0]
    assert median == 4e6
    assert high - median == pytest.approx(1.2816 * 2000, abs=2)
    assert median - low == high - median
    wide = own_quantiles(BINOMIAL, np.array([[10.0, 1e9]]), [0.001])[0]
    assert wide.tolist() == [0.0]  # no count is negative


def test_quantiles_beyond_the_outermost_are_refused_and_drawn_on_their_line() -> None:
    numbers = np.array([1.0, 3.0, 7.0])
    with pytest.raises(InvalidInput, match=r"from 0\.1 to 0\.9"):
        own_quantiles(QUANTILES, numbers[None], [0.95])
    generator = np.random.default_rng(0)
    drawn = np.array([draw(QUANTILES, numbers, generator) for _ in range(20_000)])
    assert 3 - 2 / 0.4 * 0.5 <= drawn.min() < 1 - 0.4  # 0.5 is the slope's reach to probability 0
    assert 8.0 > drawn.max() > 7.9
    assert np.quantile(drawn, [0.1, 0.5, 0.9]) == pytest.approx(numbers, abs=0.15)


def test_draws_have_the_mean_and_the_variance_of_their_distribution() -> None:
    generator = np.random.default_rng(1)
    drawn = np.array([draw(BINOMIAL, np.array([4.0, 0.5]), generator) for _ in range(20_000)])
    assert drawn.mean() == pytest.approx(4.0, abs=0.1)
    assert drawn.var() == pytest.approx(4.0 + 0.5 * 16, rel=0.06)


def test_a_count_beyond_all_measure_fails_and_a_point_has_no_spread() -> None:
    with pytest.raises(RunFailed, match="no count of mean"):
        draw(POISSON, np.array([1e30]), np.random.default_rng(0))
    with pytest.raises(InvalidInput, match="not how sure it is"):
        own_quantiles(targets_of(("x",), {})[0], np.array([[1.0]]), [0.5])
