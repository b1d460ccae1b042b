"""Repeats: what came twice is told apart from what is new."""

from __future__ import annotations

from collections.abc import Iterable

from ostinato.connectors.repeats import ReadingRepeats
from ostinato.connectors.service_line import Reached
from tests.ostinato.connectors.test_chunks import released


def test_a_reading_is_new_once_and_what_a_run_before_applied_is_given_apart() -> None:
    asked: list[str] = []

    def reached(session_ids: Iterable[str]) -> dict[str, Reached]:
        asked.extend(session_ids)
        return {"A": Reached("t/0", 1, 3), "B": Reached("elsewhere/0", 9, 1)}

    repeats = ReadingRepeats(reached, str.upper)
    again, new = repeats.split(released("t/0", "aabba"))
    assert (again.offsets, new.offsets, asked) == ([0, 1], [2, 3, 4], ["A", "B"])
    again, new = repeats.split(released("t/0", "bab", first=3))
    assert (again.offsets, new.offsets) == ([], [5])
    assert repeats.take_dropped() == 2
    assert (repeats.take_dropped(), asked) == (0, ["A", "B"])


def test_what_was_applied_is_given_when_all_of_it_is_here() -> None:
    repeats = ReadingRepeats(lambda _: {"a": Reached("t/0", 4, 9), "b": Reached("t/0", 3, 2)}, str)
    again, new = repeats.split(released("t/0", "aba"))
    assert (len(again), len(new)) == (0, 0)
    again, new = repeats.split(released("t/0", "baa", first=3))
    assert (again.keys, again.offsets, new.offsets) == (list("bbaaa"), [1, 3, 0, 2, 4], [5])
    assert again.inputs[:, 0].tolist() == [1, 3, 0, 2, 4]
    assert repeats.take_dropped() == 0


def test_what_was_applied_and_answered_for_is_dropped_when_what_is_new_comes() -> None:
    repeats = ReadingRepeats(lambda _: {"a": Reached("t/0", 2, 9)}, str)
    again, new = repeats.split(released("t/0", "aa"))
    assert (len(again), len(new), repeats.take_dropped()) == (0, 0, 0)
    again, new = repeats.split(released("t/0", "a", first=3))
    assert (len(again), new.offsets, repeats.take_dropped()) == (0, [3], 2)
