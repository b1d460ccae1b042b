"""The judge of histories sees what it is there for, and accuses nobody wrongly; the histories are written by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.faults.judge import Fault
from tests.histories.history import History, Walk, groups, judge
from tests.histories.network import MODULUS
from tests.histories.operation import Answered, Asked, Operation, StateFile, Verb, Way
from tests.histories.reference import Reference

INF = math.inf
OPENED_AT = 1000.0
REFERENCE = Reference(default_ttl_seconds=3600.0, tombstone_seconds=300.0)


def fold(*numbers: int, state: int = 0, factor: int = 1_664_525, addend: int = 1_013_904) -> tuple[int, ...]:
    """What ``narrow`` version 1 answers to steps of one number each, by its equation."""
    outputs = []
    for number in numbers:
        state = (state * factor + number + addend) % MODULUS
        outputs.append(state)
    return tuple(outputs)


def fold_2(*numbers: int) -> tuple[int, ...]:
    """The same of version 2."""
    return fold(*numbers, factor=1_103_515, addend=12_345)


class Written:
    """A history that is written operation by operation; times are seconds after ``OPENED_AT``."""

    def __init__(self, *, opened: bool = True) -> None:
        self.operations: list[Operation] = []
        self.walks: list[Walk] = []
        if opened:
            self.open(0, 0.1)

    def add(
        self, called: float, returned: float, asked: Asked, answered: Answered | None, after: tuple[int, ...] = ()
    ) -> int:
        """Add an operation; its number."""
        number = len(self.operations)
        times = OPENED_AT + called, OPENED_AT + returned
        self.operations.append(Operation(number, asked, *times, answered, after))
        return number

    def open(self, called: float, returned: float, name: str = "a", **changes: Any) -> int:
        """Open a session of ``narrow`` version 1, answered 201."""
        ttl_seconds = changes.pop("ttl_seconds", None)
        shown = {"model": "narrow", "version": "1", "steps": 0, **changes}
        lives = 3600.0 if ttl_seconds is None else ttl_seconds
        shown.setdefault("expires_at", OPENED_AT + returned + lives)
        asked = Asked(Verb.OPEN, name, shown["model"], shown["version"], ttl_seconds)
        return self.add(called, returned, asked, Answered(201, content=shown))

    def step(
        self,
        called: float,
        returned: float,
        numbers: tuple[int, ...],
        outputs: tuple[int, ...] | None,
        at: int = 0,
        seq: int | None = None,
        name: str = "a",
        after: tuple[int, ...] = (),
        **options: Any,
    ) -> int:
        """A chunk that was applied after ``at`` steps and gave these outputs; None = it was not answered."""
        asked = Asked(Verb.STEP, name, inputs=tuple((number,) for number in numbers), seq=seq, **options)
        content = {"session_id": name, "seq": at, "steps": at + len(numbers), "outputs": outputs}
        return self.add(called, returned, asked, None if outputs is None else Answered(200, content=content), after)

    def refused(self, called: float, returned: float, asked: Asked, status: int, code: str, **content: Any) -> int:
        """Any request that was refused."""
        return self.add(called, returned, asked, Answered(status, code, content))

    def look(self, called: float, returned: float, steps: int, name: str = "a", **changes: Any) -> int:
        """A look at a session, which is not looked at for when it expires."""
        shown = {"model": "narrow", "version": "1", "steps": steps, "expires_at": OPENED_AT + 3600.05, **changes}
        return self.add(called, returned, Asked(Verb.LOOK, name), Answered(200, content=shown))

    def state(self, called: float, returned: float, steps: int, state: int, **changes: Any) -> int:
        """A state that was taken."""
        shown = {"model": "narrow", "version": "1", "steps": steps, "state": state, "last_output": state}
        shown["context"] = ()
        return self.add(called, returned, Asked(Verb.GET, "a"), Answered(200, content=shown | changes))

    def close(self, called: float, returned: float, name: str = "a") -> int:
        """An end."""
        return self.add(called, returned, Asked(Verb.CLOSE, name), Answered(204))

    def reset(self, called: float, returned: float, **changes: Any) -> int:
        """A reset that was done."""
        shown = {"model": "narrow", "version": "1", "steps": 0, "expires_at": OPENED_AT + returned + 3600.0}
        return self.add(called, returned, Asked(Verb.RESET, "a"), Answered(200, content=shown | changes))

    @property
    def findings(self) -> list[str]:
        """What is found."""
        return [
            finding.detail
            for group in groups(self.operations, self.walks)
            for finding in judge(group, REFERENCE)
            if finding.fault is Fault.IMPOSSIBLE
        ]


A_STEP = Asked(Verb.STEP, "a", inputs=((1,),))


def about(*context: int) -> Written:
    """A session of ``panel`` with a context, and a step of it."""
    written = Written(opened=False)
    shown = {"model": "panel", "version": "1", "steps": 0, "expires_at": OPENED_AT + 3600.1}
    written.add(0, 0.1, Asked(Verb.OPEN, "a", "panel", "1", context=context), Answered(201, content=shown))
    return written


def panel_step(written: Written, called: float, at: int, output: int) -> int:
    asked = Asked(Verb.STEP, "a", inputs=((1, 2, 3),))
    content = {"session_id": "a", "seq": at, "steps": at + 1, "outputs": (output,)}
    return written.add(called, called + 1, asked, Answered(200, content=content))


def panel_output(context: tuple[int, int, int], state: int = 0) -> int:
    """What ``panel`` answers to (1, 2, 3), by its equation."""
    always = 7 * context[0] + 104_729 * context[1] + 1_299_709 * context[2] + 3_037_000
    return (state * 2_862_933 + 1 + 2 * 40_507 + 3 * 7_919 + always) % MODULUS


# Histories that are as they should be.


def sequential() -> Written:
    written = Written()
    written.step(1, 2, (1, 2), fold(1, 2))
    written.step(3, 4, (3,), fold(1, 2, 3)[2:], at=2, seq=2)
    written.step(5, 6, (3,), fold(1, 2, 3)[2:], at=2, seq=2)  # sent again
    written.refused(7, 8, Asked(Verb.STEP, "a", inputs=((4,),), seq=2), 409, "seq_conflict", expected_seq=3)
    written.refused(7, 8, Asked(Verb.STEP, "a", inputs=((4, 5),)), 422, "invalid_input")
    last = fold(1, 2, 3)[2]
    ahead = (last, *fold(last, state=last))
    written.add(9, 10, Asked(Verb.FORECAST, "a", horizon=2), Answered(200, content={"outputs": ahead}))
    written.state(11, 12, 3, last)
    written.reset(13, 14)
    written.state(15, 16, 0, 0, last_output=None)
    put = Asked(Verb.PUT, "a", file=StateFile("narrow", last, 3, last))
    written.add(17, 18, put, Answered(200, content=shown_at(18, 3)))
    written.step(19, 20, (4,), fold(4, state=last), at=3)
    written.close(21, 22)
    written.refused(23, 24, A_STEP, 410, "session_closed")
    return written


def shown_at(returned: float, steps: int) -> dict[str, Any]:
    return {"model": "narrow", "version": "1", "steps": steps, "expires_at": OPENED_AT + returned + 3600.0}


def a_context_that_stays_until_a_state_is_put() -> Written:
    written = about(4, 5, 6)
    first = panel_output((4, 5, 6))
    panel_step(written, 1, 0, first)
    panel_step(written, 3, 1, panel_output((4, 5, 6), first))
    shown = {"model": "panel", "version": "1", "expires_at": OPENED_AT + 3606}
    written.add(5, 6, Asked(Verb.RESET, "a"), Answered(200, content=shown | {"steps": 0}))
    panel_step(written, 7, 0, first)
    file = StateFile("panel", 9, 3, 9, (1, 2, 3))
    put = Asked(Verb.PUT, "a", file=file)
    written.add(9, 10, put, Answered(200, content=shown | {"steps": 3, "expires_at": OPENED_AT + 3610}))
    panel_step(written, 11, 3, panel_output((1, 2, 3), 9))
    lacking = Asked(Verb.PUT, "a", file=StateFile("panel", 9))
    written.refused(13, 14, lacking, 422, "invalid_input")
    return written


def two_at_once() -> Written:
    written = Written()
    written.step(1, 5, (1,), fold(2, 1)[1:], at=1)  # called first, applied second
    written.step(2, 4, (2,), fold(2))
    return written


def one_without_an_answer_that_takes_effect_late() -> Written:
    written = Written()
    written.step(1, INF, (1,), None)
    written.step(2, 3, (2,), fold(2))
    written.state(4, 5, 1, fold(2)[0])
    written.step(6, 7, (3,), fold(2, 1, 3)[2:], at=2)
    return written


def one_without_an_answer_that_never_does() -> Written:
    written = Written()
    written.step(1, INF, (1,), None, seq=0)
    written.step(2, 3, (2,), fold(2), seq=0)
    written.step(4, 5, (3,), fold(2, 3)[1:], at=1)
    return written


def a_conflict_that_was_true_for_a_moment() -> Written:
    written = Written()
    written.step(1, 2, (1,), fold(1))
    written.refused(3, 8, Asked(Verb.STEP, "a", inputs=((9,),), seq=0), 409, "seq_conflict", expected_seq=2)
    written.step(4, 5, (2,), fold(1, 2)[1:], at=1)
    written.step(6, 7, (3,), fold(1, 2, 3)[2:], at=2)
    return written


def a_reset_that_finds_nothing_to_do_only_if_it_is_first() -> Written:
    written = Written()
    written.step(1, 5, (1,), fold(1))
    written.reset(2, 4)
    written.state(6, 7, 0, 0, last_output=None)
    return written


def a_fork_of_what_was_stepped_since() -> Written:
    written = Written()
    written.step(1, 2, (1,), fold(1))
    copied = written.add(3, 9, Asked(Verb.COPY, "a"), Answered(201))
    written.step(4, 5, (2,), fold(1, 2)[1:], at=1)
    written.refused(6, 7, Asked(Verb.LOOK, "b"), 404, "unknown_session")
    shown = {"model": "narrow", "version": "1", "steps": 1, "expires_at": OPENED_AT + 9 + 3600}
    written.add(3, 9, Asked(Verb.PASTE, "b", source=copied), Answered(201, content=shown), (copied,))
    written.step(10, 11, (5,), fold(1, 5)[1:], at=1, name="b")
    return written


def an_end_by_time_and_a_new_beginning() -> Written:
    written = Written(opened=False)
    written.open(0, 0.1, ttl_seconds=2)
    written.step(1, 1.1, (1,), fold(1))
    written.refused(3.2, 3.3, A_STEP, 410, "session_expired")
    written.refused(304, 305, A_STEP, 404, "unknown_session")
    written.open(306, 307, model="narrow", version="2")
    written.step(308, 309, (1,), fold_2(1))
    return written


def a_session_that_outlives_its_time_while_a_request_is_under_way() -> Written:
    written = Written(opened=False)
    written.open(0, 0.1, ttl_seconds=2)
    written.step(1, 1.1, (1,), fold(1))
    asked = Asked(Verb.FORECAST, "a", horizon=1)  # which does not renew it
    written.add(2, 5, asked, Answered(200, content={"outputs": fold(1)}))
    written.state(4.5, 5.5, 1, fold(1)[0])
    written.refused(6, 7, A_STEP, 410, "session_expired")
    return written


def a_list_while_sessions_come_and_go() -> Written:
    written = Written()
    written.close(5, 6)
    written.open(5, 6, name="b")
    for called, rows in ((1, ["a"]), (4.5, ["a", "b"]), (4.5, []), (7, ["b"])):
        shown = {"model": "narrow", "version": "1", "steps": 0, "expires_at": OPENED_AT + 3600.1}
        found = [(name, shown | ({"expires_at": OPENED_AT + 3606} if name == "b" else {})) for name in rows]
        written.walks.append(Walk(OPENED_AT + called, OPENED_AT + called + 2, None, found, 0))
    return written


def frames_in_their_order() -> Written:
    written = Written()
    first = written.step(1, 5, (1,), fold(1), way=Way.FRAME, model="narrow")
    written.step(1, 4, (2,), fold(1, 2)[1:], at=1, way=Way.FRAME, model="narrow", after=(first,))
    return written


def an_overload() -> Written:
    written = Written()
    written.refused(1, 2, A_STEP, 429, "overloaded")
    written.refused(3, 4, Asked(Verb.OPEN, "b", "narrow", "1"), 429, "overloaded")
    written.step(5, 6, (1,), fold(1))
    written.refused(7, 8, Asked(Verb.LOOK, "b"), 404, "unknown_session")
    return written


@pytest.mark.parametrize(
    "written",
    [
        sequential,
        a_context_that_stays_until_a_state_is_put,
        two_at_once,
        one_without_an_answer_that_takes_effect_late,
        one_without_an_answer_that_never_does,
        a_conflict_that_was_true_for_a_moment,
        a_reset_that_finds_nothing_to_do_only_if_it_is_first,
        a_fork_of_what_was_stepped_since,
        an_end_by_time_and_a_new_beginning,
        a_session_that_outlives_its_time_while_a_request_is_under_way,
        a_list_while_sessions_come_and_go,
        frames_in_their_order,
        an_overload,
    ],
)
def test_a_history_that_some_order_explains_is_sound(written: Any) -> None:
    assert written().findings == []


# Histories with a fault in them; each says what the judge must accuse.


def a_step_that_was_applied_twice() -> tuple[Written, int]:
    written = Written()
    written.step(1, 2, (1,), fold(1))
    return written, written.step(3, 4, (2,), fold(1, 1, 2)[2:], at=2)


def a_step_without_an_answer_that_was_applied_twice() -> tuple[Written, int]:
    written = Written()
    written.step(1, INF, (1,), None)
    written.step(2, 3, (2,), fold(1, 2)[1:], at=1)
    return written, written.state(4, 5, 3, fold(1, 2, 1)[2])


def a_chunk_sent_again_that_was_applied_again() -> tuple[Written, int]:
    written = Written()
    written.step(1, 2, (1,), fold(1), seq=0)
    written.step(3, 4, (1,), fold(1), seq=0)
    return written, written.look(5, 6, steps=2)


def a_context_of_another() -> tuple[Written, int]:
    written = about(4, 5, 6)
    return written, panel_step(written, 1, 0, panel_output((4, 5, 7)))


def a_context_that_a_reset_took_away() -> tuple[Written, int]:
    written = about(4, 5, 6)
    shown = {"model": "panel", "version": "1", "steps": 0, "expires_at": OPENED_AT + 3602}
    written.add(1, 2, Asked(Verb.RESET, "a"), Answered(200, content=shown))
    return written, panel_step(written, 3, 0, panel_output((0, 0, 0)))


def an_opening_without_its_context() -> tuple[Written, int]:
    written = about()
    return written, 0


def a_step_that_opened_what_needs_a_context() -> tuple[Written, int]:
    written = Written(opened=False)
    asked = Asked(Verb.STEP, "a", "panel", inputs=((1, 2, 3),), way=Way.FRAME, creates=True)
    content = {"session_id": "a", "seq": 0, "steps": 1, "outputs": (panel_output((0, 0, 0)),)}
    return written, written.add(1, 2, asked, Answered(200, content=content))


def a_lost_step() -> tuple[Written, int]:
    written = Written()
    written.step(1, 2, (1,), fold(1))
    return written, written.step(3, 4, (2,), fold(2))


def a_201_with_the_steps_of_the_session_before() -> tuple[Written, int]:
    written = Written()
    written.step(1, 2, (1,), fold(1))
    written.close(3, 4)
    return written, written.open(5, 6, steps=1)


def a_reset_that_undoes_what_was_acknowledged_after_it() -> tuple[Written, int]:
    written = Written()
    written.step(1, 2, (1,), fold(1))
    written.reset(3, 4)
    written.step(5, 6, (2,), fold(2))
    return written, written.state(7, 8, 0, 0, last_output=None)


def an_answer_of_another_session() -> tuple[Written, int]:
    written = Written()
    written.open(0, 0.1, name="b")
    written.step(1, 2, (1,), fold(1))
    written.step(1, 2, (7,), fold(7), name="b")
    return written, written.step(3, 4, (2,), fold(7, 2)[1:], at=1)


def a_number_that_is_off_by_one() -> tuple[Written, int]:
    written = Written()
    return written, written.step(1, 2, (1,), (fold(1)[0] + 1,))


def a_429_that_applied() -> tuple[Written, int]:
    written = Written()
    written.refused(1, 2, A_STEP, 429, "overloaded")
    return written, written.step(3, 4, (2,), fold(1, 2)[1:], at=1)


def a_429_that_opened() -> tuple[Written, int]:
    written = Written()
    written.refused(1, 2, Asked(Verb.OPEN, "b", "narrow", "1"), 429, "overloaded")
    return written, written.step(3, 4, (2,), fold(2), name="b")


def a_422_that_opened() -> tuple[Written, int]:
    written = Written(opened=False)
    asked = Asked(Verb.STEP, "a", "narrow", inputs=((1, 2),), way=Way.FRAME, creates=True)
    written.refused(1, 2, asked, 422, "invalid_input")
    return written, written.step(3, 4, (2,), fold(2))


def a_conflict_that_was_never_true() -> tuple[Written, int]:
    written = Written()
    written.step(1, 2, (1,), fold(1))
    asked = Asked(Verb.STEP, "a", inputs=((9,),), seq=7)
    return written, written.refused(3, 4, asked, 409, "seq_conflict", expected_seq=0)


def a_right_seq_that_was_refused() -> tuple[Written, int]:
    written = Written()
    written.step(1, 2, (1,), fold(1))
    asked = Asked(Verb.STEP, "a", inputs=((9,),), seq=1)
    return written, written.refused(3, 4, asked, 409, "seq_conflict", expected_seq=1)


def an_open_that_finds_its_own_session() -> tuple[Written, int]:
    written = Written(opened=False)
    return written, written.refused(1, 2, Asked(Verb.OPEN, "a", "narrow", "1"), 409, "session_exists")


def a_reset_that_brings_the_former_model_back() -> tuple[Written, int]:
    written = Written()
    written.close(1, 2)
    written.open(3, 4, model="wide", version="1")
    return written, written.reset(5, 6)


def another_version_that_goes_on_as_the_former() -> tuple[Written, int]:
    written = Written()
    written.close(1, 2)
    written.open(3, 4, version="2")
    return written, written.step(5, 6, (1,), fold(1))


def a_422_for_the_former_model() -> tuple[Written, int]:
    written = Written()
    written.close(1, 2)
    written.open(3, 4, model="wide", version="1")
    asked = Asked(Verb.STEP, "a", inputs=((1, 2),))
    return written, written.refused(5, 6, asked, 422, "invalid_input")


def a_410_for_a_live_session() -> tuple[Written, int]:
    written = Written()
    return written, written.refused(1, 2, A_STEP, 410, "session_closed")


def a_session_that_expired_too_early() -> tuple[Written, int]:
    written = Written(opened=False)
    written.open(0, 0.1, ttl_seconds=5)
    return written, written.refused(3, 4, A_STEP, 410, "session_expired")


def a_session_that_expired_and_lives() -> tuple[Written, int]:
    written = Written(opened=False)
    written.open(0, 0.1, ttl_seconds=2)
    written.step(1, 4, (1,), fold(1))  # long under way: it may have been renewed early or late
    written.refused(3.3, 3.4, Asked(Verb.LOOK, "a"), 410, "session_expired")
    return written, written.look(4.5, 4.6, steps=1, expires_at=OPENED_AT + 6)


def a_session_that_does_not_expire() -> tuple[Written, int]:
    written = Written(opened=False)
    written.open(0, 0.1, ttl_seconds=2)
    return written, written.step(3, 4, (1,), fold(1))


def an_id_that_is_forgotten_too_early() -> tuple[Written, int]:
    written = Written()
    written.close(1, 2)
    return written, written.refused(200, 201, A_STEP, 404, "unknown_session")


def a_wrong_time_to_live() -> tuple[Written, int]:
    written = Written()
    written.step(10, 11, (1,), fold(1))
    return written, written.look(12, 13, steps=1, expires_at=OPENED_AT + 3600.05)  # that of its opening


def an_old_count_of_steps() -> tuple[Written, int]:
    written = Written()
    written.step(1, 2, (1,), fold(1))
    return written, written.look(3, 4, steps=0)


def a_step_that_is_seen_before_it_was_sent() -> tuple[Written, int]:
    written = Written()
    seen = written.look(1, 2, steps=1)
    written.step(3, 4, (1,), fold(1))
    return written, seen


def frames_out_of_their_order() -> tuple[Written, int]:
    written = Written()
    first = written.step(1, 4, (1,), fold(2, 1)[1:], at=1, way=Way.FRAME, model="narrow")
    written.step(1, 3, (2,), fold(2), way=Way.FRAME, model="narrow", after=(first,))
    return written, first


def a_fork_of_what_never_was() -> tuple[Written, int]:
    written = Written()
    written.step(1, 2, (1,), fold(1))
    copied = written.add(3, 4, Asked(Verb.COPY, "a"), Answered(201))
    shown = {"model": "narrow", "version": "1", "steps": 0, "expires_at": OPENED_AT + 4 + 3600}
    return written, written.add(3, 4, Asked(Verb.PASTE, "b", source=copied), Answered(201, content=shown), (copied,))


def a_file_without_steps_that_rolls_back() -> tuple[Written, int]:
    written = Written()
    written.step(1, 2, (1,), fold(1))
    asked = Asked(Verb.PUT, "a", file=StateFile("narrow", 77))
    return written, written.add(3, 4, asked, Answered(200, content=shown_at(4, 0)))


def a_forecast_from_an_old_copy() -> tuple[Written, int]:
    written = Written()
    written.step(1, 2, (1,), fold(1))
    written.step(3, 4, (2,), fold(1, 2)[1:], at=1)
    asked = Asked(Verb.FORECAST, "a", horizon=1)
    return written, written.add(5, 6, asked, Answered(200, content={"outputs": fold(1)}))


def an_error_that_should_not_be() -> tuple[Written, int]:
    written = Written()
    return written, written.refused(1, 2, A_STEP, 500, "internal")


@pytest.mark.parametrize(
    "written",
    [
        a_step_that_was_applied_twice,
        a_step_without_an_answer_that_was_applied_twice,
        a_chunk_sent_again_that_was_applied_again,
        a_context_of_another,
        a_context_that_a_reset_took_away,
        an_opening_without_its_context,
        a_step_that_opened_what_needs_a_context,
        a_lost_step,
        a_201_with_the_steps_of_the_session_before,
        a_reset_that_undoes_what_was_acknowledged_after_it,
        an_answer_of_another_session,
        a_number_that_is_off_by_one,
        a_429_that_applied,
        a_429_that_opened,
        a_422_that_opened,
        a_conflict_that_was_never_true,
        a_right_seq_that_was_refused,
        an_open_that_finds_its_own_session,
        a_reset_that_brings_the_former_model_back,
        another_version_that_goes_on_as_the_former,
        a_422_for_the_former_model,
        a_410_for_a_live_session,
        a_session_that_expired_too_early,
        a_session_that_expired_and_lives,
        a_session_that_does_not_expire,
        an_id_that_is_forgotten_too_early,
        a_wrong_time_to_live,
        an_old_count_of_steps,
        a_step_that_is_seen_before_it_was_sent,
        frames_out_of_their_order,
        a_fork_of_what_never_was,
        a_file_without_steps_that_rolls_back,
        a_forecast_from_an_old_copy,
        an_error_that_should_not_be,
    ],
)
def test_a_fault_is_found_and_told_by_its_first_answer(written: Any) -> None:
    history, accused = written()
    (detail,) = history.findings
    assert f"#{accused} might be answered: " in detail
    (line,) = [line for line in detail.splitlines() if line.startswith(f"    #{accused} ")]
    assert line.endswith(f"-> {history.operations[accused].answered}")


@pytest.mark.parametrize("missing", [True, False])
def test_a_list_must_show_who_was_live_throughout_and_nobody_who_was_closed(missing: bool) -> None:
    written = Written()
    written.open(0, 0.1, name="b")
    written.close(1, 2, name="b")
    shown = {"model": "narrow", "version": "1", "steps": 0, "expires_at": OPENED_AT + 3600.1}
    rows = [] if missing else [("a", shown), ("b", shown)]
    written.walks.append(Walk(OPENED_AT + 3, OPENED_AT + 4, None, rows, 0))
    (detail,) = written.findings
    assert f"{'a' if missing else 'b'}: listed */* -> {'404' if missing else '200'}" in detail


def test_what_is_wrong_whatever_the_order_is_found() -> None:
    history = History()
    history.found("predict", "3 is not 4")
    (finding,) = history.judge(REFERENCE)
    assert str(finding) == "impossible: session predict, step 0: 3 is not 4"


def test_what_does_not_matter_is_left_out_of_what_is_told() -> None:
    written, _ = a_lost_step()
    for moment in range(5, 45):
        written.look(moment, moment + 0.5, steps=1)
    (detail,) = written.findings
    assert len([line for line in detail.splitlines() if line.startswith("    #")]) == 3  # opened, stepped, and accused
