"""Steps of sequences: each sequence is a session, begun by its START, and closed behind its END."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from ostinato.service.catalogue.catalogue import Catalogue
from ostinato.service.edge.oip.interface import ModelInterface, interface_of, leading_axes, numbers_of
from ostinato.service.edge.oip.messages import InferRequest, InferResponse, NamedTensor
from ostinato.service.edge.oip.steps import SequenceStep, StepForm
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import (
    CopyOutdated,
    InvalidInput,
    OstinatoError,
    RecordUnreadable,
    SeqConflict,
    SessionClosed,
    SessionExists,
    SessionExpired,
    StateStoreUnavailable,
    UnknownModel,
    UnknownSession,
)
from ostinato.service.inputs.rows import to_context
from ostinato.service.sessions.chunk import StepAnswer, Waiter
from ostinato.service.sessions.ledger import Ledger
from ostinato.service.sessions.named_locks import NamedLocks
from ostinato.service.sessions.refusals import apply, apply_anew
from ostinato.service.sessions.session import LiveSession
from ostinato.service.sessions.sessions import Sessions

GONE = (UnknownSession, SessionExpired, SessionClosed)
"""What a step meets whose sequence was not started, or has ended."""
_WHY: dict[type[OstinatoError], str] = {
    UnknownSession: "no such sequence is live",
    SessionExpired: "it was idle for longer than its ttl_seconds",
    SessionClosed: "it was closed",
    CopyOutdated: "it was closed while this request waited",
}
STEP_APPLIED = "the step was applied, and its sequence continues until this is retried, with seq"
FORMER_ENDED = "what was live of the sequence was ended for this START"


class SequenceSteps:
    """Applies steps of sequences."""

    def __init__(self, catalogue: Catalogue, sessions: Sessions, ledger: Ledger, locks: NamedLocks) -> None:
        self._catalogue = catalogue
        self._sessions = sessions
        self._ledger = ledger
        # Those that start or end a sequence, by its session, one after the other.
        self._locks = locks
        self._tasks: set[asyncio.Task[None]] = set()

    async def infer(self, request: InferRequest) -> InferResponse:
        """Apply a step of a sequence, started or ended where it says so."""
        step = SequenceStep(StepForm(request), request.inputs)
        if not (step.form.options.sequence_start or step.form.options.sequence_end):
            return step.response(await self._step(step))
        done: list[str] = []
        async with self._locks.hold(step.form.session_id):
            with _telling(done):
                return await self._start_or_end(step, done)

    async def _start_or_end(self, step: SequenceStep, done: list[str]) -> InferResponse:
        """``infer`` of a step that starts or ends its sequence, in several changes; ``done`` gets what they did."""
        if step.form.options.sequence_start:
            answer, opened_at = await self._start(step, done)
        elif step.form.has_steps:
            answer, opened_at = await self._last_step(step)
        else:
            return step.form.ended(await self._end(step))
        if step.form.options.sequence_end:
            done.append(STEP_APPLIED)
            # Its last step is applied, whether or not the caller is still there to be told.
            await asyncio.shield(self._closing(step.form.session_id, opened_at))
        return step.response(answer)

    def use(self, step: SequenceStep) -> LiveSession | None:
        """The session of a step that neither starts nor ends its sequence, where it is in memory; None where it is not.

        Raises:
            Overloaded, Draining: nothing more is taken just now.
        """
        if step.form.options.sequence_start or step.form.options.sequence_end:
            return None
        session = self._sessions.use(step.form.session_id)
        if session is not None:
            session.engine.check_room()
        return session

    def begin(
        self, session: LiveSession, step: SequenceStep, future: Waiter | None = None
    ) -> asyncio.Future[StepAnswer]:
        """Check a step and put it to its session; ``future`` gets its answer, or else one that is returned."""
        _check_is_of(session, step)
        options = step.form.options
        return self._ledger.step(session, step.rows(session.engine), options.seq, future, options.chunk_offset)

    async def step_anew(self, session: LiveSession, step: SequenceStep, error: OstinatoError) -> StepAnswer:
        """Apply a step that ``session``, which may be an old copy, has refused with ``error``."""
        try:
            return await apply_anew(self._sessions, session, error, lambda newest: self.begin(newest, step))
        except GONE as gone:
            raise self.not_started(step, gone) from gone

    async def _step(
        self, step: SequenceStep, begin: Callable[[LiveSession], Awaitable[StepAnswer]] | None = None
    ) -> StepAnswer:
        try:
            if step.is_long:
                session = self._sessions.use(step.form.session_id) or await self._sessions.find(step.form.session_id)
                with contextlib.suppress(InvalidInput):  # which is told when it is put to the newest
                    await step.read(session.engine)
            return await apply(
                self._sessions, step.form.session_id, begin or (lambda session: self.begin(session, step))
            )
        except GONE as error:
            raise self.not_started(step, error) from error

    async def _last_step(self, step: SequenceStep) -> tuple[StepAnswer, float]:
        """``_step``, and when the session was opened that it was applied to."""
        opened_at = 0.0

        async def applied(session: LiveSession) -> StepAnswer:
            nonlocal opened_at
            answer = await self.begin(session, step)
            opened_at = float(session.arena.opened_at[session.slot])
            return answer

        return await self._step(step, applied), opened_at

    def not_started(self, step: SequenceStep, error: OstinatoError) -> OstinatoError:
        """What is told of a sequence that is not there; of a model that is not there, that."""
        try:
            self._engine_of(step)
        except OstinatoError as unknown:
            return unknown
        kind = SessionClosed if isinstance(error, CopyOutdated) else type(error)
        sequence_id = step.form.options.sequence_id
        told = repr(sequence_id[:60]) if isinstance(sequence_id, str) else sequence_id
        return kind(
            f"inference request for sequence {told} to model {step.form.model!r} must specify the START flag on the "
            f"first request of the sequence: {_WHY[type(error)]}; begin it with sequence_start"
        )

    def _engine_of(self, step: SequenceStep) -> Engine:
        """The version that a sequence would begin with."""
        try:
            name = self._sessions.new_name(step.form.session_id)
            return self._catalogue.resolve_new(step.form.model, step.form.options.version, name)
        except InvalidInput as error:  # it has no steps
            raise InvalidInput(f"{error}, and leave sequence_id out", "sequence_id") from error

    async def _start(self, step: SequenceStep, done: list[str]) -> tuple[StepAnswer, float]:
        """Begin a sequence again; everything that may be wrong with its first step is found before one is ended.

        Returns also when its session was opened.
        """
        options, offset = step.form.options, step.form.options.chunk_offset
        engine = self._engine_of(step)
        engine.check_room()
        if step.is_long:
            await step.read(engine)
        rows = step.rows(engine)
        context = _context_of(interface_of(engine), step.tensors)
        self._ledger.check_rate()
        while True:
            if await self._end_if_live(step):
                done.append(FORMER_ENDED)
            # Another process, or a request under /v1, may begin it meanwhile: that is ended, too.
            with contextlib.suppress(SessionExists, SeqConflict, *GONE):
                # It is there with its first step and not before: no other step can be taken for that one.
                session = await self._sessions.begin(step.form.session_id, engine, options.ttl_seconds, context)
                opened_at = float(session.arena.opened_at[session.slot])
                try:
                    return await self._ledger.step(session, rows, 0, offset=offset), opened_at
                except asyncio.CancelledError:
                    # Nobody was told that it has begun, if it has; so it does not continue.
                    self._closing(step.form.session_id, opened_at)
                    raise
                finally:
                    self._sessions.abandon(session)
            await asyncio.sleep(0)

    def _closing(self, session_id: str, opened_at: float) -> asyncio.Task[None]:
        """A task that closes the session that was opened then, if nobody else does."""

        async def close() -> None:
            with contextlib.suppress(*GONE):
                await self._sessions.close_opened(session_id, opened_at)

        task = asyncio.ensure_future(close())
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # anyone who waits is told, and where nobody does the session has its time to live

    async def _end_if_live(self, step: SequenceStep) -> bool:
        """Close what is live of the sequence, and nothing that is another model's; whether there was something."""
        session_id = step.form.session_id
        with contextlib.suppress(*GONE):
            try:
                opened_at = await self._opened_at(step)
            except RecordUnreadable:  # nobody can tell whose it was
                await self._sessions.close(session_id)
                return True
            if opened_at is None:
                return False
            try:
                await self._sessions.close_opened(session_id, opened_at)
            except UnknownModel:  # its version is not served, so it need not come to memory to end
                await self._sessions.close(session_id)
            return True
        return False

    async def _opened_at(self, step: SequenceStep) -> float | None:
        """When the session was opened that holds the sequence; None = there is none."""
        try:
            facts = await self._sessions.look(step.form.session_id)
        except GONE:
            # One that another request begins is not there to be looked at, and is ended as soon as it is.
            session = self._sessions.use(step.form.session_id)
            if session is None or session.engine.manifest.name != step.form.model:
                return None
            return float(session.arena.opened_at[session.slot])
        _check_model(step, facts.model)
        return facts.opened_at

    async def _end(self, step: SequenceStep) -> ModelInterface:
        """Close a sequence without a step; the interface of the version that it ran on."""
        try:
            facts = await self._sessions.look(step.form.session_id)
            _check_model(step, facts.model)
            interface = interface_of(self._catalogue.resolve_own(facts.model, facts.version))
            await self._sessions.close_opened(step.form.session_id, facts.opened_at)
        except GONE as error:
            raise self.not_started(step, error) from error
        return interface


