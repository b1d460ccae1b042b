"""Steps of a sequence, as requests bring them: a form, which many have alike, and their numbers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from ostinato.service.artifact.tensors import Input
from ostinato.service.edge.oip.interface import ModelInterface, interface_of, leading_axes, num_bytes_to_read
from ostinato.service.edge.oip.messages import InferRequest, InferResponse, NamedTensor
from ostinato.service.edge.oip.naming import session_name
from ostinato.service.edge.oip.options import SequenceParameters, read_options
from ostinato.service.edge.times import timed_rows
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import InvalidInput
from ostinato.service.inputs.turns import THREAD_BYTES
from ostinato.service.sessions.chunk import StepAnswer
from ostinato.service.sessions.opening import check_time_to_live


class Fit(NamedTuple):
    """How the tensors of a form are those of a model version.

    Attributes:
        places: of the model's inputs among the tensors.
        leading: the axes of each before those of a row: none, ``(n,)`` or ``(1, n)``.
        names: of the outputs that are answered.
    """

    model: ModelInterface
    places: list[int]
    leading: tuple[int, ...]
    names: Sequence[str]


class StepForm:
    """All of a request for steps of a sequence but its numbers: it is the same in most requests of a sequence.

    Attributes:
        session_id: of the session that holds the sequence.
        has_steps: False of an END alone.
    """

    __slots__ = ("_engine", "_fit", "_outputs", "has_steps", "id", "model", "options", "session_id")

    def __init__(self, request: InferRequest) -> None:
        self.model, self.id, self._outputs = request.model, request.id, request.outputs
        self.options = options = read_options(request.parameters, SequenceParameters, request.version)
        self.session_id = session_name(request.model, options.sequence_id)
        self.has_steps = not (options.sequence_end and not options.sequence_start and _has_no_steps(request.inputs))
        self._engine: Engine | None = None
        self._fit: Fit | None = None
        if options.sequence_start and options.seq:
            raise InvalidInput(
                f"{options.seq}, and a sequence that starts has no step before: 0, or leave it out", "seq"
            )
        if options.ttl_seconds is not None:
            if not options.sequence_start:
                raise InvalidInput("it is given where a sequence starts, and stays", "ttl_seconds")
            check_time_to_live(options.ttl_seconds)

    @property
    def is_plain(self) -> bool:
        """Whether it neither starts nor ends its sequence."""
        return not (self.options.sequence_start or self.options.sequence_end)

    @property
    def is_placed(self) -> bool:
        """Whether it says which steps of its sequence it has, as no other request does."""
        options = self.options
        places = options.seq, options.at, options.offset, options.first_offset, options.source or None
        return any(place is not None for place in places)

    def fit(self, engine: Engine, tensors: Sequence[NamedTensor]) -> Fit:
        """How it fits a model version; kept for the next request of this form.

        Raises:
            InvalidInput: it does not; names the tensor.
            TooLarge: there are too many steps.
        """
        if (known := self.fit_for(engine)) is not None:
            return known
        model = interface_of(engine)
        names = model.requested(self._outputs)
        context = model.context if self.options.sequence_start else ()
        steps = model.steps(model.by_name(tensors, context))
        leading = [_steps_axes(tensor, part) for tensor, part in zip(steps, model.given.parts, strict=True)]
        if len(set(leading)) > 1:
            told = ", ".join(f"{tensor.name} {list(tensor.shape)}" for tensor in steps)
            raise InvalidInput(f"the inputs differ in their steps: {told}")
        num_steps = leading[0][-1] if leading[0] else 1
        if not num_steps:
            raise InvalidInput("there is no step in it; send at least one", steps[0].name)
        engine.check_length(num_steps, steps[0].name)
        given = [tensor.name for tensor in tensors]
        self._fit = Fit(model, [given.index(name) for name in model.inputs], leading[0], names)
        self._engine = engine
        return self._fit

    def fit_for(self, engine: Engine) -> Fit | None:
        """How it fits a model version, where that was looked at last."""
        return self._fit if self._engine is engine else None

    def ended(self, model: ModelInterface) -> InferResponse:
        """The answer to an END alone, whose outputs have no step."""
        names = model.requested(self._outputs)
        made = model.answers(model.made.zeros(0))
        tensors = [model.tensor(name, made[name][None]) for name in names]
        return InferResponse(self.model, model.version, self.id, {"sequence_id": self.options.sequence_id}, tensors)


class SequenceStep:
    """A request for steps of a sequence: its form, and its inputs."""

    __slots__ = ("_fit", "_read", "_tensors", "form")
    _fit: Fit

    def __init__(self, form: StepForm, tensors: Sequence[NamedTensor]) -> None:
        self.form = form
        self._tensors = tensors
        self._read: tuple[Engine, Any] | None = None

    @property
    def tensors(self) -> Sequence[NamedTensor]:
        """Its inputs."""
        return self._tensors

    def rows(self, engine: Engine) -> Any:
        """The steps as the ledger takes them, rows ``[n, width]``, or the bytes of the only one.

        Raises:
            InvalidInput: they are not what the model takes; names the tensor and the place.
            TooLarge: they are too many.
        """
        if self._read is not None and self._read[0] is engine:
            return self._read[1]
        tensors = self.tensors
        self._fit = fit = self.form.fit(engine, tensors)
        rows = fit.model.rows([tensors[place] for place in fit.places])
        options = self.form.options
        if options.at is not None:
            return timed_rows(engine, rows, engine.given, options.at, options.seq, options.chunk_offset)
        return rows.tobytes() if len(rows) == 1 else rows

    @property
    def is_long(self) -> bool:
        """Whether its steps are to be read before, and not on the event loop: many words."""
        return num_bytes_to_read(self.tensors) > THREAD_BYTES

    async def read(self, engine: Engine) -> None:
        """Read its steps for a model version already; raises as ``rows``."""
        self._read = engine, await asyncio.to_thread(self.rows, engine)

    def response(self, answer: StepAnswer) -> InferResponse:
        """Word an answer."""
        seq, steps, outputs = answer.seq, answer.steps, answer.outputs
        form, (model, _, leading, names) = self.form, self._fit
        if not form.options.return_sequences:
            outputs = outputs[-1:]
        parameters: dict[str, Any] = {"sequence_id": form.options.sequence_id, "seq": seq, "steps": steps}
        if answer.times is not None:
            parameters |= {"at": str(answer.times.at[-1]), "filled": answer.times.filled}
        if model.tells_more:
            parameters |= model.told_of(steps, len(outputs))
        before = len(leading) - 1
        tensors = []
        for name, data in model.answers(outputs).items():
            if before < 0:
                data = data[-1]
            elif before:
                data = data[None]
            tensors.append(model.tensor(name, data))
        if names is not model.outputs:
            by_name = {tensor.name: tensor for tensor in tensors}
            tensors = [by_name[name] for name in names]
        return InferResponse(form.model, model.version, form.id, parameters, tensors)


def _has_no_steps(inputs: Sequence[NamedTensor]) -> bool:
    return all(0 in tensor.shape for tensor in inputs)


def _steps_axes(tensor: NamedTensor, part: Input) -> tuple[int, ...]:
    """The axes of a tensor before a row's: none, ``(n,)`` or ``(1, n)``."""
    leading = leading_axes(tensor, part)
    if len(leading) > 2 or (len(leading) == 2 and leading[0] != 1):
        raise InvalidInput(
            f"shape {list(tensor.shape)}: a request of a sequence has steps of that one: [1, T, ...] or [T, ...]",
            tensor.name,
        )
    return leading
