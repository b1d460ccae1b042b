from __future__ import annotations

import struct
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import ipc

from ostinato.service.artifact.tensors import Input
from ostinato.service.edge.arrow.columns import read_rows, read_sequences
from ostinato.service.edge.arrow.ipc import MAX_COLUMNS
from ostinato.service.errors import InvalidInput, TooLarge
from tests.hostile_messages import arrow_stream, mutations, unbacked_columns, unfit_columns

PART = Input(name="x", dtype="float32", shape=("B", "T", 1), features=("x",))
STEPS = pa.array([[1.0], [2.0], [3.0]], pa.list_(pa.float32()))


@pytest.fixture
def no_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be made of a message, beyond its schema."""

    def fail(*_: object) -> None:
        raise AssertionError("arrays were made")

    monkeypatch.setattr(ipc, "read_record_batch", fail)
    monkeypatch.setattr(ipc, "open_stream", fail)


def message(ids: Any, inputs: Any, **others: Any) -> bytes:
    return arrow_stream(pa.record_batch({"session_id": ids, "inputs": inputs, **others}))


def at_most(num_rows: int) -> Any:
    def check(given: int) -> None:
        if given > num_rows:
            raise TooLarge(f"{given} rows")

    return check


@pytest.mark.usefixtures("no_arrays")
@pytest.mark.parametrize("name", unbacked_columns(1))
def test_columns_that_no_byte_backs_are_refused_by_their_type(name: str) -> None:
    column = unbacked_columns()[name]
    body = message(column, column)
    assert len(body) < 2000
    with pytest.raises(InvalidInput):
        read_rows(body, PART)
    with pytest.raises(InvalidInput):
        read_sequences(arrow_stream(pa.record_batch({"inputs": column})), PART)


@pytest.mark.usefixtures("no_arrays")
@pytest.mark.parametrize("name", unfit_columns())
def test_types_that_are_no_inputs_are_refused_before_an_array_is_made(name: str) -> None:
    column = unfit_columns()[name]
    with pytest.raises(InvalidInput, match="inputs"):
        read_rows(message(pa.array(["a", "b", "c"]), column), PART)
    with pytest.raises(InvalidInput, match="inputs"):
        read_sequences(arrow_stream(pa.record_batch({"inputs": column})), PART)
    with pytest.raises(InvalidInput, match="session_id"):
        read_rows(message(column, STEPS), PART)


@pytest.mark.usefixtures("no_arrays")
def test_rows_are_counted_by_what_batches_declare_before_an_array_is_made() -> None:
    num_rows = 1000
    ids = pa.DictionaryArray.from_arrays(pa.array([0] * num_rows, pa.int8()), pa.array(["a"]))
    steps = pa.array([[1.0]] * num_rows, pa.list_(pa.float32(), 1))
    one = pa.record_batch({"session_id": ids, "inputs": steps})
    body = arrow_stream(one, one)
    with pytest.raises(TooLarge, match="2000 rows"):
        read_rows(body, PART, at_most(1999))
    with pytest.raises(AssertionError, match="arrays were made"):
        read_rows(body, PART, at_most(2000))


def test_a_sequence_is_measured_before_a_number_is_read() -> None:
    body = arrow_stream(pa.record_batch({"inputs": pa.array([[[1.0]], [[1.0]] * 11, [[float("nan")]]])}))

    def check(num_steps: int, place: str) -> None:
        if num_steps > 10:
            raise TooLarge(f"{place}: {num_steps}")

    with pytest.raises(TooLarge, match=r"inputs\[1\]: 11"):
        read_sequences(body, PART, at_most(3), check)


def test_parts_of_dictionaries_are_refused() -> None:
    def batch(*words: str) -> pa.RecordBatch:
        ids = pa.DictionaryArray.from_arrays(pa.array([0, 0, 0], pa.int8()), pa.array(words))
        return pa.record_batch({"session_id": ids, "inputs": STEPS})

    body = arrow_stream(batch("a"), batch("a", "b"))
    with pytest.raises(InvalidInput, match="deltas"):
        read_rows(body, PART)


@pytest.mark.usefixtures("no_arrays")
def test_a_schema_of_very_many_columns_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipc, "read_schema", None)
    many = arrow_stream(pa.record_batch({f"c{index}": pa.array([1]) for index in range(MAX_COLUMNS + 1)}))
    with pytest.raises(InvalidInput, match=f"{MAX_COLUMNS + 1} columns"):
        read_rows(many, PART)
    noted = pa.record_batch({"session_id": pa.array(["a"]), "inputs": STEPS[:1]})
    noted = noted.replace_schema_metadata({"note": "x" * 2_000_000})
    with pytest.raises(InvalidInput, match="2000"):
        read_rows(arrow_stream(noted), PART)


@pytest.mark.parametrize("offsets", [[0, -1, 2, 3], [0, 2, 1, 3], [-5, 1, 2, 3], [0, 1, 2, 2**31 - 1], [0, 0, 0, -3]])
def test_offsets_that_point_elsewhere_are_refused(offsets: list[int]) -> None:
    sound = struct.pack("<4i", 0, 1, 2, 3)
    # Of the ids and of the steps, as both have three texts or lists of one.
    rows = message(pa.array(["a", "b", "c"]), STEPS)
    of_ids, of_steps, end = rows.split(sound)
    broken = struct.pack("<4i", *offsets)
    for body in (of_ids + broken + of_steps + sound + end, of_ids + sound + of_steps + broken + end):
        with pytest.raises(InvalidInput):
            read_rows(body, PART)
    sequences = arrow_stream(pa.record_batch({"inputs": pa.ListArray.from_arrays([0, 3], STEPS)}))
    assert sequences.count(sound) == 1
    with pytest.raises(InvalidInput):
        read_sequences(sequences.replace(sound, broken), PART)


@pytest.mark.parametrize("index", [-1, 1, 127])
def test_a_code_without_a_word_is_refused(index: int) -> None:
    ids = pa.DictionaryArray.from_arrays(pa.array([0, index, 0], pa.int8()), pa.array(["a"]), safe=False)
    with pytest.raises(InvalidInput):
        read_rows(message(ids, STEPS), PART)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_changed_in_a_message_it_is_read_or_refused(seed: int) -> None:
    ids = [pa.array(["a", "b", "c"]), pa.array(["a", "b", "a"]).dictionary_encode()][seed % 2]
    rows = message(ids, STEPS, seq=pa.array([1, 2, 3]))
    sequences = arrow_stream(pa.record_batch({"inputs": pa.array([[[1.0]], [[2.0], [3.0]]])}))
    refused = 0
    for body in mutations(rows, 250, seed):
        try:
            read_rows(body, PART, at_most(100))
        except (InvalidInput, TooLarge):
            refused += 1
    for body in mutations(sequences, 250, seed):
        try:
            read_sequences(body, PART, at_most(100))
        except (InvalidInput, TooLarge):
            refused += 1
    assert 0 < refused < 500