@contextlib.contextmanager
def _telling(done: Sequence[str]) -> Iterator[None]:
    """Have a failure of the store tell what was done before it."""
    try:
        yield
    except StateStoreUnavailable as error:
        if not done:
            raise
        raise error.after(done[-1]) from error


def _check_is_of(session: LiveSession, step: SequenceStep) -> None:
    """Refuse a step to a session of another model, or version."""
    manifest = session.engine.manifest
    _check_model(step, manifest.name)
    version = step.form.options.version
    if version is not None and manifest.version != version:
        raise InvalidInput(
            f"the sequence runs on version {manifest.version!r}; start it again to have it on {version!r}", "version"
        )


def _check_model(step: SequenceStep, model: str) -> None:
    if model != step.form.model:
        raise SessionExists(
            f"session {step.form.session_id!r}, which is this sequence's name, is of model {model!r}: close it, or use "
            "another id"
        )


def _context_of(model: ModelInterface, inputs: Sequence[NamedTensor]) -> dict[str, Any]:
    """The context that came with a START, as nested lists by name, checked."""
    context = {}
    for tensor in inputs:
        part = model.context.get(tensor.name)
        if part is not None:
            if any(axis != 1 for axis in leading_axes(tensor, part)):
                raise InvalidInput(
                    f"shape {list(tensor.shape)}: a context is one row of {list(part.row_shape)}", part.name
                )
            context[part.name] = numbers_of(tensor, part)[0].reshape(part.row_shape).tolist()
    to_context(context, model.manifest.context, "inputs")
    return context
