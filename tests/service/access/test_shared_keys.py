from __future__ import annotations

import os

from ostinato.service.access.key import Key, Right
from ostinato.service.access.meter import NUM_BYTES, Meters, shared_memory
from ostinato.service.access.shared_keys import SharedKeys


def test_what_one_worker_left_another_finds_until_it_is_replaced() -> None:
    descriptor = shared_memory()
    one, other = SharedKeys(descriptor), SharedKeys(descriptor)
    assert other.get() is None
    for text in ("a long line of keys é\n" * 100, "short\n"):
        one.put(text)
        assert other.get() == text
    assert SharedKeys().get() is None


def test_what_is_not_whole_is_nothing() -> None:
    descriptor = shared_memory()
    shared = SharedKeys(descriptor)
    shared.put("keys\n")
    os.pwrite(descriptor, b"\xff", NUM_BYTES + 8 + 32)
    assert shared.get() is None


def test_meters_and_keys_do_not_meet() -> None:
    descriptor = shared_memory()
    shared, meters = SharedKeys(descriptor), Meters(descriptor)
    shared.put("keys\n")
    for number in range(100):
        meters.meter_of(Key(f"k{number}", "", frozenset({Right.STEP}), bytes(32), 1.0)).count(5)
    assert shared.get() == "keys\n"
