"""Predictions of whole sequences, in JSON or in Arrow."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.access.meter import UNMETERED, Meter
from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Input, Output
from ostinato.service.catalogue.catalogue import Catalogue
from ostinato.service.edge.arrow.answers import write_last_steps, write_sequences
from ostinato.service.edge.arrow.columns import ARROW, read_any_sequences
from ostinato.service.edge.message import Request, Response, json_in_slices
from ostinato.service.edge.v1 import codec
from ostinato.service.edge.v1.bodies import BodyForms
from ostinato.service.edge.v1.body_place import BodyPlace
from ostinato.service.edge.v1.large import Check, Convert
from ostinato.service.edge.v1.schemas import NestedPredictBody, PredictBody, PredictQuery
from ostinato.service.edge.v1.steps import check_width_of
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.engine.sequence.engine import SequenceEngine
from ostinato.service.errors import InvalidInput
from ostinato.service.inference.prediction import predict
from ostinato.service.inputs.rows import count_steps, read_rows, to_context
from ostinato.service.inputs.sequences import to_sequence, to_states
from ostinato.service.inputs.turns import Pace, in_thread, is_of_objects, to_numbers

SLICE_SEQUENCES = 64
"""Sequences that are read before other requests have their turn."""

PREDICT = BodyForms(PredictBody, NestedPredictBody, "sequences", of_any_version=True)


async def _to_arrays(sequences: list[Any]) -> list[Any]:
    return [await to_numbers(rows, least=0, dtype="") for rows in sequences]


CONVERT: dict[str, Convert] = {"sequences": _to_arrays}


class PredictRoute:
    """``POST /v1/models/{model}/predict``."""

    def __init__(self, catalogue: Catalogue, meter: Meter = UNMETERED) -> None:
        self._catalogue = catalogue
        self._meter = meter

    def check_room(self, model: str) -> None:
        """Refuse what there is no room for, where it is known before the body is what it will run on.

        Raises:
            Overloaded, Draining, UnknownModel, Starting, InvalidInput.
        """
        if len(self._catalogue.versions(model)) == 1:
            self._catalogue.resolve_predictor(model).check_room()

    async def answer(self, request: Request) -> Response:
        """Run whole sequences of any lengths."""
        if request.media_type == ARROW:
            return await self._answer_arrow(request)
        body = await PREDICT.read(request, self.given(request.name), partial(self.check, request.name), convert=CONVERT)
        return await self.answer_body(request.name, body)

    def given(self, model: str) -> RowLayout[Input]:
        """What a model's newest version takes; another version's body is read as this one's.

        Raises:
            UnknownModel.
        """
        return self._catalogue.resolve_predictor(model).given

    def check(self, model: str, body: PredictBody) -> Check:
        """What holds a large body to the limits of its model, see ``read_body``."""
        engine = self._catalogue.resolve_predictor(model, body.version)
        engine.check_room()

        def check(place: BodyPlace, count: int) -> None:
            if place.is_member:
                engine.check_rows(count)
            elif place.member == "sequences" and place.depth == 1:
                engine.check_length(count, place)
            elif place.member == "sequences":
                check_width_of(engine.given, count, place)
            elif count > max((math.prod(state.row_shape) for state in engine.manifest.carried), default=0):
                raise InvalidInput(f"{count} elements, and no state has as many", field=place)

        return check

    async def answer_body(self, model: str, body: PredictBody) -> Response:
        """Run what a body asks for: outputs ``[n, O]`` of each sequence, or ``[O]`` without ``return_sequences``."""
        engine = self._catalogue.resolve_predictor(model, body.version)
        manifest = engine.manifest
        if isinstance(engine, SequenceEngine):
            _refuse_states(body)
        if not body.sequences:
            raise InvalidInput("there is no sequence in it; send at least one", field="sequences")
        engine.check_rows(len(body.sequences))
        for index, rows in enumerate(body.sequences):
            place = f"sequences[{index}]"
            is_counted = engine.given.is_flat and body.holds_numbers
            engine.check_length(len(rows) if is_counted else count_steps(rows, engine.given, place), place)
        sequences: list[NDArray[Any]] = []
        for index, rows in enumerate(body.sequences):
            sequences.append(await _read(engine, rows, f"sequences[{index}]", body.holds_numbers))
            if index % SLICE_SEQUENCES == SLICE_SEQUENCES - 1:
                await asyncio.sleep(0)
        if body.go_backwards:
            sequences = _reversed(sequences)
        beginnings = await _beginnings(engine, body)
        with self._meter.asked(sum(map(len, sequences))):
            predictions = await predict(engine, sequences, beginnings, with_states=body.return_state)
        words, align = engine.made.words, engine.made.align if body.align else _as_made
        outputs = [align(made.outputs) if body.return_sequences else _last(made.outputs) for made in predictions]
        content: dict[str, Any] = {
            "model": manifest.name,
            "version": manifest.version,
            "outputs": [None if rows is None else words(rows) for rows in outputs],
        }
        if engine.made.framing:
            content["output_steps"] = [
                _steps_of(engine.made, len(rows), len(made.outputs), is_whole=body.return_sequences)
                for rows, made in zip(sequences, predictions, strict=True)
            ]
        if body.return_state:
            names = [state.name for state in manifest.states]
            content["states"] = [dict(zip(names, made.states, strict=False)) for made in predictions]
        return await json_in_slices(content)

    async def _answer_arrow(self, request: Request) -> Response:
        options = codec.decode_query(request.query_string, PredictQuery)
        engine = self._catalogue.resolve_predictor(request.name, options.version)
        engine.check_room()
        given, context = engine.given, engine.manifest.context
        # Arrow and numpy do most of it without holding Python's lock.
        sequences, known = await in_thread(
            len(request.body), read_any_sequences, request.body, given, context, engine.check_rows, engine.check_length
        )
        beginnings = [[*engine.initial_states, *each] if context else None for each in known]
        if options.go_backwards:
            sequences = _reversed(sequences)
        with self._meter.asked(sum(map(len, sequences))):
            outputs = [made.outputs for made in await predict(engine, sequences, beginnings)]
        if options.return_sequences and options.align:
            outputs = [engine.made.align(made) for made in outputs]
        num_bytes = sum(made.nbytes for made in outputs)
        lengths = [len(sequence) for sequence in sequences]
        write = write_sequences if options.return_sequences else write_last_steps
        return Response(200, await in_thread(num_bytes, write, outputs, engine.made, lengths), ARROW)


def _last(outputs: NDArray[Any]) -> NDArray[Any] | None:
    """The last step's, or the last frame's; None where none was complete."""
    return outputs[-1] if len(outputs) else None


def _steps_of(made: RowLayout[Output], num_steps: int, num_frames: int, *, is_whole: bool) -> Any:
    """The steps that the answers to a sequence are of, or that its last one is of."""
    ends = made.ends_of(num_steps, num_frames)
    if is_whole:
        return made.steps_of(ends)
    return made.steps_of(ends[-1:]) if num_frames else None


def _as_made(outputs: NDArray[Any]) -> NDArray[Any]:
    return outputs


def _reversed(sequences: list[NDArray[Any]]) -> list[NDArray[Any]]:
    return [np.ascontiguousarray(sequence[::-1]) for sequence in sequences]


async def _read(engine: Engine | SequenceEngine, rows: Any, place: str, holds_numbers: bool) -> NDArray[Any]:
    """One sequence as rows."""
    if holds_numbers and engine.given.is_flat and not engine.manifest.inputs[0].categories:
        rows = await to_numbers(rows, dtype=engine.given.dtype.name)
        if not is_of_objects(rows):
            return to_sequence(rows, engine.manifest.inputs[0], place)
    return (await read_rows(rows, engine.given, place)).rows


def _refuse_states(body: PredictBody) -> None:
    """Refuse what there is none of in a model of task ``sequence``."""
    for field in ("return_state", "initial_state"):
        if getattr(body, field):
            raise InvalidInput("a model of the task 'sequence' has no states: leave it out", field=field)


async def _beginnings(engine: Engine | SequenceEngine, body: PredictBody) -> list[list[NDArray[Any]] | None]:
    """What each sequence begins with: its states, and behind them its context; None = the model's own."""
    num_sequences, manifest = len(body.sequences), engine.manifest
    if body.initial_state is None and body.context is None and not manifest.context:
        return [None] * num_sequences
    initial = engine.initial_states

    def states_of(given: Mapping[str, Any] | None, place: str) -> Sequence[NDArray[Any]]:
        return initial if given is None else to_states(given, manifest, place)

    def context_of(given: Mapping[str, Any] | None, place: str) -> Sequence[NDArray[Any]]:
        return to_context(given, manifest.context, place)

    states = await _for_each(body.initial_state, num_sequences, "initial_state", states_of)
    context = await _for_each(body.context, num_sequences, "context", context_of)
    return [[*own, *known] for own, known in zip(states, context, strict=True)]


async def _for_each(
    given: Any, num_sequences: int, field: str, read: Callable[[Any, str], Sequence[NDArray[Any]]]
) -> list[Sequence[NDArray[Any]]]:
    """What is given of each sequence, or once for all."""
    if given is None or isinstance(given, dict):
        return [read(given, field)] * num_sequences
    if len(given) != num_sequences:
        told = f"{len(given)} objects for {num_sequences} sequences; one for each, or one for all in no list"
        raise InvalidInput(told, field=field)
    made = []
    pace = Pace()
    for index, each in enumerate(given):
        made.append(read(each, f"{field}[{index}]"))
        await pace.rest()
    return made
