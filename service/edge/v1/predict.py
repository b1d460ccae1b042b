"""Predictions of whole sequences, in JSON or in Arrow."""

from __future__ import annotations

import asyncio
import math
from functools import partial
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ostinato.service.catalogue.catalogue import Catalogue
from ostinato.service.edge.arrow.columns import ARROW, read_sequences, write_sequences
from ostinato.service.edge.message import Request, Response, json_in_slices
from ostinato.service.edge.v1 import codec
from ostinato.service.edge.v1.large import Check, Convert, read_body
from ostinato.service.edge.v1.schemas import PredictBody, PredictQuery
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import InvalidInput
from ostinato.service.inference.prediction import predict
from ostinato.service.inputs.sequences import check_width, to_sequence, to_states
from ostinato.service.inputs.turns import Pace, in_thread, to_numbers

SLICE_SEQUENCES = 64
"""Sequences that are read before other requests have their turn."""

_PREDICT = msgspec.json.Decoder(PredictBody)


async def _to_arrays(sequences: list[Any]) -> list[Any]:
    return [await to_numbers(rows, least=0) for rows in sequences]


CONVERT: dict[str, Convert] = {"sequences": _to_arrays}


class PredictRoute:
    """``POST /v1/models/{model}/predict``."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def answer(self, request: Request) -> Response:
        """Run whole sequences of any lengths."""
        if request.media_type == ARROW:
            return await self._answer_arrow(request)
        body = await read_body(request, _PREDICT, partial(self.check, request.name), convert=CONVERT)
        return await self.answer_body(request.name, body)

    def check(self, model: str, body: PredictBody) -> Check:
        """What holds a large body to the limits of its model, see ``read_body``."""
        engine = self._catalogue.resolve(model, body.version)
        engine.check_room()

        def check(place: str, count: int) -> None:
            if place in ("sequences", "initial_state"):
                engine.check_rows(count)
            elif place.startswith("sequences") and place.count("[") == 1:
                engine.check_length(count, place)
            elif place.startswith("sequences"):
                check_width(count, engine.manifest.inputs[0], place)
            elif count > max(math.prod(state.row_shape) for state in engine.manifest.states):
                raise InvalidInput(f"{count} elements, and no state has as many", field=place)

        return check

    async def answer_body(self, model: str, body: PredictBody) -> Response:
        """Run what a body asks for: outputs ``[n, O]`` of each sequence, or ``[O]`` without ``return_sequences``."""
        engine = self._catalogue.resolve(model, body.version)
        manifest = engine.manifest
        if not body.sequences:
            raise InvalidInput("there is no sequence in it; send at least one", field="sequences")
        engine.check_rows(len(body.sequences))
        for index, rows in enumerate(body.sequences):
            engine.check_length(len(rows), f"sequences[{index}]")
        sequences: list[NDArray[Any]] = []
        for index, rows in enumerate(body.sequences):
            sequences.append(to_sequence(await to_numbers(rows), manifest.inputs[0], f"sequences[{index}]"))
            if index % SLICE_SEQUENCES == SLICE_SEQUENCES - 1:
                await asyncio.sleep(0)
        if body.go_backwards:
            sequences = _reversed(sequences)
        states = await _initial_states(engine, body)
        predictions = await predict(engine, sequences, states, with_states=body.return_state)
        content: dict[str, Any] = {
            "model": manifest.name,
            "version": manifest.version,
            "outputs": [made.outputs if body.return_sequences else made.outputs[-1] for made in predictions],
        }
        if body.return_state:
            names = [state.name for state in manifest.states]
            content["states"] = [dict(zip(names, made.states, strict=True)) for made in predictions]
        return await json_in_slices(content)

    async def _answer_arrow(self, request: Request) -> Response:
        options = codec.decode_query(request.query_string, PredictQuery)
        engine = self._catalogue.resolve(request.name, options.version)
        engine.check_room()
        part = engine.manifest.inputs[0]
        # Arrow and numpy do most of it without holding Python's lock.
        sequences = await in_thread(
            len(request.body), read_sequences, request.body, part, engine.check_rows, engine.check_length
        )
        if options.go_backwards:
            sequences = _reversed(sequences)
        outputs = [made.outputs for made in await predict(engine, sequences, [None] * len(sequences))]
        if not options.return_sequences:
            outputs = [made[-1] for made in outputs]
        num_bytes = sum(made.nbytes for made in outputs)
        return Response(200, await in_thread(num_bytes, write_sequences, outputs), ARROW)


def _reversed(sequences: list[NDArray[Any]]) -> list[NDArray[Any]]:
    return [np.ascontiguousarray(sequence[::-1]) for sequence in sequences]


async def _initial_states(engine: Engine, body: PredictBody) -> list[list[NDArray[Any]] | None]:
    given = body.initial_state
    if given is None:
        return [None] * len(body.sequences)
    if isinstance(given, dict):
        return [to_states(given, engine.manifest, "initial_state")] * len(body.sequences)
    if len(given) != len(body.sequences):
        raise InvalidInput(f"{len(given)} states for {len(body.sequences)} sequences", field="initial_state")
    made: list[list[NDArray[Any]] | None] = []
    pace = Pace()
    for index, states in enumerate(given):
        made.append(None if states is None else to_states(states, engine.manifest, f"initial_state[{index}]"))
        await pace.rest()
    return made
