from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.catalogue.recurrent_checks import load_model
from ostinato.service.config import Settings
from ostinato.service.engine.recurrent.batching import Iteration
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import (
    Draining,
    InvalidInput,
    OstinatoError,
    Overloaded,
    RunFailed,
    SeqConflict,
    SessionClosed,
    SessionExpired,
    StateStoreUnavailable,
    TooLarge,
    UnknownSession,
)
from ostinato.service.metrics.series import ModelMetrics
from ostinato.service.sessions.blocks import NO_SEQ, RowAnswers
from ostinato.service.sessions.chunk import StepAnswer
from ostinato.service.sessions.rows import Columns, step_columns
from ostinato.service.sessions.session import LiveSession
from ostinato.service.state.commit import Commit
from ostinato.service.state.memory import MemoryStore
from ostinato.service.state.roster import Roster
from tests import networks
from tests.service.edge.v1.test_columns import add_model
from tests.service.puppet import MANIFEST, House, PuppetRunner, column, until

IN_THREAD = pytest.mark.parametrize("in_thread", [False, True], ids=["on the loop", "in a thread"])


@asynccontextmanager
async def house_with(*session_ids: str, in_thread: bool = False, **settings: Any) -> AsyncIterator[House]:
    """A house with sessions in it; when the test is over, nothing may be under way in it."""
    house = House(in_thread=in_thread, **settings)
    for session_id in session_ids:
        await house.sessions.open("sum", session_id=session_id)
    try:
        yield house
        for engine in house.catalogue.engines:
            arena = engine.arena
            assert engine.num_rows == 0, engine
            assert arena.num_used == arena.num_sessions, engine
            assert not arena.busy.any(), engine
        assert "<Turns 0 waiting for 0 sessions>" in repr(house.sessions)
    finally:
        house.runner.gate.set()
        for engine in house.catalogue.engines:
            engine.close()


def send(
    house: House,
    session_ids: Sequence[str],
    values: Sequence[float],
    seqs: Sequence[int | None] | None = None,
    *,
    errors: Mapping[int, OstinatoError] | None = None,
    create_missing: bool = False,
) -> asyncio.Task[RowAnswers]:
    """A message to ``sum``, on its way."""
    numbers = None if seqs is None else np.array([NO_SEQ if seq is None else seq for seq in seqs], np.int64)
    columns = Columns.of(session_ids, column(*values), numbers, errors or {})
    return asyncio.ensure_future(
        step_columns(house.sessions, house.ledger, house.engine, columns, create_missing=create_missing)
    )


async def step(house: House, session_id: str, value: float, seq: int | None = None) -> StepAnswer:
    """A single step."""
    return await house.ledger.step(await house.sessions.find(session_id), column(value), seq)


async def under_way(house: House, num_rows: int) -> None:
    """Wait until a run is held up by the gate, and ``num_rows`` rows have been taken in."""
    await until(lambda: house.engine.num_rows >= num_rows and house.runner.is_held)


async def rest(num_turns: int = 5) -> None:
    """Let the loop finish what it has begun."""
    for _ in range(num_turns):
        await asyncio.sleep(0)


def totals(answers: RowAnswers) -> list[float | None]:
    """The outputs of ``sum``, None in rows that failed."""
    return [None if row in answers.errors else float(made[0]) for row, made in enumerate(answers.outputs)]


def seqs_of(answers: RowAnswers) -> list[int | None]:
    return [None if row in answers.errors else int(seq) for row, seq in enumerate(answers.seqs)]


def kinds(answers: RowAnswers) -> dict[int, type[BaseException]]:
    return {row: type(error) for row, error in answers.errors.items()}


async def steps_of(house: House, *session_ids: str) -> list[int]:
    return [(await house.sessions.find(session_id)).steps for session_id in session_ids]


@IN_THREAD
async def test_a_message_answers_what_single_steps_would(in_thread: bool) -> None:
    generator = random.Random(3)
    ids = [f"s{number}" for number in range(30)]
    async with house_with(*ids, in_thread=in_thread) as together, house_with(*ids) as apart:
        for _ in range(20):
            rows = generator.sample(ids, generator.randint(1, 30))
            values = [float(generator.randint(-9, 9)) for _ in rows]
            answers = await send(together, rows, values)
            singles = [await step(apart, *row) for row in zip(rows, values, strict=True)]
            assert totals(answers) == [float(single.outputs[0, 0]) for single in singles]
            assert seqs_of(answers) == [single.seq for single in singles]
        assert await steps_of(together, *ids) == await steps_of(apart, *ids)


@IN_THREAD
async def test_rows_of_one_session_are_applied_in_their_order(in_thread: bool) -> None:
    async with house_with("a", "b", in_thread=in_thread) as house:
        answers = await send(house, ["a", "b", "a", "a", "b"], [1, 10, 2, 4, 20])
        # a: 1, 1 + 2, 1 + 2 + 4; b: 10, 10 + 20.
        assert totals(answers) == [1, 10, 3, 7, 30]
        assert seqs_of(answers) == [0, 0, 1, 2, 1]
        assert all(len(set(slots)) == len(slots) for slots, _ in house.runner.iterations)
        assert totals(await send(house, ["a", "a"], [8, 16], [3, 4])) == [15, 31]


