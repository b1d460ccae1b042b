"""What is applied of what a log delivers again, by every store, and through two replicas where they share one."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import numpy as np
import pytest

from ostinato.service.errors import InvalidInput, SeqConflict
from ostinato.service.sessions.checkpoints import CheckpointShelf
from ostinato.service.sessions.offsets import ChunkOffset, RowOffsets
from ostinato.service.sessions.rows import Columns, step_columns
from ostinato.service.state.reaches import NOWHERE, Reach
from tests.service.puppet import House, column
from tests.service.state.places import SHARED, STORES, Place, PlaceOf

LAST = 2**63 - 1
DUPLICATES = 'ostinato_duplicates_total{model="sum",version="1"}'


@pytest.fixture(params=STORES)
def place(request: pytest.FixtureRequest, place_of: PlaceOf) -> Place:
    return place_of(request.param)


def houses(place: Place) -> tuple[House, House]:
    """Two replicas; the same one twice where its store is not shared."""
    one = House(store=place())
    return one, House(store=place()) if one.store.is_shared else one


async def step(house: House, *values: float, at: Any = None, seq: int | None = None, name: str = "a") -> list[float]:
    """The answer to a chunk; ``at``: the offset of its last reading in source ``s``, or all three."""
    session = await house.sessions.find(name)
    offset = at if at is None or isinstance(at, tuple) else ("s", at, at)
    placed = None if offset is None else ChunkOffset(*offset)
    answer = await house.ledger.step(session, column(*values), seq, offset=placed)
    return [answer.seq, *answer.outputs[:, 0].tolist()]


async def refused(house: House, *values: float, **said: Any) -> dict[str, Any]:
    with pytest.raises(SeqConflict) as caught:
        await step(house, *values, **said)
    error = caught.value
    return {"steps": error.expected_seq, "at": (error.source, error.offset), "last_seq": error.last_seq}


async def reach(house: House, name: str = "a") -> Reach:
    return (await house.sessions.look(name)).reach


async def test_a_reading_that_is_delivered_again_is_answered_again_and_applied_once(place: Place) -> None:
    one, two = houses(place)
    await one.sessions.open("sum", session_id="a")
    assert await reach(two) == NOWHERE
    assert await step(one, 1, at=0) == [0, 1]
    assert await step(two, 1, at=0) == [0, 1]
    assert await step(two, 2, 3, at=("s", 4, 7)) == [1, 3, 6]
    assert await step(one, 2, 3, at=("s", 4, 7)) == [1, 3, 6]
    assert await step(one, 2, 3, at=7, seq=1) == [1, 3, 6]  # without where it begins, and with seq
    assert one.value(DUPLICATES) + (two.value(DUPLICATES) if two is not one else 0) == 3
    assert await reach(one) == await reach(two) == Reach("s", 7, 3)


async def test_what_was_applied_and_comes_otherwise_is_refused_with_what_the_session_has(place: Place) -> None:
    one, two = houses(place)
    await one.sessions.open("sum", session_id="a")
    await step(one, 1, at=4)
    await step(one, 2, 3, at=("s", 5, 9))
    stands = {"steps": 3, "at": ("s", 9), "last_seq": 1}
    unfit: list[tuple[tuple[float, ...], Any, int | None]] = [
        ((1,), 4, None),  # older than the chunk applied last
        ((3,), 9, None),  # fewer steps
        ((1, 2, 3), 9, None),  # more
        ((2, 4), 9, None),  # other readings
        ((2, 3), 8, None),  # at another place
        ((2, 3), 9, 0),
        ((3, 4), ("s", 9, 12), None),  # the same log, cut otherwise: the first of them was applied
        ((4,), 10, 2),  # new, but not what comes next
    ]
    for values, at, seq in unfit:
        for house in (one, two):
            assert await refused(house, *values, at=at, seq=seq) == stands
    assert await step(two, 4, at=("s", 10, 12)) == [3, 10]


async def test_a_conflict_tells_no_offset_where_there_is_none(place: Place) -> None:
    one, _ = houses(place)
    await one.sessions.open("sum", session_id="a")
    assert await refused(one, 1, at=5, seq=1) == {"steps": 0, "at": (None, None), "last_seq": None}
    assert await reach(one) == NOWHERE


async def test_a_step_without_offset_leaves_it_and_hides_the_chunk_before_from_being_sent_again(place: Place) -> None:
    one, two = houses(place)
    await one.sessions.open("sum", session_id="a")
    await step(one, 1, at=5)
    assert await step(two, 1) == [1, 2]  # the same readings, and not those of the log
    assert await reach(one) == Reach("s", 5, 1)
    assert await refused(one, 1, at=5) == {"steps": 2, "at": ("s", 5), "last_seq": 1}
    assert await step(two, 1, seq=1) == [1, 2]  # which is judged by seq as ever
    assert await step(one, 1, at=6) == [2, 3]


async def test_another_source_begins_anew_and_the_offsets_at_both_ends_count(place: Place) -> None:
    one, two = houses(place)
    await one.sessions.open("sum", session_id="a")
    assert await step(one, 1, at=("s", 0, LAST)) == [0, 1]
    assert await step(two, 1, at=("s", 0, LAST)) == [0, 1]
    assert (await refused(two, 2, at=LAST - 1))["at"] == ("s", LAST)
    for source in ("", "é" * 255, "t"):
        before = (await one.sessions.look("a")).steps
        assert (await step(two, 1, at=(source, 0, 0)))[0] == before
        assert (await step(one, 1, at=(source, 0, 0)))[0] == before
        assert await reach(two) == Reach(source, 0, before + 1)


async def test_what_becomes_of_the_offset_with_the_session(place: Place) -> None:
    one, two = houses(place)
    await one.sessions.open("sum", session_id="a")
    await step(one, 1, 2, at=("s", 3, 4))
    shelf = CheckpointShelf(one.sessions)
    await shelf.save(await one.sessions.find("a"), "kept")
    snapshot = await one.sessions.snapshot(await one.sessions.find("a"))
    forked = await one.sessions.fork_to_answer(await one.sessions.find("a"), session_id="fork")
    assert forked.reach == await reach(two, "fork") == Reach("s", 4, 2)
    assert await step(two, 1, 2, at=4, name="fork") == [0, 1, 3]
    begun = await shelf.open("kept", "sum", session_id="begun")
    assert begun.reach == await reach(two, "begun") == NOWHERE
    assert await step(two, 4, at=4, name="begun") == [2, 7]
    await two.sessions.put(await two.sessions.find("fork"), snapshot._replace(reach=NOWHERE))
    assert await reach(one, "fork") == NOWHERE
    await two.sessions.reset(await two.sessions.find("a"))
    assert await reach(one) == NOWHERE
    assert await step(one, 1, at=0) == [0, 1]


async def test_a_message_of_many_rows_is_judged_row_by_row(place: Place) -> None:
    """Steps as blocks and chunks, sent three times, of which each row is applied once; with rows that do not say."""
    one, two = houses(place)
    names = [f"k{number}" for number in range(6)]
    sources = np.array(["p", "q", "p", "", "p", "p"], object)
    lasts = np.array([0, 5, LAST, -1, 8, 7])
    offsets = RowOffsets(sources, lasts, lasts)
    seqs = np.array([-1, -1, -1, 0, 0, -1])
    bounds = np.array([0, 1, 2, 3, 4, 6, 9])
    steps = column(*range(9))
    for house in (one, two, one):
        columns = Columns.of(names, steps, seqs, {}, offsets, bounds)
        answers = await step_columns(house.sessions, house.ledger, house.engine, columns, create_missing=True)
        assert not answers.errors
        assert [answers.chunk(row, house.engine.made)[:, 0].tolist() for row in range(6)] == [
            *([float(value)] for value in range(4)),
            [4, 9],
            [6, 13, 21],
        ]
        assert answers.seqs.tolist() == [0] * 6
    assert [(await reach(two, name))[:2] for name in names] == [
        ("p", 0), ("q", 5), ("p", LAST), ("", -1), ("p", 8), ("p", 7)
    ]  # fmt: skip
    ahead = RowOffsets(sources, lasts + 1, lasts + 1)
    columns = Columns.of(names[:2], column(1, 1), None, {}, ahead.at(slice(0, 2)))
    answers = await step_columns(two.sessions, two.ledger, two.engine, columns)
    assert (answers.outputs[:, 0].tolist(), answers.seqs.tolist()) == ([1, 2], [1, 1])


@pytest.mark.parametrize("seed", range(3))
async def test_connectors_that_share_the_keys_apply_each_reading_once(seed: int, place: Place) -> None:
    """Two connectors read one log through two replicas, each from wherever it likes, cut at random, both at once: each
    reading is applied once, in the log's order, and no answer is another than the offline run's.
    """
    one, two = houses(place)
    rng = random.Random(seed)
    names = ["a", "b", "c"]
    log = [(rng.choice(names), float(rng.randrange(1, 9))) for _ in range(60)]
    for name in names:
        await one.sessions.open("sum", session_id=name)
    sums = {name: np.cumsum([value for key, value in log if key == name]).tolist() for name in names}

    async def connect(house: House, dice: random.Random) -> None:
        start = 0
        while start < len(log):
            end = start + dice.randrange(1, 12)
            mine = {name: [at for at in range(start, min(end, len(log))) if log[at][0] == name] for name in names}
            await asyncio.gather(*(deliver(house, name, places) for name, places in mine.items() if places))
            # It dies now and then, and reads on from before.
            start = max(0, end - dice.choice((0, 0, 0, 7)))

    async def deliver(house: House, name: str, places: list[int]) -> None:
        while places:
            values, reached = [log[at][1] for at in places], None
            try:
                seq, *outputs = await step(house, *values, at=("log", places[0], places[-1]), name=name)
            except SeqConflict as conflict:
                reached = conflict.offset
            else:
                assert outputs == sums[name][int(seq) : int(seq) + len(outputs)]
                return
            assert reached is not None
            assert reached >= places[0]
            places = [at for at in places if at > reached]

    await asyncio.gather(connect(one, random.Random(seed)), connect(two, random.Random(seed + 100)))
    for name in names:
        facts = await two.sessions.look(name)
        last = max(at for at, (key, _) in enumerate(log) if key == name)
        assert (facts.steps, facts.reach.offset) == (len(sums[name]), last)
        assert await step(one, 0, name=name) == [len(sums[name]), sums[name][-1]]


@pytest.mark.parametrize("name", SHARED)
async def test_a_store_that_writes_the_former_schema_takes_no_offset_and_loses_none(
    name: str, place_of: PlaceOf
) -> None:
    place = place_of(name)
    old, new = House(store=place(record_schema=2)), House(store=place())
    await old.sessions.open("sum", session_id="a")
    with pytest.raises(InvalidInput, match="without --record-schema, once no replica") as caught:
        await step(old, 1, at=5)
    assert caught.value.field == "offset"
    offsets = RowOffsets(np.array(["s"], object), np.array([5]), np.array([5]))
    columns = Columns.of(["a"], column(1), None, {}, offsets)
    with pytest.raises(InvalidInput, match="without --record-schema"):
        await step_columns(old.sessions, old.ledger, old.engine, columns)
    assert old.engine.num_rows == 0
    await step(new, 1, at=5)
    assert await step(old, 2) == [1, 3]  # what has an offset already, keeps it
    assert await reach(new) == Reach("s", 5, 1)
    assert (await refused(new, 1, at=5))["at"] == ("s", 5)
