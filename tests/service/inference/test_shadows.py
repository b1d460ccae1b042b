from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.catalogue.decisions import Decisions
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import InvalidInput, UnknownModel
from ostinato.service.inference import shadow_version
from ostinato.service.inference.shadows import Shadows, check_can_shadow, check_shadow
from ostinato.service.metrics.series import ModelMetrics
from ostinato.service.metrics.shadows import REASONS
from ostinato.service.sessions.blocks import RowAnswers
from ostinato.service.sessions.session import LiveSession
from ostinato.service.state.arena import Arena
from ostinato.service.state.base import Snapshot
from ostinato.service.state.commit import Commit
from tests.service.puppet import MANIFEST, Clock, House, PuppetRunner, column, framed, until

SHADOW = MANIFEST.model_copy(update={"version": "2"})


class ShadowRunner(PuppetRunner):
    """The same sums, and ``error`` more in each output; the state is the sum without it."""

    error = 0.0

    def run_iteration(self, iteration: Any, arena: Arena) -> Any:
        result = super().run_iteration(iteration, arena)
        return result._replace(outputs=result.outputs + np.float32(self.error))


class ShadowHouse(House):
    """A house whose model has a second version, which is the shadow of the first."""

    def __init__(
        self, share: float = 1.0, *, manifest: Manifest = SHADOW, shadow_in_thread: bool = False, **options: Any
    ) -> None:
        super().__init__(**options)
        self.shadow_runner = ShadowRunner()
        self.shadow_arena: Arena | None = None
        self.shadow = Engine(
            manifest,
            self.shadow_runner,
            self.ledger,
            self.settings,
            ModelMetrics(self.metrics, "sum", "2"),
            max_resident=self.store.num_slots(manifest),
            in_thread=shadow_in_thread,
            clock=Clock(),
        )
        self.store.attach(self.shadow.arena)
        self.shadows = Shadows(self.catalogue, self.ledger, self.metrics)
        self.catalogue.decisions = Decisions().with_shadow("sum", "2", share)
        self.catalogue.add(self.shadow)

    def shadow_value(self, series: str, **labels: str) -> float:
        pairs = {"model": "sum", "shadow": "2", **labels}
        text = ",".join(f'{name}="{value}"' for name, value in sorted(pairs.items()))
        return self.value(f"ostinato_shadow{series}{{{text}}}")

    @property
    def steps(self) -> float:
        return self.shadow_value("_steps_total", version="1")

    @property
    def live(self) -> float:
        return self.shadow_value("s_live")

    def dropped(self) -> dict[str, float]:
        counts = {reason: self.shadow_value("_dropped_total", reason=reason) for reason in REASONS}
        return {reason: count for reason, count in counts.items() if count}

    def equal(self) -> float:
        labels = {"model": "sum", "shadow": "2", "version": "1"}
        text = ",".join(f'{name}="{value}"' for name, value in labels.items())
        return self.value(f'ostinato_shadow_difference_bucket{{{text},le="0.0"}}')

    async def open(self, name: str = "a") -> LiveSession:
        return await self.sessions.open("sum", session_id=name, version="1")

    async def step(self, session: LiveSession, *values: float) -> list[float]:
        answer = await self.ledger.step(session, column(*values))
        return [float(each) for each in answer.outputs[:, 0]]

    async def until_steps(self, steps: float) -> None:
        await until(lambda: self.steps == steps)

    def holds_nothing(self) -> bool:
        """Whether no slot and no row of the shadow's engine is taken."""
        return self.shadow.num_rows == 0 and self.shadow.arena.num_used == 0


async def test_a_session_s_chunks_run_on_the_shadow_in_order_and_are_compared() -> None:
    house = ShadowHouse()
    session = await house.open()
    assert await house.step(session, 1) == [1]
    assert await house.step(session, 2, 3, 4) == [3, 6, 10]
    await house.until_steps(4)
    assert house.equal() == 4
    house.shadow_runner.error = 0.5
    assert await house.step(session, 5, 6) == [15, 21]
    await house.until_steps(6)
    assert house.equal() == 4
    assert house.shadow_value("_difference_sum", version="1") == 1.0
    assert (house.live, house.dropped()) == (1, {})
    assert house.holds_nothing()
    assert session.steps == 6


