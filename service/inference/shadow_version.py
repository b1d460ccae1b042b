"""A shadow version: what another version has answered is run by it, too, compared and counted, and never answered."""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_right
from collections.abc import Callable, Iterable
from contextvars import Context
from functools import partial
from itertools import accumulate
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ostinato.service.catalogue.shares import share_of
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import OstinatoError, Overloaded, RunFailed
from ostinato.service.inference.differences import differences
from ostinato.service.inference.shadow import AnsweredChunk, Shadow
from ostinato.service.metrics.shadows import ComparedVersion, ShadowMetrics
from ostinato.service.sessions.blocks import Block
from ostinato.service.sessions.chunk import Chunk
from ostinato.service.state.arena import STALE, Arena
from ostinato.service.state.commit import Commit

MAX_LIVE = 10_000
"""Sessions that have a shadow."""
MAX_STATE_BYTES = 256 << 20
"""Of the states of all of them together."""
MAX_WAITING = 16
"""Chunks of a session that wait, or run."""
MAX_WAITING_BYTES = 64 << 20
"""Of all chunks that wait."""
MAX_SATURATION = 0.5
"""The share of the engine's queue that may be taken when a chunk is to run: the rest is for who is answered."""
MAX_DIFFERENCE = 1e9
"""A larger difference, or an infinite one, counts as this: sums stay finite."""

Won: TypeAlias = NDArray[np.bool_]
"""Which rows of a commit were committed."""

logger = logging.getLogger(__name__)


