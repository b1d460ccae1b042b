from __future__ import annotations

from ostinato.service.state.arena import STALE, Arena, session_bytes
from ostinato.service.state.base import Address
from ostinato.service.state.residents import WINDOW, Residents
from ostinato.service.state.roster import Roster
from tests.service.puppet import MANIFEST


def filled(num_sessions: int) -> tuple[Residents, Arena, dict[str, Address]]:
    """Sessions ``s0`` and so on, as many as the budget has room for; each lives for ever."""
    arena = Arena(MANIFEST, capacity=2 * num_sessions)
    residents = Residents(num_sessions * session_bytes(MANIFEST))
    residents.attach(arena)
    addresses = {}
    for number in range(num_sessions):
        addresses[f"s{number}"] = put(residents, arena, f"s{number}")
    return residents, arena, addresses


def put(residents: Residents, arena: Arena, session_id: str) -> Address:
    address = residents.put(session_id, arena)
    residents.set_life(address, opened_at=0, ttl_seconds=float("inf"), expires_at=float("inf"))
    arena.stamp[address.slot] = 1
    return address


def test_who_goes_for_want_of_room_is_not_busy_and_was_used_longest_ago() -> None:
    residents, arena, addresses = filled(3 * WINDOW)
    busy = [f"s{number}" for number in range(WINDOW + 8)]
    for session_id in busy:
        arena.busy[addresses[session_id].slot] = True
    residents.use(f"s{WINDOW + 8}")
    put(residents, arena, "new")
    gone = [session_id for session_id in addresses if residents.use(session_id) is None]
    assert gone == [f"s{WINDOW + 9}"]
    assert residents.use("new") is not None


def test_a_place_that_was_given_back_is_not_taken_from_who_has_it_by_now() -> None:
    residents, arena, addresses = filled(2)
    arena.busy[addresses["s0"].slot] = True
    residents.part_with("s0", addresses["s0"])
    again = put(residents, arena, "s0")
    residents.drop("s0", addresses["s0"])
    assert residents.has("s0", again)
    assert residents.use("s0") == again


def test_of_a_message_those_are_found_that_are_there_now() -> None:
    residents, arena, addresses = filled(4)
    roster = Roster(["s0", "s1", "s2", "s3"])
    slots = [addresses[session_id].slot for session_id in roster.session_ids]
    assert residents.use_all(arena, roster, 0).tolist() == slots
    residents.mark_stale("s1")
    assert residents.use_all(arena, roster, 0).tolist() == [slots[0], -1, *slots[2:]]
    arena.stamp[slots[1]] = STALE + 1
    residents.drop("s3", addresses["s3"])
    assert residents.use_all(arena, roster, 0).tolist() == [*slots[:3], -1]
    addresses["s3"] = put(residents, arena, "s3")
    assert residents.use_all(arena, roster, 0).tolist() == slots
    residents.drop("s3", addresses["s3"])
    residents.set_life(addresses["s2"], opened_at=0, ttl_seconds=5, expires_at=5)
    found = residents.use_all(arena, roster, 4.9).tolist()
    assert found[2:] == [slots[2], -1]
    assert residents.use_all(arena, roster, 5).tolist()[2:] == [-1, -1]
    arena.busy[slots[2]] = True
    assert residents.use_all(arena, roster, 5).tolist()[2:] == [slots[2], -1]
