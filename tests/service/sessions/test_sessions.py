from __future__ import annotations

import asyncio
import random
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from ostinato.service.config import Settings
from ostinato.service.errors import (
    Draining,
    InvalidInput,
    Overloaded,
    RunFailed,
    SeqConflict,
    SessionClosed,
    SessionExists,
    SessionExpired,
    StateStoreUnavailable,
    UnknownModel,
    UnknownSession,
)
from ostinato.service.metrics.families import Histogram
from ostinato.service.sessions.chunk import StepAnswer
from ostinato.service.sessions.session import LiveSession
from ostinato.service.sessions.sessions import Sessions
from ostinato.service.state.commit import Commit
from tests.service.puppet import House, column, until


def totals(answer: StepAnswer) -> list[float]:
    return [float(value) for value in answer.outputs[:, 0]]


async def test_chunks_carry_the_state_on() -> None:
    house = House()
    session = await house.sessions.open("sum")
    first = await house.ledger.step(session, column(1, 2), seq=0)
    second = await house.ledger.step(session, column(10), seq=2)
    assert (first.seq, first.steps, totals(first)) == (0, 2, [1, 3])
    assert (second.seq, second.steps, totals(second)) == (2, 3, [13])


async def test_requests_of_one_session_are_applied_and_answered_in_the_order_they_arrived() -> None:
    house = House()
    session = await house.sessions.open("sum")
    answered: list[int] = []

    async def step(number: int) -> None:
        await house.ledger.step(session, column(*[float(number)] * (number % 3 + 1)))
        answered.append(number)

    await asyncio.gather(*(step(number) for number in range(30)))
    assert answered == list(range(30))
    assert session.steps == sum(number % 3 + 1 for number in range(30))


async def test_a_batch_never_holds_two_chunks_of_a_session() -> None:
    house = House()
    generator = random.Random(5)
    sessions = [await house.sessions.open("sum") for _ in range(5)]
    await asyncio.gather(
        *(house.ledger.step(generator.choice(sessions), column(*[1.0] * generator.randint(1, 9))) for _ in range(200))
    )
    assert max(len(slots) for slots, _ in house.runner.iterations) == 5
    assert all(len(set(slots)) == len(slots) for slots, _ in house.runner.iterations)


async def test_a_chunk_sent_again_gets_the_same_answer_and_is_applied_once() -> None:
    house = House()
    session = await house.sessions.open("sum")
    await house.ledger.step(session, column(1), seq=0)
    answer = await house.ledger.step(session, column(2, 3), seq=1)
    again = await house.ledger.step(session, column(2, 3), seq=1)
    assert (again.seq, again.steps, totals(again)) == (1, 3, [3, 6])
    assert totals(answer) == totals(again)
    assert session.steps == 3
    assert house.value('ostinato_duplicates_total{model="sum",version="1"}') == 1


async def test_a_chunk_sent_again_while_the_first_is_under_way_waits_for_its_answer() -> None:
    house = House()
    session = await house.sessions.open("sum")
    both = await asyncio.gather(*(house.ledger.step(session, column(4), seq=0) for _ in range(2)))
    assert [totals(answer) for answer in both] == [[4], [4]]
    assert session.steps == 1


@pytest.mark.parametrize(
    ("seq", "chunk"),
    [(5, column(1)), (0, column(1, 2)), (1, column(9)), (1, column(2, 3))],
    ids=["ahead", "long ago", "another chunk of the same length", "another length"],
)
async def test_any_other_seq_is_a_conflict_that_names_the_right_one(seq: int, chunk: Any) -> None:
    house = House()
    session = await house.sessions.open("sum")
    await house.ledger.step(session, column(1), seq=0)
    await house.ledger.step(session, column(2), seq=1)
    with pytest.raises(SeqConflict) as conflict:
        await house.ledger.step(session, chunk, seq=seq)
    assert conflict.value.expected_seq == 2
    assert totals(await house.ledger.step(session, column(0), seq=2)) == [3]
    assert house.value('ostinato_seq_conflicts_total{model="sum",version="1"}') == 1


