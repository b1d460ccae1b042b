"""Chunks of a batch: each key's readings as one row of a columnar message, and what came back for them."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ostinato.connectors.arrivals import Released
from ostinato.connectors.watched import WatchedReadings, watched_of
from ostinato.errors import UnexpectedAnswer


@dataclass(slots=True)
class KeyChunks:
    """One chunk for each key of a batch, and for each partition where a key is in several.

    Attributes:
        session_ids, sources: of each chunk, C texts.
        firsts, triggers: int64 ``[C]``, the offsets that let its first reading go and its last: a session that has
        either
            was stepped with it, and has the latter when the chunk is applied.
        bounds: int32 ``[C + 1]``: chunk ``c`` is ``rows[bounds[c]:bounds[c + 1]]``.
        rows: ``[N, F]``, the readings in the order of the chunks.
        places: int64 ``[N]``: where each of them is in the batch, whose partitions lie one behind the other.
        seqs: int64 ``[C]``, the steps that each session has before its chunk; then ``sources``, ``firsts`` and
            ``triggers`` mean nothing. None = these say it.
    """

    session_ids: list[str]
    sources: list[str]
    firsts: NDArray[np.int64]
    triggers: NDArray[np.int64]
    bounds: NDArray[np.int32]
    rows: NDArray[Any]
    places: NDArray[np.int64]
    seqs: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.session_ids)

    @property
    def lengths(self) -> NDArray[np.int32]:
        """Readings of each chunk, ``[C]``."""
        return np.diff(self.bounds)

    def message(self) -> bytes:
        """The columnar message as an Arrow IPC stream."""
        steps = pa.FixedSizeListArray.from_arrays(pa.array(self.rows.ravel()), self.rows.shape[1])
        columns = {
            "session_id": pa.array(self.session_ids, pa.utf8()),
            "inputs": pa.ListArray.from_arrays(pa.array(self.bounds), steps),
        }
        if self.seqs is not None:
            columns["seq"] = pa.array(self.seqs)
        else:
            columns |= {
                "source": pa.array(self.sources, pa.utf8()),
                "first_offset": pa.array(self.firsts),
                "offset": pa.array(self.triggers),
            }
        batch = pa.record_batch(list(columns.values()), list(columns))
        out = io.BytesIO()
        with pa.ipc.new_stream(out, batch.schema) as writer:
            writer.write_batch(batch)
        return out.getvalue()

    def without(self, steps: set[int], chunks: set[int]) -> KeyChunks:
        """The same without some rows, and without some chunks; a chunk that has no row left goes, too."""
        keep = np.ones(len(self.rows), bool)
        keep[list(steps)] = False
        for chunk in chunks:
            keep[self.bounds[chunk] : self.bounds[chunk + 1]] = False
        owners = np.repeat(np.arange(len(self)), self.lengths)[keep]
        left, counts = np.unique(owners, return_counts=True)
        bounds = np.zeros(len(left) + 1, np.int32)
        np.cumsum(counts, out=bounds[1:])
        chosen = left.tolist()
        return KeyChunks(
            [self.session_ids[chunk] for chunk in chosen],
            [self.sources[chunk] for chunk in chosen],
            self.firsts[left],
            self.triggers[left],
            bounds,
            self.rows[keep],
            self.places[keep],
            None if self.seqs is None else self.seqs[left],
        )


@dataclass(slots=True)
class ChunkAnswers:
    """What a service answered to a message of chunks.

    Attributes:
        outputs: ``[N, O]`` in the order of the chunks' rows; those of chunks that failed mean nothing.
        problems: chunk -> code and detail.
        lasts: of chunks whose session is past them: chunk -> the offset that this has, and how many readings the chunk
            had that was applied last.
        watched: what a calibrated model says of the rows; None = it is none.
    """

    outputs: NDArray[Any]
    problems: dict[int, tuple[str, str]] = field(default_factory=dict)
    lasts: dict[int, tuple[int, int]] = field(default_factory=dict)
    watched: WatchedReadings | None = None


def to_chunks(released: Sequence[Released], session_id: Callable[[str], str]) -> KeyChunks:
    """The chunks of a batch that holds at least one reading."""
    ids: list[str] = []
    sources: list[str] = []
    firsts: list[int] = []
    triggers: list[int] = []
    counts: list[int] = []
    places: list[int] = []
    base = 0
    for part in released:
        of_keys: dict[str, list[int]] = {}
        for place, key in enumerate(part.keys):
            try:
                of_keys[key].append(place)
            except KeyError:
                of_keys[key] = [place]
        for key, own in of_keys.items():
            ids.append(session_id(key))
            firsts.append(part.triggers[own[0]])
            triggers.append(part.triggers[own[-1]])
            counts.append(len(own))
            places += [base + place for place in own] if base else own
        sources += [part.partition] * len(of_keys)
        base += len(part)
    bounds = np.zeros(len(ids) + 1, np.int32)
    np.cumsum(counts, out=bounds[1:])
    order = np.array(places, np.int64)
    inputs = released[0].inputs if len(released) == 1 else np.concatenate([part.inputs for part in released])
    return KeyChunks(
        ids, sources, np.array(firsts, np.int64), np.array(triggers, np.int64), bounds, inputs[order], order
    )


def read_answers(body: bytes, chunks: KeyChunks) -> ChunkAnswers:
    """What an answer of Arrow says of these chunks.

    Raises:
        UnexpectedAnswer: it is none to them.
    """
    try:
        table = pa.ipc.open_stream(body).read_all()
        outputs, codes, details = (table.column(name).combine_chunks() for name in ("outputs", "code", "detail"))
        problems = {}
        if codes.null_count < len(codes):
            told = zip(codes.to_pylist(), details.to_pylist(), strict=True)
            problems = {row: (code, detail or "") for row, (code, detail) in enumerate(told) if code is not None}
        if len(outputs) != len(chunks):
            raise ValueError(f"{len(outputs)} rows for {len(chunks)} chunks")
        rows = _rows_of(outputs, chunks, problems)
        return ChunkAnswers(rows, problems, _lasts_of(table, problems), watched_of(table, chunks.bounds))
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise UnexpectedAnswer(f"the service's answer to a batch is not one: {error}", 200) from error


def _lasts_of(table: pa.Table, problems: dict[int, tuple[str, str]]) -> dict[int, tuple[int, int]]:
    """How far the sessions of chunks are that were refused, where the service says so."""
    if not problems or "last_seq" not in table.column_names:
        return {}
    columns = (table.column(name).to_pylist() for name in ("offset", "expected_seq", "last_seq"))
    told = enumerate(zip(*columns, strict=True))
    return {chunk: (offset, seq - last) for chunk, (offset, seq, last) in told if None not in (offset, seq, last)}


def _rows_of(outputs: Any, chunks: KeyChunks, problems: dict[int, tuple[str, str]]) -> NDArray[Any]:
    """The outputs ``[N, O]``, from a list of steps for each chunk."""
    steps = outputs.flatten()
    width = steps.type.list_size
    numbers = np.asarray(steps.flatten()).reshape(-1, width)
    expected = len(chunks.rows) - sum(int(chunks.lengths[chunk]) for chunk in problems)
    if len(numbers) != expected:
        raise ValueError(f"{len(numbers)} steps answered where {expected} were sent")
    if not problems:
        return numbers
    failed = np.isin(np.repeat(np.arange(len(chunks)), chunks.lengths), list(problems))
    rows = np.zeros((len(chunks.rows), width), numbers.dtype)
    rows[~failed] = numbers
    return rows
