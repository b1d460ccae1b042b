"""The reference: what a session is, what each request makes of it, and what it may be answered.

Written from the contract and docs/architecture.md, not from the service's code. Sequential: the concurrent part is the
search's. A request can have several outcomes only where time decides (whether a session has expired by then), or where
the contract leaves it open which of two faults of a request is told.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tests.histories.network import CONTEXT_SIZES, KINDS, LATEST, WIDTHS, Kind
from tests.histories.operation import Asked, Inputs, Operation, Verb, Way

CLOCK_SECONDS = 0.05
"""By how much the times of a service and of the history may differ, being read at different moments."""

STATUS = {"invalid_input": 422, "too_large": 413, "unsupported_media_type": 415}
"""Of requests that are refused for what they are."""

LONG_SECONDS = 600.0
"""A session that lives for longer does not expire within a history."""


class Absent(NamedTuple):
    """No session: it was never opened, or was forgotten."""


class Ended(NamedTuple):
    """A tombstone: ``how`` is the code of its 410; it ended at some time from ``earliest`` to ``latest``."""

    how: str
    earliest: float
    latest: float


class LastChunk(NamedTuple):
    """The chunk applied last, and its answer."""

    seq: int
    inputs: Inputs
    outputs: tuple[int, ...]


class Live(NamedTuple):
    """A live session, which expires at some time from ``earliest`` to ``latest``.

    Attributes:
        state: of the network, see ``Kind.run``.
        last: None = there is none that could be sent again.
        last_output: None = it is not known.
        context: given when it was opened, or by the state that was put.
        kept: the last steps, where the model has them kept.
        was_put: whether the state was put there, and fewer steps than may be kept have come since.
        reach: the source that it was told last, where the last reading is in it, and the steps with that; None = it was
            told none.
    """

    model: str
    version: str
    steps: int
    state: Any
    last: LastChunk | None
    last_output: int | None
    ttl_seconds: float
    earliest: float
    latest: float
    context: tuple[int, ...] = ()
    kept: Inputs = ()
    was_put: bool = False
    reach: tuple[str, int, int] | None = None

    @property
    def kind(self) -> Kind:
        """Its network."""
        return KINDS[self.model, self.version]

    def renewed(self, operation: Operation) -> Live:
        """The same, living its whole time from the moment of an operation on."""
        return self._replace(earliest=operation.called + self.ttl_seconds, latest=operation.returned + self.ttl_seconds)


Session = Absent | Ended | Live


class Outcome(NamedTuple):
    """One thing that may come of a request: the answer, and what the session is then.

    Attributes:
        content: what the answer must say; it may say more.
        expires: the times between which ``expires_at`` must lie, where the answer tells it.
    """

    status: int
    session: Session
    code: str = ""
    content: Mapping[str, Any] = {}
    expires: tuple[float, float] | None = None


class Reference:
    """The rules.

    Args:
        default_ttl_seconds: of sessions that do not say.
        tombstone_seconds: how long an id that ended is remembered.
    """

    def __init__(self, *, default_ttl_seconds: float = 3600.0, tombstone_seconds: float = 300.0) -> None:
        self._default_ttl_seconds = default_ttl_seconds
        self._tombstone_seconds = tombstone_seconds

    def outcomes(self, operation: Operation, session: Session, copied: Live | None = None) -> Iterator[Outcome]:
        """What may come of an operation on a session that is as given; ``copied``: what a paste has to paste.

        That a replica refuses a request for reasons of its own (429, 503 before anything was tried) is always possible,
        changes nothing, and is not among them.
        """
        for seen in self._at_that_time(operation, session):
            if operation.asked.verb is Verb.OPEN:
                yield from self._open(operation, seen)
            elif operation.asked.verb is Verb.CLEAR:
                yield from _clear(operation, seen)
            elif operation.asked.verb is Verb.PASTE:
                yield from self._paste(operation, seen, copied)
            elif operation.asked.verb is Verb.LISTED:
                yield from _listed(operation.asked, seen)
            elif operation.asked.verb is Verb.STEP:
                yield from self._step(operation, seen)
            elif not isinstance(seen, Live):
                yield from _not_live(operation.asked, seen)
            else:
                yield from _of_live(operation, seen)

    def _at_that_time(self, operation: Operation, session: Session) -> Iterator[Session]:
        """What a session may have become by the time of an operation, by itself."""
        if isinstance(session, Live):
            since = operation.called if operation.since is None else operation.since
            if since <= session.latest + CLOCK_SECONDS:
                yield session
            if not session.earliest - CLOCK_SECONDS <= operation.returned or math.isinf(session.earliest):
                return
            session = Ended("session_expired", session.earliest, session.latest)
        if isinstance(session, Ended):
            # That a session expired may be noticed late, and is then remembered from there on.
            remembered = session.how == "session_expired" or (
                operation.called <= session.latest + self._tombstone_seconds + CLOCK_SECONDS
            )
            if remembered:
                yield session
            if not session.earliest + self._tombstone_seconds - CLOCK_SECONDS <= operation.returned:
                return
        yield Absent()

    def _new(self, operation: Operation, version: str, **changes: Any) -> Live:
        asked = operation.asked
        assert asked.model is not None
        ttl_seconds = self._default_ttl_seconds if asked.ttl_seconds is None else asked.ttl_seconds
        made = Live(asked.model, version, 0, 0, None, None, ttl_seconds or math.inf, 0, 0)
        return made._replace(**changes).renewed(operation)

    def _open(self, operation: Operation, session: Session) -> Iterator[Outcome]:
        asked = operation.asked
        version = asked.version or LATEST.get(asked.model or "", "")
        if asked.flaw:
            yield from _flawed(asked, session)
        elif (asked.model, version) not in KINDS:
            yield Outcome(404, session, "unknown_model")
        elif len(asked.context) != KINDS[asked.model or "", version].num_context:
            yield Outcome(422, session, "invalid_input")
        elif isinstance(session, Live):
            yield Outcome(409, session, "session_exists")
        else:
            opened = _shown(201, self._new(operation, version, context=asked.context))
            # What a sequence's session expires at is not told.
            yield opened._replace(expires=None) if asked.way is Way.SEQUENCE else opened

    def _paste(self, operation: Operation, session: Session, copied: Live | None) -> Iterator[Outcome]:
        if copied is None:
            return
        if isinstance(session, Live):
            yield Outcome(409, session, "session_exists")
            return
        ttl_seconds = operation.asked.ttl_seconds
        if ttl_seconds is not None:
            copied = copied._replace(ttl_seconds=ttl_seconds or math.inf)
        yield _shown(201, copied.renewed(operation))

    def _step(self, operation: Operation, session: Session) -> Iterator[Outcome]:
        asked = operation.asked
        if asked.way.names_model and asked.model not in WIDTHS:
            yield Outcome(404, session, "unknown_model")
            return
        if asked.flaw:
            yield from _flawed(asked, session)
        if asked.way.is_columnar and not asked.flaw and not _fits(asked, WIDTHS[asked.model or ""]):
            yield Outcome(422, session, "invalid_input")  # the message as a whole, whatever its sessions are
        elif isinstance(session, Live):
            if not asked.flaw:
                yield from _step_live(operation, session)
            elif asked.way is Way.SEQUENCE and asked.model != session.model:
                yield Outcome(409, session, "session_exists")  # which may be found before the flaw
        elif not asked.way.names_model or _fits(asked, WIDTHS[asked.model or ""]):
            if not asked.flaw and asked.creates and not asked.seq and isinstance(session, Absent):
                if CONTEXT_SIZES[asked.model or ""]:
                    yield Outcome(422, session, "invalid_input")  # it begins with what no step can say
                else:
                    yield from _apply(operation, self._new(operation, LATEST[asked.model or ""]))
            else:
                yield from _not_live(asked, session)
        else:
            # No session of this model would take it; whether there is one at all may be found first.
            yield Outcome(422, session, "invalid_input")
            if not (asked.creates and not asked.seq and isinstance(session, Absent)):
                yield from _not_live(asked, session)


def _clear(operation: Operation, session: Session) -> Iterator[Outcome]:
    if operation.asked.flaw:
        yield from _flawed(operation.asked, session)
    elif not isinstance(session, Live):
        yield Outcome(200, session)
    elif session.model != operation.asked.model:
        yield Outcome(409, session, "session_exists")
    else:
        yield Outcome(200, Ended("session_closed", operation.called, operation.returned))


def _flawed(asked: Asked, session: Session) -> Iterator[Outcome]:
    """What has a fault of its own may have another, too, that is told first; in either case nothing is applied."""
    yield Outcome(STATUS[asked.flaw], session, asked.flaw)
    if asked.flaw != "invalid_input":
        yield Outcome(422, session, "invalid_input")


def _not_live(asked: Asked, session: Session) -> Iterator[Outcome]:
    if asked.flaw:
        yield from _flawed(asked, session)
    if isinstance(session, Ended):
        yield Outcome(410, session, session.how)
    else:
        yield Outcome(404, session, "unknown_session")


def _shown(status: int, session: Live, shown: Live | None = None) -> Outcome:
    """An answer that shows a session as it is then."""
    seen = shown or session
    content = {"model": seen.model, "version": seen.version, "steps": seen.steps, **_told_of(seen)}
    return Outcome(status, session, content=content, expires=(session.earliest, session.latest))


def _told_of(session: Live) -> dict[str, Any]:
    return {} if session.reach is None else {"source": session.reach[0], "offset": session.reach[1]}


def _was_applied(asked: Asked, session: Live) -> bool:
    """Whether the session has readings of this place."""
    if asked.place is None or session.reach is None:
        return False
    return asked.place[0] == session.reach[0] and asked.place[1] <= session.reach[1]


def _is_next(asked: Asked, session: Live) -> bool:
    return asked.seq in (None, session.steps) and not _was_applied(asked, session)


def _is_sent_again(asked: Asked, session: Live) -> bool:
    """Whether a step that is not next is the chunk applied last, unchanged."""
    last = session.last
    if last is None or last.inputs != asked.inputs or asked.seq not in (None, last.seq):
        return False
    return asked.place is None or session.reach == (asked.place[0], asked.place[2], session.steps)


def _fits(asked: Asked, num_features: int) -> bool:
    return bool(asked.inputs) and all(len(step) == num_features for step in asked.inputs)


def _step_live(operation: Operation, session: Live) -> Iterator[Outcome]:
    asked = operation.asked
    if asked.way is Way.SEQUENCE and asked.model != session.model:
        yield Outcome(409, session, "session_exists")
        return
    if not _fits(asked, session.kind.num_features) or (asked.way.names_model and asked.model != session.model):
        yield Outcome(422, session, "invalid_input")
        if _fits(asked, session.kind.num_features):
            return  # it is another model's
        if _is_next(asked, session):
            return  # there is nothing else to refuse it for
    elif _is_next(asked, session):
        yield from _apply(operation, session)
        return
    last = session.last
    if last is not None and _is_sent_again(asked, session):
        # Whether the answer that is given again lengthens the session's life is open.
        longer = session._replace(latest=max(session.latest, operation.returned + session.ttl_seconds))
        yield _applied(asked, longer, last)
        return
    # A column has no room for the count of steps, and a sentence has it alone.
    content: dict[str, Any] = {} if asked.way is Way.ARROW else {"expected_seq": session.steps}
    if content and asked.way is not Way.SEQUENCE:
        content |= _told_of(session)
    yield Outcome(409, session, "seq_conflict", content)


def _apply(operation: Operation, session: Live) -> Iterator[Outcome]:
    asked = operation.asked
    outputs, state = session.kind.run(session.state, asked.inputs, session.context)
    last = LastChunk(session.steps, asked.inputs, outputs)
    steps = session.steps + len(asked.inputs)
    last_output = outputs[-1] if outputs else session.last_output
    kept = _last(session.kept + asked.inputs, session.kind.keep_inputs)
    was_put = session.was_put and len(kept) < session.kind.keep_inputs
    changes: dict[str, Any] = {
        "steps": steps,
        "state": state,
        "last": last,
        "last_output": last_output,
        "kept": kept,
        "was_put": was_put,
    }
    if asked.place is not None:
        changes["reach"] = asked.place[0], asked.place[2], steps
    after = session._replace(**changes).renewed(operation)
    yield _applied(asked, after, last)


def _applied(asked: Asked, session: Live, last: LastChunk) -> Outcome:
    content: dict[str, Any] = {"session_id": asked.session_id, "seq": last.seq, "outputs": last.outputs}
    if not asked.way.is_columnar:
        content["steps"] = last.seq + len(last.inputs)
    if not asked.way.is_columnar and session.kind.hop:
        content["output_steps"] = session.kind.ends(last.seq, last.seq + len(last.inputs))
    return Outcome(200, session, content=content)


def _of_live(operation: Operation, session: Live) -> Iterator[Outcome]:
    asked = operation.asked
    if asked.flaw:
        yield from _flawed(asked, session)
    elif asked.verb is Verb.LOOK:
        yield _shown(200, session)
    elif asked.verb is Verb.CLOSE:
        yield Outcome(204, Ended("session_closed", operation.called, operation.returned))
    elif asked.verb is Verb.COPY:
        yield Outcome(201, session)
    elif asked.verb is Verb.GET:
        content = {"model": session.model, "version": session.version, "steps": session.steps, "state": session.state}
        content["context"] = session.context
        yield Outcome(200, session, content={**content, "last_output": session.last_output if session.steps else None})
    elif asked.verb is Verb.MIGRATE:
        yield _migrated(operation, session)
    elif asked.verb is Verb.RESET:
        yield _replaced(operation, session._replace(was_put=False), 0, 0, None)
    elif asked.verb is Verb.PUT:
        file = asked.file
        assert file is not None
        is_whole = file.steps is not None or not session.kind.hop
        if file.model != session.model or len(file.context) != len(session.context) or not is_whole:
            yield Outcome(422, session, "invalid_input")
        else:
            steps = session.steps if file.steps is None else file.steps
            put = session._replace(context=file.context, was_put=session.kind.keep_inputs > 0)
            yield _replaced(operation, put, steps, file.state, file.last_output)
    elif asked.verb is Verb.FORECAST:
        can_begin = session.kind.can_forecast and session.steps and session.last_output is not None
        if can_begin and _fits_ahead(asked, session.kind.num_known):
            yield Outcome(200, session, content={"outputs": _forecast(session, asked.horizon, asked.future or ())})
        else:
            yield Outcome(422, session, "invalid_input")


def _replaced(operation: Operation, session: Live, steps: int, state: int, last_output: int | None) -> Outcome:
    forgotten: dict[str, Any] = {"last": None, "kept": (), "reach": None}
    after = session._replace(steps=steps, state=state, last_output=last_output, **forgotten).renewed(operation)
    return _shown(200, after)


def _last(steps: Inputs, number: int) -> Inputs:
    return steps[-number:] if number else ()


def _migrated(operation: Operation, session: Live) -> Outcome:
    version = operation.asked.version or ""
    kind = KINDS.get((session.model, version))
    if kind is None:
        return Outcome(404, session, "unknown_model")
    if version == session.version:
        same = _shown(200, session)
        return same._replace(content={**same.content, "replayed": 0, "former_version": version})
    is_initial = session.state == 0 if not session.kind.keep_inputs else not session.was_put
    if not is_initial or (session.steps and not session.kept):
        return Outcome(422, session, "invalid_input")
    outputs = kind.fold(0, session.kept) if session.kept else ()
    state, last_output = (outputs[-1], outputs[-1]) if outputs else (0, None)
    kept = _last(session.kept, kind.keep_inputs)
    changes: dict[str, Any] = {
        "version": version,
        "state": state,
        "last": None,
        "last_output": last_output,
        "kept": kept,
    }
    shown = _shown(200, session._replace(**changes).renewed(operation))
    before = None if session.last_output is None or not session.steps else float(session.last_output)
    told = {
        "replayed": len(session.kept),
        "former_version": session.version,
        "output_before": None if before is None else (before,),
        "output_after": None if last_output is None else (float(last_output),),
        "difference": None if before is None or last_output is None else abs(last_output - before),
    }
    return shown._replace(content={**shown.content, **told})


def _fits_ahead(asked: Asked, num_known: int) -> bool:
    """Whether a forecast is told of the future what it must be told, and nothing else."""
    return asked.future is not None if num_known and asked.horizon > 1 else num_known > 0 or asked.future is None


def _forecast(session: Live, horizon: int, future: Inputs) -> tuple[int, ...]:
    assert session.last_output is not None
    outputs, state = [session.last_output], session.state
    while len(outputs) < horizon:
        known = future[len(outputs) - 1] if future else ()
        state = session.kind.step(state, (outputs[-1], *known), session.context)
        outputs.append(state)
    return tuple(outputs)


def _listed(asked: Asked, session: Session) -> Iterator[Outcome]:
    """200 = it is in the list, 404 = it is not."""
    if isinstance(session, Live) and asked.model in (None, session.model):
        yield _shown(200, session)
    else:
        yield Outcome(404, session)
