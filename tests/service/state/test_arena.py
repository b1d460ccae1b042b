from __future__ import annotations

import numpy as np
import pytest

from ostinato.service.artifact.tensors import Input, Output, State
from ostinato.service.state.arena import Arena, session_bytes
from tests.service.puppet import MANIFEST

STATES = (
    State(name="h", input="h", output="hn", shape=(2, "B", 3), dtype="float32", initial=0.5),
    State(name="n", input="n", output="nn", shape=("B",), dtype="int64", initial=7),
)
OUTPUT = Output(name="y", dtype="float32", shape=("B", "T", 1), features=("y",))
OF_TWO_STATES = MANIFEST.model_copy(update={"states": STATES, "outputs": (OUTPUT,)})


def test_scatter_undoes_gather() -> None:
    arena = Arena(OF_TWO_STATES, capacity=4)
    for _ in range(4):
        arena.allocate()
    slots = np.array([3, 0, 2])
    h, n = np.arange(18, dtype=np.float32).reshape(3, 2, 3), np.array([1, 2, 3])
    arena.scatter(slots, [h, n])
    out = [np.empty_like(h), np.empty_like(n)]
    arena.gather(slots, out=out)
    np.testing.assert_array_equal(out[0], h)
    np.testing.assert_array_equal(out[1], n)
    assert arena.read(1)[1] == 7


def test_a_slot_handed_out_again_is_in_the_initial_state() -> None:
    arena = Arena(OF_TWO_STATES, capacity=1)
    slot = arena.allocate("a")
    arena.write(slot, [np.zeros((2, 3), np.float32), np.array(1)])
    arena.release(slot)
    assert arena.allocate("b") == slot
    h, n = arena.read(slot)
    assert (h == 0.5).all()
    assert n == 7


def test_slots_are_counted_and_end() -> None:
    arena = Arena(OF_TWO_STATES, capacity=2)
    first = arena.allocate("a")
    arena.allocate()
    assert (arena.num_used, arena.num_sessions) == (2, 1)
    with pytest.raises(MemoryError):
        arena.allocate()
    arena.release(first)
    assert (arena.num_used, arena.num_sessions) == (1, 0)
    assert arena.row_bytes == 2 * 3 * 4 + 8
    assert repr(arena) == "<Arena 0 sessions, 1/2 slots of 32 bytes>"


def test_what_was_read_of_a_slot_stays_as_it_was_when_the_slot_goes_on() -> None:
    arena = Arena(OF_TWO_STATES, capacity=2)
    slots = np.array([arena.allocate("a")])
    states, answer = arena.read(int(slots[0])), arena.answer(int(slots[0]))
    arena.scatter(slots, [np.ones((1, 2, 3), np.float32), np.array([9])])
    arena.keep_last_outputs(slots, np.full((1, 1), 3.0, np.float32))
    assert (states[0] == 0.5).all()
    assert states[1] == 7
    assert answer.tolist() == [[0.0]]
    assert arena.answer(int(slots[0])).tolist() == [[3.0]]


def test_a_context_takes_room_like_a_state() -> None:
    who = Input(name="who", dtype="float64", shape=("B", 100), features=tuple(f"who_{index}" for index in range(100)))
    without, within = Arena(OF_TWO_STATES, 2), OF_TWO_STATES.model_copy(update={"context": (who,)})
    arena = Arena(within, 2)
    for each in (without, arena):
        each.allocate("a")
    assert arena.memory_bytes - without.memory_bytes == 800
    assert session_bytes(within) - session_bytes(OF_TWO_STATES) == 800
