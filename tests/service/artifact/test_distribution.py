from __future__ import annotations

import numpy as np

from ostinato.service.artifact.distribution import targets_of


def test_names_tell_what_numbers_are() -> None:
    features = ("a", "b_mean", "b_std", "c_p10", "c_p50", "c_p90", "d_mean", "d_dispersion", "e_mean")
    found = targets_of(features, {}, counts=True)
    assert [(target.name, target.kind) for target in found] == [
        ("a", "point"),
        ("b", "gaussian"),
        ("c", "quantiles"),
        ("d", "negative_binomial"),
        ("e", "poisson"),
    ]
    assert found[2].levels == (0.1, 0.5, 0.9)
    assert found[2].point == 1
    assert [target.places.tolist() for target in found] == [[[0]], [[1, 2]], [[3, 4, 5]], [[6, 7]], [[8]]]


def test_a_mean_alone_is_a_number_where_nothing_says_that_it_counts() -> None:
    (found,) = targets_of(("load_mean",), {"load_mean": "load"})
    assert (found.name, found.kind) == ("load", "point")


def test_steps_ahead_stand_behind_each_other_and_quantiles_rise() -> None:
    features = ("x_p90_ahead_1", "x_p50_ahead_1", "x_p10_ahead_1", "x_p90_ahead_2", "x_p50_ahead_2", "x_p10_ahead_2")
    (found,) = targets_of(features, {})
    assert found.num_steps == 2
    assert found.places.tolist() == [[2, 1, 0], [5, 4, 3]]
    numbers = np.array([9.0, 5.0, 4.0, 8.0, 6.0, 3.0])
    assert found.points(numbers).tolist() == [5.0, 6.0]
    assert found.reaches(numbers).tolist() == [[1.0, 4.0], [3.0, 2.0]]


def test_names_with_a_step_that_is_absent_forecast_nothing() -> None:
    assert targets_of(("x_ahead_1", "x_ahead_3"), {}) == []


def test_what_a_difference_is_counted_in_follows_the_distribution() -> None:
    spread, poisson, binomial, point = (
        targets_of(names, {}, counts=True)[0]
        for names in (("x_mean", "x_std"), ("x_mean",), ("x_mean", "x_dispersion"), ("x",))
    )
    assert spread.reaches(np.array([1.0, 0.25])).tolist() == [[0.25, 0.25]]
    assert poisson.reaches(np.array([9.0])).tolist() == [[3.0, 3.0]]
    assert binomial.reaches(np.array([2.0, 0.5])).tolist() == [[2.0, 2.0]]  # sqrt(2 + 0.5 x 4)
    assert point.reaches(np.array([7.0])).tolist() == [[1.0, 1.0]]
