"""A session as a safetensors file: what leaves the service, and what comes in.

Each state of the manifest, and each context, is a tensor under its name, of its ``row_shape`` and dtype. The metadata,
all of it strings:

    format        "ostinato-session"; a file of another format has no metadata that is ours to read
    schema        "1"
    session_id    whose it was
    model, version
    steps         steps applied
    framing       where there is one: as ``Framing`` writes it
    last_output   the output of the step applied last, or with framing of the last whole frame: a JSON list of O
                  numbers, null for minus infinity; of several outputs, an object of such lists by name; absent where
                  it is not known
    last_at       where the model has a time: that of the step applied last, RFC 3339 in UTC; absent where not known
    made_on       the device and the shape of its runs, where it was not the CPU; put elsewhere, the session continues,
                  and its answers may differ in their last bits
    ttl_seconds   how long it might be idle, 0 = for ever; for anyone who opens a session from the file
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np
import orjson
import safetensors
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save

from ostinato.service.artifact.framing import Framing
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.series_time import NO_TIME, TIMES
from ostinato.service.artifact.tensors import Output, State
from ostinato.service.errors import InvalidInput
from ostinato.service.inputs.rows import check_context
from ostinato.service.inputs.sequences import check_codes, check_state
from ostinato.service.inputs.series_clock import SeriesClock
from ostinato.service.state.arena import Rows
from ostinato.service.state.base import Snapshot

FORMAT, SCHEMA = "ostinato-session", "1"
METADATA = "__metadata__"
"""Where a safetensors header has its metadata, and what errors call the place."""

MAX_STEPS = 2**52
"""JSON's readers count to 2^53: half of that is left for what the session is yet to apply."""

_TENSOR_DTYPES = {"F16": "float16", "F32": "float32", "F64": "float64", "U8": "uint8", "BOOL": "bool"} | {
    f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)
}
_NUMBERS: dict[str, Any] = {"f": list[float | None], "b": list[bool]}
_HEADER_LENGTH_BYTES = 8
_SPARE_HEADER_BYTES = 65_536
"""For a header's metadata and its blanks, whatever the model."""


class SessionFile(NamedTuple):
    """What a file holds for a session of a certain model.

    Attributes:
        states: all that is carried, in the manifest's order, each of its ``row_shape`` and dtype.
        steps: None where the file does not say.
        last_output: a row ``[width]``; None where the file does not say.
        last_number: of the step applied last, by its time; ``NO_TIME`` in the same way.
        made_on: the device and the shape of the runs that the states come from; empty = the CPU, or it is not said.
    """

    states: Rows
    steps: int | None
    last_output: NDArray[Any] | None
    last_number: int = NO_TIME
    made_on: str = ""

    def snapshot(self, made: RowLayout[Output]) -> Snapshot:
        """What a session of a model with these outputs is set to, without steps that it keeps; 0 steps where the file
        does not say.

        A last output that is not known is NaN, and 0 where the dtype has none. No chunk is taken for one retried.
        """
        if self.last_output is not None:
            answer = self.last_output[None]
        else:
            answer = made.zeros(1)
            for numbers in made.flat(answer):
                if numbers.dtype.kind == "f":
                    numbers[:] = np.nan
        times = np.array([self.last_number, NO_TIME], np.int64)
        return Snapshot(self.states, self.steps or 0, answer, times=times)


def write_session(
    session_id: str, manifest: Manifest, snapshot: Snapshot, ttl_seconds: float | None = None, made_on: str = ""
) -> bytes:
    """A session as a file; ``read_session`` undoes it.

    ``ttl_seconds``: how long it may be idle, ``inf`` = for ever; None = the file does not say. ``made_on``: see
    ``SessionFile``.
    """
    metadata = {
        "format": FORMAT,
        "schema": SCHEMA,
        "session_id": session_id,
        "model": manifest.name,
        "version": manifest.version,
        "steps": str(snapshot.steps),
    }
    if manifest.framing is not None:
        metadata["framing"] = str(manifest.framing)
    if made_on:
        metadata["made_on"] = made_on
    if ttl_seconds is not None:
        metadata["ttl_seconds"] = "0" if math.isinf(ttl_seconds) else repr(float(ttl_seconds))
    if (clock := SeriesClock.of(manifest)) is not None:
        times = snapshot.states[[state.name for state in manifest.of_session].index(TIMES)]
        if (last_at := clock.utc(int(times[0]))) is not None:
            metadata["last_at"] = last_at
    last_output = snapshot.answer[-1]
    has_answered = snapshot.steps > 0 if manifest.framing is None else manifest.framing.count(snapshot.steps) > 0
    if has_answered and is_known(last_output, manifest.made):
        # Python writes a number with as many digits as give the same bits back, as float64: which has room for all.
        # Minus infinity, which is no number of JSON, is null, as in answers.
        by_name = {
            part.name: [None if number == -np.inf else number for number in flat.tolist()]
            for part, flat in zip(manifest.outputs, manifest.made.flat(last_output), strict=True)
        }
        metadata["last_output"] = json.dumps(by_name if len(by_name) > 1 else by_name[manifest.outputs[0].name])
    # One number is no array when it is taken out of the arena.
    tensors = {
        state.name: np.ascontiguousarray(rows).reshape(state.row_shape)
        for state, rows in zip(manifest.carried, snapshot.states, strict=False)  # the steps that are kept stay here
    }
    return save(tensors, metadata)