async def test_a_row_behind_one_that_cannot_be_used_is_applied_alone() -> None:
    async with house_with("a") as house:
        answers = await send(house, ["a", "a"], [1, 2], errors={0: InvalidInput("no number", field="inputs[0]")})
        assert (totals(answers), kinds(answers)) == ([None, 2], {0: InvalidInput})
        assert seqs_of(answers) == [None, 0]


async def test_busy_sessions_wait_their_turn_and_free_ones_do_not() -> None:
    async with house_with("a", "b", in_thread=True) as house:
        house.runner.gate.clear()
        first = asyncio.ensure_future(step(house, "a", 1))
        await under_way(house, 1)
        message = send(house, ["a", "b"], [2, 10])
        await under_way(house, 3)
        behind = asyncio.ensure_future(step(house, "b", 20))
        await under_way(house, 4)
        house.runner.gate.set()
        assert (await first).outputs.tolist() == [[1]]
        assert totals(await message) == [3, 10]
        assert (await behind).outputs.tolist() == [[30]]
        assert (await behind).seq == 1


@IN_THREAD
async def test_a_message_larger_than_a_batch_is_split(in_thread: bool) -> None:
    ids = [f"s{number}" for number in range(20)]
    async with house_with(*ids, in_thread=in_thread) as house:
        answers = await send(house, ids, list(range(20)))
        assert totals(answers) == list(range(20))
        # The puppet runs at most 8 rows at once: 8 + 8 + 4.
        assert [len(slots) for slots, _ in house.runner.iterations] == [8, 8, 4]


@IN_THREAD
async def test_a_single_step_that_shares_a_run_with_a_message_is_answered_in_plain_numbers(in_thread: bool) -> None:
    async with house_with("a", "b", "c", in_thread=in_thread) as house:
        sessions = [await house.sessions.find(session_id) for session_id in "abc"]
        for seq in range(2):
            message = send(house, ["a", "b"], [1, 2])
            await asyncio.sleep(0)
            single = await house.ledger.step(sessions[2], column(3))
            await message
            assert (type(single.seq), type(single.steps)) == (int, int)
            assert (single.seq, single.steps) == (seq, seq + 1)
        assert [len(slots) for slots, _ in house.runner.iterations] == [3, 3]


@IN_THREAD
async def test_a_message_shares_runs_with_longer_chunks(in_thread: bool) -> None:
    async with house_with("a", "b", "c", in_thread=in_thread) as house:
        long = house.ledger.step(await house.sessions.find("c"), column(*range(1, 8)))
        message = send(house, ["a", "b"], [1, 2])
        assert (await long).outputs[:, 0].tolist() == [1, 3, 6, 10, 15, 21, 28]
        assert totals(await message) == [1, 2]
        assert await steps_of(house, "a", "b", "c") == [1, 1, 7]
        assert totals(await send(house, ["c", "a"], [2, 2], [7, 1])) == [30, 3]


async def test_what_does_not_fit_the_queue_is_refused_whole() -> None:
    ids = [f"s{number}" for number in range(11)]
    async with house_with(*ids, in_thread=True, max_queue_rows=10) as house:
        with pytest.raises(TooLarge):
            await send(house, ids, [1] * 11)
        house.runner.gate.clear()
        first = send(house, ids[:4], [1] * 4)
        await under_way(house, 4)
        with pytest.raises(Overloaded):
            await send(house, ids[4:], [1] * 7)  # 4 + 7 > 10
        second = send(house, [*ids[4:9], "nobody"], [1] * 6)  # 4 + 6 = 10
        await under_way(house, 9)
        assert house.engine.num_rows == 9  # the one of nobody has had its answer
        house.runner.gate.set()
        await first
        assert kinds(await second) == {5: UnknownSession}
        assert await steps_of(house, *ids) == [1] * 9 + [0] * 2
        assert totals(await send(house, ids[:10], [1] * 10)) == [2] * 9 + [1]


async def test_a_draining_engine_refuses_a_message_and_finishes_what_it_took() -> None:
    async with house_with("a", "b", in_thread=True) as house:
        house.runner.gate.clear()
        taken = send(house, ["a", "a", "b"], [1, 2, 4])
        await under_way(house, 3)
        house.engine.drain()
        with pytest.raises(Draining):
            await send(house, ["a"], [8])
        house.runner.gate.set()
        assert totals(await taken) == [1, 3, 4]


async def test_an_engine_that_stops_answers_every_row() -> None:
    async with house_with("a", "b") as house:
        message = send(house, ["a", "a", "b"], [1, 2, 4])
        await asyncio.sleep(0)
        house.engine.close()
        answers = await message
        assert kinds(answers) == {0: Draining, 1: Draining, 2: Draining}
        assert await steps_of(house, "a", "b") == [0, 0]


