from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from ostinato.service.catalogue.decisions import Decisions, Leaving
from ostinato.service.catalogue.reload import LEASE_SECONDS
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import InvalidInput, StateStoreUnavailable, UnknownModel, UnknownSession, VersionInUse
from ostinato.service.inference.departures import Departures
from tests.service.catalogue.replicas import Failing, Replica
from tests.service.puppet import column
from tests.waiting import until_true

AtEnd: TypeAlias = list[Callable[[], Awaitable[object]]]
StationOf: TypeAlias = "Callable[..., Awaitable[Station]]"
CLOSE, KEEP, REFUSE, MIGRATE = Leaving("close"), Leaving("keep"), Leaving(), Leaving("migrate", "2")


class Station:
    """One process that serves versions 1 and 2 of ``m`` in ``memory://``."""

    def __init__(self, replica: Replica) -> None:
        self.replica, self.sessions = replica, replica.sessions
        self.departures = Departures(replica.catalogue, replica.live, replica.sessions)

    @property
    def engine(self) -> Engine:
        return self.replica.catalogue.resolve("m", "1")

    async def unload(self, leaving: Leaving, version: str = "1") -> int:
        return await self.departures.begin("m", version, leaving)

    async def opens(self, session_id: str = "new") -> str:
        """Whether a session of version 1 begins, or what is told."""
        try:
            await self.sessions.open("m", session_id=session_id, version="1")
        except UnknownModel as error:
            return str(error)
        return "opened"


@pytest.fixture
def document() -> Failing:
    return Failing()


@pytest.fixture
def station_of(tmp_path: Path, document: Failing, at_end: AtEnd) -> StationOf:
    """Several have a document in common, and stores of their own."""

    async def begin(name: str = "one") -> Station:
        replica = Replica(tmp_path / name, document)
        for version in "12":
            replica.put(version)
        at_end.append((await replica.begin()).stop)
        return Station(replica)

    return begin


async def test_what_was_about_to_begin_is_seen_to_and_nothing_begins_after_that(station_of: StationOf) -> None:
    station = await station_of()
    assert await station.opens("early") == "opened"
    engine, replica = station.engine, station.replica
    with replica.catalogue.beginning(engine):
        unload = station.departures.begin("m", "1", CLOSE)
        await until_true(lambda: not engine.has_sessions, "the first walk")
        assert "is being unloaded" in await station.opens()
        assert not unload.done()
        # It passed the gate before, and is there only now.
        await replica.store.open("late", engine.arena, ttl_seconds=0, now=0)
    assert await unload == 2
    for name in ("early", "late"):
        with pytest.raises(UnknownSession):
            await station.sessions.find(name)
    assert replica.opens("1") == "UnknownModel"


async def test_what_is_refused_is_as_it_was(station_of: StationOf) -> None:
    station = await station_of()
    assert await station.opens("a") == "opened"
    session = await station.sessions.find("a")
    await station.replica.ledger.step(session, column(1.0))
    for leaving, error in ((REFUSE, VersionInUse), (KEEP, InvalidInput), (MIGRATE, InvalidInput)):
        with pytest.raises(error):  # the session keeps no steps by which it could go on
            await station.unload(leaving)
        station.departures.forget("m", "1")
        assert not station.replica.live.decided.of("m").gone
        assert await station.opens(f"b-{leaving.sessions}") == "opened"
    await station.replica.live.change(lambda decisions: decisions.with_default("m", "1"))
    station.replica.catalogue.decisions = station.replica.live.decided = Decisions()  # it has not heard of it
    with pytest.raises(InvalidInput, match="the default"):
        await station.unload(CLOSE)
    assert (await station.sessions.find("a")).steps == 1


async def test_an_unload_is_one_whoever_asks_and_goes_on_when_nobody_waits(station_of: StationOf) -> None:
    station = await station_of()
    assert await station.opens("a") == "opened"
    engine = station.engine
    slot = (await station.sessions.find("a")).slot
    engine.arena.busy[slot] = True
    unload = station.departures.begin("m", "1", CLOSE)
    await until_true(lambda: station.replica.catalogue.gone, "the decision")
    assert station.departures.begin("m", "1", CLOSE) is unload
    with pytest.raises(VersionInUse, match="'close'"):
        station.departures.begin("m", "1", KEEP)
    station.replica.turns.end(engine.arena, slot)
    await until_true(unload.done, "the unload")
    assert station.departures.begin("m", "1", CLOSE).result() == 1  # which nobody had heard
    station.departures.forget("m", "1")
    with pytest.raises(UnknownModel):
        station.departures.begin("m", "1", CLOSE)


