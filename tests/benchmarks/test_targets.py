from __future__ import annotations

import pytest

from benchmarks.figures import Figures, Spread
from benchmarks.targets import MILLISECONDS, RULES, Rule, Verdict


def test_a_ratio_is_of_medians_and_its_spread_of_rounds() -> None:
    figures = Figures({"one": [10.0, 40.0, 30.0], "other": [10.0, 10.0, 20.0]})
    # Medians 30 and 10; round by round 1, 4 and 1.5.
    assert figures.ratio("one", "other") == Spread(3.0, 1.0, 4.0)
    assert figures.spread("one") == Spread(30.0, 10.0, 40.0)


def test_a_ratio_needs_both_figures() -> None:
    assert Figures({"one": [1.0]}).ratio("one", "other") is None
    assert Figures({"one": [1.0], "other": [0.0]}).ratio("one", "other") is None


def test_what_was_measured_of_a_wrong_answer_is_dropped() -> None:
    figures = Figures()
    for name in ("http/1/echo/rate", "http/1/echo", "http/1/echoes/rate"):
        figures.add(name, 1.0)
    figures.drop("http/1/echo")
    assert list(figures.values) == ["http/1/echoes/rate"]


@pytest.mark.parametrize(
    ("at_least", "value", "verdict"),
    [
        (True, 2.0, Verdict.MET),
        (True, 1.99, Verdict.MISSED),
        (False, 2.0, Verdict.MET),
        (False, 2.01, Verdict.MISSED),
    ],
)
def test_a_bound_is_inclusive(at_least: bool, value: float, verdict: Verdict) -> None:
    ratio = Rule(1, "a ratio", "a", "b", 2.0, at_least)
    plain = Rule(1, "a figure", "a", None, 2.0, at_least)
    assert ratio.judge(Figures({"a": [value * 3], "b": [3.0]})) is verdict
    assert plain.judge(Figures({"a": [value]})) is verdict
    assert ratio.judge(Figures({"a": [value]})) is Verdict.NOT_MEASURED


def test_a_bound_is_shown_in_its_unit() -> None:
    rule = Rule(2, "a pause", "pause", None, 0.020, False, MILLISECONDS)
    assert rule.wanted == "at most 20.0 ms"


def test_every_target_has_a_rule_and_no_rule_stands_twice() -> None:
    assert {rule.target for rule in RULES} == set(range(1, 23))
    assert len({(rule.target, rule.what) for rule in RULES}) == len(RULES)


def test_a_session_s_bytes_and_an_iteration_s_overhead_are_the_contract_s() -> None:
    bounds = {rule.what: rule.bound for rule in RULES}
    # Two states of 128 float32; 30 us and 0.15 us for each of 256 rows.
    assert bounds["1 M live sessions, bytes each"] == pytest.approx(1.3 * 2 * 128 * 4 + 300)
    assert bounds["256 works: overhead"] == pytest.approx(30e-6 + 256 * 0.15e-6)


def test_what_durability_may_cost_is_the_contract_s() -> None:
    bounds = {(rule.target, rule.what): (rule.bound, rule.at_least) for rule in RULES if 10 < rule.target < 15}
    assert bounds == {
        (11, "Arrow over HTTP, lmdb against memory"): (0.5, True),
        (11, "256 sessions, steps/s, lmdb against memory"): (0.9, True),
        (12, "Arrow over HTTP, Redis against memory"): (0.15, True),
        (12, "256 sessions, steps/s, Redis against memory"): (0.6, True),
        (13, "p99 of misses in the database"): (150e-6, False),
        (13, "p99 of misses in the journal"): (150e-6, False),
        (14, "restart on stored sessions"): (5.0, False),
        (14, "restart behind a load and kill -9"): (5.0, False),
    }


def test_a_store_is_compared_with_memory_in_the_same_rounds() -> None:
    rules = [rule for rule in RULES if rule.target in (11, 12)]
    for rule in rules:
        assert rule.over is not None
        # Only the server differs.
        assert rule.figure.replace("ostinato-lmdb", "ostinato").replace("ostinato-redis", "ostinato") == rule.over


def test_what_generation_is_to_reach_is_the_contract_s() -> None:
    rules = [rule for rule in RULES if 14 < rule.target < 18]
    bounds = {(rule.target, rule.figure, rule.over): (rule.bound, rule.at_least) for rule in rules}
    assert bounds == {
        (15, "generation/http/rate", "generation/raw/rate"): (0.6, True),
        (15, "generation/engine/rate", "generation/raw/rate"): (0.6, True),
        (16, "generation/engine/rate", "generation/static/rate"): (2.0, True),
        (17, "generation/http_stream/first_p99", None): (5.0, False),
        (17, "generation/engine_stream/first_p99", None): (5.0, False),
    }
