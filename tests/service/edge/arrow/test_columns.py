from __future__ import annotations

import random
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import ipc

from ostinato.service.artifact.tensors import Input
from ostinato.service.edge.arrow.answers import write_last_steps, write_rows, write_sequences
from ostinato.service.edge.arrow.columns import read_rows, read_sequences
from ostinato.service.edge.arrow.ipc import MAX_MESSAGES
from ostinato.service.errors import InvalidInput, OstinatoError
from ostinato.service.inputs.sequences import to_sequence
from ostinato.service.sessions.blocks import NO_SEQ

FLOATS = pa.list_(pa.float32(), 2)
IDS = ["a", "b", "c"]
NUMBERS = ["float16", "float32", "float64", "int8", "int64", "uint8", "bool"]
ROWS = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]


def model_input(dtype: Any = "float32", **changes: Any) -> Input:
    return Input(name="x", dtype=dtype, shape=("B", "T", 2), features=("u", "v"), **changes)


def to_body(*batches: dict[str, pa.Array], **options: Any) -> bytes:
    made = [pa.record_batch(columns) for columns in batches]
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, made[0].schema, options=ipc.IpcWriteOptions(**options)) as writer:
        for batch in made:
            writer.write_batch(batch)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def rows_body(ids: Any = None, inputs: Any = None, seq: Any = None, **options: Any) -> bytes:
    columns = {
        "session_id": pa.array(IDS) if ids is None else ids,
        "inputs": pa.array(ROWS, FLOATS) if inputs is None else inputs,
    }
    return to_body(columns if seq is None else {**columns, "seq": seq}, **options)


def to_dictionary(ids: Sequence[str | None], values: pa.DataType) -> pa.Array:
    encoded = pa.array(ids, None if ids else pa.utf8()).dictionary_encode()
    return pa.DictionaryArray.from_arrays(encoded.indices, encoded.dictionary.cast(values))


def field_of(error: OstinatoError) -> str | None:
    return getattr(error, "field", None)


def refusal(body: bytes, part: Input | None = None) -> InvalidInput:
    with pytest.raises(InvalidInput) as refused:
        read_rows(body, part or model_input())
    return refused.value


