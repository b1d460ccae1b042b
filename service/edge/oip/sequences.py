"""Steps of sequences: each sequence is a session, begun by its START, and closed behind its END."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from ostinato.service.catalogue.catalogue import Catalogue
from ostinato.service.edge.oip.interface import ModelInterface, interface_of, leading_axes, numbers_of
from ostinato.service.edge.oip.messages import InferParameters, InferRequest, InferResponse, NamedTensor
from ostinato.service.edge.oip.naming import session_name
from ostinato.service.edge.oip.options import SequenceParameters, read_options
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import (
    CopyOutdated,
    InvalidInput,
    OstinatoError,
    RecordUnreadable,
    SessionClosed,
    SessionExists,
    SessionExpired,
    UnknownSession,
)
from ostinato.service.inputs.rows import to_context
from ostinato.service.sessions.chunk import StepAnswer, Waiter
from ostinato.service.sessions.ledger import Ledger
from ostinato.service.sessions.opening import check_time_to_live
from ostinato.service.sessions.refusals import apply, apply_anew
from ostinato.service.sessions.session import LiveSession
from ostinato.service.sessions.sessions import Sessions

GONE = (UnknownSession, SessionExpired, SessionClosed)
"""What a step meets whose sequence was not started, or has ended."""


class SequenceStep:
    """A request for steps of a sequence, its parameters read.

    Attributes:
        session_id: of the session that holds the sequence.
        has_steps: False of an END alone.
    """

    __slots__ = ("_leading", "_model", "_names", "has_steps", "options", "request", "session_id")

    def __init__(self, request: InferRequest) -> None:
        self.request = request
        self.options = options = read_options(request.parameters, SequenceParameters, request.version)
        self.session_id = session_name(request.model, options.sequence_id)
        self.has_steps = not (options.sequence_end and not options.sequence_start and _has_no_steps(request.inputs))
        if options.sequence_start and options.seq:
            raise InvalidInput(
                f"{options.seq}, and a sequence that starts has no step before: 0, or leave it out", "seq"
            )
        if options.ttl_seconds is not None:
            if not options.sequence_start:
                raise InvalidInput("it is given where a sequence starts, and stays", "ttl_seconds")
            check_time_to_live(options.ttl_seconds)

    def rows(self, engine: Engine) -> Any:
        """The steps as the ledger takes them, rows ``[n, width]``.

        Raises:
            InvalidInput: they are not what the model takes; names the tensor and the place.
            TooLarge: they are too many.
        """
        model = self._model = interface_of(engine)
        self._names = model.requested(self.request.outputs)
        inputs = self.request.inputs
        context = model.context if self.options.sequence_start else ()
        tensors = model.steps(model.by_name(inputs, context))
        leading = [_steps_axes(tensor, part) for tensor, part in zip(tensors, model.given.parts, strict=True)]
        if len(set(leading)) > 1:
            told = ", ".join(f"{tensor.name} {list(tensor.shape)}" for tensor in tensors)
            raise InvalidInput(f"the inputs differ in their steps: {told}")
        self._leading = leading[0]
        num_steps = self._leading[-1] if self._leading else 1
        if not num_steps:
            raise InvalidInput("there is no step in it; send at least one", tensors[0].name)
        if num_steps > 1:
            engine.check_length(num_steps, tensors[0].name)
        return model.rows(tensors)

    def response(self, answer: StepAnswer) -> InferResponse:
        """Word an answer."""
        _, seq, steps, outputs, _ = answer
        model, request = self._model, self.request
        if not self.options.return_sequences:
            outputs = outputs[-1:]
        made = model.answers(outputs)
        before = len(self._leading) - 1
        tensors = []
        for name in self._names:
            data = made[name]
            if before < 0:
                data = data[-1]
            elif before:
                data = data[None]
            tensors.append(model.tensor(name, data))
        parameters: dict[str, Any] = {"sequence_id": self.options.sequence_id, "seq": seq, "steps": steps}
        parameters |= model.told_of(steps, len(outputs))
        return InferResponse(request.model, model.version, request.id, parameters, tensors)

    def ended(self, model: ModelInterface) -> InferResponse:
        """The answer to an END alone, whose outputs have no step."""
        request = self.request
        names = model.requested(request.outputs)
        made = model.answers(model.made.zeros(0))
        parameters: InferParameters = {"sequence_id": self.options.sequence_id}
        tensors = [model.tensor(name, made[name][None]) for name in names]
        return InferResponse(request.model, model.version, request.id, parameters, tensors)


class SequenceSteps:
    """Applies steps of sequences."""

    def __init__(self, catalogue: Catalogue, sessions: Sessions, ledger: Ledger) -> None:
        self._catalogue = catalogue
        self._sessions = sessions
        self._ledger = ledger
        # Those that start or end a sequence, by its session: one after the other.
        self._alone: dict[str, asyncio.Lock] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def infer(self, request: InferRequest) -> InferResponse:
        """Apply a step of a sequence, started or ended where it says so."""
        step = SequenceStep(request)
        if not (step.options.sequence_start or step.options.sequence_end):
            return step.response(await self._step(step))
        async with self._in_turn(step.session_id):
            answer = None
            if step.options.sequence_start:
                answer = await self._start(step)
            elif step.has_steps:
                answer = await self._step(step)
            if answer is None:
                return step.ended(await self._end(step))
            if step.options.sequence_end:
                with contextlib.suppress(*GONE):  # somebody else has closed it
                    await self._sessions.close(step.session_id)
            return step.response(answer)

    def use(self, step: SequenceStep) -> LiveSession | None:
        """The session of a step that neither starts nor ends its sequence, where it is in memory; None where it is not.

        Raises:
            Overloaded, Draining: nothing more is taken just now.
        """
        if step.options.sequence_start or step.options.sequence_end:
            return None
        session = self._sessions.use(step.session_id)
        if session is not None:
            session.engine.check_room()
        return session

    def begin(
        self, session: LiveSession, step: SequenceStep, future: Waiter | None = None
    ) -> asyncio.Future[StepAnswer]:
        """Check a step and put it to its session; ``future`` gets its answer, or else one that is returned."""
        _check_is_of(session, step)
        return self._ledger.step(session, step.rows(session.engine), step.options.seq, future)

    async def step_anew(self, session: LiveSession, step: SequenceStep, error: OstinatoError) -> StepAnswer:
        """Apply a step that ``session``, which may be an old copy, has refused with ``error``."""
        try:
            return await apply_anew(self._sessions, session, error, lambda newest: self.begin(newest, step))
        except GONE as gone:
            raise self._not_started(step, gone) from gone

    async def _step(self, step: SequenceStep) -> StepAnswer:
        try:
            return await apply(self._sessions, step.session_id, lambda session: self.begin(session, step))
        except GONE as error:
            raise self._not_started(step, error) from error

    def _not_started(self, step: SequenceStep, error: OstinatoError) -> OstinatoError:
        """What is told of a sequence that is not there; of a model that is not there, that."""
        self._catalogue.resolve(step.request.model, step.options.version)
        kind = SessionClosed if isinstance(error, CopyOutdated) else type(error)
        return kind(
            f"inference request for sequence {str(step.options.sequence_id)[:60]!r} to model "
            f"{step.request.model!r} must specify the START flag on the first request of the sequence: {error}"
        )

    async def _start(self, step: SequenceStep) -> StepAnswer:
        """Begin a sequence anew; everything that may be wrong with its first step is found before one is ended."""
        request, options = step.request, step.options
        engine = self._catalogue.resolve(request.model, options.version)
        engine.check_room()
        rows = step.rows(engine)
        model = interface_of(engine)
        context = _context_of(model, request.inputs)
        while True:
            await self._end_if_live(step)
            with contextlib.suppress(SessionExists):  # which another process has begun since
                session = await self._sessions.open(
                    request.model,
                    session_id=step.session_id,
                    ttl_seconds=options.ttl_seconds,
                    version=model.version,
                    context=context,
                )
                break
        try:
            return await self._ledger.step(session, rows, 0)
        except BaseException as error:
            # What has not begun must not go on: the next step would be taken for the first.
            undoing = asyncio.ensure_future(self._undo(session))
            self._tasks.add(undoing)
            undoing.add_done_callback(self._tasks.discard)
            if not isinstance(error, asyncio.CancelledError):
                await asyncio.shield(undoing)
            raise

    async def _undo(self, session: LiveSession) -> None:
        opened_at = session.arena.opened_at[session.slot]
        with contextlib.suppress(OstinatoError):
            if not session.has_ended and session.arena.opened_at[session.slot] == opened_at:
                await self._sessions.close(session.session_id)

    async def _end_if_live(self, step: SequenceStep) -> None:
        with contextlib.suppress(*GONE):
            with contextlib.suppress(RecordUnreadable):
                _check_model(step, (await self._sessions.look(step.session_id)).model)
            await self._sessions.close(step.session_id)

    async def _end(self, step: SequenceStep) -> ModelInterface:
        """Close a sequence without a step; the interface of the version that it ran on."""
        try:
            facts = await self._sessions.look(step.session_id)
            _check_model(step, facts.model)
            interface = interface_of(self._catalogue.resolve(facts.model, facts.version))
            await self._sessions.close(step.session_id)
        except GONE as error:
            raise self._not_started(step, error) from error
        return interface

    @contextlib.asynccontextmanager
    async def _in_turn(self, session_id: str) -> AsyncIterator[None]:
        lock = self._alone.setdefault(session_id, asyncio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked() and self._alone.get(session_id) is lock:
                del self._alone[session_id]


def _check_is_of(session: LiveSession, step: SequenceStep) -> None:
    """Refuse a step to a session of another model, or version."""
    manifest = session.engine.manifest
    _check_model(step, manifest.name)
    version = step.options.version
    if version is not None and manifest.version != version:
        raise InvalidInput(
            f"the sequence runs on version {manifest.version!r}; start it anew to have it on {version!r}", "version"
        )


def _check_model(step: SequenceStep, model: str) -> None:
    if model != step.request.model:
        raise SessionExists(
            f"session {step.session_id!r}, which is this sequence's name, is of model {model!r}: close it, or use "
            "another id"
        )


def _has_no_steps(inputs: Sequence[NamedTensor]) -> bool:
    return all(0 in tensor.shape for tensor in inputs)


def _steps_axes(tensor: NamedTensor, part: Any) -> tuple[int, ...]:
    """The axes of a tensor before a row's: none, ``(n,)`` or ``(1, n)``."""
    leading = leading_axes(tensor, part)
    if len(leading) > 2 or (len(leading) == 2 and leading[0] != 1):
        raise InvalidInput(
            f"shape {list(tensor.shape)}: a request of a sequence has steps of that one: [1, T, ...] or [T, ...]",
            tensor.name,
        )
    return leading


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
    to_context(context, model.manifest.context, "context")
    return context
