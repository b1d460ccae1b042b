"""Outputs that models generate: texts, codes or numbers in and out; options are parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.access.meter import UNMETERED, Meter
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.catalogue.catalogue import Catalogue
from ostinato.service.edge.oip.datatypes import BYTES, datatype_of
from ostinato.service.edge.oip.interface import refuse_classes
from ostinato.service.edge.oip.messages import InferRequest, InferResponse, NamedTensor
from ostinato.service.edge.oip.options import GenerateParameters, read_options
from ostinato.service.edge.v1.generate import generated, request_of
from ostinato.service.edge.v1.schemas import GenerateBody
from ostinato.service.engine.generation.decoding import FinishedOutput
from ostinato.service.engine.generation.engine import GenerationEngine
from ostinato.service.errors import InvalidInput
from ostinato.service.inference.generation import GenerationRequest, Made
from ostinato.service.inputs.sources import check_length
from ostinato.service.inputs.turns import in_thread

PROMPT = "inputs"
"""The name of the input of a generator, whose graph has none; it may be left out."""
LENGTHS = "lengths"
OUTPUTS, SCORES, FINISH_REASONS = "outputs", "scores", "finish_reasons"
LOG_PROBS, ATTENTION = "log_probs", "attention"
_WHOLE = ("INT32", "INT64")


def input_of(manifest: Manifest) -> tuple[str, list[str], tuple[int, ...]]:
    """The name of what a model generates from, the datatypes that it may have, and the axes of one input; -1 is any."""
    vocabulary = "source" if manifest.inputs else "target"
    texts = [BYTES] if vocabulary in manifest.vocabularies else []
    if not manifest.inputs:
        return PROMPT, [*texts, *_WHOLE], (-1,)
    part = manifest.inputs[0]
    has_steps = part.source_axis is not None or part.time_axis is not None
    return part.name, [*texts, datatype_of(part.dtype)], ((-1,) if has_steps else ()) + part.row_shape


def outputs_of(manifest: Manifest) -> dict[str, tuple[str, tuple[int, ...]]]:
    """What is answered unless somebody asks for less: name -> datatype, and the axes of one output."""
    part = manifest.decoder
    assert part is not None, "a model that generates has a decoder"
    if part.num_codes is None:
        made: tuple[str, tuple[int, ...]] = datatype_of(part.output.dtype), (-1, *part.output.row_shape)
    elif "target" in manifest.vocabularies:
        made = BYTES, ()
    else:
        made = "INT64", (-1,)
    scores = {} if part.num_codes is None else {SCORES: ("FP64", ())}
    return {OUTPUTS: made, LENGTHS: ("INT64", ()), **scores, FINISH_REASONS: (BYTES, ())}


async def infer_outputs(
    catalogue: Catalogue, engine: GenerationEngine, request: InferRequest, meter: Meter = UNMETERED
) -> InferResponse:
    """Generate an output for each input, or several.

    Raises:
        InvalidInput: an input, an output or a parameter is not what the model takes; names it.
        TooLarge, Overloaded, Draining, RunFailed: as the routes under ``/v1``.
    """
    options = read_options(request.parameters, GenerateParameters, request.version)
    asked_for = {output.name for output in request.outputs}
    options.return_log_probs |= LOG_PROBS in asked_for
    options.return_attention |= ATTENTION in asked_for
    manifest = engine.manifest
    name = input_of(manifest)[0]
    inputs = _inputs(engine, request.inputs)
    chosen = {field: getattr(options, field) for field in options.__struct_fields__}
    body = GenerateBody(inputs=inputs, **{**chosen, "version": manifest.version})
    names = _requested(request, manifest, options)
    try:
        asked = await request_of(catalogue, request.model, body, meter)
    except InvalidInput as error:
        place = error.field or ""
        raise InvalidInput(
            str(error), name + place.removeprefix("inputs") if place[:6] == "inputs" else place
        ) from error
    made = await generated(asked, meter)
    tensors = await in_thread(sum(len(each.outputs) for each in made) * 4096, _tensors, asked, made, names)
    parameters = {} if asked.seed is None else {"seed": asked.seed}
    return InferResponse(request.model, manifest.version, request.id, parameters, tensors)


def _inputs(engine: GenerationEngine, tensors: Sequence[NamedTensor]) -> list[Any] | None:
    """The inputs as a body of the routes under ``/v1`` has them; None where there is none."""
    manifest = engine.manifest
    name, datatypes, axes = input_of(manifest)
    found: dict[str, NamedTensor] = {}
    for tensor in tensors:
        if tensor.name in found:
            raise InvalidInput("this input is given twice", tensor.name)
        if tensor.name not in (name, LENGTHS):
            raise InvalidInput(
                f"unexpected inference input {tensor.name[:60]!r} for model {manifest.name!r}; it has {name}, {LENGTHS}"
            )
        found[tensor.name] = tensor
    given = found.get(name)
    if given is None:
        if manifest.inputs or LENGTHS in found:
            raise InvalidInput(f"expected input {name!r} for model {manifest.name!r}, and it is not there")
        return None
    if given.datatype not in datatypes:
        raise InvalidInput(
            f"input {name!r} has datatype {given.datatype}; the model takes {' or '.join(datatypes)}", name
        )
    if not given.shape or not given.shape[0]:
        raise InvalidInput("there is no input in it; send at least one", name)
    engine.check_rows(given.shape[0])
    if given.datatype == BYTES:
        if LENGTHS in found:
            raise InvalidInput("they are of codes, and a text is as long as it is: leave them out", LENGTHS)
        if given.shape not in ((given.shape[0],), (given.shape[0], 1)):
            raise InvalidInput(f"shape {list(given.shape)}: texts have [B] or [B, 1]", name)
        return [_text(text, f"{name}[{index}]") for index, text in enumerate(given.data.reshape(-1).tolist())]
    has_steps = -1 in axes
    row, of_row = axes[has_steps:], given.shape[1 + has_steps :]
    if len(given.shape) < 1 + has_steps or of_row not in ((row, (1,)) if row == () else (row,)):
        raise InvalidInput(f"shape {list(given.shape)} where the model takes {[-1, *axes]}", name)
    rows = given.data.reshape(given.shape)
    lengths = _lengths(found.get(LENGTHS), given, has_steps=has_steps)
    if has_steps:
        check_length(given.shape[1], name, engine.max_source_steps)
    return [each[:length].tolist() for each, length in zip(rows, lengths, strict=True)]


def _lengths(tensor: NamedTensor | None, given: NamedTensor, *, has_steps: bool) -> list[int | None]:
    """How many steps each input has; None = all that there are."""
    num_inputs = given.shape[0]
    if tensor is None:
        return [None] * num_inputs
    if tensor.datatype not in _WHOLE or tensor.shape not in ((num_inputs,), (num_inputs, 1)) or not has_steps:
        raise InvalidInput(f"lengths are {num_inputs} whole numbers (INT64), of inputs that have steps", LENGTHS)
    lengths: list[int | None] = tensor.data.reshape(-1).tolist()
    for index, length in enumerate(lengths):
        assert length is not None
        if not 0 <= length <= given.shape[1]:
            raise InvalidInput(f"{length} steps of {given.shape[1]}", f"{LENGTHS}[{index}]")
    return lengths


def _text(text: bytes, place: str) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput("this text is not UTF-8", place) from error


def _requested(request: InferRequest, manifest: Manifest, options: GenerateParameters) -> list[str]:
    """The outputs that are asked for, by name or by a parameter."""
    also = [LOG_PROBS] * options.return_log_probs + [ATTENTION] * options.return_attention
    known = [*outputs_of(manifest), *also]
    names: list[str] = []
    for output in request.outputs:
        if output.name not in known:
            has = ", ".join(known)
            raise InvalidInput(
                f"unexpected inference output {output.name[:60]!r} for model {manifest.name!r}; it has {has}"
            )
        if output.name in names:
            raise InvalidInput("this output is asked for twice", output.name)
        refuse_classes(output)
        names.append(output.name)
    return names + [name for name in also if name not in names] if names else known


def _tensors(asked: GenerationRequest, made: list[Made], names: Sequence[str]) -> list[NamedTensor]:
    """The outputs, ``[B, ...]``; or where several were asked for of each input, ``[B, N, ...]``."""
    most = max(len(each.outputs) for each in made)
    outputs: list[tuple[Made, FinishedOutput | None]] = [
        (each, each.outputs[place] if place < len(each.outputs) else None) for each in made for place in range(most)
    ]
    leading = (len(made), most) if asked.num_return > 1 else (len(made),)
    is_text = asked.vocabulary is not None

    def each(read: Callable[[FinishedOutput], Any], absent: Any) -> list[Any]:
        return [absent if output is None else read(output) for _, output in outputs]

    def tensor(name: str, datatype: str, data: NDArray[Any]) -> NamedTensor:
        data = data.reshape(*leading, *data.shape[1:])
        return NamedTensor(name, datatype, data.shape, data)

    def written(output: FinishedOutput) -> bytes:
        assert asked.vocabulary is not None
        return asked.vocabulary.decode(output.codes).encode()

    part = asked.generator.part
    dtype = np.dtype(np.int64) if asked.has_codes else np.dtype(part.output.dtype)
    row_shape = () if asked.has_codes else part.output.row_shape
    tensors = []
    for name in names:
        if name == OUTPUTS and is_text:
            tensors.append(tensor(name, BYTES, _objects(each(written, b""))))
        elif name == OUTPUTS:
            codes = [
                np.asarray(codes, dtype).reshape(-1, *row_shape) for codes in each(lambda output: output.codes, ())
            ]
            tensors.append(tensor(name, datatype_of(dtype), _padded(codes)))
        elif name == LENGTHS:
            lengths = np.array(each(lambda output: len(output.codes), 0), np.int64)
            tensors.append(tensor(name, "INT64", lengths))
        elif name == SCORES:
            tensors.append(tensor(name, "FP64", np.array(each(lambda output: output.score, -np.inf), np.float64)))
        elif name == FINISH_REASONS:
            reasons = each(lambda output: output.finish_reason.encode(), b"")
            tensors.append(tensor(name, BYTES, _objects(reasons)))
        elif name == LOG_PROBS:
            logs = [np.array(log, np.float64) for log in each(lambda output: output.log_probabilities, ())]
            tensors.append(tensor(name, "FP64", _padded(logs)))
        elif name == ATTENTION:
            weights = [_attention(asked, entry, output) for entry, output in outputs]
            tensors.append(tensor(name, "FP32", _padded(weights)))
    return tensors


def _attention(asked: GenerationRequest, entry: Made, output: FinishedOutput | None) -> NDArray[Any]:
    if output is None or output.attention is None:
        return np.zeros((0, 0), np.float32)
    return np.asarray(output.attention[: len(output.codes), : asked.attended(entry)], np.float32)


def _objects(texts: Sequence[bytes]) -> NDArray[Any]:
    array = np.empty(len(texts), object)
    array[:] = texts
    return array


def _padded(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Arrays as one, with zeros behind the shorter ones on every axis."""
    shape = tuple(max(sizes) for sizes in zip(*(array.shape for array in arrays), strict=True))
    padded = np.zeros((len(arrays), *shape), arrays[0].dtype)
    for row, array in zip(padded, arrays, strict=True):
        row[tuple(slice(size) for size in array.shape)] = array
    return padded