@IN_THREAD
async def test_a_wrong_seq_is_a_conflict_of_its_row_alone(in_thread: bool) -> None:
    async with house_with("a", "b", "c", "d", in_thread=in_thread) as house:
        await send(house, ["a", "b", "c", "d"], [1, 2, 3, 4], [0, 0, 0, 0])
        answers = await send(house, ["a", "b", "c", "d"], [10, 20, 30, 40], [1, 7, None, 0])
        # b: 7 is ahead; d: 0 was sent with 4, not with 40. c did not say.
        assert totals(answers) == [11, None, 33, None]
        assert kinds(answers) == {1: SeqConflict, 3: SeqConflict}
        for row in (1, 3):
            error = answers.errors[row]
            assert isinstance(error, SeqConflict)
            assert error.expected_seq == 1
        assert await steps_of(house, "a", "b", "c", "d") == [2, 1, 2, 1]
        assert house.value('ostinato_seq_conflicts_total{model="sum",version="1"}') == 2


@IN_THREAD
@pytest.mark.parametrize("single_first", [None, True, False])
async def test_what_is_sent_again_unchanged_is_answered_again_and_applied_once(
    single_first: bool | None, in_thread: bool
) -> None:
    """A message twice, single steps and then a message of them, or the other way round."""
    ids, values = ["a", "b", "c"], [1.5, -0.0, 4.0]

    async def once(house: House, seq: int, *, single: bool) -> list[float | None]:
        if not single:
            return totals(await send(house, ids, values, [seq] * 3))
        return [float((await step(house, *row, seq)).outputs[0, 0]) for row in zip(ids, values, strict=True)]

    async with house_with(*ids, in_thread=in_thread) as house:
        for seq in range(3):
            first = await once(house, seq, single=single_first is True)
            again = await once(house, seq, single=single_first is False)
            # Every step adds the same: 1.5, 0, 4.
            assert first == again == [(seq + 1) * value for value in values]
        assert await steps_of(house, *ids) == [3, 3, 3]
        assert house.value('ostinato_duplicates_total{model="sum",version="1"}') == 9


async def test_a_message_sent_again_while_the_first_is_under_way_gets_the_same_answers() -> None:
    async with house_with("a", "b", in_thread=True) as house:
        house.runner.gate.clear()
        first, again = (send(house, ["a", "b"], [1, 2], [0, 0]) for _ in range(2))
        await under_way(house, 4)
        house.runner.gate.set()
        assert totals(await first) == totals(await again) == [1, 2]
        assert await steps_of(house, "a", "b") == [1, 1]


async def test_of_a_message_with_a_session_twice_that_is_sent_again_only_the_last_step_is_remembered() -> None:
    async with house_with("a") as house:
        assert totals(await send(house, ["a", "a"], [1, 2], [0, 1])) == [1, 3]
        again = await send(house, ["a", "a"], [1, 2], [0, 1])
        assert (totals(again), kinds(again)) == ([None, 3], {0: SeqConflict})
        assert await steps_of(house, "a") == [2]


async def test_one_step_is_not_the_resending_of_a_longer_chunk() -> None:
    async with house_with("a", "b") as house:
        await house.ledger.step(await house.sessions.find("a"), column(5, 0), seq=0)
        answers = await send(house, ["a", "b"], [5, 1], [0, 0])
        assert (totals(answers), kinds(answers)) == ([None, 1], {0: SeqConflict})


def add_engine(house: House, manifest: Manifest) -> Engine:
    """Another model or version beside the house's own."""
    metrics = ModelMetrics(house.metrics, manifest.name, manifest.version)
    engine = Engine(manifest, PuppetRunner(), house.ledger, house.settings, metrics, max_resident=100)
    house.store.attach(engine.arena)
    house.catalogue.add(engine)
    return engine


async def test_ids_that_are_not_live_sessions_of_the_model_fail_alone() -> None:
    async with house_with("live", "closed", "busy", in_thread=True) as house:
        await house.sessions.open("sum", session_id="expired", ttl_seconds=10)
        add_engine(house, MANIFEST.model_copy(update={"name": "other"}))
        await house.sessions.open("other", session_id="theirs")
        await house.sessions.close("closed")
        house.clock.now += 10
        ids = ["unknown", "live", "expired", "closed", "theirs", ""]
        answers = await send(house, ids, [1] * 6, [0] * 6)
        assert totals(answers) == [None, 1, None, None, None, None]
        assert kinds(answers) == {
            0: UnknownSession,
            2: SessionExpired,
            3: SessionClosed,
            4: InvalidInput,
            5: UnknownSession,
        }
        assert "of model 'other'" in str(answers.errors[4])
        assert (await house.sessions.find("theirs")).steps == 0


async def test_a_session_does_not_expire_while_it_waits_or_runs() -> None:
    async with house_with(in_thread=True) as house:
        for session_id in ("a", "b"):
            await house.sessions.open("sum", session_id=session_id, ttl_seconds=10)
        house.runner.gate.clear()
        first = send(house, ["a"], [1])
        await under_way(house, 1)
        house.clock.now += 10
        assert house.sessions.expire() == 1  # b, which nobody used
        second = send(house, ["a", "b"], [2, 1])
        await under_way(house, 2)
        house.runner.gate.set()
        assert totals(await first) == [1]
        answers = await second
        assert (totals(answers), kinds(answers)) == ([3, None], {1: SessionExpired})


