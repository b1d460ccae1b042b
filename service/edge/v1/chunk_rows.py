"""Rows of a columnar message in JSON that are chunks: one level deeper than steps, of a model of one flat input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Input, Output
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import InvalidInput, OstinatoError, TooLarge
from ostinato.service.inputs.rows import to_rows
from ostinato.service.inputs.turns import Pace
from ostinato.service.sessions.blocks import RowAnswers


def are_chunks(inputs: Any, given: RowLayout[Input]) -> bool:
    """Whether rows are lists of steps, and not steps."""
    return given.is_flat and isinstance(inputs, list) and any(_is_chunk(row) for row in inputs)


def _is_chunk(row: Any) -> bool:
    return isinstance(row, list) and bool(row) and isinstance(row[0], list)


async def read_chunks(
    inputs: list[Any], engine: Engine
) -> tuple[NDArray[Any], NDArray[np.int64], dict[int, OstinatoError]]:
    """The steps of all chunks one after another, rows of the engine's ``given``, of which there is at least one; where
    each chunk begins and the last one ends, int64 ``[R + 1]``; and what is wrong with a row alone.
    """
    given = engine.given
    chunks: list[NDArray[Any]] = []
    errors: dict[int, OstinatoError] = {}
    pace = Pace()
    for row, chunk in enumerate(inputs):
        steps = given.zeros(0)
        try:
            if not isinstance(chunk, list):
                raise InvalidInput("a list of steps is needed, as other rows are", f"inputs[{row}]")
            engine.check_length(len(chunk), f"inputs[{row}]")
            steps = to_rows(chunk, given, f"inputs[{row}]")
        except (InvalidInput, TooLarge) as error:
            errors[row] = error
        chunks.append(steps)
        await pace.rest()
    bounds = np.zeros(len(chunks) + 1, np.int64)
    np.cumsum([len(chunk) for chunk in chunks], out=bounds[1:])
    return np.concatenate([*chunks, given.zeros(1)]), bounds, errors


def chunk_answers(
    answers: RowAnswers, lengths: NDArray[np.int64], absent: Mapping[int, Any], made: RowLayout[Output]
) -> dict[str, Any]:
    """``outputs``, a list of steps a row, by name where there are several; null in rows that are absent. With framing
    ``output_steps`` in the same way, and of a calibrated model ``anomaly``.
    """
    outputs: list[Any] = [None if row in absent else answers.chunk(row, made) for row in range(len(answers.seqs))]
    content = {"outputs": _by_name([None if rows is None else made.words(rows) for rows in outputs])}
    if made.framing:
        ends = [
            None if rows is None else made.ends_of(int(seq + length), len(rows))
            for rows, seq, length in zip(outputs, answers.seqs, lengths, strict=True)
        ]
        content["output_steps"] = _by_name([None if each is None else made.steps_of(each) for each in ends])
    if answers.anomaly is not None:
        content["anomaly"] = [None if rows is None else answers.anomalies(row) for row, rows in enumerate(outputs)]
    return content


def _by_name(rows: list[Any]) -> Any:
    names = next((list(row) for row in rows if isinstance(row, dict)), None)
    if names is None:
        return rows
    return {name: [None if row is None else row[name] for row in rows] for name in names}