class TestReadRows:
    def test_a_message_is_read_where_it_lies(self) -> None:
        body = rows_body(seq=pa.array([7, 0, 2**40]))
        rows = read_rows(body, model_input())
        assert rows.session_ids == IDS
        assert (rows.inputs.tolist(), rows.inputs.dtype) == (ROWS, np.dtype(np.float32))
        assert rows.seqs is not None
        assert (rows.seqs.tolist(), rows.seqs.dtype) == ([7, 0, 2**40], np.dtype(np.int64))
        assert rows.errors == {}
        address = rows.inputs.__array_interface__["data"][0]
        assert 0 < address - pa.py_buffer(body).address < len(body)

    @pytest.mark.parametrize(
        "ids",
        [
            pa.array(IDS, pa.large_utf8()),
            pa.array([*IDS[:2], "c" * 100]).cast(pa.string_view()),
            to_dictionary(IDS, pa.utf8()),
            to_dictionary(IDS, pa.large_utf8()),
            to_dictionary([*IDS[:2], "c" * 100], pa.string_view()),
            pa.array(["x", *IDS])[1:],
        ],
        ids=lambda ids: str(ids.type).partition(",")[0],
    )
    def test_ids_come_in_any_form_of_text(self, ids: pa.Array) -> None:
        rows = read_rows(rows_body(ids), model_input())
        assert rows.session_ids == ids.to_pylist()
        assert rows.id_column.type == pa.utf8()
        assert rows.id_column.to_pylist() == rows.session_ids

    @pytest.mark.parametrize("width", [2, None])
    @pytest.mark.parametrize(
        ("dtype", "kind"),
        [*product(NUMBERS, ["float64", "float32", "float16", "int64", "uint64", "int8"]), ("bool", "bool")],
    )
    def test_numbers_become_the_models(self, dtype: str, kind: str, width: int | None) -> None:
        values = pa.array(np.array([1, 0, 0, 1, 1, 1]).astype(kind))
        lists = (
            pa.FixedSizeListArray.from_arrays(values, width)
            if width
            else pa.ListArray.from_arrays([0, 2, 4, 6], values).cast(pa.large_list(values.type))
        )
        rows = read_rows(rows_body(inputs=lists), model_input(dtype))
        assert (rows.inputs.tolist(), rows.inputs.dtype) == ([[1, 0], [0, 1], [1, 1]], np.dtype(dtype))
        assert rows.errors == {}

    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64", "uint8", "bool"])
    @pytest.mark.parametrize(
        "number", [0.1, 1.0, -1.0, 127.0, 128.0, 65519.0, 65520.0, 1e39, 2.0**53, 2.0**53 + 2, 2.0**63, 1e-50, -0.0]
    )
    def test_a_number_is_taken_rounded_or_refused_as_in_json(self, dtype: str, number: float) -> None:
        part = model_input(dtype)
        rows = read_rows(rows_body(inputs=pa.array([[0.0, 1.0], [number, 0.0], [1.0, 0.0]])), part)
        try:
            expected, reason = to_sequence([[number, 0.0]], part, "inputs")[0].tobytes(), None
        except InvalidInput as error:
            expected, reason = b"", str(error)
        if reason is None:
            assert rows.errors == {}
            assert rows.inputs[1].tobytes() == expected
        else:
            assert list(rows.errors) == [1]
            assert (str(rows.errors[1]), field_of(rows.errors[1])) == (reason, "inputs[1][0]")

    def test_an_int64_is_exact_to_its_last_bit(self) -> None:
        numbers = [[2**63 - 1, 0], [-(2**63), 0], [2**53 + 1, 0]]
        rows = read_rows(rows_body(inputs=pa.array(numbers, pa.list_(pa.int64(), 2))), model_input("int64"))
        assert rows.inputs.tolist() == numbers
        assert rows.errors == {}

    def test_large_numbers_are_not_taken_for_infinite_ones(self) -> None:
        # 1e30 * 1e30 overflows float32; 1e30 does not.
        inputs = pa.array([[1e30, 1e30], [-1e30, 0], [0, 0]], FLOATS)
        assert read_rows(rows_body(inputs=inputs), model_input()).errors == {}

    def test_what_is_missing_is_nan_where_the_model_takes_it(self) -> None:
        inputs = pa.array([[1, None], [np.nan, 2], None], FLOATS)
        rows = read_rows(rows_body(inputs=inputs), model_input(missing=True))
        np.testing.assert_array_equal(rows.inputs[:2], [[1, np.nan], [np.nan, 2]])
        assert {row: (str(error), field_of(error)) for row, error in rows.errors.items()} == {
            2: ("a list is needed, not null", "inputs[2]")
        }

    @pytest.mark.parametrize("kind", [FLOATS, pa.list_(pa.float64()), pa.large_list(pa.int16())], ids=str)
    def test_a_bad_row_fails_alone(self, kind: pa.DataType) -> None:
        body = to_body(
            {
                "session_id": pa.array(["a", None, "c", "d", "e"]),
                "inputs": pa.array([[1, 2], [1, 2], [3, None], None, [5, 6]], kind),
                "seq": pa.array([0, 1, 2, 3, -4]),
            }
        )
        rows = read_rows(body, model_input())
        assert rows.inputs[0].tolist() == [1, 2]
        assert rows.session_ids == ["a", "", "c", "d", "e"]
        assert {row: (str(error), field_of(error)) for row, error in rows.errors.items()} == {
            1: ("an id is needed, not null", "session_id[1]"),
            2: ("a value is missing (null), and this model takes no missing values", "inputs[2][1]"),
            3: ("a list is needed, not null", "inputs[3]"),
            4: ("-4 is no number of steps", "seq[4]"),
        }

    def test_a_row_of_another_width_fails_alone(self) -> None:
        lists = pa.array([[1], [3, 4], [5, 6, 7]], pa.list_(pa.float32()))
        rows = read_rows(rows_body(inputs=lists), model_input())
        assert rows.inputs[1].tolist() == [3, 4]
        assert {row: (str(error), field_of(error)) for row, error in rows.errors.items()} == {
            0: ("1 features; a step has 2: u, v", "inputs[0]"),
            2: ("3 features; a step has 2: u, v", "inputs[2]"),
        }

    def test_where_no_row_has_the_width_each_is_told(self) -> None:
        lists = pa.array([[1], [], [5, 6, 7]], pa.list_(pa.float32()))
        assert list(read_rows(rows_body(inputs=lists), model_input()).errors) == [0, 1, 2]

    def test_an_infinite_number_fails_its_row(self) -> None:
        inputs = pa.array([[1, 2], [np.inf, 4], [5, np.nan]], FLOATS)
        errors = read_rows(rows_body(inputs=inputs), model_input()).errors
        assert [(row, field_of(error)) for row, error in errors.items()] == [(1, "inputs[1][0]"), (2, "inputs[2][1]")]

    def test_an_unknown_code_fails_its_row(self) -> None:
        part = model_input("int64", num_codes=5)
        errors = read_rows(rows_body(inputs=pa.array(ROWS, FLOATS)), part).errors
        assert {row: str(error) for row, error in errors.items()} == {2: "5 is no code; codes are 0 to 4"}
        part = model_input(categories={"v": ("low", "mid", "high")})
        errors = read_rows(rows_body(), part).errors
        assert [(row, field_of(error)) for row, error in errors.items()] == [
            (1, "inputs[1][1]"),
            (2, "inputs[2][1]"),
        ]

    @pytest.mark.parametrize("kind", [pa.int8(), pa.uint16(), pa.int64(), pa.uint64()], ids=str)
    def test_seq_is_any_integer_or_none(self, kind: pa.DataType) -> None:
        rows = read_rows(rows_body(seq=pa.array([5, None, 0], kind)), model_input())
        assert rows.seqs is not None
        assert (rows.seqs.tolist(), rows.seqs.dtype) == ([5, NO_SEQ, 0], np.dtype(np.int64))
        assert rows.errors == {}

    def test_seq_may_be_absent_or_all_null(self) -> None:
        assert read_rows(rows_body(), model_input()).seqs is None
        seqs = read_rows(rows_body(seq=pa.nulls(3)), model_input()).seqs
        assert seqs is not None
        assert seqs.tolist() == [NO_SEQ] * 3

    def test_a_seq_beyond_int64_fails_its_row(self) -> None:
        rows = read_rows(rows_body(seq=pa.array([0, 2**64 - 1, 2], pa.uint64())), model_input())
        assert {row: str(error) for row, error in rows.errors.items()} == {
            1: "18446744073709551615 is no number of steps"
        }

    def test_batches_are_one_message(self) -> None:
        given: list[list[str | None]] = [["a", "b"], [], ["c", None, "a"]]
        batches = [
            {
                "session_id": to_dictionary(ids, pa.utf8()),
                "inputs": pa.array([[row, None] for row in range(len(ids))], pa.list_(pa.float64())),
                "seq": pa.array(range(len(ids)), pa.int64()),
            }
            for ids in given
        ]
        rows = read_rows(to_body(*batches), model_input(missing=True))
        assert rows.session_ids == ["a", "b", "c", "", "a"]
        assert rows.inputs[:, 0].tolist() == [0, 1, 0, 1, 2]
        assert rows.seqs is not None
        assert rows.seqs.tolist() == [0, 1, 0, 1, 2]
        assert list(rows.errors) == [3]

    def test_a_slice_is_its_own_rows(self) -> None:
        table = pa.table(
            {
                "session_id": [f"s{row}" for row in range(10)],
                "inputs": pa.array([[row, -row] for row in range(10)], pa.list_(pa.float32())),
                "seq": list(range(10)),
            }
        )
        (batch,) = table.slice(4, 3).to_batches()
        rows = read_rows(to_body(dict(zip(batch.schema.names, batch.columns, strict=True))), model_input())
        assert rows.session_ids == ["s4", "s5", "s6"]
        assert rows.inputs.tolist() == [[4, -4], [5, -5], [6, -6]]

    def test_a_body_may_begin_anywhere_in_memory(self) -> None:
        for offset in range(8):
            rows = read_rows(memoryview(b"x" * offset + rows_body(seq=pa.array([1, 2, 3])))[offset:], model_input())
            assert rows.inputs.tolist() == ROWS
            assert rows.inputs.flags.aligned

    @pytest.mark.parametrize(
        ("body", "message", "field"),
        [
            (
                rows_body(inputs=pa.array([[1.0]] * 3, pa.list_(pa.float32(), 1))),
                "lists of 1; a step has 2: u, v",
                "inputs",
            ),
            (rows_body(inputs=pa.array([1.0] * 3)), "is of double, not of lists of 2 numbers", "inputs"),
            (rows_body(inputs=pa.array([["1", "2"]] * 3)), "not of lists of 2 numbers", "inputs"),
            (rows_body(inputs=pa.array([[True, False]] * 3)), "not of lists of 2 numbers", "inputs"),
            (rows_body(pa.array([1, 2, 3])), "is of int64, not of text", "session_id"),
            (rows_body(to_dictionary(["1", "2", "3"], pa.int64())), "is of int64, not of text", "session_id"),
            (rows_body(seq=pa.array([1.0, 2.0, 3.0])), "is of double, not of integers", "seq"),
            (to_body({"session_id": pa.array(IDS)}), "there is no column 'inputs'", "inputs"),
            (
                to_body({"session_id": pa.array(IDS), "inputs": pa.array(ROWS, FLOATS), "seqs": pa.array([1, 2, 3])}),
                "there may be no column 'seqs'",
                "seqs",
            ),
            (rows_body(pa.array([], pa.utf8()), pa.array([], FLOATS)), "there is no row in it", "inputs"),
            (rows_body(pa.array([], pa.string_view()), pa.array([], FLOATS)), "there is no row in it", "inputs"),
            (rows_body(pa.array([], pa.utf8()), pa.array([], pa.list_(pa.int8()))), "there is no row in it", "inputs"),
        ],
    )
    def test_a_message_of_other_columns_is_refused(self, body: bytes, message: str, field: str) -> None:
        error = refusal(body)
        assert message in str(error)
        assert error.field == field

    def test_a_column_stands_once(self) -> None:
        batch = pa.record_batch([pa.array(IDS), pa.array(IDS), pa.array(ROWS, FLOATS)], ["session_id"] * 2 + ["inputs"])
        sink = pa.BufferOutputStream()
        with ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        assert "two columns are called 'session_id'" in str(refusal(sink.getvalue().to_pybytes()))