async def test_chunks_that_come_while_one_runs_wait_in_their_order() -> None:
    house = ShadowHouse(shadow_in_thread=True)
    house.shadow_runner.gate.clear()
    session = await house.open()
    total = 0.0
    for number in range(shadow_version.MAX_WAITING):
        total += number
        assert await house.step(session, number) == [total]
    assert house.steps == 0
    house.shadow_runner.gate.set()
    await house.until_steps(shadow_version.MAX_WAITING)
    assert house.equal() == shadow_version.MAX_WAITING
    assert house.holds_nothing()
    house.shadow.close()


async def test_blocks_of_many_sessions_are_shadowed_row_by_row() -> None:
    house = ShadowHouse()
    sessions = [await house.open(f"s{number}") for number in range(5)]
    slots = np.array([session.slot for session in sessions])
    for _ in range(2):
        answers = RowAnswers(5, house.engine, house.engine.new_future())
        house.engine.admit(5)
        inputs = column(*range(5))
        assert house.ledger.step_ready(house.engine, slots, inputs, None, answers) == []
        await answers.future
        inputs[:] = 99  # whose numbers they were may put others there
    await house.until_steps(10)
    assert house.equal() == 10
    assert house.live == 5


async def test_a_share_of_the_sessions_has_shadows_and_a_larger_one_has_those_too() -> None:
    house = ShadowHouse(share=0.3)
    sessions = [await house.open(f"s{number}") for number in range(50)]
    for session in sessions:
        await house.step(session, 1)
    few = house.live
    assert 5 <= few <= 25
    house.catalogue.decisions = house.catalogue.decisions.with_shadow("sum", "2", 0.9)
    for session in sessions:
        await house.step(session, 1)
    assert house.live == few, "those that were there before have none"
    await house.until_steps(2 * few)


async def test_sessions_that_began_before_and_those_that_begin_from_another_state_have_none() -> None:
    house = ShadowHouse()
    house.catalogue.decisions = Decisions()
    assert house.ledger.watcher is None
    early, put = await house.open("early"), await house.open("put")
    await house.step(early, 1)
    house.catalogue.decisions = Decisions().with_shadow("sum", "2", 1.0)
    states = (np.array([7], np.float32),)
    await house.sessions.put(put, Snapshot(states, 0, column(0)))
    assert await house.step(put, 1) == [8]
    await house.step(early, 1)
    own = await house.sessions.open("sum", session_id="own", version="2")
    await house.ledger.step(own, column(1))
    assert (house.live, house.dropped()) == (0, {})


async def test_a_session_that_is_reset_begins_anew() -> None:
    house = ShadowHouse()
    session = await house.open()
    await house.step(session, 1, 2)
    await house.until_steps(2)
    await house.sessions.reset(session)
    assert await house.step(session, 5) == [5]
    await house.until_steps(3)
    assert house.equal() == 3
    assert house.dropped() == {"changed": 1}


async def test_a_session_that_is_put_to_as_many_steps_is_not_compared_any_more() -> None:
    house = ShadowHouse()
    session = await house.open()
    await house.step(session, 1)
    await house.until_steps(1)
    await house.sessions.put(session, Snapshot((np.array([7], np.float32),), 1, column(7)))
    assert await house.step(session, 1) == [8]
    assert (house.live, house.dropped()) == (0, {"changed": 1})
    assert house.steps == 1


async def test_a_session_that_another_worker_stepped_is_not_compared_any_more() -> None:
    house = ShadowHouse()
    session = await house.open()
    await house.step(session, 1)
    session.arena.steps[session.slot] = 9
    session.arena.last_seq[session.slot] = 8
    await house.step(session, 1)
    assert (house.live, house.dropped()) == (0, {"stepped_elsewhere": 1})


async def test_a_chunk_whose_commit_is_lost_is_compared_when_it_is_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    house = ShadowHouse()
    losses, commit = [True], house.store.commit

    def lose_once(asked: Commit, now: float) -> Any:
        return np.zeros(len(asked.slots), np.bool_) if losses and losses.pop() else commit(asked, now)

    monkeypatch.setattr(house.store, "commit", lose_once)
    session = await house.open()
    assert await house.step(session, 1) == [1]
    losses.append(True)
    assert await house.step(session, 2) == [3]
    await house.until_steps(2)
    assert (house.equal(), house.live, house.dropped()) == (2, 1, {})


