"""The Arrow messages of the service's contract: many sessions' steps, and whole sequences."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.errors import SubjectFailed, WrongAnswer
from benchmarks.workloads import Floats

MEDIA_TYPE = "application/vnd.apache.arrow.stream"


def pyarrow() -> Any:
    """The library.

    Raises:
        SubjectFailed: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError as error:
        raise SubjectFailed("pyarrow is not installed") from error
    return pyarrow


def encode_steps(session_ids: Sequence[str], inputs: Floats) -> bytes:
    """One step ``[R, F]`` of each session."""
    pa = pyarrow()
    return _encode({"session_id": pa.array(session_ids, pa.utf8()), "inputs": _rows(inputs)})


def decode_steps(message: bytes) -> tuple[list[str], Floats]:
    """Session ids and outputs ``[R, O]`` of an answer.

    Raises:
        WrongAnswer: a row has an error.
    """
    table = pyarrow().ipc.open_stream(message).read_all()
    outputs = table["outputs"].combine_chunks()
    if outputs.null_count:
        raise WrongAnswer(f"{outputs.null_count} of {len(outputs)} rows were refused: {table.slice(0, 1).to_pylist()}")
    width = outputs.type.list_size
    return table["session_id"].to_pylist(), np.asarray(outputs.flatten(), np.float32).reshape(-1, width)


def encode_sequences(sequences: Sequence[Floats]) -> bytes:
    """Whole sequences ``[n, F]``, one a row."""
    pa = pyarrow()
    offsets = np.cumsum([0, *map(len, sequences)]).astype(np.int32)
    return _encode({"inputs": pa.ListArray.from_arrays(pa.array(offsets), _rows(np.concatenate(sequences)))})


def decode_sequences(message: bytes) -> list[Floats]:
    """Outputs ``[n, O]`` of each sequence."""
    column = pyarrow().ipc.open_stream(message).read_all()["outputs"].combine_chunks()
    width = column.type.value_type.list_size
    flat = np.asarray(column.values.flatten(), np.float32).reshape(-1, width)
    offsets = column.offsets.to_pylist()
    return [flat[start:end] for start, end in itertools.pairwise(offsets)]


def _rows(inputs: Floats) -> Any:
    pa = pyarrow()
    flat = pa.array(np.ascontiguousarray(inputs, np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, inputs.shape[-1])


def _encode(columns: dict[str, Any]) -> bytes:
    pa = pyarrow()
    batch = pa.RecordBatch.from_pydict(columns)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()