class ShadowVersion:
    """The version of a model that runs a copy of what sessions of its other versions are answered.

    Args:
        engine: the version's.
        share: of the sessions that begin from now on, those that have a shadow.
    """

    def __init__(self, engine: Engine, share: float, metrics: ShadowMetrics) -> None:
        self.engine = engine
        self.share = share
        self._metrics = metrics
        self._live: dict[str, Shadow] = {}
        self._watched: dict[Arena, ComparedVersion] = {}
        self._ready: list[Shadow] = []
        self._num_bytes = 0
        row_bytes = sum(row.nbytes for row in engine.initial_states)
        self._max_live = max(1, min(MAX_LIVE, MAX_STATE_BYTES // max(row_bytes, 1)))
        metrics.follow(lambda: len(self._live))

    def __repr__(self) -> str:
        return f"<ShadowVersion {self.engine.manifest.version}, {len(self._live)} live, {self._num_bytes} bytes wait>"

    def watch(self, arenas: Iterable[Arena]) -> None:
        """Have the sessions of these arenas shadowed, and no others."""
        known = self._watched
        self._watched = {
            arena: known.get(arena) or self._metrics.of_version(arena.manifest.version) for arena in arenas
        }

    def end(self) -> None:
        """Run nothing more; what was counted stays."""
        for shadow in list(self._live.values()):
            self._let_go(shadow)
        self._metrics.end()

    def see(self, works: list[Chunk | Block], commit: Commit) -> Callable[[Won], None] | None:
        """See what is about to be committed; gives what is to be told what was, None = nothing is."""
        arena, before = commit.arena, commit.steps_before
        if not self._live and before.all():
            return None
        ends = list(accumulate(work.num_rows for work in works))
        seen: list[tuple[int, Shadow, Chunk | Block, int, NDArray[Any]]] = []
        facts = zip(arena.ids_of(commit.slots), commit.slots.tolist(), before.tolist(), strict=True)
        for row, (name, slot, steps) in enumerate(facts):
            shadow = self._live.get(name)
            if shadow is not None and (reason := shadow.why_not(arena, slot)) is not None:
                self._drop(shadow, reason)
                shadow = None
            if shadow is None and not steps and self._is_meant(name) and _is_initial(arena, slot):
                context = [rows[slot].copy() for rows in arena.states[arena.num_states : arena.num_run]]
                shadow = Shadow(name, (*self.engine.initial_states, *context), arena)
            if shadow is not None:
                index = bisect_right(ends, row)
                within = row - (ends[index] - works[index].num_rows)
                seen.append((row, shadow, works[index], within, self._inputs_of(works[index], within)))
        return partial(self._take, commit, seen) if seen else None

    def sweep(self) -> None:
        """Let go of what waits for sessions that are not here any more, or that others have stepped."""
        for shadow in list(self._live.values()):
            if shadow.work is not None or shadow.waiting:
                continue
            if shadow.arena.session_ids[shadow.slot] != shadow.name:
                self._drop(shadow, "ended")
            elif shadow.arena.stamp[shadow.slot] == STALE:
                self._drop(shadow, "stepped_elsewhere")

    def _is_meant(self, name: str) -> bool:
        # A draw of its own: by that of another share, a shadow would see just the sessions that are in it.
        return share_of(self.engine.manifest.name, name, "shadow") < self.share

    def _inputs_of(self, work: Chunk | Block, row: int) -> NDArray[Any]:
        """A copy of a row's chunk; its own, since whoever sent it may put other numbers there."""
        inputs: Any = work.inputs
        if type(inputs) is bytes:
            inputs = np.frombuffer(inputs, self.engine.given.dtype)
        steps: NDArray[Any] = inputs.reshape(work.num_rows, work.num_steps, -1)[row]
        return steps.copy()

    def _take(self, commit: Commit, seen: list[tuple[int, Shadow, Chunk | Block, int, NDArray[Any]]], won: Won) -> None:
        """Take in what was committed of what was seen."""
        for row, shadow, work, within, inputs in seen:
            if not won[row]:
                continue
            if shadow.name not in self._live:
                if shadow.slot >= 0:  # it was let go meanwhile
                    continue
                if len(self._live) >= self._max_live:
                    self._metrics.dropped["too_many"].inc()
                    continue
                self._live[shadow.name] = shadow
            outputs = work.outputs if work.num_rows == 1 else work.outputs[within : within + 1]
            history = int(commit.steps_after[row]), int(commit.steps_before[row]), int(commit.digests[row])
            shadow.follow(int(commit.slots[row]), history)
            self._append(shadow, AnsweredChunk(inputs, outputs.copy(), commit.arena))

    def _append(self, shadow: Shadow, chunk: AnsweredChunk) -> None:
        if len(shadow.waiting) >= MAX_WAITING:
            self._drop(shadow, "too_far_behind")
        elif self._num_bytes + chunk.num_bytes > MAX_WAITING_BYTES:
            self._drop(shadow, "memory")
        else:
            shadow.waiting.append(chunk)
            self._num_bytes += chunk.num_bytes
            if shadow.work is None and len(shadow.waiting) == 1:
                self._make_ready(shadow)

    def _make_ready(self, shadow: Shadow) -> None:
        """Have its next chunk run when the event loop has nothing older to do: not while others are answered."""
        if not self._ready:
            # In a context of its own: its runs are no part of the trace of a request.
            asyncio.get_running_loop().call_soon(self._start_ready, context=Context())
        self._ready.append(shadow)

    def _start_ready(self) -> None:
        ready, self._ready = self._ready, []
        for shadow in ready:
            if self._live.get(shadow.name) is shadow:
                try:
                    self._start(shadow)
                except OstinatoError:
                    self._drop(shadow, "queue_full")

    def _start(self, shadow: Shadow) -> None:
        if self.engine.saturation > MAX_SATURATION:
            raise Overloaded("the rest of the queue is for who is answered")
        self.engine.admit(1)
        slot = self.engine.take_slot(shadow.states)
        shadow.work = self.engine.start(slot, shadow.waiting[0].inputs)
        shadow.work.future.add_done_callback(partial(self._ran, shadow))

    def _ran(self, shadow: Shadow, made: asyncio.Future[NDArray[Any]]) -> None:
        """A chunk has run, or failed."""
        work = shadow.work
        if work is None or work.future is not made:  # it was let go
            return
        compared = self._watched.get(shadow.waiting[0].arena)
        if made.cancelled() or (error := made.exception()) is not None:
            if not made.cancelled() and isinstance(error, RunFailed):
                self._fail(shadow, compared)
            else:
                self._drop(shadow, "queue_full")
            return
        shadow.work = None
        shadow.states = self.engine.read_slot(work.slots[0])
        self.engine.give_back(work.slots[0])
        chunk = shadow.waiting.popleft()
        self._num_bytes -= chunk.num_bytes
        try:
            if compared is not None:
                self._compare(chunk, made.result(), compared)
        except Exception:
            logger.exception("a shadow could not be compared")
            self._fail(shadow, compared)
            return
        if shadow.waiting:
            self._make_ready(shadow)

    def _compare(self, chunk: AnsweredChunk, outputs: NDArray[Any], compared: ComparedVersion) -> None:
        manifest, own = chunk.arena.manifest, self.engine.manifest
        mine, theirs = manifest.made.settle(chunk.outputs), own.made.settle(outputs)
        # Of a graph that answers once a run there is one row, the last step's.
        num_rows = min(len(mine), len(theirs))
        apart = differences(manifest, mine[-num_rows:], own, theirs[-num_rows:])
        compared.differences.observe_all(np.minimum(apart, MAX_DIFFERENCE).tolist())
        compared.steps.inc(len(chunk.inputs))

    def _fail(self, shadow: Shadow, compared: ComparedVersion | None) -> None:
        if compared is not None:
            compared.failures.inc()
        self._let_go(shadow)

    def _drop(self, shadow: Shadow, reason: str) -> None:
        self._metrics.dropped[reason].inc()
        self._let_go(shadow)

    def _let_go(self, shadow: Shadow) -> None:
        del self._live[shadow.name]
        self._num_bytes -= sum(chunk.num_bytes for chunk in shadow.waiting)
        shadow.waiting.clear()
        if shadow.work is not None:
            work, shadow.work = shadow.work, None
            self.engine.abandon(work)


def _is_initial(arena: Arena, slot: int) -> bool:
    """Whether the state in a slot is that of a sequence that has not begun: one of no steps may have been put."""
    states = zip(arena.states[: arena.num_states], arena.initial_rows, strict=False)
    return all(np.array_equal(rows[slot], initial) for rows, initial in states)