async def test_a_failing_run_changes_no_session() -> None:
    house = House()
    sessions = [await house.sessions.open("sum") for _ in range(3)]
    await asyncio.gather(*(house.ledger.step(session, column(1), seq=0) for session in sessions))
    house.runner.fails = lambda iteration: iteration.works[0].num_done == 4
    answers = await asyncio.gather(
        *(house.ledger.step(session, column(*[1.0] * 6), seq=1) for session in sessions), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [RunFailed] * 3
    house.runner.fails = lambda _: False
    for session in sessions:
        assert session.steps == 1
        assert totals(await house.ledger.step(session, column(1), seq=1)) == [2]
    assert house.engine.arena.num_used == 3


async def test_a_row_that_is_not_finite_leaves_its_session_as_it_was() -> None:
    house = House()
    good, bad = await house.sessions.open("sum"), await house.sessions.open("sum")
    await asyncio.gather(*(house.ledger.step(session, column(5)) for session in (good, bad)))
    answers = await asyncio.gather(
        house.ledger.step(good, column(1)), house.ledger.step(bad, column(np.inf)), return_exceptions=True
    )
    assert isinstance(answers[0], StepAnswer)
    assert isinstance(answers[1], RunFailed)
    assert totals(await house.ledger.step(bad, column(1), seq=1)) == [6]


@pytest.mark.parametrize("num_steps", [1, 9])
async def test_a_commit_that_fails_leaves_the_session_as_it_was(
    num_steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House()
    session = await house.sessions.open("sum")
    await house.ledger.step(session, column(5), seq=0)

    def failing(*_: Any) -> Any:
        raise OSError("no route to the store")

    chunk = column(*[1.0] * num_steps)
    with monkeypatch.context() as patch:
        patch.setattr(house.store, "commit", failing)
        with pytest.raises(StateStoreUnavailable):
            await house.ledger.step(session, chunk, seq=1)
    assert totals(await house.ledger.step(session, chunk, seq=1))[-1] == 5 + num_steps
    assert (house.engine.num_rows, house.engine.arena.num_used) == (0, 1)


@pytest.mark.parametrize("num_steps", [1, 9])
@pytest.mark.parametrize("num_losses", [1, 3])
async def test_a_chunk_that_loses_the_compare_and_set_is_judged_and_run_again(
    num_losses: int, num_steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House()
    session = await house.sessions.open("sum")
    await house.ledger.step(session, column(5), seq=0)
    commit, losses = house.store.commit, iter(range(num_losses))

    def losing(given: Commit, now: float) -> Any:
        if next(losses, None) is not None:
            given.steps_before[:] = 99
        return commit(given, now)

    chunk = column(*[1.0] * num_steps)
    monkeypatch.setattr(house.store, "commit", losing)
    assert totals(await house.ledger.step(session, chunk, seq=1))[-1] == 5 + num_steps
    assert totals(await house.ledger.step(session, chunk, seq=1))[-1] == 5 + num_steps  # the answer again
    assert session.steps == 1 + num_steps
    assert (house.engine.num_rows, house.engine.arena.num_used) == (0, 1)
    assert not house.engine.arena.busy.any()


async def test_a_request_behind_a_dropped_one_is_not_forgotten() -> None:
    house = House()
    session = await house.sessions.open("sum")
    gone = house.ledger.step(session, column(1))
    behind = house.ledger.step(session, column(2))
    gone.cancel()
    assert totals(await asyncio.wait_for(behind, 5)) == [2]


async def test_a_slot_used_before_answers_no_duplicate() -> None:
    house = House()
    session = await house.sessions.open("sum")
    await house.ledger.step(session, column(7), seq=0)
    await house.sessions.close(session.session_id)
    thief = await house.sessions.open("sum")
    assert thief.slot == session.slot
    with pytest.raises(SeqConflict):
        await house.ledger.step(thief, column(7), seq=-1)
    assert house.engine.arena.last_output[thief.slot].tolist() == [0]


async def test_a_client_that_hangs_up_disturbs_nobody() -> None:
    house = House(in_thread=True)
    house.runner.gate.clear()
    leaver, stayer = await house.sessions.open("sum"), await house.sessions.open("sum")
    under_way = asyncio.ensure_future(house.ledger.step(leaver, column(1), seq=0))
    in_line = asyncio.ensure_future(house.ledger.step(leaver, column(2), seq=1))
    behind = asyncio.ensure_future(house.ledger.step(leaver, column(4), seq=1))
    mate = asyncio.ensure_future(house.ledger.step(stayer, column(7)))
    await until(lambda: house.runner.is_held)
    under_way.cancel()
    in_line.cancel()
    await asyncio.sleep(0)
    house.runner.gate.set()
    assert totals(await mate) == [7]
    # What ran was applied, although nobody waited; what had not run was not.
    assert totals(await behind) == [5]
    assert leaver.steps == 2
    assert house.engine.num_rows == 0
    house.engine.close()


async def test_closing_waits_for_earlier_requests_and_refuses_later_ones() -> None:
    house = House(in_thread=True)
    house.runner.gate.clear()
    session = await house.sessions.open("sum", session_id="a")
    before = house.ledger.step(session, column(1))
    closing = asyncio.ensure_future(house.sessions.close(session.session_id))
    await until(lambda: house.runner.is_held)
    behind = house.ledger.step(session, column(2))
    house.runner.gate.set()
    assert totals(await before) == [1]
    await closing
    with pytest.raises(SessionClosed, match="before this request's turn came"):
        await behind
    with pytest.raises(SessionClosed):
        await house.sessions.find("a")
    with pytest.raises(SessionClosed):
        house.ledger.step(session, column(3))
    assert (house.engine.num_rows, house.engine.arena.num_used) == (0, 0)
    assert house.value('ostinato_sessions_total{event="closed",model="sum",version="1"}') == 1
    house.engine.close()


async def test_two_closings_at_once_succeed_once() -> None:
    house = House()
    session = await house.sessions.open("sum")
    step = asyncio.ensure_future(house.ledger.step(session, column(1)))
    await asyncio.sleep(0)
    results = await asyncio.gather(
        house.sessions.close(session.session_id), house.sessions.close(session.session_id), return_exceptions=True
    )
    assert results[0] is None
    assert isinstance(results[1], SessionClosed)
    await step


async def test_idle_sessions_expire_and_used_ones_do_not() -> None:
    house = House()
    idle = await house.sessions.open("sum", session_id="idle", ttl_seconds=10)
    used = await house.sessions.open("sum", session_id="used", ttl_seconds=10)
    house.clock.now += 6
    await house.ledger.step(used, column(1))
    house.clock.now += 6
    assert house.sessions.expire() == 1
    with pytest.raises(SessionExpired):
        await house.sessions.find(idle.session_id)
    assert (await house.sessions.find("used")).steps == 1
    assert house.value('ostinato_sessions_total{event="expired",model="sum",version="1"}') == 1
    house.clock.now += house.settings.tombstone_seconds
    house.sessions.expire()
    with pytest.raises(UnknownSession):
        await house.sessions.find("idle")


async def test_opening_refuses_what_cannot_be() -> None:
    house = House(max_sessions=2)
    await house.sessions.open("sum", session_id="a")
    with pytest.raises(SessionExists):
        await house.sessions.open("sum", session_id="a")
    with pytest.raises(UnknownModel, match="no model 'lstm'; there are: sum"):
        await house.sessions.open("lstm")
    with pytest.raises(UnknownModel, match="no version '2'; it has: 1"):
        await house.sessions.open("sum", version="2")
    await house.sessions.open("sum")
    with pytest.raises(Overloaded, match="2 sessions"):
        await house.sessions.open("sum")
    with pytest.raises(SessionExists):  # and not "try again later"
        await house.sessions.open("sum", session_id="a")
    house.engine.drain()
    with pytest.raises(Draining):
        await house.sessions.open("sum")


@pytest.mark.parametrize("session_id", [".", "..", "", "a/b", "a b", "ü", "a" * 129, "a\n"])
async def test_what_a_path_cannot_name_is_no_id(session_id: str) -> None:
    house = House()
    await house.sessions.open("sum", session_id="...")
    source = await house.sessions.open("sum", session_id="a")
    with pytest.raises(InvalidInput) as refusal:
        await house.sessions.open("sum", session_id=session_id)
    assert refusal.value.field == "session_id"
    with pytest.raises(InvalidInput):
        await house.sessions.fork(source, session_id=session_id)
    with pytest.raises(InvalidInput):
        await house.sessions.find_or_begin(session_id, house.engine)
    assert house.engine.arena.num_sessions == 2


@pytest.mark.parametrize("ttl_seconds", [1e-9, 0.0009, 5e-324])
async def test_a_time_to_live_that_no_clock_shows_is_refused(ttl_seconds: float) -> None:
    house = House()
    source = await house.sessions.open("sum", session_id="a", ttl_seconds=0.001)
    for opening in (
        house.sessions.open("sum", ttl_seconds=ttl_seconds),
        house.sessions.fork(source, ttl_seconds=ttl_seconds),
    ):
        with pytest.raises(InvalidInput) as refusal:
            await opening
        assert refusal.value.field == "ttl_seconds"
    with pytest.raises(ValidationError, match="ttl_seconds"):
        Settings(ttl_seconds=ttl_seconds)


async def test_a_session_whose_time_has_come_takes_no_place_from_another() -> None:
    house = House(max_sessions=2)
    await house.sessions.open("sum", session_id="a", ttl_seconds=5)
    await house.sessions.open("sum", session_id="b")
    with pytest.raises(Overloaded):
        await house.sessions.open("sum", session_id="c")
    house.clock.now += 5
    await house.sessions.open("sum", session_id="c")
    with pytest.raises(SessionExpired):
        await house.sessions.find("a")
    assert house.sessions.expire() == 1  # it is counted all the same
    with pytest.raises(Overloaded):
        await house.sessions.open("sum", session_id="d")


async def test_the_servers_own_ids_are_random_and_valid() -> None:
    house = House()
    ids = {(await house.sessions.open("sum")).session_id for _ in range(50)}
    assert len(ids) == 50
    assert all(len(session_id) == 22 for session_id in ids)  # 128 bits in base 64


async def test_a_full_queue_refuses_before_anything_is_queued() -> None:
    house = House(max_queue_rows=2)
    session = await house.sessions.open("sum")
    accepted = [house.ledger.step(session, column(1)) for _ in range(2)]
    for _ in range(2):
        with pytest.raises(Overloaded):
            house.ledger.step(session, column(1))
    assert [answer.steps for answer in await asyncio.gather(*accepted)] == [1, 2]
    assert house.engine.num_rows == 0


async def test_pages_give_every_session_once() -> None:
    house = House()
    for number in range(7):
        await house.sessions.open("sum", session_id=f"s{number}")
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(3):
        page, cursor, _ = await house.sessions.page("sum", 3, cursor)
        seen += [session.session_id for session in page]
    assert seen == [f"s{number}" for number in range(7)]
    assert cursor is None
    with pytest.raises(InvalidInput):
        await house.sessions.page(None, 3, "x")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("in_thread", [False, True])
async def test_whatever_happens_around_it_a_session_answers_as_its_sequence_would_offline(
    seed: int, in_thread: bool
) -> None:
    house = House(in_thread=in_thread)
    generator = random.Random(seed)
    house.runner.fails = lambda _: generator.random() < 0.1
    sequences = [[float(generator.randint(-9, 9)) for _ in range(generator.randint(1, 60))] for _ in range(20)]

    async def send(session: LiveSession, chunk: Any, seq: int) -> list[float]:
        """Send a chunk until it is acknowledged, whatever fails and however often the client hangs up."""
        for _ in range(1000):
            step = asyncio.ensure_future(house.ledger.step(session, chunk, seq=seq))
            await asyncio.sleep(0)
            if generator.random() < 0.2:
                step.cancel()
            await asyncio.wait([step])
            if not step.cancelled() and step.exception() is None:
                return totals(step.result())
        raise AssertionError("never acknowledged")

    async def play(sequence: list[float]) -> list[float]:
        session = await house.sessions.open("sum")
        outputs: list[float] = []
        while len(outputs) < len(sequence):
            chunk = column(*sequence[len(outputs) : len(outputs) + generator.randint(1, 12)])
            outputs += await send(session, chunk, len(outputs))
        return outputs

    answers = await asyncio.gather(*(play(sequence) for sequence in sequences))
    assert answers == [np.cumsum(sequence).tolist() for sequence in sequences], f"seed {seed}"
    assert (house.engine.num_rows, house.engine.arena.num_used) == (0, 20)
    house.engine.close()


async def test_a_look_into_the_store_is_timed_and_one_into_memory_is_not() -> None:
    look_ups = Histogram((1000.0,))
    house = House()
    sessions = Sessions(house.store, house.catalogue, house.turns, default_ttl_seconds=0, look_ups=look_ups)
    await sessions.open("sum", session_id="a")
    assert sessions.use("a") is not None
    assert sum(look_ups.counts) == 0
    await sessions.find("a")
    with pytest.raises(UnknownSession):
        await sessions.look("nobody")
    assert sum(look_ups.counts) == 2