async def test_sessions_of_another_version_of_the_model_are_stepped_in_theirs() -> None:
    async with house_with("old") as house:
        newer = add_engine(house, MANIFEST.model_copy(update={"version": "2"}))
        await house.sessions.open("sum", session_id="new")
        columns = Columns.of(["old", "new", "fresh"], column(1, 2, 3), None, {})
        answers = await step_columns(house.sessions, house.ledger, newer, columns, create_missing=True)
        assert totals(answers) == [1, 2, 3]
        versions = [(await house.sessions.find(session_id)).engine for session_id in ("old", "new", "fresh")]
        assert versions == [house.engine, newer, newer]


def changed_input(**changes: Any) -> Manifest:
    """Version 2 of ``sum``, with another input."""
    return MANIFEST.model_copy(update={"version": "2", "inputs": (MANIFEST.inputs[0].model_copy(update=changes),)})


@pytest.mark.parametrize(
    "changes",
    [
        {"features": ("z",)},
        {"shape": ("B", "T", 2), "features": ("x", "y")},
        {"missing": True},
        {"categories": {"x": ("no", "yes")}},
    ],
    ids=["other features", "more features", "missing values", "codes"],
)
async def test_a_session_of_a_version_that_takes_other_inputs_is_refused_by_row(changes: dict[str, Any]) -> None:
    async with house_with("old") as house:
        newer = add_engine(house, changed_input(**changes))
        width = newer.manifest.inputs[0].num_features
        columns = Columns.of(["old"], np.ones((1, width), np.float32), None, {})
        answers = await step_columns(house.sessions, house.ledger, newer, columns)
        assert kinds(answers) == {0: InvalidInput}
        assert await steps_of(house, "old") == [0]


async def test_a_roster_that_is_used_again_finds_its_sessions_where_they_are_now() -> None:
    async with house_with("a", "b") as house:
        await house.sessions.open("sum", session_id="c", ttl_seconds=10)
        roster = Roster(["a", "b", "c"])

        async def send_again() -> RowAnswers:
            columns = Columns(roster, column(1, 2, 4), None, {})
            return await step_columns(house.sessions, house.ledger, house.engine, columns)

        for times in (1, 2):
            assert totals(await send_again()) == [times * value for value in (1, 2, 4)]
        await house.sessions.close("a")
        thief = await house.sessions.open("sum", session_id="thief")
        assert kinds(await send_again()) == {0: SessionClosed}
        assert thief.steps == 0
        await house.sessions.open("sum", session_id="a")
        assert totals(await send_again()) == [1, 8, 16]
        house.clock.now += 10
        answers = await send_again()
        assert (totals(answers), kinds(answers)) == ([2, 10, None], {2: SessionExpired})
        await house.sessions.open("sum", session_id="c")
        assert totals(await send_again()) == [3, 12, 4]


@IN_THREAD
async def test_missing_sessions_are_opened_where_that_was_asked_for(in_thread: bool) -> None:
    async with house_with("live", in_thread=in_thread) as house:
        await send(house, ["live"], [1])
        ids = ["new", "live", "no id", "new", "x" * 129]
        answers = await send(house, ids, [1, 2, 3, 5, 6], [0, 1, 0, 1, 0], create_missing=True)
        # new: 1, 1 + 5; live: 1 + 2.
        assert totals(answers) == [1, 3, None, 6, None]
        assert kinds(answers) == {2: InvalidInput, 4: InvalidInput}
        assert await steps_of(house, "new", "live") == [2, 2]
        assert house.engine.arena.num_sessions == 2
        assert totals(await send(house, ["new"], [10], create_missing=True)) == [16]


async def test_sessions_that_ended_are_not_opened_anew_while_they_are_remembered() -> None:
    """A row that was on its way when its session was closed must not begin it again."""
    async with house_with("closed", tombstone_seconds=100) as house:
        await house.sessions.open("sum", session_id="expired", ttl_seconds=10)
        await send(house, ["closed", "expired"], [1, 1])
        await house.sessions.close("closed")
        house.clock.now += 10
        answers = await send(house, ["closed", "expired"], [2, 2], create_missing=True)
        assert kinds(answers) == {0: SessionClosed, 1: SessionExpired}
        assert house.engine.arena.num_sessions == 0
        house.clock.now += 100
        assert totals(await send(house, ["closed", "expired"], [2, 4], create_missing=True)) == [2, 4]


async def test_no_session_is_opened_for_a_row_that_cannot_be_used() -> None:
    async with house_with() as house:
        errors = {0: InvalidInput("no number", field="inputs[0]")}
        answers = await send(house, ["a", "b"], [0, 1], errors=errors, create_missing=True)
        assert (totals(answers), kinds(answers)) == ([None, 1], {0: InvalidInput})
        with pytest.raises(UnknownSession):
            await house.sessions.find("a")


async def test_sessions_beyond_the_most_there_may_be_are_overloaded_by_row() -> None:
    async with house_with("a", max_sessions=3) as house:
        answers = await send(house, ["b", "a", "c", "d", "e"], [1, 2, 3, 4, 5], create_missing=True)
        assert totals(answers) == [1, 2, 3, None, None]
        assert kinds(answers) == {3: Overloaded, 4: Overloaded}
        assert house.engine.arena.num_sessions == 3