@pytest.mark.parametrize("how", ["close", "expire", "reopen", "stale"])
async def test_what_ends_a_session_ends_its_shadow(how: str) -> None:
    house = ShadowHouse()
    session = await house.open()
    await house.step(session, 1)
    await house.until_steps(1)
    house.shadows.sweep()
    assert house.live == 1
    if how == "expire":
        house.clock.now += 10 * house.settings.ttl_seconds
        house.sessions.expire()
    elif how == "stale":
        session.arena.stamp[session.slot] = 0
    else:
        await house.sessions.close("a")
    if how == "reopen":
        house.clock.now += 1
        again = await house.open()
        assert await house.step(again, 4) == [4]
        await house.until_steps(2)
        assert (house.live, house.equal()) == (1, 2)
    else:
        house.shadows.sweep()
        assert house.live == 0
    assert house.dropped() == {"stepped_elsewhere" if how == "stale" else "ended": 1}
    assert house.holds_nothing()


async def test_what_was_answered_before_a_session_ended_is_still_compared() -> None:
    house = ShadowHouse(shadow_in_thread=True)
    house.shadow_runner.gate.clear()
    session = await house.open()
    for _ in range(3):
        await house.step(session, 1)
    await house.sessions.close("a")
    house.shadows.sweep()
    house.shadow_runner.gate.set()
    await house.until_steps(3)
    house.shadows.sweep()
    assert (house.live, house.dropped()) == (0, {"ended": 1})
    house.shadow.close()


