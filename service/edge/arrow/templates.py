"""Templates of Arrow messages that come again and again with other numbers, as a gateway's readings do.

A message of 256 rows takes Arrow about 50 us to read and 40 us to write, most of it for what was the same the last
time: the schema, the ids, where each buffer lies. So what was read once is kept: a message that differs from it in
nothing but the numbers has its numbers at the same places, and its answer is the last answer with other numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import ipc

from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Input, Output
from ostinato.service.edge.arrow.answers import write_chunks, write_rows
from ostinato.service.edge.arrow.cells import is_list, is_text, unfit
from ostinato.service.edge.arrow.columns import begin_any_rows
from ostinato.service.edge.arrow.ipc import read_columns
from ostinato.service.edge.arrow.keys import KEYS, check_text
from ostinato.service.edge.times import check_columns, timed_columns
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import InvalidInput, OstinatoError
from ostinato.service.inputs.sequences import is_finite
from ostinato.service.sessions.blocks import RowAnswers
from ostinato.service.sessions.offsets import RowOffsets
from ostinato.service.sessions.rows import Columns

MAX_TEMPLATES = 128
MAX_BYTES = 256 * 1024
"""A longer message is not kept: what Arrow takes to read it is little compared with what its rows take to run."""

MAX_OF_ONE_LENGTH = 8
"""Messages of one length that are kept: each is compared with a new one, up to the first byte that differs."""


class Template:
    """A message that was read, and what is needed to read another like it.

    Attributes:
        columns: what it said, when it was first read; without its numbers, once it is remembered.
        id_column: its ids as Arrow has them.
        made: what its answers hold.
    """

    def __init__(self, columns: Columns, id_column: Any, made: RowLayout[Output]) -> None:
        self.columns = columns
        self.id_column = id_column
        self.made = made
        self._constant: list[tuple[int, int, bytes]] = []
        self._inputs_at = 0
        self._whole_at: list[int] = []
        self._has_seqs, self._has_offsets = columns.seqs is not None, columns.offsets is not None
        self._shape: tuple[int, ...] = ()
        self._dtype: Any = None
        self._answer: tuple[bytearray, int, int] | None = None

    def remember(self, body: bytes) -> bool:
        """Note where the numbers lie in ``body``; False where it cannot be told, since they had to be converted."""
        columns = self.columns
        numbers = [columns.inputs, *_whole_numbers(columns)]
        places = [place for each in numbers if (place := _offset(each, body)) is not None]
        if columns.errors or columns.bounds is not None or len(places) < len(numbers):
            return False
        self._inputs_at, *self._whole_at = places
        spans = [(place, place + each.nbytes) for place, each in zip(places, numbers, strict=True)]
        start = 0
        for end, next_start in [*sorted(spans), (len(body), len(body))]:
            self._constant.append((start, end, body[start:end]))
            start = next_start
        self._shape, self._dtype = columns.inputs.shape, columns.inputs.dtype
        # The numbers are parts of this body, which need not be kept for them.
        nothing = np.empty(0, np.int64)
        offsets = columns.offsets and RowOffsets(columns.offsets.sources, nothing, nothing)
        self.columns = columns._replace(inputs=np.empty(0), seqs=None, offsets=offsets)
        return True

    def again(self, body: bytes) -> Columns | None:
        """What a message says that differs from this one in its numbers only; None if it is another, or if one of
        its numbers has to be checked alone.
        """
        for start, end, constant in self._constant:
            if body[start:end] != constant:
                return None
        num_rows, num_features = self._shape
        inputs = np.frombuffer(body, self._dtype, num_rows * num_features, self._inputs_at)
        if not is_finite(inputs):
            return None
        whole = [np.frombuffer(body, np.int64, num_rows, place) for place in self._whole_at]
        if any(numbers.min() < 0 for numbers in whole):
            return None
        known = self.columns._replace(
            inputs=inputs.reshape(num_rows, num_features), seqs=whole.pop(0) if self._has_seqs else None
        )
        if known.offsets is None:
            return known
        return known._replace(offsets=RowOffsets(known.offsets.sources, whole[0], whole[0]))

    def answer(
        self,
        answers: RowAnswers,
        problems: Mapping[int, Mapping[str, Any]] | None = None,
        more: Mapping[str, Sequence[Any]] | None = None,
    ) -> bytes:
        """The answers to a message like this one as an Arrow IPC stream. ``problems``: what is told of rows that
        failed; ``more``: as of ``write_rows``.
        """
        problems = problems or {}
        stands = problems if self._has_offsets else None
        words = {row: (problem["code"], problem["detail"]) for row, problem in problems.items()}
        if self.columns.bounds is not None:
            lengths = np.diff(self.columns.bounds)
            return write_chunks(self.id_column, answers, lengths, words, self.made, stands)
        # Of bools Arrow keeps eight in a byte; what is not flat has its numbers in several places.
        watched = None if answers.anomaly is None else (answers.anomaly, answers.events)
        is_plain = answers.outputs.dtype != np.bool_ and self.made.is_flat and not self.made.framing
        if problems or more or watched or not is_plain:
            return write_rows(
                self.id_column, answers.seqs, answers.outputs, words, self.made, more, watched=watched, stands=stands
            )
        if self._answer is None:
            written = write_rows(self.id_column, answers.seqs, answers.outputs, {}, stands=stands)
            base = pa.py_buffer(written)
            batch = ipc.open_stream(base).read_next_batch()
            seqs, outputs = batch.column("seq"), batch.column("outputs").values
            places = [values.buffers()[1].address - base.address for values in (seqs, outputs)]
            self._answer = bytearray(written), places[0], places[1]
        room, seqs_at, outputs_at = self._answer
        room[seqs_at : seqs_at + answers.seqs.nbytes] = answers.seqs.data
        room[outputs_at : outputs_at + answers.outputs.nbytes] = answers.outputs.data.cast("B")
        return bytes(room)


class Templates:
    """The latest messages, each by the model version it was for and its length."""

    def __init__(self) -> None:
        self._by_length: dict[tuple[str, str, int], list[Template]] = {}
        self._num_templates = 0

    def read(self, body: bytes, engine: Engine) -> tuple[Columns, Template]:
        """What a message says, and the template to answer it by: that of one like it, or its own.

        Raises as ``begin``.
        """
        columns, template, judging = self.begin(body, engine)
        for _ in judging or ():
            pass
        return columns, template

    def begin(self, body: bytes, engine: Engine) -> tuple[Columns, Template, Iterator[None] | None]:
        """``read`` up to what is wrong with the inputs of single rows: the iterator adds it to the columns' errors, a
        row at a time. None = nothing is.

        Raises:
            InvalidInput: it cannot be read as a whole.
            TooLarge: it has more rows than may wait.
        """
        manifest = engine.manifest
        key = manifest.name, manifest.version, len(body)
        alike = self._by_length.get(key, ())
        for template in alike:
            known = template.again(body)
            if known is not None:
                return known, template, None
        layout = _layout_of(body, engine)
        rows, judging = begin_any_rows(body, layout, engine.check_rows, engine.check_length)
        columns = Columns.of(rows.session_ids, rows.inputs, rows.seqs, rows.errors, rows.offsets, rows.bounds)
        if rows.at is not None:
            check_columns(rows.at, rows.bounds is not None, rows.seqs, rows.offsets)
            # Judged before the times are looked at: a row that cannot be read has none.
            for _ in judging or ():
                pass
            judging = None
            errors: dict[int, OstinatoError] = dict(rows.errors)
            inputs, timed = timed_columns(engine, rows.inputs, layout, rows.at, errors)
            columns = columns._replace(inputs=inputs, times=timed, errors=errors)
        template = Template(columns, rows.id_column, engine.made)
        # Where a step cannot be packed as it is, each of its numbers is checked alone, which a template would not do.
        is_plain = judging is None and rows.at is None and engine.pack_step is not None and len(body) <= MAX_BYTES
        if is_plain and template.remember(body):
            self._keep(key, template)
        return columns, template, judging

    def _keep(self, key: tuple[str, str, int], template: Template) -> None:
        if self._num_templates >= MAX_TEMPLATES:
            self._by_length.clear()
            self._num_templates = 0
        kept = self._by_length.setdefault(key, [])
        kept.insert(0, template)
        self._num_templates += 1
        if len(kept) > MAX_OF_ONE_LENGTH:
            kept.pop()
            self._num_templates -= 1


def _layout_of(body: bytes, engine: Engine) -> RowLayout[Input]:
    """What the steps of a message are: what the model takes; or with times, where the first has as many features, what
    is sent without what those tell.
    """
    short = None if engine.series_clock is None else engine.series_clock.sent
    if short is None:
        return engine.given

    def check(kind: pa.DataType) -> None:
        if not is_list(kind) or not (pa.types.is_primitive(kind.value_type) or is_text(kind.value_type)):
            raise unfit(kind, "lists of features", "inputs")

    try:
        columns = read_columns(body, {"session_id": check_text, "inputs": check}, KEYS, engine.check_rows)
    except InvalidInput:  # it is of another form, or is refused where it is read
        return engine.given
    first = next((chunk[0] for chunk in columns["inputs"] if len(chunk)), None)
    is_short = "at" in columns and first is not None and first.is_valid and len(first.values) == short.width
    return short if is_short else engine.given


def _whole_numbers(columns: Columns) -> list[NDArray[np.int64]]:
    """The columns of whole numbers, those that there are: ``seq``, ``offset``; and ``first_offset``, which is none of
    the message's own.
    """
    found = [] if columns.seqs is None else [columns.seqs]
    if columns.offsets is not None:
        found.append(columns.offsets.lasts)
        if columns.offsets.firsts is not columns.offsets.lasts:
            found.append(columns.offsets.firsts)
    return found


def _offset(numbers: NDArray[Any], body: bytes) -> int | None:
    """Where in ``body`` an array lies; None where it is elsewhere."""
    start = np.frombuffer(body, np.uint8).ctypes.data
    offset = numbers.ctypes.data - start
    lies_within = offset >= 0 and offset + numbers.nbytes <= len(body) and numbers.flags.c_contiguous
    return offset if lies_within else None