def read_session(content: bytes, manifest: Manifest) -> SessionFile:
    """A file, checked against the manifest of the session that it is for.

    Raises:
        InvalidInput: it is no safetensors file; a state is absent, unknown, or of another shape or dtype; a context, or
            a step that is left over, is none that may be given; it is of another model; its steps or its last output
            are none. Names the tensor, or the place in the metadata.
    """
    header_bytes, most = int.from_bytes(content[:_HEADER_LENGTH_BYTES], "little"), _max_header_bytes(manifest)
    if most < header_bytes < len(content):
        # A header of megabytes, full of tensors, would take seconds to read, and every other session would wait.
        raise InvalidInput(f"a header of {header_bytes} bytes; this model's states need less than {most}")
    try:
        tensors: dict[str, dict[str, Any]] = dict(safetensors.deserialize(content))  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise InvalidInput(f"the body is not a safetensors file: {error}") from error
    metadata = _metadata(content)
    _check_origin(metadata, manifest)
    if unknown := sorted(set(tensors) - {state.name for state in manifest.carried}):
        names = ", ".join(state.name for state in manifest.carried)
        raise InvalidInput(f"the model has no state {unknown[0]!r}; it has {names}", field=unknown[0])
    states = []
    for state in manifest.carried:
        if state.name not in tensors:
            raise InvalidInput(f"{_kind(state)} {state.name!r} is absent", field=state.name)
        states.append(_state(tensors[state.name], state))
        check_state(states[-1], state, state.name)
    for part, numbers in zip(manifest.context, states[len(manifest.states) :], strict=False):
        check_context(numbers, part, part.name)
    steps = _steps(metadata["steps"]) if "steps" in metadata else None
    if manifest.framing is not None:
        _check_framing(metadata, manifest.framing)
        states = _with_left_over(states, steps, manifest)
    last_output = _last_output(metadata.get("last_output", ""), manifest.made)
    has_no_nan = not any(part.dtype.startswith("float") for part in manifest.outputs)
    if steps != 0 and last_output is None and manifest.feedback and has_no_nan:
        raise InvalidInput(
            "the metadata lacks the output of the step applied last, which this model's forecasts begin from",
            field=f"{METADATA}.last_output",
        )
    last_number, made_on = _last_number(metadata.get("last_at"), manifest), metadata.get("made_on", "")
    return SessionFile(states, steps, last_output, last_number, made_on)


def is_known(last_output: NDArray[Any], made: RowLayout[Output]) -> bool:
    """Whether an output, a row ``[width]``, is one that a step gave: those are never NaN."""
    return not any(numbers.dtype.kind == "f" and np.isnan(numbers).any() for numbers in made.flat(last_output))


def _metadata(content: bytes) -> Mapping[str, str]:
    """The metadata of a file that was found sound; empty where it is of another format."""
    header_length = int.from_bytes(content[:_HEADER_LENGTH_BYTES], "little")
    header = orjson.loads(content[_HEADER_LENGTH_BYTES : _HEADER_LENGTH_BYTES + header_length])
    metadata: dict[str, str] = header.get(METADATA) or {}
    return metadata if metadata.get("format", FORMAT) == FORMAT else {}


def _max_header_bytes(manifest: Manifest) -> int:
    """More than the header of any file that fits: 32 bytes for a number of the last output, 1 KiB for a state."""
    names = sum(len(json.dumps(part.name)) for part in manifest.carried)
    names += sum(len(json.dumps(part.name)) for part in manifest.outputs)
    numbers = sum(part.num_features for part in manifest.outputs)
    return _SPARE_HEADER_BYTES + 32 * numbers + 1024 * len(manifest.carried) + names


def _check_origin(metadata: Mapping[str, str], manifest: Manifest) -> None:
    if metadata.get("schema", SCHEMA) != SCHEMA:
        raise InvalidInput(f"schema {metadata['schema']!r}; this release reads {SCHEMA!r}", field=f"{METADATA}.schema")
    model = metadata.get("model", manifest.name)
    if model != manifest.name:
        raise InvalidInput(
            f"a state of model {model!r}, and the session runs {manifest.name!r}", field=f"{METADATA}.model"
        )


