"""Chunks: each key's readings together, and the way back to the batch's order."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from ostinato.connectors.arrivals import Released
from ostinato.connectors.chunks import KeyChunks, read_answers, to_chunks
from ostinato.errors import UnexpectedAnswer


def released(partition: str, keys: str, first: int = 0) -> Released:
    """Readings of these keys, each with its offset in both features."""
    offsets = list(range(first, first + len(keys)))
    inputs = np.repeat(np.array(offsets, np.float32), 2).reshape(-1, 2)
    return Released(partition, offsets, [offset + 1 for offset in offsets], list(keys), [], inputs, [])


def batch() -> KeyChunks:
    return to_chunks([released("t/0", "abab", 10), released("t/1", "cb", 50)], str.upper)


def test_a_chunk_is_a_key_s_readings_in_their_order() -> None:
    chunks = batch()
    assert (chunks.session_ids, chunks.sources) == (["A", "B", "C", "B"], ["t/0", "t/0", "t/1", "t/1"])
    assert chunks.firsts.tolist() == [11, 12, 51, 52]
    assert chunks.triggers.tolist() == [13, 14, 51, 52]
    assert chunks.rows[:, 0].tolist() == [10, 12, 11, 13, 50, 51]
    assert chunks.places.tolist() == [0, 2, 1, 3, 4, 5]
    table = pa.ipc.open_stream(chunks.message()).read_all()
    assert table.column("inputs").to_pylist()[0] == [[10, 10], [12, 12]]
    assert table.column("first_offset").to_pylist() == [11, 12, 51, 52]


def test_rows_and_chunks_can_be_taken_out_and_an_empty_chunk_goes() -> None:
    left = batch().without({1, 4}, {1})
    assert (left.session_ids, left.lengths.tolist()) == (["A", "B"], [1, 1])
    assert (left.rows[:, 0].tolist(), left.places.tolist(), left.triggers.tolist()) == ([10, 51], [0, 5], [13, 52])


def answer(outputs: list[list[list[float]] | None], codes: list[str | None]) -> bytes:
    kind = pa.list_(pa.list_(pa.float32(), 1))
    columns = {"outputs": pa.array(outputs, kind), "code": pa.array(codes, pa.utf8())}
    columns["detail"] = columns["code"]
    record = pa.record_batch(list(columns.values()), list(columns))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, record.schema) as writer:
        writer.write_batch(record)
    return bytes(sink.getvalue())


def test_answers_come_back_to_their_readings_around_a_chunk_that_failed() -> None:
    chunks = batch()
    got = read_answers(answer([[[1], [2]], None, [[5]], [[6]]], [None, "run_failed", None, None]), chunks)
    assert got.problems == {1: ("run_failed", "run_failed")}
    assert got.outputs[:, 0].tolist() == [1, 2, 0, 0, 5, 6]


@pytest.mark.parametrize("content", [b"no arrow", answer([[[1]]], [None]), answer([[[1]]] * 4, [None] * 4)])
def test_what_is_no_answer_to_these_chunks_is_refused(content: bytes) -> None:
    with pytest.raises(UnexpectedAnswer):
        read_answers(content, batch())
