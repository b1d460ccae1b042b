from __future__ import annotations

import pytest

from ostinato.client.retry import Lost, Outcome, RetryPolicy, ServiceAnswer, Verdict, judge

POLICY = RetryPolicy(patience_seconds=30.0, first_pause_seconds=0.1, longest_pause_seconds=5.0)
DRAINING = ServiceAnswer(503, {"code": "draining"})
LOST = Lost("reset")


def pause(
    outcome: Outcome,
    *,
    attempts: int = 1,
    elapsed: float = 0.0,
    chance: float = 0.5,
    may_repeat: bool = True,
    may_be_there: bool = True,
) -> float | None:
    return POLICY.pause_seconds(
        outcome,
        may_repeat=may_repeat,
        may_be_there=may_be_there,
        num_attempts=attempts,
        elapsed_seconds=elapsed,
        chance=chance,
    )


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        (ServiceAnswer(200), Verdict.DONE),
        (ServiceAnswer(204), Verdict.DONE),
        (ServiceAnswer(307), Verdict.REFUSED),
        (ServiceAnswer(404, {"code": "unknown_session"}), Verdict.REFUSED),
        (ServiceAnswer(409, {"code": "seq_conflict"}), Verdict.REFUSED),
        (ServiceAnswer(500, {"code": "run_failed"}), Verdict.REFUSED),
        (ServiceAnswer(429), Verdict.NOT_NOW),
        (ServiceAnswer(503, {"code": "starting"}), Verdict.NOT_NOW),
        (ServiceAnswer(503, {"code": "draining"}), Verdict.NOT_NOW),
        (ServiceAnswer(503, {"code": "overloaded"}), Verdict.NOT_NOW),
        (Lost("refused", may_have_arrived=False), Verdict.NOT_NOW),
        (Lost("reset"), Verdict.UNKNOWN),
        (ServiceAnswer(502), Verdict.UNKNOWN),
        (ServiceAnswer(503), Verdict.UNKNOWN),
        (ServiceAnswer(503, {"code": "state_store_unavailable"}), Verdict.UNKNOWN),
        (ServiceAnswer(504, {"code": "deadline_exceeded"}), Verdict.UNKNOWN),
    ],
)
def test_what_an_outcome_means(outcome: Outcome, verdict: Verdict) -> None:
    assert judge(outcome) is verdict


def test_pauses_double_up_to_the_longest() -> None:
    # The middle of [half, whole]: 0.75 of 0.1, 0.2, 0.4, ..., 3.2, 5, 5
    pauses = [pause(LOST, attempts=attempts) for attempts in range(1, 9)]
    assert pauses == pytest.approx([0.075, 0.15, 0.3, 0.6, 1.2, 2.4, 3.75, 3.75])
    assert pause(LOST, attempts=10_000) == 3.75


def test_chance_spreads_a_pause_from_half_of_it_to_all_of_it() -> None:
    assert [pause(LOST, attempts=3, chance=chance) for chance in (0.0, 0.5)] == pytest.approx([0.2, 0.3])
    assert 0.399 < (pause(LOST, attempts=3, chance=0.999) or 0) < 0.4


def test_the_service_s_own_word_goes_before() -> None:
    assert pause(ServiceAnswer(429, retry_after_seconds=7.0), attempts=3, chance=0.9) == 7.0
    # It says nothing of use.
    assert pause(ServiceAnswer(429, retry_after_seconds=0.0)) == pytest.approx(0.075)


def test_patience_ends() -> None:
    assert pause(ServiceAnswer(429, retry_after_seconds=7.0), elapsed=23.0) == 7.0
    assert pause(ServiceAnswer(429, retry_after_seconds=7.0), elapsed=23.5) is None
    # One's own pause is cut short, so that the last attempt is made when patience ends.
    assert pause(LOST, attempts=8, elapsed=29.0) == 1.0
    assert pause(LOST, attempts=8, elapsed=30.0) is None
    assert RetryPolicy(0.0).pause_seconds(LOST, may_repeat=True, num_attempts=1, elapsed_seconds=0.0, chance=0) is None


def test_what_stands_is_not_sent_again() -> None:
    assert pause(ServiceAnswer(200)) is None
    assert pause(ServiceAnswer(404)) is None


def test_where_nobody_listens_and_none_may_be_there_nothing_is_waited_for() -> None:
    nobody = Lost("refused", may_have_arrived=False, nobody_listens=True)
    assert pause(nobody) == pytest.approx(0.075)
    assert pause(nobody, may_be_there=False) is None
    assert pause(Lost("no room", may_have_arrived=False), may_be_there=False) == pytest.approx(0.075)


def test_what_may_do_harm_is_sent_again_only_where_nothing_was_applied() -> None:
    assert pause(LOST, may_repeat=False) is None
    assert pause(ServiceAnswer(503, {"code": "state_store_unavailable"}), may_repeat=False) is None
    assert pause(ServiceAnswer(504, {"code": "deadline_exceeded"}), may_repeat=False) is None
    assert pause(DRAINING, may_repeat=False) == pytest.approx(0.075)
    assert pause(Lost("refused", may_have_arrived=False), may_repeat=False) == pytest.approx(0.075)
