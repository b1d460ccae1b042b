"""The late rule: what goes when, by which message, and that a gate that begins anew comes to the same."""

from __future__ import annotations

import random

import numpy as np
import pytest

from ostinato.connectors.arrivals import START, Readings, Released
from ostinato.connectors.late import LateGate
from tests.ostinato.connectors.examples import messages

SECOND = 1_000_000


def readings(*given: tuple[int, str, float]) -> Readings:
    """Readings (offset, key, seconds), each with its offset as its row."""
    offsets = [offset for offset, *_ in given]
    return Readings(
        messages(),
        offsets,
        [key for _, key, _ in given],
        [round(at * SECOND) for *_, at in given],
        [at for *_, at in given],
        np.array(offsets, np.float32).reshape(-1, 1),
        list(range(len(given))),
    )


def told(released: Released) -> list[tuple[str, int, int]]:
    assert released.inputs[:, 0].astype(int).tolist() == released.offsets
    return list(zip(released.keys, released.offsets, released.triggers, strict=True))


def test_without_a_window_what_is_older_than_its_key_s_last_is_left_out() -> None:
    gate = LateGate(START, {}, 0)
    released = gate.pass_on(readings((0, "a", 5), (1, "b", 1), (2, "a", 4), (3, "a", 5), (4, "a", 6)), 5, [])
    assert told(released) == [("a", 0, 0), ("b", 1, 1), ("a", 4, 4)]
    assert (gate.num_late, gate.num_repeated) == (1, 1)
    assert gate.take_changed() == {"a": 6 * SECOND, "b": SECOND}
    assert gate.take_changed() == {}


def test_within_a_window_readings_go_in_the_order_of_their_times() -> None:
    gate = LateGate(START, {}, 2 * SECOND)
    assert told(gate.pass_on(readings((0, "a", 1), (1, "a", 3), (2, "a", 2)), 3, [])) == [("a", 0, 1)]
    assert gate.position == (1, 3, 3 * SECOND)
    # 5 is two past 3: 2 goes before it, both by the message 3. Then 2.5 is late.
    assert told(gate.pass_on(readings((3, "a", 5), (4, "a", 2.5)), 5, [])) == [("a", 2, 3), ("a", 1, 3)]
    assert (gate.num_late, gate.num_held, gate.position) == (1, 1, (3, 5, 5 * SECOND))
    assert told(gate.flush("t/0", np.empty((0, 1), np.float32))) == [("a", 3, 5)]
    assert gate.position == (6, 6, 5 * SECOND)


def test_a_slow_clock_is_late_for_its_own_key_alone() -> None:
    gate = LateGate(START, {}, SECOND)
    released = gate.pass_on(readings((0, "fast", 100), (1, "slow", 10), (2, "slow", 11)), 3, [])
    assert told(released) == [("slow", 1, 1), ("slow", 2, 2)]


@pytest.mark.parametrize("window", [0, 3 * SECOND])
@pytest.mark.parametrize("seed", range(8))
def test_a_gate_that_begins_anew_at_any_commit_comes_to_the_same(window: int, seed: int) -> None:
    generator = random.Random(seed)
    given = [(offset, generator.choice("abc"), offset + generator.choice((0, -1, -2, -5))) for offset in range(120)]
    whole = LateGate(START, {}, window)
    expected = told(whole.pass_on(readings(*given), len(given), []))
    made: list[tuple[str, int, int]] = []
    times: dict[str, int] = {}
    position = START
    while position.done < len(given):
        # A new gate each time: it reads what was held again, and then a stretch of new messages.
        gate = LateGate(position, dict(times), window)
        end = min(len(given), position.done + generator.randrange(1, 15))
        for start, stop in ((position.offset, position.done), (position.done, end)):
            made += told(gate.pass_on(readings(*given[start:stop]), stop, []))
        times |= gate.take_changed()
        position = gate.position
    assert made == expected


def test_a_gate_that_replays_tells_what_came_late_and_what_waits_also_when_it_begins_anew() -> None:
    def arrivals(gate: LateGate) -> list[tuple[object, ...]]:
        return [
            (
                one.key,
                sorted(one.new),
                one.late_from and one.late_from // SECOND,
                one.cause,
                [(place, reading.offset) for place, reading in one.released],
                [reading.offset for reading in one.held],
            )
            for one in gate.take_arrivals()
        ]

    times: dict[str, int] = {}
    gate = LateGate(START, times, 10 * SECOND, tells_arrivals=True)
    gate.pass_on(readings((0, "a", 5), (1, "b", 6), (2, "a", 4)), 3, [])
    assert arrivals(gate) == [("a", [0, 2], None, None, [], [2, 0]), ("b", [1], None, None, [], [1])], "sorted at once"
    gate.pass_on(readings((3, "a", 4.5), (4, "b", 14.5)), 5, [])
    assert arrivals(gate) == [("a", [3], 4, 3, [(0, 2), (1, 3)], [0]), ("b", [4], None, None, [], [1, 4])]
    kept = dict(times)
    again = LateGate(gate.position, kept, 10 * SECOND, tells_arrivals=True)
    again.pass_on(readings((0, "a", 5), (1, "b", 6), (2, "a", 4), (3, "a", 4.5), (4, "b", 14.5)), 5, [])
    assert arrivals(again) == [], "nothing of it is new"
    for one in (gate, again):
        one.pass_on(readings((5, "a", 4.7), (6, "a", 4.5)), 7, [])
        assert arrivals(one) == [("a", [5], 4, 5, [], [5, 0])]