async def test_two_versions_do_not_leave_each_by_the_other(station_of: StationOf) -> None:
    station = await station_of()
    unloads = [station.departures.begin("m", *names) for names in (("1", MIGRATE), ("2", Leaving("migrate", "1")))]
    told = await asyncio.gather(*unloads, return_exceptions=True)
    assert [type(each) for each in told] == [int, UnknownModel]
    assert station.replica.opens("2") == "2"


async def test_a_load_takes_an_unload_back(station_of: StationOf) -> None:
    station = await station_of()
    assert await station.opens("a") == "opened"
    slot = (await station.sessions.find("a")).slot
    station.engine.arena.busy[slot] = True
    unload = station.departures.begin("m", "1", REFUSE)
    with pytest.raises(VersionInUse):
        await unload
    station.departures.forget("m", "1")
    unload = station.departures.begin("m", "1", CLOSE)
    await until_true(lambda: station.replica.catalogue.gone, "the decision")
    await station.replica.live.load("m", "1")
    station.replica.turns.end(station.engine.arena, slot)
    with pytest.raises(VersionInUse, match="taken that back"):
        await unload
    assert await station.opens("b") == "opened"


async def test_a_store_that_is_away_leaves_the_decision_and_it_is_taken_up_again(
    station_of: StationOf, document: Failing
) -> None:
    station = await station_of()
    assert await station.opens("a") == "opened"
    engine = station.engine
    slot = (await station.sessions.find("a")).slot
    engine.arena.busy[slot] = True
    unload = station.departures.begin("m", "1", CLOSE)
    await until_true(lambda: station.replica.catalogue.gone, "the decision")
    document.fails_at = {"get"}
    station.replica.turns.end(engine.arena, slot)
    with pytest.raises(StateStoreUnavailable):
        await unload
    document.fails_at = set()
    assert "is being unloaded" in await station.opens()
    assert await station.unload(CLOSE) == 0
    assert station.replica.opens("1") == "UnknownModel"


async def test_a_load_waits_until_the_former_engine_is_let_go_of(station_of: StationOf) -> None:
    station = await station_of()
    engine = station.engine
    engine.admit(1)  # something is under way
    unload = station.departures.begin("m", "1", REFUSE)
    await until_true(lambda: station.replica.opens("1") == "UnknownModel", "the unload")
    load = station.replica.live.load("m", "1")
    await asyncio.sleep(0.1)
    assert not load.done()
    assert station.replica.opens("1") == "UnknownModel"
    with pytest.raises(UnknownModel, match="is unloaded"):
        engine.admit(1)
    engine.leave(1)
    await unload
    await load
    assert station.replica.opens("1") == "1"
    assert station.engine is not engine
    assert await station.opens() == "opened"


async def test_a_process_that_did_not_know_reads_before_a_session_begins(
    document: Failing, station_of: StationOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    station, other = await station_of(), await station_of("other")
    clock = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    assert await other.opens("a") == "opened"
    await station.unload(REFUSE)
    assert await other.opens("b") == "opened"  # within the lease nobody is asked
    clock += LEASE_SECONDS
    assert "is being unloaded" in await other.opens("c")
    document.fails_at = {"get"}
    clock += LEASE_SECONDS
    with pytest.raises(StateStoreUnavailable):
        await other.opens("d")
    document.fails_at, document.content = set(), b"{"  # what nobody can read changes nothing
    assert "is being unloaded" in await other.opens("e")


async def test_a_process_sees_late_sessions_off_before_it_lets_go_of_the_engine(station_of: StationOf) -> None:
    station, other = await station_of(), await station_of("other")
    engine = other.engine
    assert await other.opens("late") == "opened"
    await station.unload(CLOSE)
    await other.replica.live.catch_up("m", None)
    assert other.replica.opens("1") == "1"  # memory:// has no other place for it
    with pytest.raises(VersionInUse):
        other.replica.live.unloading.check(engine)
    await other.replica.live.unloading.see_off(engine)  # type: ignore[misc]  # it is set
    with pytest.raises(UnknownSession):
        await other.sessions.find("late")
    await other.replica.live.catch_up("m", None)
    assert other.replica.opens("1") == "UnknownModel"
