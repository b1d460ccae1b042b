from __future__ import annotations

from ostinato.service.state.arena import Arena
from ostinato.service.state.memory import MemoryStore
from tests.service.puppet import MANIFEST


async def test_ended_ids_are_forgotten_in_their_turn_also_where_one_was_opened_again() -> None:
    """A service whose sessions come and go for weeks keeps nothing of those that are told of no more."""
    store = MemoryStore(tombstone_seconds=10, max_sessions=20)
    arena = Arena(MANIFEST, capacity=20)
    store.attach(arena)
    for session_id in "ab":
        await store.open(session_id, arena, ttl_seconds=0, now=100.0)
        await store.close(session_id, None, 101.0)
    await store.open("a", arena, ttl_seconds=0, now=105.0)
    await store.close("a", None, 106.0)
    assert repr(store) == "<MemoryStore 0 sessions, 2 tombstones>"
    store.expire(111.0)
    assert repr(store) == "<MemoryStore 0 sessions, 1 tombstones>"
    store.expire(116.0)
    assert repr(store) == "<MemoryStore 0 sessions, 0 tombstones>"
