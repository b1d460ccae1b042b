"""Migration: a live session goes on by another version of its model, which has run the steps that the session keeps."""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.fit import misfit
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.series_time import NO_TIME
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import InvalidInput
from ostinato.service.inference.differences import answer_alike, differences
from ostinato.service.inference.prediction import predict
from ostinato.service.sessions.session import LiveSession
from ostinato.service.sessions.session_file import is_known
from ostinato.service.sessions.sessions import Sessions
from ostinato.service.sessions.timed import last_number
from ostinato.service.state.arena import NOT_ALL, Arena
from ostinato.service.state.base import Facts, Snapshot


class Migration(NamedTuple):
    """What came of a migration.

    Attributes:
        facts: of the session now.
        replayed: steps that the new version has run: all, or the last of them where fewer are kept.
        before, after: the outputs of the step applied last by both versions, rows ``[width]``; None where there is
            none, or none that is known.
        former, manifest: of these versions.
    """

    facts: Facts
    replayed: int
    before: NDArray[Any] | None
    after: NDArray[Any] | None
    former: Manifest
    manifest: Manifest

    @property
    def difference(self) -> float | None:
        """The largest difference of a number of the two outputs; None where they cannot be compared."""
        if self.before is None or self.after is None or not answer_alike(self.former, self.manifest):
            return None
        return float(differences(self.former, self.before[None], self.manifest, self.after[None])[0])


async def migrate(sessions: Sessions, session: LiveSession, engine: Engine) -> Migration:
    """Have a session continue with ``engine``, another version of its model, in the session's turn: that runs the
    steps that are kept, from its initial state and in the session's context, and its state is the session's then, all
    at once. Where it runs that version it stays as it is.

    A chunk that was applied before is not taken for one that is retried: what answered it is not what is there now.
    How far the session has come in its source stays, so that nothing is applied twice.

    Raises:
        InvalidInput: the versions do not take the same steps, or the session keeps none.
        CopyOutdated: this copy is old.
        RunFailed: the new version has no answer to these steps; the session is as it was.
        Overloaded, Draining, and as the store.
    """
    former, manifest = session.engine.manifest, engine.manifest
    if engine is not session.engine:
        check_takes_the_same(former, manifest)
    async with sessions.alone(session):
        if engine is session.engine:  # it continues as it is: fewer steps may be kept than it has applied
            return Migration(session.facts, 0, None, None, former, manifest)
        arena, slot = session.address
        steps = int(arena.steps[slot])
        rows, was_put = _kept(session)
        if was_put:
            raise InvalidInput(
                f"the session's state was put there, and {len(rows)} steps have come since, so version "
                f"{manifest.version!r} cannot be brought to it; after {former.keep_inputs} it runs these, or put a "
                "state of that version there",
                field="session_id",
            )
        if not len(rows) and (steps or not _is_initial(session)):
            raise InvalidInput(
                f"the session keeps none of its {steps} steps, so version {manifest.version!r} has nothing to begin "
                "from: keep_inputs in the manifest (export --keep-inputs) says how many are kept, of sessions that are "
                "stepped from then on",
                field="session_id",
            )
        last = arena.last_output[slot].copy()
        before = last if steps and is_known(last, former.made) else None
        context = arena.read(slot)[arena.num_states : arena.num_run]
        snapshot = Snapshot.initial(engine.arena, context)
        after: NDArray[Any] | None = None
        if len(rows):
            beginning = (*engine.initial_states, *context)
            (made,) = await predict(engine, [rows], [beginning], with_states=True)
            after = made.outputs[-1].copy()
            snapshot = Snapshot(made.states, steps, made.outputs[-1:].copy())
            own = (*_kept_by(engine.arena, rows), *_watched_by(engine, rows, made.outputs))
            snapshot = snapshot._replace(states=(*made.states, *own))
        snapshot = snapshot._replace(times=_times_by(session, engine), reach=arena.reach(slot))
        facts = await sessions.move(session, engine, snapshot)
    return Migration(facts, len(rows), before, after, former, manifest)


def check_takes_the_same(former: Manifest, manifest: Manifest) -> None:
    """Refuse a version that does not take the steps of the one before, by the same numbers.

    Raises:
        InvalidInput: says what differs.
    """
    if why := misfit(former, manifest):
        raise InvalidInput(
            f"version {manifest.version!r} takes other steps than {former.version!r}, so no session can continue with "
            f"it: it has {why}",
            field="version",
        )


def _is_initial(session: LiveSession) -> bool:
    arena, slot = session.address
    rows = zip(arena.states[: arena.num_states], arena.initial_rows, strict=False)
    return all(each[slot].tobytes() == initial.astype(each.dtype).tobytes() for each, initial in rows)


def _times_by(session: LiveSession, engine: Engine) -> NDArray[np.int64]:
    """When a session's last step was, as another version numbers its steps; not known where it was none of those."""
    number, clock = NO_TIME, session.engine.series_clock
    last_at = None if clock is None else clock.utc(last_number(*session.address))
    if last_at is not None and engine.series_clock is not None:
        with contextlib.suppress(ValueError, OverflowError):
            number = engine.series_clock.number_of(last_at)
    return np.array([number, NO_TIME], np.int64)


def _kept(session: LiveSession) -> tuple[NDArray[Any], bool]:
    """The steps that a session keeps, rows ``[m, width]``, oldest first; and whether they follow a state that was put
    there, which they do not lead to.
    """
    arena, slot = session.address
    if not arena.kept:
        return session.engine.given.zeros(0), False
    rows, counts = arena.kept
    count, was_put = int(counts[slot, 0]), bool(counts[slot, 0] <= NOT_ALL)
    return rows[slot, rows.shape[1] - (NOT_ALL - count if was_put else count) :].copy(), was_put


def _kept_by(arena: Arena, rows: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """These steps as a session of another version keeps them, which may keep fewer, or more."""
    if not arena.kept:
        return ()
    kept, count = (each.copy() for each in arena.initial_rows[arena.num_carried : arena.num_carried + 2])
    number = min(len(rows), len(kept))
    kept[len(kept) - number :] = rows[len(rows) - number :]
    count[:] = number
    return kept, count


def _watched_by(engine: Engine, rows: NDArray[Any], outputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """What a session keeps count of by a version that has answered these steps with these outputs."""
    arena = engine.arena
    if arena.watch is None:
        return ()
    begin = arena.watch.tracker.initial()
    after = arena.watch.see(begin[None], rows[None], outputs[None]).tracked.after[0]
    return after, after