@IN_THREAD
@pytest.mark.parametrize("num_rows", [1, 2, 8, 19])
async def test_a_row_that_is_not_finite_fails_alone(num_rows: int, in_thread: bool) -> None:
    ids = [f"s{number}" for number in range(num_rows)]
    async with house_with(*ids, in_thread=in_thread) as house:
        await send(house, ids, [1] * num_rows)
        values = [float(number) for number in range(num_rows)]
        bad = num_rows // 2
        values[bad] = np.inf
        answers = await send(house, ids, values, [1] * num_rows)
        assert kinds(answers) == {bad: RunFailed}
        assert totals(answers) == [None if row == bad else 1 + row for row in range(num_rows)]
        assert await steps_of(house, *ids) == [1 if row == bad else 2 for row in range(num_rows)]
        assert (await step(house, ids[bad], 5, seq=1)).outputs.tolist() == [[6]]


def fails_with(value: float) -> Callable[[Iteration], bool]:
    """A run fails as a whole where ``value`` is among its inputs, as that of a look-up does with a word unknown."""

    def fails(iteration: Iteration) -> bool:
        return any((np.frombuffer(bytes(work.inputs), np.float32) == value).any() for work in iteration.works)

    return fails


@IN_THREAD
@pytest.mark.parametrize("bad", [[0], [3], [0, 7, 8, 19]], ids=str)
async def test_a_row_that_makes_its_run_fail_fails_alone(bad: list[int], in_thread: bool) -> None:
    ids = [f"s{number}" for number in range(20)]
    async with house_with(*ids, "mate", in_thread=in_thread) as house:
        house.runner.fails = fails_with(99)
        values = [99.0 if row in bad else float(row) for row in range(20)]
        message = send(house, [*ids, ids[5], ids[bad[0]]], [*values, 100, 200])
        mate = asyncio.ensure_future(step(house, "mate", 7))
        answers = await message
        assert kinds(answers) == dict.fromkeys(bad, RunFailed)
        # The two at the end come second for their sessions: 5 + 100, and 200 on a session as it was.
        expected = [None if row in bad else float(row) for row in range(20)]
        assert totals(answers) == [*expected, 105, 200]
        assert (await mate).outputs.tolist() == [[7]]


