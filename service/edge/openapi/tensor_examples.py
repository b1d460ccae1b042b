"""Examples of inference requests by the Open Inference Protocol, for the models that are served."""

from __future__ import annotations

import math
from typing import Any

from ostinato.service.artifact.tensors import Input
from ostinato.service.catalogue.catalogue import AnyEngine
from ostinato.service.edge.oip.datatypes import BYTES, datatype_of
from ostinato.service.edge.oip.generation import input_of
from ostinato.service.edge.openapi.usual_values import usual_step, usual_text
from ostinato.service.engine.generation.engine import GenerationEngine
from ostinato.service.engine.recurrent.engine import Engine

NUM_STEPS = 2
"""Or as many as a model takes, where that is fewer."""
MAX_STEPS = 8
SEQUENCE = "example"


def infer_body(engine: AnyEngine) -> dict[str, Any]:
    """A sequence of some steps, begun and ended by the one request, so that it may be retried any number of times; of
    a model without sessions a whole sequence, or something to generate from.
    """
    manifest = engine.manifest
    if isinstance(engine, GenerationEngine):
        return _of_generator(engine)
    inputs = [_tensor(part, min(NUM_STEPS, engine.max_chunk_steps)) for part in manifest.inputs]
    inputs += [_tensor(part, None) for part in manifest.context]
    if not isinstance(engine, Engine):
        return {"inputs": inputs}
    sequence = {"sequence_id": SEQUENCE, "sequence_start": True, "sequence_end": True}
    return {"parameters": sequence, "inputs": inputs}


def _of_generator(engine: GenerationEngine) -> dict[str, Any]:
    manifest = engine.manifest
    parameters = {"max_steps": min(MAX_STEPS, engine.max_output_steps)}
    name, datatypes, axes = input_of(manifest)
    if not manifest.inputs:
        return {"parameters": parameters, "inputs": []}
    if datatypes[0] == BYTES:
        text = usual_text(manifest.vocabularies["source"])
        return {
            "parameters": parameters,
            "inputs": [{"name": name, "shape": [1], "datatype": BYTES, "data": [text]}],
        }
    num_steps = min(NUM_STEPS, engine.max_source_steps)
    shape = [1, *(num_steps if axis < 0 else axis for axis in axes)]
    step = usual_step(manifest.inputs[0])
    data = step * (math.prod(shape) // len(step))
    return {
        "parameters": parameters,
        "inputs": [{"name": name, "shape": shape, "datatype": datatypes[0], "data": data}],
    }


def _tensor(part: Input, num_steps: int | None) -> dict[str, Any]:
    steps = [] if num_steps is None else [num_steps]
    return {
        "name": part.name,
        "shape": [1, *steps, *part.row_shape],
        "datatype": datatype_of(part.dtype),
        "data": usual_step(part) * (num_steps or 1),
    }
