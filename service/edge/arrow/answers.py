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
from ostinato.service.sessions.blocks import RowAnswers

EVENT = pa.struct(
    [
        ("event", pa.utf8()),
        ("step", pa.int64()),
        ("anomaly", pa.float64()),
        ("feature", pa.utf8()),
        ("above", pa.float64()),
        ("below", pa.float64()),
        ("value", pa.float64()),
    ]
)
"""What began or ended with a row; null in it is what an event of its kind does not tell."""


def write_rows(
    session_ids: Sequence[str] | Any,
    seqs: NDArray[np.int64],
    outputs: NDArray[Any],
    errors: Mapping[int, tuple[str, str]],
    made: RowLayout[Output] | None = None,
    more: Mapping[str, Sequence[Any]] | None = None,
    watched: tuple[NDArray[np.float64], Mapping[int, Sequence[Mapping[str, Any]]]] | None = None,
    stands: Mapping[int, Mapping[str, Any]] | None = None,
) -> bytes:
    """Columns ``session_id``, ``seq`` (int64), ``outputs`` (fixed-size lists of O), ``code`` and ``detail`` (text); and
    with framing ``output_steps`` (int64), null like ``outputs`` in a row that completes no frame; and of a calibrated
    model ``anomaly`` (float64), null where it is not known, and ``events`` (a list of structs, null where there is
    none).

    Args:
        session_ids: R ids, or the ``id_column`` that they were read from, which need not be encoded again.
        seqs: int64 ``[R]``, the steps applied before each.
        outputs: ``[R, O]``; rows ``[R, width]`` of ``made``.
        made: what the outputs are, where they are not numbers of one flat output: ``to_column`` says how they stand.
        more: further columns, of texts or numbers.
        watched: ``[R]`` anomalies, NaN where not known, and row -> events.
        errors: row -> code and detail; its ``seq`` and ``outputs`` become null. In other rows these two are.
        stands: of a message that says offsets: row -> the members of ``STANDS`` that its error has, columns that are
            null in other rows; None = there are no such columns.
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
        **{name: pa.array(values) for name, values in (more or {}).items()},
        **({} if watched is None else _watched_columns(*watched)),
        "code": code,
        "detail": detail,
        **_stands(stands, num_rows),
    }
    return write_columns(columns)


def _watched_columns(
    anomaly: NDArray[np.float64], events: Mapping[int, Sequence[Mapping[str, Any]]]
) -> dict[str, pa.Array]:
    return {"anomaly": _known(anomaly), "events": _events_column(events, len(anomaly))}


def _known(anomaly: NDArray[np.float64]) -> pa.Array:
    return pa.array(anomaly, mask=np.isnan(anomaly))


def _events_column(events: Mapping[int, Sequence[Mapping[str, Any]]], num_rows: int) -> pa.Array:
    return pa.array([events.get(row) for row in range(num_rows)], pa.list_(EVENT))


STANDS = {"expected_seq": pa.int64(), "source": pa.utf8(), "offset": pa.int64(), "last_seq": pa.int64()}
"""What the error of a row may tell of its session, and how."""


def _stands(stands: Mapping[int, Mapping[str, Any]] | None, num_rows: int) -> dict[str, pa.Array]:
    if stands is None:
        return {}
    return {
        name: pa.array([stands[row].get(name) if row in stands else None for row in range(num_rows)], kind)
        for name, kind in STANDS.items()
    }


def write_chunks(
    id_column: pa.Array,
    answers: RowAnswers,
    lengths: NDArray[np.int64],
    errors: Mapping[int, tuple[str, str]],
    made: RowLayout[Output],
    stands: Mapping[int, Mapping[str, Any]] | None = None,
) -> bytes:
    """The columns of ``write_rows`` for rows that are chunks of these ``lengths`` [R]: ``outputs``, ``output_steps``
    and ``anomaly`` are lists of what those hold.
    """
    num_rows = len(lengths)
    failed = np.zeros(num_rows, bool)
    failed[list(errors)] = True
    outputs = [made.zeros(0) if row in errors else answers.chunk(row, made) for row in range(num_rows)]
    columns = {
        "session_id": id_column,
        "seq": pa.array(answers.seqs, mask=failed),
        "outputs": to_sequences_column(made, outputs, failed),
    }
    if made.framing:
        ends = [
            made.ends_of(int(seq + length), len(rows))
            for seq, length, rows in zip(answers.seqs, lengths, outputs, strict=True)
        ]
        columns["output_steps"] = to_sequences_steps(made, ends, failed)
    if answers.anomaly is not None:
        scores = [None if row in errors else _known(answers.anomalies(row)) for row in range(num_rows)]
        columns["anomaly"] = pa.array(scores, pa.list_(pa.float64()))
        columns["events"] = _events_column(answers.events, num_rows)
    for place, name in enumerate(("code", "detail")):
        told = [errors[row][place] if row in errors else None for row in range(num_rows)]
        columns[name] = pa.array(told, pa.utf8())
    return write_columns({**columns, **_stands(stands, num_rows)})


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


def write_forecasts(
    session_ids: Sequence[str],
    rows: Sequence[Mapping[str, Any] | None],
    errors: Mapping[int, tuple[str, str]],
) -> bytes:
    """Columns ``session_id``, ``outputs`` (lists of lists), ``at`` (lists of texts), ``lower_80`` and ``upper_80`` for
    each level and ``quantile_0.1`` for each quantile (lists of float64, one for each step ahead), ``samples`` (lists of
    lists), ``seed`` (int64), ``code`` and ``detail`` (text). Where there are several targets, or outputs, each is a
    struct by name.

    Args:
        rows: what each came to, as the body in JSON has it; None where it failed, and its columns are null.
        errors: row -> code and detail.
    """
    flat = [None if row is None else _flat_forecast(row) for row in rows]
    names = dict.fromkeys(name for row in flat if row is not None for name in row)
    columns: dict[str, pa.Array] = {"session_id": pa.array(session_ids, pa.utf8())}
    for name in names:
        kind = pa.list_(pa.utf8()) if name == "at" else None
        columns[name] = pa.array([None if row is None else row.get(name) for row in flat], kind)
    for place, name in enumerate(("code", "detail")):
        told = [errors[row][place] if row in errors else None for row in range(len(rows))]
        columns[name] = pa.array(told, pa.utf8())
    return write_columns(columns)


def _flat_forecast(row: Mapping[str, Any]) -> dict[str, Any]:
    flat = {"outputs": _plain(row["outputs"])}
    if "at" in row:
        flat["at"] = row["at"]
    for level, ends in row.get("intervals", {}).items():
        flat |= {f"{end}_{level}": _plain(ends[end]) for end in ("lower", "upper")}
    flat |= {f"quantile_{name}": _plain(column) for name, column in row.get("quantiles", {}).items()}
    if "samples" in row:
        flat["samples"] = _plain(row["samples"])
    if "seed" in row:
        flat["seed"] = row["seed"]
    return flat


def _plain(numbers: Any) -> Any:
    if isinstance(numbers, Mapping):
        return {name: _plain(each) for name, each in numbers.items()}
    return list(numbers) if numbers.ndim == 1 else [_plain(each) for each in numbers]