@IN_THREAD
async def test_a_commit_that_fails_leaves_every_session_as_it_was(
    in_thread: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [f"s{number}" for number in range(10)]
    async with house_with(*ids, in_thread=in_thread) as house:
        await send(house, ids, [1] * 10)

        def failing(_commit: Commit, _now: float) -> Any:
            raise OSError("no route to the store")

        with monkeypatch.context() as patch:
            patch.setattr(house.store, "commit", failing)
            answers = await send(house, [*ids, "s0"], [2] * 11, [1] * 11)
        assert kinds(answers) == dict.fromkeys(range(11), StateStoreUnavailable)
        assert await steps_of(house, *ids) == [1] * 10
        assert totals(await send(house, ids, [2] * 10, [1] * 10)) == [3] * 10


class ContestedStore(MemoryStore):
    """Another process gets ahead of some sessions' next commit; what is committed may take a while to be known."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.contested: set[str] = set()
        self.is_slow = False

    def commit(self, commit: Commit, now: float) -> Any:
        for slot in commit.slots.tolist():
            session_id = commit.arena.session_ids[slot]
            if session_id in self.contested:
                self.contested.remove(session_id)
                commit.arena.steps[slot] += 1
        won = super().commit(commit, now)
        return self._later(won) if self.is_slow else won

    async def _later(self, won: NDArray[np.bool_]) -> NDArray[np.bool_]:
        await asyncio.sleep(0.001)
        return won


@IN_THREAD
@pytest.mark.parametrize("is_slow", [False, True], ids=["at once", "awaited"])
async def test_rows_that_lose_to_another_writer_are_judged_again_and_no_others(
    is_slow: bool, in_thread: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.service.puppet.MemoryStore", ContestedStore)
    ids = [f"s{number}" for number in range(11)]
    async with house_with(*ids, "single", "rival", in_thread=in_thread) as house:
        assert isinstance(house.store, ContestedStore)
        house.store.is_slow = is_slow
        await send(house, ids, [1] * 11)
        house.store.contested = {"s2", "s9", "rival"}
        message = send(house, ids, [2] * 11, [1] * 11)
        single, rival = (asyncio.ensure_future(step(house, name, 5)) for name in ("single", "rival"))
        answers = await message
        assert kinds(answers) == {2: SeqConflict, 9: SeqConflict}
        assert totals(answers) == [None if row in (2, 9) else 3 for row in range(11)]
        # The other writer's step came after the one that both saw.
        assert [getattr(answers.errors[row], "expected_seq", None) for row in (2, 9)] == [2, 2]
        assert ((await single).outputs.tolist(), (await single).seq) == ([[5]], 0)
        # Without seq it is applied to whatever there is: behind the other writer's step.
        assert ((await rival).outputs.tolist(), (await rival).seq, (await rival).steps) == ([[5]], 1, 2)
        assert house.value('ostinato_commit_conflicts_total{model="sum",version="1"}') == 3
        assert totals(await send(house, ["s2", "s9"], [4, 4], [2, 2])) == [5, 5]


async def test_a_row_that_loses_is_judged_by_its_own_seq_wherever_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.service.puppet.MemoryStore", ContestedStore)
    async with house_with("told", "untold") as house:
        assert isinstance(house.store, ContestedStore)
        await send(house, ["told", "untold"], [1, 1])
        house.store.contested = {"told", "untold"}
        # The first row goes its own way, and its seq is what the second session has after the other writer's step.
        answers = await send(house, ["nobody", "told", "untold"], [9, 2, 2], [2, 1, None])
        assert kinds(answers) == {0: UnknownSession, 1: SeqConflict}
        assert (totals(answers), seqs_of(answers)) == ([None, None, 3], [None, None, 2])
        assert await steps_of(house, "told", "untold") == [2, 3]


async def test_rows_with_and_without_seq_share_a_run() -> None:
    async with house_with("a", "b", "c") as house:
        answers = await send(house, ["a", "b", "c"], [1, 2, 3], [0, None, 0])
        assert totals(answers) == [1, 2, 3]
        assert [len(slots) for slots, _ in house.runner.iterations] == [3]


@IN_THREAD
async def test_a_commit_that_is_cancelled_is_answered_and_keeps_nothing_busy(
    in_thread: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house_with("a", "b", in_thread=in_thread) as house:
        commits: list[asyncio.Future[Any]] = []

        def pending(_commit: Commit, _now: float) -> Any:
            commits.append(asyncio.get_running_loop().create_future())
            return commits[-1]

        with monkeypatch.context() as patch:
            patch.setattr(house.store, "commit", pending)
            message = send(house, ["a", "b"], [1, 2], [0, 0])
            await until(lambda: commits)
            commits[0].cancel()
            answers = await message
        assert kinds(answers) == {0: StateStoreUnavailable, 1: StateStoreUnavailable}
        assert totals(await send(house, ["a", "b"], [1, 2], [0, 0])) == [1, 2]


async def test_a_row_whose_session_cannot_be_brought_up_to_date_fails_alone_and_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with house_with("a", "b") as house:

        def failing(*_: object) -> None:
            raise StateStoreUnavailable("the store is away")

        with monkeypatch.context() as patch:
            patch.setattr(house.store, "refresh", failing)
            answers = await send(house, ["a", "b"], [1, 2], [7, 0])
        assert kinds(answers) == {0: StateStoreUnavailable}
        assert totals(answers) == [None, 2]
        assert totals(await send(house, ["a", "b"], [1, 2], [0, 1])) == [1, 4]


async def test_while_a_commit_is_awaited_its_sessions_are_busy_and_others_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tests.service.puppet.MemoryStore", ContestedStore)
    async with house_with("a", "b", "c") as house:
        assert isinstance(house.store, ContestedStore)
        house.store.is_slow = True
        first, second = send(house, ["a", "b"], [1, 2]), send(house, ["b", "c", "a"], [4, 8, 16])
        assert totals(await first) == [1, 2]
        assert totals(await second) == [6, 8, 17]
        assert seqs_of(await second) == [1, 0, 1]


async def test_a_caller_that_leaves_before_its_block_ran_has_nothing_applied() -> None:
    async with house_with("a", "b", "c", in_thread=True) as house:
        house.runner.gate.clear()
        running = asyncio.ensure_future(step(house, "c", 1))
        await under_way(house, 1)
        message = send(house, ["a", "b", "a", "c"], [1, 2, 3, 4])
        await under_way(house, 5)
        behind = send(house, ["b", "a"], [10, 20])
        await under_way(house, 7)
        message.cancel()
        await asyncio.gather(message, return_exceptions=True)
        house.runner.gate.set()
        assert totals(await behind) == [10, 20]
        await running
        assert await steps_of(house, "a", "b", "c") == [1, 1, 1]
        await rest()


async def test_a_caller_that_leaves_while_its_block_runs_disturbs_nobody() -> None:
    async with house_with("a", "b", in_thread=True) as house:
        house.runner.gate.clear()
        message = send(house, ["a", "b", "b"], [1, 2, 100])
        await under_way(house, 3)
        behind = send(house, ["b", "a"], [10, 20])
        await under_way(house, 5)
        message.cancel()
        await asyncio.gather(message, return_exceptions=True)
        house.runner.gate.set()
        # What ran was applied, although nobody waited; the second row of b had not run.
        assert totals(await behind) == [12, 21]
        assert await steps_of(house, "a", "b") == [2, 2]
        await rest()


async def test_a_caller_that_leaves_while_its_rows_wait_behind_others_takes_them_back() -> None:
    async with house_with("a", "b", in_thread=True) as house:
        house.runner.gate.clear()
        first = asyncio.gather(step(house, "a", 1), step(house, "b", 2))
        await under_way(house, 2)
        message = send(house, ["a", "b", "a"], [10, 20, 30])
        await under_way(house, 5)
        message.cancel()
        await asyncio.gather(message, return_exceptions=True)
        house.runner.gate.set()
        await first
        await rest()
        assert await steps_of(house, "a", "b") == [1, 1]
        assert totals(await send(house, ["a", "b"], [4, 4], [1, 1])) == [5, 6]


async def test_a_caller_that_leaves_while_its_block_fails_leaves_nothing_behind() -> None:
    async with house_with("a", "b", "c", in_thread=True) as house:
        house.runner.fails = fails_with(99)
        house.runner.gate.clear()
        message = send(house, ["a", "b", "c"], [1, 99, 3])
        await under_way(house, 3)
        message.cancel()
        await asyncio.gather(message, return_exceptions=True)
        house.runner.gate.set()
        answers = await send(house, ["a", "b", "c"], [10, 20, 30])
        assert totals(answers) == [10, 20, 30]
        assert await steps_of(house, "a", "b", "c") == [1, 1, 1]


async def test_closing_waits_for_a_block_and_refuses_the_rows_behind_it() -> None:
    async with house_with("a", "b", in_thread=True) as house:
        session = await house.sessions.find("a")
        house.runner.gate.clear()
        before = send(house, ["a", "b"], [1, 2])
        await under_way(house, 2)
        closing = asyncio.ensure_future(house.sessions.close(session.session_id))
        await rest()
        behind = send(house, ["a", "b"], [10, 20])
        await under_way(house, 4)
        house.runner.gate.set()
        assert totals(await before) == [1, 2]
        await closing
        answers = await behind
        assert (totals(answers), kinds(answers)) == ([None, 22], {0: SessionClosed})
        # Opened anew, it begins anew.
        await house.sessions.open("sum", session_id="a")
        assert totals(await send(house, ["a", "b"], [5, 5], [0, 2])) == [5, 27]


async def test_a_step_sent_while_a_block_is_under_way_is_applied_after_it() -> None:
    async with house_with("a", "b", in_thread=True) as house:
        house.runner.gate.clear()
        message = send(house, ["a", "b"], [1, 2], [0, 0])
        await under_way(house, 2)
        single = asyncio.ensure_future(step(house, "a", 4, seq=1))
        await under_way(house, 3)
        house.runner.gate.set()
        await message
        assert ((await single).seq, (await single).outputs.tolist()) == (1, [[5]])


@IN_THREAD
@pytest.mark.parametrize("seed", range(4))
async def test_a_storm_of_messages_leaves_every_session_whole(seed: int, in_thread: bool) -> None:
    """Every step adds 1, so that a session's total is its step count, whatever became of whose answer."""
    generator = random.Random(seed)
    ids = [f"s{number}" for number in range(12)]
    async with house_with(in_thread=in_thread, max_queue_rows=60) as house:
        house.runner.fails = fails_with(99)

        async def one() -> None:
            rows = generator.choices(ids, k=generator.randint(1, 20))
            values = generator.choices([1.0, np.inf, 99.0], [30, 1, 1], k=len(rows))
            kind = generator.random()
            if kind < 0.1:
                await house.sessions.close(rows[0])
                return
            work: Awaitable[Any] = (
                step(house, rows[0], values[0]) if kind < 0.4 else send(house, rows, values, create_missing=True)
            )
            patience = generator.choice([None, None, 0, 1, 4])
            task = asyncio.ensure_future(work)
            if patience is not None:
                for _ in range(patience):
                    await asyncio.sleep(0)
                task.cancel()
            answers = await task
            if isinstance(answers, RowAnswers):
                assert set(kinds(answers).values()) <= {RunFailed, SessionClosed, Overloaded}
                for seq, total in zip(seqs_of(answers), totals(answers), strict=True):
                    assert (seq is None) if total is None else (seq == total - 1)

        async def client() -> None:
            for _ in range(60):
                result = (await asyncio.gather(one(), return_exceptions=True))[0]
                allowed = (Overloaded, UnknownSession, SessionClosed, RunFailed, asyncio.CancelledError, type(None))
                assert isinstance(result, allowed), repr(result)

        await asyncio.gather(*(client() for _ in range(6)))
        while house.engine.num_rows:
            await asyncio.sleep(0)
        arena = house.engine.arena
        for slot, session_id in enumerate(arena.session_ids):
            if session_id is not None:
                assert arena.states[0][slot] == arena.steps[slot], session_id
        assert arena.steps.max() > 20


@IN_THREAD
@pytest.mark.parametrize("seed", [1, 2])
async def test_messages_and_single_steps_together_fold_to_one_offline_run(
    seed: int, in_thread: bool, tmp_path: Path
) -> None:
    generator = np.random.default_rng(seed)
    directory = networks.lstm().write(tmp_path, generator.normal(size=(2, 5, 3)).astype(np.float32))
    runner = load_model(directory, Settings(max_batch_size=16)).runner
    async with house_with() as house:
        metrics = ModelMetrics(house.metrics, "lstm", "1")
        engine = Engine(
            runner.manifest, runner, house.ledger, house.settings, metrics, max_resident=100, in_thread=in_thread
        )
        house.store.attach(engine.arena)
        house.catalogue.add(engine)
        num_sessions, num_steps = 30, 40
        sequences = generator.normal(size=(num_sessions, num_steps, 3)).astype(np.float32)
        made = np.full((num_sessions, num_steps), np.nan, np.float32)
        # Steps applied, and how many of them came with the chunk applied last.
        applied, last_length = np.zeros(num_sessions, np.int64), np.zeros(num_sessions, np.int64)
        for number in range(num_sessions):
            await house.sessions.open("lstm", session_id=str(number))

        def keep(rows: Sequence[tuple[int, int]], outputs: NDArray[Any]) -> None:
            """Take in answers; one that was given before must be the same."""
            for row, output in zip(rows, outputs, strict=True):
                assert np.isnan(made[row]) or made[row].tobytes() == output[0].tobytes()
                made[row] = output[0]

        async def message(numbers: Sequence[int]) -> None:
            """The next step of each, as often as it is named; for some, the step applied last once more."""
            rows: list[tuple[int, int]] = []
            seqs: list[int] = []
            for number in numbers:
                again = last_length[number] == 1 and generator.random() < 0.3
                if not again and applied[number] == num_steps:
                    continue
                rows.append((number, int(applied[number]) - again))
                seqs.append(NO_SEQ if not again and generator.random() < 0.1 else rows[-1][1])
                applied[number] += not again
                last_length[number] = 1
            if rows:
                inputs = np.stack([sequences[row] for row in rows])
                columns = Columns.of([str(number) for number, _ in rows], inputs, np.array(seqs), {})
                answers = await step_columns(house.sessions, house.ledger, engine, columns)
                assert not answers.errors
                assert answers.seqs.tolist() == [seq for _, seq in rows]
                keep(rows, answers.outputs)

        async def chunk(number: int) -> None:
            start = int(applied[number])
            stop = min(num_steps, start + int(generator.choice([1, 1, 3, 9])))
            if start < stop:
                applied[number], last_length[number] = stop, stop - start
                session = await house.sessions.find(str(number))
                answer = await house.ledger.step(session, sequences[number, start:stop], start)
                keep([(number, step) for step in range(start, stop)], answer.outputs)

        async def client(mine: NDArray[np.int64]) -> None:
            while (applied[mine] < num_steps).any():
                if generator.random() < 0.6:
                    await message(generator.choice(mine, int(generator.integers(1, 15))).tolist())
                else:
                    await asyncio.gather(*(chunk(int(number)) for number in generator.choice(mine, 3, replace=False)))

        # Each client has sessions of its own, so that it knows how far they are.
        await asyncio.gather(*(client(mine) for mine in np.array_split(np.arange(num_sessions), 3)))
        for number in range(num_sessions):
            expected = networks.offline(directory, sequences[number])[:, 0]
            assert made[number].tobytes() == expected.tobytes(), f"{seed=}, {number=}"


async def test_what_could_not_begin_is_not_blamed_on_a_session_that_another_opens_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with house_with() as house:
        house.engine.needs_context = True
        add_model(house, name="other")
        find_newest = house.sessions.find_newest

        async def find_then_open(session_id: str) -> LiveSession:
            try:
                return await find_newest(session_id)
            except UnknownSession:
                house.clock.now += 1
                await house.sessions.open("other", session_id=session_id)
                raise

        monkeypatch.setattr(house.sessions, "find_newest", find_then_open)
        answers = await send(house, ["a"], [1], create_missing=True)
        assert kinds(answers) == {0: InvalidInput}  # and not that it was closed, which it never was


async def test_in_memory_a_missing_session_is_there_with_its_first_step_and_not_before() -> None:
    async with house_with(in_thread=True, max_sessions=2) as house:

        async def seen() -> tuple[int, ...]:
            return tuple(each.steps for each in (await house.sessions.page(None, 10, None)).sessions)

        house.runner.gate.clear()
        creating = send(house, ["a"], [1], create_missing=True)
        await under_way(house, 1)
        assert await seen() == ()
        with pytest.raises(UnknownSession):
            await house.sessions.look("a")
        house.runner.gate.set()
        assert totals(await creating) == [1]
        assert await seen() == (1,)
        house.runner.fails = lambda _: True
        assert kinds(await send(house, ["b"], [1], create_missing=True)) == {0: RunFailed}
        assert await seen() == (1,)
        house.runner.fails = lambda _: False
        assert totals(await send(house, ["b"], [5], create_missing=True)) == [5]
        assert kinds(await send(house, ["c"], [5], create_missing=True)) == {0: Overloaded}
        assert await seen() == (1, 1)
        assert house.value('ostinato_sessions_total{event="opened",model="sum",version="1"}') == 2


async def test_an_opening_while_the_first_step_is_under_way_stands_whatever_comes_of_that() -> None:
    async with house_with(in_thread=True) as house:
        house.runner.gate.clear()
        house.runner.fails = lambda _: True
        creating = send(house, ["a"], [1], create_missing=True)
        await under_way(house, 1)
        await house.sessions.open("sum", session_id="a", ttl_seconds=5)
        assert (await house.sessions.look("a")).ttl_seconds == 5
        house.runner.gate.set()
        assert kinds(await creating) == {0: RunFailed}
        assert await steps_of(house, "a") == [0]
