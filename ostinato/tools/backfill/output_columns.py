"""Columns of what is written: a row for each step that was given, or each sequence, and numbers to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ostinato.errors import InputError
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Output
from ostinato.service.edge.arrow.tensors import to_column, to_sequences_column, to_sequences_steps, to_steps_column
from ostinato.tools.backfill.answering import AnsweredBlock
from ostinato.tools.backfill.blocks import RowBlock
from ostinato.tools.backfill.column_files import plain_type
from ostinato.tools.backfill.input_columns import InputColumns, check_output_names

STEP = "step"
OUTPUTS, OUTPUT_STEPS = "outputs", "output_steps"


class StepOutputColumns:
    """What is written of rows that are a step each: id, time, the step's number, and a column for each number.

    Args:
        given: the schema of what is read.
        is_last: whether only the last step of each sequence is written.

    Attributes:
        schema: of what is written.

    Raises:
        InputError: the model's answers do not fit into a row a step, or two columns would have one name.
    """

    def __init__(self, manifest: Manifest, columns: InputColumns, given: pa.Schema, *, is_last: bool) -> None:
        made = manifest.made
        self._made = made
        is_once = [part.time_axis is None for part in made.parts]
        is_step_graph = manifest.task == "recurrent" and manifest.of_graph.inputs[0].time_axis is None
        every_step = is_step_graph or not all(is_once)
        self._is_last = is_last or not every_step
        self._is_once = [every_step and not is_step_graph and each for each in is_once]
        self._has_frames = manifest.framing is not None
        if self._has_frames:
            _check_frames(made, is_last=self._is_last, has_once=any(self._is_once))
        self._copied = [name for name in (columns.id_column, columns.time_column) if name]
        self._row_column = columns.row_column
        self._names = _feature_names(made, [*self._copied, STEP])
        fields = [pa.field(name, plain_type(given.field(name).type)) for name in self._copied]
        fields.append(pa.field(STEP, pa.int64()))
        kinds = [part.dtype for part in made.parts for _ in part.features]
        fields += [pa.field(name, _arrow_type(kind)) for name, kind in zip(self._names, kinds, strict=True)]
        if self._row_column:
            fields.append(pa.field(self._row_column, pa.int64()))
        check_output_names([field.name for field in fields])
        self.schema = pa.schema(fields)

    def table(self, block: RowBlock, answered: AnsweredBlock) -> pa.RecordBatch:
        """What is written of a block, in the order of its rows."""
        last_rows = block.bounds[1 : len(block.bounds) - int(block.is_cut)] - 1
        if self._is_last:
            rows = last_rows
        elif self._has_frames:
            rows = answered.rows
        else:
            rows = np.arange(len(block.batch))
        place = np.full(len(block.batch), -1)
        place[answered.rows] = np.arange(len(answered.rows))
        places = place[rows]
        arrays = [block.batch.column(name).take(pa.array(rows)) for name in self._copied]
        arrays.append(pa.array(answered.steps[rows]))
        is_end = np.isin(rows, last_rows)
        for part, numbers, is_once in zip(
            self._made.parts, self._made.flat(answered.outputs), self._is_once, strict=True
        ):
            absent = places < 0
            if is_once:
                absent |= ~is_end
            picked = numbers[places] if len(numbers) else np.zeros((len(rows), part.num_features), part.dtype)
            mask = absent if absent.any() else None
            arrays += [pa.array(np.ascontiguousarray(picked[:, index]), mask=mask) for index in range(picked.shape[1])]
        if self._row_column:
            arrays.append(block.batch.column(self._row_column).take(pa.array(rows)))
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


class SequenceColumns:
    """What is written of rows that are a sequence each: the id, and lists as ``predict`` answers them.

    Args, Attributes: as of ``StepOutputColumns``.
    """

    def __init__(self, manifest: Manifest, columns: InputColumns, given: pa.Schema, *, is_last: bool) -> None:
        self._made, self._is_last = manifest.made, is_last
        self._id_column = columns.id_column
        fields = [pa.field(self._id_column, plain_type(given.field(self._id_column).type))] if self._id_column else []
        zeros = self._made.zeros(1)
        hop = 1 if manifest.framing is None else manifest.framing.size
        fields += [pa.field(name, each.type) for name, each in self._columns([zeros], [hop], [True]).items()]
        check_output_names([field.name for field in fields])
        self.schema = pa.schema(fields)

    def table(
        self, batch: pa.RecordBatch, outputs: list[NDArray[Any]], lengths: list[int], is_sound: list[bool]
    ) -> pa.RecordBatch:
        """What is written of rows: the outputs ``[n, width]`` of each, null where it is not sound."""
        arrays = [batch.column(self._id_column)] if self._id_column else []
        arrays += self._columns(outputs, lengths, is_sound).values()
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _columns(self, outputs: list[NDArray[Any]], lengths: list[int], is_sound: list[bool]) -> dict[str, pa.Array]:
        made, framing = self._made, self._made.framing
        if self._is_last:
            absent = np.array([not (sound and len(rows)) for rows, sound in zip(outputs, is_sound, strict=True)])
            last = np.concatenate([rows[-1:] if len(rows) else made.zeros(1) for rows in outputs])
            found = {OUTPUTS: to_column(made, last, pa.array(absent))}
            if framing is not None:
                ends = [framing.end(max(0, framing.count(length) - 1)) for length in lengths]
                found[OUTPUT_STEPS] = to_steps_column(made, np.array(ends, np.int64), absent)
            return found
        found = {OUTPUTS: to_sequences_column(made, outputs)}
        if framing is not None:
            ends_of = [made.ends_of(length, len(rows)) for length, rows in zip(lengths, outputs, strict=True)]
            found[OUTPUT_STEPS] = to_sequences_steps(made, ends_of)
        if not all(is_sound):
            kept = pa.array([index if sound else None for index, sound in enumerate(is_sound)], pa.int64())
            found = {name: each.take(kept) for name, each in found.items()}
        return found


def _check_frames(made: RowLayout[Output], *, is_last: bool, has_once: bool) -> None:
    several = [part.name for part in made.shown if part.per_frame > 1]
    why = ""
    if several:
        why = f"output {several[0]!r} has several rows for each frame"
    elif is_last or has_once:
        why = "its last frame may be complete long before a sequence's last row"
    if why:
        raise InputError(f"a model with framing, and a row a step: {why}. Give a row a sequence, with lists of steps")


def _feature_names(made: RowLayout[Output], taken: list[str]) -> list[str]:
    """As the features are called; behind their output's name where that would stand twice."""
    names = [name for part in made.parts for name in part.features]
    if len({*names, *taken}) < len(names) + len(taken):
        return [f"{part.name}.{name}" for part in made.parts for name in part.features]
    return names


def _arrow_type(dtype: str) -> pa.DataType:
    return pa.from_numpy_dtype(np.dtype(dtype))
