from __future__ import annotations

import pytest

from ostinato.service.state.arena import Arena
from ostinato.service.state.base import Snapshot
from ostinato.service.state.reaches import NOWHERE, Reach
from tests.service.puppet import MANIFEST
from tests.service.state.places import STORES, PlaceOf


def test_a_slot_that_is_given_to_another_session_has_nothing_of_the_last_one() -> None:
    arena = Arena(MANIFEST, 2)
    slot = arena.allocate("a")
    arena.set_reach(slot, Reach("s", 5, 3))
    assert arena.reach(slot) == Reach("s", 5, 3)
    arena.release(slot)
    assert arena.allocate("b") == slot
    assert arena.reach(slot) == NOWHERE


@pytest.mark.parametrize("name", [name for name in STORES if name != "memory"])
async def test_lists_tell_offsets_whatever_the_length_of_their_sources(name: str, place_of: PlaceOf) -> None:
    """Redis reads only the beginning of a record for that."""
    store = place_of(name)()
    arena = Arena(MANIFEST, 10)
    store.attach(arena)
    reaches = {f"k{number}": Reach("é" * number, number, 0) for number in (0, 20, 31, 100, 255)}
    for session_id, reach in reaches.items():
        begun = Snapshot.initial(arena)._replace(reach=reach)
        await store.open(session_id, arena, ttl_seconds=0, now=5.0, snapshot=begun)
    page = await store.page(None, 100, None, 6.0)
    assert {facts.session_id: facts.reach for facts in page.sessions} == reaches
    assert {each: (await store.look(each, 6.0)).reach for each in reaches} == reaches
