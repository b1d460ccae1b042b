"""The random life of sessions at three workers over one folder, against what they must be."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import numpy as np
import pytest

from ostinato.service.errors import SessionClosed, SessionExists, UnknownSession
from ostinato.service.state.lmdb import checkpoint, journal
from ostinato.service.state.lmdb.store import LmdbStore
from tests.service.puppet import Clock, House, column

NUM_WORKERS = 3
NUM_TURNS = 400
ACTS = ("step", "step", "step", "pair", "seq", "twice", "reset", "close", "open", "fork")


class Life:
    """Workers, and what each session must be: (steps, total), or None where it was closed."""

    def __init__(self, folder: Path, seed: int, *, sync_always: bool) -> None:
        self._folder = folder
        self._sync_always = sync_always
        self.generator = np.random.default_rng(seed)
        self.workers = [self._worker() for _ in range(NUM_WORKERS)]
        self.truth: dict[str, tuple[int, float] | None] = {}
        self.num_forks = 0

    def _worker(self) -> House:
        return House(
            store=LmdbStore(
                self._folder,
                tombstone_seconds=10,
                memory_budget=8 * 410,
                sync_always=self._sync_always,
                clock=Clock(),
            )
        )

    def any_worker(self) -> House:
        return self.workers[int(self.generator.integers(NUM_WORKERS))]

    def store_of(self, worker: House) -> LmdbStore:
        assert isinstance(worker.store, LmdbStore)
        return worker.store

    def restart_one(self) -> None:
        """Kill a worker between two requests, and start another."""
        number = int(self.generator.integers(NUM_WORKERS))
        store = self.store_of(self.workers[number])
        os.close(store._checkpoint._lock)
        store._journal.close()
        self.workers[number] = self._worker()

    async def act(self, name: str) -> None:
        """Something happens to a session, at some worker."""
        kind = str(self.generator.choice(ACTS))
        try:
            await self._act(kind, self.any_worker(), name)
        except SessionExists:
            assert self.truth.get(name) is not None, (name, kind)
        except (SessionClosed, UnknownSession):
            assert self.truth.get(name) is None, (name, kind)

    async def _act(self, kind: str, worker: House, name: str) -> None:
        was = self.truth.get(name)
        if kind == "open":
            await worker.sessions.open("sum", session_id=name)
            assert was is None
            self.truth[name] = (0, 0.0)
            return
        if kind == "close":
            await worker.sessions.close(name)
            assert was is not None
            self.truth[name] = None
            return
        session = await worker.sessions.find(name)
        if was is None:
            # It may be found where nobody has heard yet that it was closed; but nothing is applied to it.
            await worker.ledger.step(session, column(1))
            raise AssertionError(f"{name} was closed")
        if kind == "reset":
            await worker.sessions.reset(session)
            self.truth[name] = (0, 0.0)
        elif kind == "fork":
            self.num_forks += 1
            fork = f"f{self.num_forks}"
            await worker.sessions.fork(session, session_id=fork)
            self.truth[fork] = was
        elif kind == "pair":
            await self._step_at_two(worker, name, was)
        else:
            await self._step(kind, worker, name, was)

    async def _step_at_two(self, worker: House, name: str, was: tuple[int, float]) -> None:
        """Without seq both are applied, in one order or the other."""
        other = self.any_worker()
        there = await other.sessions.find(name)
        here = await worker.sessions.find(name)
        answers = await asyncio.gather(worker.ledger.step(here, column(1)), other.ledger.step(there, column(2)))
        assert max(float(answer.outputs[-1, 0]) for answer in answers) == was[1] + 3, (name, was)
        self.truth[name] = (was[0] + 2, was[1] + 3)

    async def _step(self, kind: str, worker: House, name: str, was: tuple[int, float]) -> None:
        values = self.generator.integers(0, 5, int(self.generator.choice([1, 3, 6]))).tolist()
        seq = None if kind == "step" else was[0]
        answer = await worker.ledger.step(await worker.sessions.find(name), column(*values), seq=seq)
        assert (answer.seq, answer.outputs[-1, 0]) == (was[0], was[1] + sum(values)), (name, kind, was)
        self.truth[name] = (was[0] + len(values), was[1] + sum(values))
        if kind == "twice":
            other = self.any_worker()
            again = await other.ledger.step(await other.sessions.find(name), column(*values), seq=seq)
            assert again.seq == answer.seq
            np.testing.assert_array_equal(again.outputs, answer.outputs)


@pytest.mark.parametrize("sync_always", [False, True], ids=["synced each second", "synced always"])
@pytest.mark.parametrize("seed", range(4))
async def test_a_random_life_at_three_workers(
    seed: int, sync_always: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SEGMENT_SECONDS", 0)
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 2500)
    life = Life(tmp_path, seed, sync_always=sync_always)
    generator = life.generator
    for turn in range(NUM_TURNS):
        names = [f"s{number}" for number in generator.choice(25, int(generator.integers(1, 5)), False)]
        if life.num_forks:
            names.append(f"f{int(generator.integers(1, life.num_forks + 1))}")
        await asyncio.gather(*map(life.act, names))
        if generator.random() < 0.2:
            await life.store_of(life.any_worker())._checkpoint.store()
        if generator.random() < 0.1:
            await life.store_of(life.any_worker())._checkpoint.sweep()
        if generator.random() < 0.03:
            life.restart_one()
        for worker in life.workers:
            arena = worker.engine.arena
            assert worker.engine.num_rows == 0, turn
            assert not arena.busy.any(), turn
            assert arena.num_used == arena.num_sessions, turn
    live = {name for name, was in life.truth.items() if was is not None}
    for worker in life.workers:
        for name, was in life.truth.items():
            if was is not None:
                assert (await worker.sessions.look(name)).steps == was[0]
            else:
                with pytest.raises((SessionClosed, UnknownSession)):
                    await worker.sessions.look(name)
        listed: set[str] = set()
        cursor: str | None = None
        while True:
            page, cursor, _ = await worker.sessions.page(None, 7, cursor)
            listed |= {facts.session_id for facts in page}
            if cursor is None:
                break
        assert listed == live
