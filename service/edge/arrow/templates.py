"""Templates of Arrow messages that come again and again with other numbers, as a gateway's readings do.

A message of 256 rows takes Arrow about 50 us to read and 40 us to write, most of it for what was the same the last
time: the schema, the ids, where each buffer lies. So what was read once is kept: a message that differs from it in
nothing but the numbers has its numbers at the same places, and its answer is the last answer with other numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import ipc

from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Output
from ostinato.service.edge.arrow.answers import write_rows
from ostinato.service.edge.arrow.columns import begin_any_rows
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.inputs.sequences import is_finite
from ostinato.service.sessions.blocks import RowAnswers
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
        self._seqs_at: int | None = None
        self._shape: tuple[int, ...] = ()
        self._dtype: Any = None
        self._answer: tuple[bytearray, int, int] | None = None

    def remember(self, body: bytes) -> bool:
        """Note where the numbers lie in ``body``; False where it cannot be told, since they had to be converted."""
        columns = self.columns
        inputs_at = _offset(columns.inputs, body)
        seqs_at = None if columns.seqs is None else _offset(columns.seqs, body)
        if columns.errors or inputs_at is None or (columns.seqs is not None and seqs_at is None):
            return False
        self._inputs_at, self._seqs_at = inputs_at, seqs_at
        spans = [(inputs_at, inputs_at + columns.inputs.nbytes)]
        if columns.seqs is not None and seqs_at is not None:
            spans = sorted([*spans, (seqs_at, seqs_at + columns.seqs.nbytes)])
        start = 0
        for end, next_start in [*spans, (len(body), len(body))]:
            self._constant.append((start, end, body[start:end]))
            start = next_start
        self._shape, self._dtype = columns.inputs.shape, columns.inputs.dtype
        # The numbers are parts of this body, which need not be kept for them.
        self.columns = columns._replace(inputs=np.empty(0), seqs=None)
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
        seqs = None
        if self._seqs_at is not None:
            seqs = np.frombuffer(body, np.int64, num_rows, self._seqs_at)
            if seqs.min() < 0:
                return None
        return self.columns._replace(inputs=inputs.reshape(num_rows, num_features), seqs=seqs)

    def answer(self, answers: RowAnswers) -> bytes:
        """The answers to a message like this one, none of whose rows failed, as an Arrow IPC stream."""
        # Of bools Arrow keeps eight in a byte; what is not flat has its numbers in several places.
        if answers.outputs.dtype == np.bool_ or not self.made.is_flat or self.made.framing:
            return write_rows(self.id_column, answers.seqs, answers.outputs, {}, self.made)
        if self._answer is None:
            written = write_rows(self.id_column, answers.seqs, answers.outputs, {})
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
        rows, judging = begin_any_rows(body, engine.given, engine.check_rows)
        columns = Columns.of(rows.session_ids, rows.inputs, rows.seqs, rows.errors)
        template = Template(columns, rows.id_column, engine.made)
        # Where a step cannot be packed as it is, each of its numbers is checked alone, which a template would not do.
        is_plain = judging is None and engine.pack_step is not None and len(body) <= MAX_BYTES
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


def _offset(numbers: NDArray[Any], body: bytes) -> int | None:
    """Where in ``body`` an array lies; None where it is elsewhere."""
    start = np.frombuffer(body, np.uint8).ctypes.data
    offset = numbers.ctypes.data - start
    lies_within = offset >= 0 and offset + numbers.nbytes <= len(body) and numbers.flags.c_contiguous
    return offset if lies_within else None