@pytest.mark.parametrize("trouble", ["fails", "breaks", "comparison", "sight", "taking"])
async def test_a_shadow_that_fails_is_counted_and_changes_no_answer(
    trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise ValueError("told to fail")

    house = ShadowHouse()
    if trouble == "fails":
        house.shadow_runner.fails = lambda _: True
    elif trouble == "breaks":
        house.shadow_runner.breaks = True
    else:
        name = {"comparison": "differences", "sight": "_is_initial", "taking": "AnsweredChunk"}[trouble]
        monkeypatch.setattr(shadow_version, name, fail)
    session = await house.open()
    assert await house.step(session, 1) == [1]
    assert await house.step(session, 2, 3) == [3, 6]
    await until(house.holds_nothing)
    if trouble in ("fails", "breaks", "comparison"):
        await until(lambda: house.shadow_value("_failures_total", version="1") == 1)
        assert house.live == 0
    assert await house.step(session, 4) == [10]
    assert session.steps == 4
    assert house.engine.num_rows == 0


async def test_a_shadow_that_hangs_holds_nothing_up_and_is_dropped() -> None:
    house = ShadowHouse(shadow_in_thread=True)
    house.shadow_runner.gate.clear()
    session = await house.open()
    total = 0.0
    for number in range(shadow_version.MAX_WAITING + 3):
        total += number
        assert await house.step(session, number) == [total]
    assert house.dropped() == {"too_far_behind": 1}
    assert (house.live, house.steps) == (0, 0)
    house.shadow_runner.gate.set()
    await until(house.holds_nothing)
    house.shadow.close()


async def test_it_leaves_half_of_the_queue_to_who_is_answered() -> None:
    house = ShadowHouse(max_queue_rows=10)
    session = await house.open()
    house.shadow.admit(5)
    await house.step(session, 1)
    await house.until_steps(1)
    house.shadow.admit(1)
    await house.step(session, 1)
    await until(lambda: house.live == 0)
    assert house.dropped() == {"queue_full": 1}
    house.shadow.leave(6)
    assert house.holds_nothing()


@pytest.mark.parametrize(("limit", "reason"), [("MAX_LIVE", "too_many"), ("MAX_WAITING_BYTES", "memory")])
async def test_there_are_no_more_than_there_may_be(limit: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow_version, limit, 1)
    house = ShadowHouse()
    for name in "ab":
        await house.step(await house.open(name), 1)
    assert house.live == (1 if reason == "too_many" else 0)
    assert house.dropped() == {reason: 1 if reason == "too_many" else 2}


async def test_it_ends_with_the_decision_and_with_the_version_and_gives_everything_back() -> None:
    house = ShadowHouse(shadow_in_thread=True)
    house.shadow_runner.gate.clear()
    session = await house.open()
    await house.step(session, 1)
    await until(lambda: house.shadow_runner.is_held)
    house.catalogue.decisions = Decisions()
    assert house.ledger.watcher is None
    assert house.live == 0
    await house.step(session, 1)
    house.shadow_runner.gate.set()
    await until(house.holds_nothing)
    assert (house.steps, house.dropped()) == (0, {})
    house.shadow.close()


async def test_a_shadow_is_none_while_its_version_is_served_no_more() -> None:
    house = ShadowHouse()
    await house.step(await house.open(), 1)
    await house.until_steps(1)
    house.catalogue.remove(house.shadow)
    assert house.ledger.watcher is None
    assert house.live == 0
    await house.step(await house.open("b"), 1)
    house.catalogue.add(house.shadow)
    await house.step(await house.open("c"), 1)
    await house.until_steps(2)
    assert house.live == 1


async def test_a_shadow_that_drains_takes_nothing_more_and_a_drain_waits_for_no_idle_one() -> None:
    house = ShadowHouse()
    session = await house.open()
    await house.step(session, 1)
    await house.until_steps(1)
    assert house.catalogue.num_rows == 0
    house.shadow.drain()
    assert await house.step(session, 1) == [2]
    await until(lambda: house.live == 0)
    assert house.dropped() == {"queue_full": 1}


async def test_random_lives_leave_nothing_behind_and_every_answer_as_it_is() -> None:
    house = ShadowHouse(shadow_in_thread=True)
    random = np.random.default_rng(0)

    async def live(name: str) -> int:
        session, total, steps = await house.open(name), np.float32(0), 0
        for _ in range(30):
            draw = random.random()
            if draw < 0.05:
                await house.sessions.reset(session)
                total = np.float32(0)
            elif draw < 0.1:
                await house.sessions.close(name)
                house.clock.now += 1
                session, total = await house.open(name), np.float32(0)
            elif draw < 0.15:
                house.shadows.sweep()
            else:
                chunk = random.integers(0, 9, size=random.integers(1, 7)).astype(np.float32)
                expected = total + np.cumsum(chunk, dtype=np.float32)
                assert await house.step(session, *chunk) == expected.tolist()
                total, steps = expected[-1], steps + len(chunk)
            await asyncio.sleep(0)
        await house.sessions.close(name)
        return steps

    steps = await asyncio.gather(*(live(f"s{number}") for number in range(20)))
    await until(house.holds_nothing)

    def is_over() -> bool:
        house.shadows.sweep()
        return house.live == 0

    await until(is_over)
    assert 0 < house.steps <= sum(steps)
    assert house.equal() == house.steps
    assert set(house.dropped()) <= {"ended", "changed", "too_far_behind"}
    assert house.engine.arena.num_used == 0
    house.shadow.close()


OTHERS: dict[str, Callable[[], Manifest]] = {
    "other inputs": lambda: SHADOW.model_copy(
        update={"inputs": (SHADOW.inputs[0].model_copy(update={"features": ("y",)}),)}
    ),
    "has framing": lambda: framed(4),
    "other outputs": lambda: SHADOW.model_copy(
        update={"outputs": (SHADOW.outputs[0].model_copy(update={"name": "others"}),)}
    ),
}


@pytest.mark.parametrize("how", OTHERS)
async def test_what_takes_or_gives_something_else_is_no_shadow(how: str) -> None:
    with pytest.raises(InvalidInput, match="framing has no shadow" if how == "has framing" else how):
        check_can_shadow(MANIFEST, OTHERS[how]())


async def test_a_shadow_is_held_against_the_default_or_else_against_all_others() -> None:
    house = ShadowHouse(manifest=OTHERS["other inputs"]().model_copy(update={"version": "2"}))
    for default in ("1", "2", ""):
        with pytest.raises(InvalidInput, match=r"takes other steps than '1'.*other inputs"):
            check_shadow(house.catalogue, "sum", "2", default)
    with pytest.raises(UnknownModel):
        check_shadow(house.catalogue, "sum", "3", "")
    # Where it was decided all the same, by a roll-back, it runs nothing.
    assert house.ledger.watcher is None
    fitting = ShadowHouse()
    for default in ("1", "2", "", "9"):
        check_shadow(fitting.catalogue, "sum", "2", default)
    alone = House()
    check_shadow(alone.catalogue, "sum", "1", "")
