"""Failures that come many at a time, as the log has them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ostinato.service.edge.repeats import Repeats, kind_of


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    try:
        raise error from cause
    except Exception as caught:
        return caught


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_the_first_is_logged_at_once_and_the_rest_summed_up_when_its_time_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    repeats = Repeats()
    for now in (0.0, 0.1, 0.9):
        repeats.tell(f"step {now:g}", ValueError("no"), "a kind", 1.0, now)
    assert lines(caplog) == ["step 0 failed"]
    repeats.sum_up(0.99)
    assert len(lines(caplog)) == 1
    repeats.sum_up(1.0)
    assert lines(caplog)[1:] == ["2 more of these in 1 s; the last: step 0.9 failed: no"]


def test_after_a_quiet_while_it_is_a_first_one_again(caplog: pytest.LogCaptureFixture) -> None:
    repeats = Repeats()
    for now in (0.0, 5.0):
        repeats.tell(f"step {now:g}", ValueError("no"), "a kind", 1.0, now)
    assert lines(caplog) == ["step 0 failed", "step 5 failed"]


def test_those_that_go_on_are_a_line_a_while(caplog: pytest.LogCaptureFixture) -> None:
    repeats = Repeats()
    for tenth in range(31):
        repeats.tell("a step", ValueError("no"), "a kind", 1.0, tenth / 10)
    assert [line.split()[0] for line in lines(caplog)[1:]] == ["9", "10", "10"]


def test_what_is_left_is_told_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    repeats = Repeats()
    for _ in range(4):
        repeats.tell("a step", ValueError("no"), "a kind", 60.0, 0.0)
    repeats.sum_up()
    assert lines(caplog)[1:] == ["3 more of these in 60 s; the last: a step failed: no"]


def test_kinds_are_told_apart_by_place_and_cause() -> None:
    one, other = raised(ValueError("1")), raised(ValueError("2"))
    assert kind_of(one) == kind_of(other)
    assert kind_of(one) != kind_of(raised(KeyError("1")))
    assert kind_of(one) != kind_of(raised(ValueError("1"), cause=OSError("x")))
    assert kind_of(one) != kind_of(raised_elsewhere())
    assert kind_of(raised_within(int, "x")) == kind_of(raised_within(int, "y"))
    assert kind_of(raised_within(fail_here)) != kind_of(raised_within(fail_there)), "caught in one line"


def fail_here() -> None:
    raise ValueError("1")


def fail_there() -> None:
    raise ValueError("1")


def raised_within(place: Callable[..., object], *given: object) -> Exception:
    try:
        place(*given)
    except ValueError as caught:
        return caught
    raise AssertionError("it did not fail")


def raised_elsewhere() -> Exception:
    try:
        int("x")
    except ValueError as caught:
        return caught
    raise AssertionError("it is no number")