class TestABodyFromOutside:
    def test_what_is_no_stream_is_refused(self) -> None:
        whole = rows_body()
        assert "is empty" in str(refusal(b""))
        for body in (b"{}", b"ARROW1\0\0" + whole, whole[:20], whole[: len(whole) // 2], whole[:-12]):
            assert "the body is not an Arrow IPC stream" in str(refusal(body))

    def test_a_stream_without_batches_is_refused(self) -> None:
        schema = pa.schema({"session_id": pa.utf8(), "inputs": FLOATS})
        assert "no record batch" in str(refusal(schema.serialize().to_pybytes()))
        assert "is empty" in str(refusal(b"\xff\xff\xff\xff\0\0\0\0"))

    def test_rows_behind_the_streams_end_are_not_lost_unseen(self) -> None:
        assert "send one stream" in str(refusal(rows_body() * 2))

    @pytest.mark.parametrize("options", [{"compression": "zstd"}, {"compression": "lz4"}], ids=str)
    @pytest.mark.parametrize("ids", [None, to_dictionary(IDS, pa.utf8())], ids=["plain", "dictionary"])
    def test_compressed_batches_are_refused(self, ids: Any, options: dict[str, Any]) -> None:
        assert "compressed Arrow is not read" in str(refusal(rows_body(ids, **options)))

    def test_a_format_that_hides_its_compression_is_refused(self) -> None:
        assert "compressed Arrow is not read" in str(refusal(rows_body(metadata_version=ipc.MetadataVersion.V4)))

    @pytest.mark.parametrize("values", [pa.utf8(), pa.string_view()], ids=str)
    def test_one_long_text_is_not_written_out_for_every_row(self, values: pa.DataType) -> None:
        num_rows = 1000
        words = pa.DictionaryArray.from_arrays(
            pa.array([0] * num_rows, pa.int16()), pa.array(["x" * 1_000_000], values)
        )
        inputs = pa.array([[1.0, 2.0]] * num_rows, FLOATS)
        error = refusal(rows_body(words, inputs))
        assert (str(error), error.field) == ("ids of more than 128 characters", "session_id")

    def test_many_views_of_one_long_text_are_not_written_out(self) -> None:
        views = pa.array(["y" * 100_000] * 2).cast(pa.string_view())
        error = refusal(rows_body(views, pa.array(ROWS[:2], FLOATS)))
        assert (str(error), error.field) == ("ids of more than 128 characters", "session_id")

    def test_a_view_that_is_null_is_not_followed(self) -> None:
        # Arrow checks no null's view. A view is 16 bytes, its length first; this one's is made negative.
        ids = pa.array(["a", "b", None, "c" * 20]).cast(pa.string_view())
        body = rows_body(ids, pa.array([*ROWS, [7, 8]], FLOATS))
        at = body.index(b"\x01\0\0\0b" + bytes(11)) + 16
        wild = body[:at] + b"\0\0\0\x80" + body[at + 4 :]
        rows = read_rows(wild, model_input())
        assert rows.session_ids == ["a", "b", "", "c" * 20]
        assert list(rows.errors) == [2]

    def test_so_many_batches_are_refused(self) -> None:
        batch = {"session_id": pa.array(IDS), "inputs": pa.array(ROWS, FLOATS)}
        most = MAX_MESSAGES - 1  # and the schema
        assert len(read_rows(to_body(*[batch] * most), model_input()).session_ids) == 3 * most
        assert "fewer, larger batches" in str(refusal(to_body(*[batch] * (most + 1))))

    def test_so_many_dictionaries_are_refused(self) -> None:
        batches = [
            {"session_id": to_dictionary([f"a{index}"], pa.utf8()), "inputs": pa.array(ROWS[:1], FLOATS)}
            for index in range(10)
        ]
        assert len(read_rows(to_body(*batches[:7]), model_input()).session_ids) == 7
        assert "dictionaries in more than 16 messages" in str(refusal(to_body(*batches)))

    @pytest.mark.parametrize("place", ["type", "header"])
    def test_a_message_without_its_header_is_refused(self, place: str) -> None:
        # Of the flatbuffer's root table: version, the header's type and the header are its fields 0, 1 and 2.
        body = bytearray(rows_body())
        table = 8 + int.from_bytes(body[8:12], "little")
        vtable = table - int.from_bytes(body[table : table + 4], "little", signed=True)
        entry = vtable + 4 + 2 * {"type": 1, "header": 2}[place]
        body[entry : entry + 2] = b"\0\0"
        assert "a schema, then record batches" in str(refusal(bytes(body)))

    @pytest.mark.parametrize("seed", range(8))
    def test_no_change_of_bytes_does_more_than_be_refused(self, seed: int) -> None:
        generator = random.Random(seed)
        ids = pa.array(["alpha", "b", None, "an-id-of-more-than-twelve"])
        lists = [[1, 2], [3, 4], None, [5, None]]
        steps = [[[1, 2], [3, 4]], [[5, 6]]]
        row_bodies = [
            rows_body(ids.cast(kind), pa.array(lists, of), pa.array([0, None, 2, 3]))
            for kind in (pa.utf8(), pa.large_utf8(), pa.string_view(), pa.dictionary(pa.int8(), pa.utf8()))
            for of in (FLOATS, pa.list_(pa.float64()))
        ]
        sequence_bodies = [
            to_body({"inputs": pa.array(steps, kind)})
            for kind in (pa.list_(FLOATS), pa.large_list(pa.list_(pa.float64())))
        ]
        num_refused = 0
        for _ in range(100):
            reads_rows = generator.random() < 0.7
            body = bytearray(generator.choice(row_bodies if reads_rows else sequence_bodies))
            for _ in range(generator.choice((1, 2, 8))):
                at = generator.randrange(0, len(body) - 8, 4)
                body[at : at + 4] = generator.choice(
                    (b"\0" * 4, b"\xff" * 4, b"\xff\xff\xff\x7f", bytes([body[at] ^ 1]) + bytes(body[at + 1 : at + 4]))
                )
            try:
                if reads_rows:
                    rows = read_rows(bytes(body), model_input())
                    assert rows.inputs.shape == (len(rows.session_ids), 2)
                    assert all(
                        np.isfinite(row).all() for index, row in enumerate(rows.inputs) if index not in rows.errors
                    )
                else:
                    assert all(sequence.shape[1:] == (2,) for sequence in read_sequences(bytes(body), model_input()))
            except InvalidInput:
                num_refused += 1
        assert num_refused > 0


def read_back(body: bytes) -> pa.RecordBatch:
    (batch,) = list(ipc.open_stream(body))
    batch.validate(full=True)
    return batch


class TestWriteRows:
    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", "int64", "bool"])
    def test_what_is_written_is_what_arrow_reads(self, dtype: str) -> None:
        outputs = np.array([[0, 1], [1, 0], [1, 1]], dtype)
        batch = read_back(write_rows(IDS, np.array([4, 5, 6]), outputs, {}))
        assert batch.schema == pa.schema(
            {
                "session_id": pa.utf8(),
                "seq": pa.int64(),
                "outputs": pa.list_(pa.from_numpy_dtype(np.dtype(dtype)), 2),
                "code": pa.utf8(),
                "detail": pa.utf8(),
            }
        )
        assert batch.to_pydict() == {
            "session_id": IDS,
            "seq": [4, 5, 6],
            "outputs": outputs.tolist(),
            "code": [None] * 3,
            "detail": [None] * 3,
        }

    def test_a_failed_row_has_its_reason_and_nothing_else(self) -> None:
        outputs = np.array([[0.5], [1.5], [2.5]], np.float32)
        batch = read_back(write_rows(IDS, np.array([4, 5, 6]), outputs, {1: ("seq_conflict", "expected 9")}))
        assert batch.to_pylist() == [
            {"session_id": "a", "seq": 4, "outputs": [0.5], "code": None, "detail": None},
            {"session_id": "b", "seq": None, "outputs": None, "code": "seq_conflict", "detail": "expected 9"},
            {"session_id": "c", "seq": 6, "outputs": [2.5], "code": None, "detail": None},
        ]

    @pytest.mark.parametrize(
        "ids", [pa.array(["a", None, "c"]), to_dictionary(["a", None, "c"], pa.utf8())], ids=["plain", "dictionary"]
    )
    def test_the_ids_read_are_the_ids_written(self, ids: pa.Array) -> None:
        rows = read_rows(rows_body(ids), model_input())
        body = write_rows(rows.id_column, np.zeros(3, np.int64), np.zeros((3, 1), np.float32), {1: ("a", "b")})
        batch = read_back(body)
        assert batch.schema.field("session_id").type == pa.utf8()
        assert batch.column("session_id").to_pylist() == ["a", None, "c"]

    def test_rows_apart_in_memory_are_written_in_their_order(self) -> None:
        outputs = np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::2]
        batch = read_back(write_rows(IDS, np.zeros(6, np.int64)[::2], outputs, {}))
        assert batch.column("outputs").to_pylist() == [[0, 2], [4, 6], [8, 10]]


SEQUENCES = [[[1, 2], [3, 4], [5, 6]], [[7, 8]]]


class TestReadSequences:
    @pytest.mark.parametrize(
        "kind",
        [
            pa.list_(FLOATS),
            pa.large_list(FLOATS),
            pa.list_(pa.list_(pa.float32())),
            pa.list_(pa.list_(pa.float64(), 2)),
            pa.large_list(pa.large_list(pa.int16())),
        ],
        ids=str,
    )
    def test_lengths_may_differ(self, kind: pa.DataType) -> None:
        sequences = read_sequences(to_body({"inputs": pa.array(SEQUENCES, kind)}), model_input())
        assert [sequence.tolist() for sequence in sequences] == SEQUENCES
        assert {sequence.dtype for sequence in sequences} == {np.dtype(np.float32)}

    def test_sequences_of_one_length_may_be_of_a_fixed_size(self) -> None:
        given = [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]
        sequences = read_sequences(to_body({"inputs": pa.array(given, pa.list_(FLOATS, 2))}), model_input())
        assert [sequence.tolist() for sequence in sequences] == given

    @pytest.mark.parametrize("kind", [pa.list_(FLOATS), pa.list_(pa.list_(pa.float32()))], ids=str)
    def test_slices_and_batches_are_one_message(self, kind: pa.DataType) -> None:
        column = pa.array([[[0, 0]], *SEQUENCES, [[9, 9]]], kind)
        sequences = read_sequences(to_body({"inputs": column[1:3]}, {"inputs": column[3:]}), model_input())
        assert [sequence.tolist() for sequence in sequences] == [*SEQUENCES, [[9, 9]]]

    def test_lists_need_not_begin_where_their_numbers_begin(self) -> None:
        steps = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(12, dtype=np.float32)), 2)
        column = pa.ListArray.from_arrays(pa.array([1, 3, 4], pa.int32()), steps)
        part = model_input()
        assert [sequence.tolist() for sequence in read_sequences(to_body({"inputs": column}), part)] == [
            [[2, 3], [4, 5]],
            [[6, 7]],
        ]

    def test_what_is_missing_is_nan_where_the_model_takes_it(self) -> None:
        body = to_body({"inputs": pa.array([[[1, None]], [[np.nan, 2], [3, 4]]], pa.list_(pa.list_(pa.float64())))})
        first, second = read_sequences(body, model_input(missing=True))
        np.testing.assert_array_equal(first, [[1, np.nan]])
        np.testing.assert_array_equal(second, [[np.nan, 2], [3, 4]])

    @pytest.mark.parametrize("kind", [pa.list_(pa.list_(pa.float64())), pa.list_(pa.list_(pa.float64(), 2))], ids=str)
    @pytest.mark.parametrize(
        ("sequence", "message", "place"),
        [
            ([], "there is no step in it; send at least one", ""),
            (None, "a list is needed, not null", ""),
            ([[1, 2], None], "a list is needed, not null", "[1]"),
            ([[1, 2], [3, None]], "a value is missing (null), and this model takes no missing values", "[1][1]"),
            ([[1, 2], [np.nan, 4]], "a value is missing (null), and this model takes no missing values", "[1][0]"),
            ([[1e39, 2]], "this number does not fit float32", "[0][0]"),
            ([[1, np.inf]], "this number does not fit float32", "[0][1]"),
        ],
    )
    def test_a_bad_sequence_is_refused_by_its_place(
        self, kind: pa.DataType, sequence: Any, message: str, place: str
    ) -> None:
        for index in (0, 1):
            given = [[[5, 6]], [[7, 8]]]
            given.insert(index, sequence)
            with pytest.raises(InvalidInput) as refused:
                read_sequences(to_body({"inputs": pa.array(given, kind)}), model_input())
            assert (str(refused.value), refused.value.field) == (message, f"inputs[{index}]{place}")

    def test_a_step_of_another_width_is_refused_by_its_place(self) -> None:
        body = to_body({"inputs": pa.array([[[1, 2]], [[3, 4], [5]]], pa.list_(pa.list_(pa.float32())))})
        with pytest.raises(InvalidInput, match="1 features; a step has 2: u, v") as refused:
            read_sequences(body, model_input())
        assert refused.value.field == "inputs[1][1]"

    def test_an_unknown_code_is_refused_by_its_place(self) -> None:
        body = to_body({"inputs": pa.array(SEQUENCES, pa.list_(FLOATS))})
        with pytest.raises(InvalidInput, match="7 is no code; codes are 0 to 6") as refused:
            read_sequences(body, model_input("int32", num_codes=7))
        assert refused.value.field == "inputs[1][0][0]"

    @pytest.mark.parametrize(
        ("column", "message"),
        [
            (pa.array(SEQUENCES[0], FLOATS), "not of lists (sequences) of lists (steps) of numbers"),
            (pa.array([[["a", "b"]]]), "not of lists of 2 numbers"),
            (pa.array([[[1, 2, 3]]], pa.list_(pa.list_(pa.float32(), 3))), "lists of 3; a step has 2: u, v"),
            (pa.array([], pa.list_(FLOATS)), "there is no sequence in it"),
        ],
    )
    def test_a_column_of_something_else_is_refused(self, column: pa.Array, message: str) -> None:
        with pytest.raises(InvalidInput) as refused:
            read_sequences(to_body({"inputs": column}), model_input())
        assert message in str(refused.value)
        assert refused.value.field == "inputs"