def _check_framing(metadata: Mapping[str, str], framing: Framing) -> None:
    """Refuse what is left over of frames that began after other steps: another version's, whose shapes may be these."""
    given = metadata.get("framing", str(framing))
    if given != str(framing):
        raise InvalidInput(
            f"a state of framing {given[:40]!r}, and the session's version has {str(framing)!r}",
            field=f"{METADATA}.framing",
        )


def _with_left_over(carried: list[NDArray[Any]], steps: int | None, manifest: Manifest) -> list[NDArray[Any]]:
    """All that is carried, with nothing but steps of an incomplete frame in what is left over."""
    assert manifest.framing is not None
    if steps is None:
        raise InvalidInput(
            f"the metadata lacks the steps, by which this model, of framing {manifest.framing}, knows how many "
            "are left over",
            field=f"{METADATA}.steps",
        )
    num_run, held = len(manifest.states) + len(manifest.context), manifest.framing.held(steps)
    left_over = [numbers.copy() for numbers in carried[num_run:]]
    for numbers, part in zip(left_over, manifest.inputs, strict=False):  # with a hop of one there is none
        numbers[held:] = 0
        check_codes(numbers[:held].reshape(held, part.num_features), part, f"{part.name}.left_over")
    return [*carried[:num_run], *left_over]


def _kind(state: State) -> str:
    """What a tensor that is carried is called."""
    return "state" if state.output or not state.input else "context"


def _state(tensor: Mapping[str, Any], state: State) -> NDArray[Any]:
    """A tensor as the state that it shall be."""
    given = str(tensor["dtype"])
    if _TENSOR_DTYPES.get(given) != state.dtype:
        wanted = next(name for name, dtype in _TENSOR_DTYPES.items() if dtype == state.dtype)
        raise InvalidInput(f"dtype {given} where the {_kind(state)} has {wanted} ({state.dtype})", field=state.name)
    if tuple(tensor["shape"]) != state.row_shape:
        raise InvalidInput(
            f"shape {list(tensor['shape'])} where the {_kind(state)} has {list(state.row_shape)}", field=state.name
        )
    numbers = np.frombuffer(tensor["data"], np.dtype(state.dtype).newbyteorder("<"))
    if state.dtype == "bool" and (numbers.view(np.uint8) > 1).any():
        raise InvalidInput("a byte of it is neither 0 nor 1, as those of a BOOL tensor are", field=state.name)
    return numbers.astype(state.dtype, copy=False).reshape(state.row_shape)


def _steps(text: str) -> int:
    if not re.fullmatch("[0-9]{1,19}", text) or int(text) > MAX_STEPS:
        raise InvalidInput(
            f"{text[:40]!r} is no number of steps; one is whole, at least 0 and at most 2^52", field=f"{METADATA}.steps"
        )
    return int(text)


def _last_number(text: str | None, manifest: Manifest) -> int:
    """The number of the step at a time; a model without a time passes it over."""
    clock = SeriesClock.of(manifest)
    if text is None or clock is None:
        return NO_TIME
    try:
        return clock.number_of(text)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"{text[:60]!r}: {error}", field=f"{METADATA}.last_at") from error


def _last_output(text: str, made: RowLayout[Output]) -> NDArray[Any] | None:
    """An output as a row ``[width]``; None where the text is empty, or an empty list."""
    field = f"{METADATA}.last_output"
    if made.is_single:
        numbers = _numbers(text, made.parts[0], field)
        return None if numbers is None else made.pack([numbers.reshape(made.parts[0].row_shape)])
    try:
        by_name = msgspec.json.decode(text or "{}", type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidInput(f"not an object of JSON: {error}", field=field) from error
    if not by_name:
        return None
    tensors = []
    for part in made.parts:
        numbers = _numbers(bytes(by_name.get(part.name, b"")).decode(), part, f"{field}.{part.name}")
        if numbers is None:
            raise InvalidInput(f"output {part.name!r} is absent", field=field)
        tensors.append(numbers.reshape(part.row_shape))
    return made.pack(tensors)


def _numbers(text: str, output: Output, field: str) -> NDArray[Any] | None:
    """The numbers ``[O]`` of one output in its dtype; None where the text is empty, or an empty list."""
    dtype = np.dtype(output.dtype)
    try:
        numbers = msgspec.json.decode(text or "[]", type=_NUMBERS.get(dtype.kind, list[int]))
        infinity = -np.inf if output.minus_infinity else np.inf
        last_output = np.array([infinity if number is None else number for number in numbers], dtype)
    except (msgspec.DecodeError, OverflowError, RecursionError) as error:
        raise InvalidInput(f"not a JSON list of {output.dtype}: {error}", field=field) from error
    if not numbers:
        return None
    if len(numbers) != output.num_features:
        raise InvalidInput(f"{len(numbers)} numbers where an output has {output.num_features}", field=field)
    if dtype.kind == "f" and not (np.isfinite(last_output) | ((last_output < 0) & output.minus_infinity)).all():
        raise InvalidInput(f"a number of it does not fit {output.dtype}", field=field)
    return last_output
