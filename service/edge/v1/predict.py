"""Predictions of whole sequences, in JSON or in Arrow."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ostinato.service.catalogue.catalogue import Catalogue
from ostinato.service.edge.arrow.columns import ARROW, read_sequences, write_sequences
from ostinato.service.edge.message import Request, Response, json_response
from ostinato.service.edge.v1 import codec
from ostinato.service.edge.v1.schemas import PredictBody, PredictQuery
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import InvalidInput
from ostinato.service.inference.prediction import predict
from ostinato.service.inputs.sequences import to_sequence, to_states

_PREDICT = msgspec.json.Decoder(PredictBody)


class PredictRoute:
    """``POST /v1/models/{model}/predict``."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def answer(self, request: Request) -> Response:
        """Run whole sequences of any lengths."""
        if request.media_type == ARROW:
            return await self._answer_arrow(request)
        body = codec.decode_body(request, _PREDICT)
        return await self.answer_body(request.name, body)

    async def answer_body(self, model: str, body: PredictBody) -> Response:
        """Run what a body asks for: outputs ``[n, O]`` of each sequence, or ``[O]`` without ``return_sequences``."""
        engine = self._catalogue.resolve(model, body.version)
        manifest = engine.manifest
        if not body.sequences:
            raise InvalidInput("there is no sequence in it; send at least one", field="sequences")
        for index, rows in enumerate(body.sequences):
            engine.check_length(len(rows), f"sequences[{index}]")
        sequences = [
            to_sequence(rows, manifest.inputs[0], f"sequences[{index}]") for index, rows in enumerate(body.sequences)
        ]
        if body.go_backwards:
            sequences = _reversed(sequences)
        predictions = await predict(engine, sequences, _initial_states(engine, body), with_states=body.return_state)
        content: dict[str, Any] = {
            "model": manifest.name,
            "version": manifest.version,
            "outputs": [made.outputs if body.return_sequences else made.outputs[-1] for made in predictions],
        }
        if body.return_state:
            names = [state.name for state in manifest.states]
            content["states"] = [dict(zip(names, made.states, strict=True)) for made in predictions]
        return json_response(content)

    async def _answer_arrow(self, request: Request) -> Response:
        options = codec.decode_query(request.query_string, PredictQuery)
        engine = self._catalogue.resolve(request.name, options.version)
        engine.check_room()
        sequences = read_sequences(request.body, engine.manifest.inputs[0])
        for index, sequence in enumerate(sequences):
            engine.check_length(len(sequence), f"inputs[{index}]")
        if options.go_backwards:
            sequences = _reversed(sequences)
        outputs = [made.outputs for made in await predict(engine, sequences, [None] * len(sequences))]
        if not options.return_sequences:
            outputs = [made[-1] for made in outputs]
        return Response(200, write_sequences(outputs), ARROW)


def _reversed(sequences: list[NDArray[Any]]) -> list[NDArray[Any]]:
    return [np.ascontiguousarray(sequence[::-1]) for sequence in sequences]


def _initial_states(engine: Engine, body: PredictBody) -> list[list[NDArray[Any]] | None]:
    given = body.initial_state
    if given is None:
        return [None] * len(body.sequences)
    if isinstance(given, dict):
        return [to_states(given, engine.manifest, "initial_state")] * len(body.sequences)
    if len(given) != len(body.sequences):
        raise InvalidInput(f"{len(given)} states for {len(body.sequences)} sequences", field="initial_state")
    return [
        None if states is None else to_states(states, engine.manifest, f"initial_state[{index}]")
        for index, states in enumerate(given)
    ]