class TestWriteSequences:
    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "bool"])
    def test_sequences_of_any_lengths_are_lists_of_steps(self, dtype: str) -> None:
        outputs = [np.ones((3, 2), dtype), np.zeros((0, 2), dtype), np.ones((1, 2), dtype)]
        column = read_back(write_sequences(outputs)).column("outputs")
        assert column.type == pa.list_(pa.list_(pa.from_numpy_dtype(np.dtype(dtype)), 2))
        assert column.to_pylist() == [output.tolist() for output in outputs]

    def test_last_steps_alone_are_lists_of_numbers(self) -> None:
        column = read_back(
            write_last_steps([np.array([[9, 9], [1, 2]], np.float32), np.array([[3, 4]], np.float32)])
        ).column(0)
        assert column.type == FLOATS
        assert column.to_pylist() == [[1, 2], [3, 4]]


def test_nothing_is_imported_while_messages_are_read_and_written() -> None:
    # Where all descriptors are in use, no module can be read any more.
    script = """
        import sys
        import numpy as np, pyarrow as pa
        from ostinato.service.artifact.tensors import Input
        from ostinato.service.edge.arrow.answers import write_rows, write_sequences
        from ostinato.service.edge.arrow.columns import read_rows, read_sequences

        class Asked:
            names = []

            @classmethod
            def find_spec(cls, name, path=None, target=None):
                cls.names.append(name)

        sys.meta_path.insert(0, Asked)

        def stream(columns):
            table, sink = pa.table(columns), pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table)
            return sink.getvalue().to_pybytes()

        part = Input(name="inputs", dtype="float32", shape=("B", "T", 2), features=("a", "b"))
        step = pa.list_(pa.float32(), 2)
        ids, seqs = pa.array(["a", "b"]), pa.array([0, None], pa.int64())
        rows = stream({"session_id": ids, "inputs": pa.array([[1, 2], [3, 4]], step), "seq": seqs})
        sequences = stream({"inputs": pa.array([[[1, 2]]], pa.list_(step))})
        read_rows(rows, part)
        write_rows(ids, np.array([0, 1]), np.ones((2, 2), np.float32), {1: ("code", "detail")})
        write_sequences([np.ones((2, 2), np.float32)])
        read_sequences(sequences, part, lambda count: None, lambda count, place: None)
        print(Asked.names)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
