"""Answers as Arrow IPC streams: what many sessions' steps, or whole sequences, came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Output
from ostinato.service.edge.arrow.ipc import write_columns
from ostinato.service.edge.arrow.tensors import to_column, to_sequences_column, to_sequences_steps, to_steps_column


def write_rows(
    session_ids: Sequence[str] | Any,
    seqs: NDArray[np.int64],
    outputs: NDArray[Any],
    errors: Mapping[int, tuple[str, str]],
    made: RowLayout[Output] | None = None,
) -> bytes:
    """Columns ``session_id``, ``seq`` (int64), ``outputs`` (fixed-size lists of O), ``code`` and ``detail`` (text); and
    with framing ``output_steps`` (int64), null like ``outputs`` in a row that completes no frame.

    Args:
        session_ids: R ids, or the ``id_column`` that they were read from, which need not be encoded again.
        seqs: int64 ``[R]``, the steps applied before each.
        outputs: ``[R, O]``; rows ``[R, width]`` of ``made``.
        made: what the outputs are, where they are not numbers of one flat output: ``to_column`` says how they stand.
        errors: row -> code and detail; its ``seq`` and ``outputs`` become null. In other rows these two are.
    """
    num_rows, width = outputs.shape
    failed = None
    code = detail = pa.nulls(num_rows, pa.utf8())
    if errors:
        failed = np.zeros(num_rows, bool)
        failed[list(errors)] = True
        code, detail = (
            pa.array([errors[row][part] if row in errors else None for row in range(num_rows)], pa.utf8())
            for part in (0, 1)
        )
    absent, of_frames = failed, {}
    if made is not None and made.framing:
        absent = ~made.has_answer(seqs) | (False if failed is None else failed)
        of_frames["output_steps"] = to_steps_column(made, seqs + 1, absent)
    mask = None if absent is None else pa.array(absent)
    columns = {
        "session_id": session_ids if isinstance(session_ids, pa.Array) else pa.array(session_ids, pa.utf8()),
        "seq": pa.array(seqs, mask=failed),
        "outputs": (
            pa.FixedSizeListArray.from_arrays(pa.array(outputs.ravel()), width, mask=mask)
            if made is None or made.is_flat
            else to_column(made, outputs, mask)
        ),
        **of_frames,
        "code": code,
        "detail": detail,
    }
    return write_columns(columns)


def write_sequences(
    outputs: Sequence[NDArray[Any]], made: RowLayout[Output] | None = None, lengths: Sequence[int] = ()
) -> bytes:
    """Column ``outputs``, one row a sequence: lists of fixed-size lists of O; with framing also ``output_steps``.

    Args:
        outputs: at least one array, all ``[n, O]`` with any n.
        made: as of ``write_rows``.
        lengths: the steps of each sequence.
    """
    if made is not None and made.framing:
        ends = [made.ends_of(length, len(rows)) for length, rows in zip(lengths, outputs, strict=True)]
        return write_columns(
            {"outputs": to_sequences_column(made, outputs), "output_steps": to_sequences_steps(made, ends)}
        )
    if made is not None and not made.is_flat:
        return write_columns({"outputs": to_sequences_column(made, outputs)})
    bounds = np.zeros(len(outputs) + 1, np.int32)
    np.cumsum([len(output) for output in outputs], out=bounds[1:])
    return write_columns(
        {"outputs": pa.ListArray.from_arrays(pa.array(bounds), _fixed_size_lists(np.concatenate(outputs)))}
    )


def write_last_steps(
    outputs: Sequence[NDArray[Any]], made: RowLayout[Output] | None = None, lengths: Sequence[int] = ()
) -> bytes:
    """Column ``outputs``, one row a sequence: the last step's, fixed-size lists of O; null where there is none. Args as
    of ``write_sequences``.
    """
    if made is not None and made.framing:
        absent = np.array([not len(rows) for rows in outputs])
        last = np.concatenate([rows[-1:] if len(rows) else made.zeros(1) for rows in outputs])
        framing = made.framing
        ends = np.array([framing.end(framing.count(length) - 1) for length in lengths], np.int64)
        return write_columns(
            {
                "outputs": to_column(made, last, pa.array(absent)),
                "output_steps": to_steps_column(made, ends, absent),
            }
        )
    last = np.stack([rows[-1] for rows in outputs])
    if made is not None and not made.is_flat:
        return write_columns({"outputs": to_column(made, last)})
    return write_columns({"outputs": _fixed_size_lists(last)})


def _fixed_size_lists(rows: NDArray[Any]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
