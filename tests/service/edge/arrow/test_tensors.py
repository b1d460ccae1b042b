"""Several inputs, nested shapes, words and context in Arrow: read as their JSON is, to the bit and to the refusal."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import ipc

from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Input, Output
from ostinato.service.edge.arrow.answers import write_last_steps, write_rows, write_sequences
from ostinato.service.edge.arrow.columns import (
    StepRows,
    begin_any_rows,
    begin_tensor_rows,
    read_any_sequences,
)
from ostinato.service.edge.arrow.tensor_types import sizes_of
from ostinato.service.errors import InvalidInput, TooLarge
from ostinato.service.inputs.rows import to_rows
from tests.service.edge.arrow.test_columns import to_body

LOAD = Input(name="load", dtype="float32", shape=("B", "T", 2), features=("load", "price"), missing=True)
DAY = Input(name="day", dtype="int64", shape=("B", "T"), features=("day",), num_codes=7)
SKY = Input(
    name="sky",
    dtype="float32",
    shape=("B", "T", 1),
    features=("sky",),
    categories={"sky": ("dry", "wet")},
    missing=True,
)
FRAME = Input(name="frame", dtype="float32", shape=("B", "T", 2, 3), features=tuple("abcdef"))
CONTEXT = (
    Input(name="who", dtype="float32", shape=("B", 3), features=("a", "b", "c"), missing=True),
    Input(name="region", dtype="int64", shape=("B",), features=("region",), num_codes=5),
)
ALL = RowLayout((LOAD, DAY, SKY, FRAME))
KINDS: dict[str, list[pa.DataType]] = {
    "load": [pa.list_(pa.float32(), 2), pa.list_(pa.float64()), pa.large_list(pa.float32())],
    "day": [pa.int64(), pa.uint8(), pa.list_(pa.int32(), 1), pa.list_(pa.float64())],
    "sky": [
        pa.utf8(),
        pa.large_utf8(),
        pa.list_(pa.utf8(), 1),
        pa.dictionary(pa.int8(), pa.utf8()),
        pa.list_(pa.utf8()),
    ],
    "frame": [
        pa.list_(pa.list_(pa.float32(), 3), 2),
        pa.list_(pa.list_(pa.float32())),
        pa.list_(pa.large_list(pa.float64()), 2),
        pa.list_(pa.float32(), 6),
        pa.list_(pa.float32()),
        pa.fixed_shape_tensor(pa.float32(), [2, 3]),
    ],
}
STEPS: dict[str, list[Any]] = {
    "load": [[0.1, None], [2.0, 3.0], [4.0, 5.0]],
    "day": [0, 6, 3],
    "sky": ["wet", None, "dry"],
    "frame": [[[1.0, 2.0, 3.0], [4.0, 5.0, 0.1]], [[0.0] * 3] * 2, [[7.0, 8.0, 9.0], [0.25, 1.0, 2.0]]],
}

JSON = {**STEPS, "sky": [[word] for word in STEPS["sky"]]}


def read_tensor_rows(message: bytes, given: RowLayout[Input], check_rows: Any = lambda _: None) -> StepRows:
    """A message, with the words for what is wrong with single rows."""
    rows, judging = begin_tensor_rows(message, given, check_rows)
    for _ in judging or ():
        pass
    return rows


def column(steps: list[Any], kind: pa.DataType) -> pa.Array:
    """Steps in a type, in lists or flat as it has them."""
    if isinstance(kind, pa.FixedShapeTensorType):
        flat = [None if step is None else np.ravel(step).tolist() for step in steps]
        return pa.ExtensionArray.from_storage(kind, pa.array(flat, kind.storage_type))
    is_listed, wants_list = isinstance(steps[0], list), not pa.types.is_primitive(kind) and hasattr(kind, "value_field")
    if wants_list and not is_listed:
        steps = [None if step is None else [step] for step in steps] if steps[1] is not None else [[s] for s in steps]
    elif is_listed and isinstance(steps[0][0], list) and not hasattr(kind.value_type, "value_field"):
        steps = [np.ravel(step).tolist() for step in steps]
    return pa.array(steps, kind)


def struct(**columns: pa.Array) -> pa.Array:
    return pa.StructArray.from_arrays(list(columns.values()), list(columns))


def body(inputs: pa.Array, **columns: pa.Array) -> bytes:
    return to_body({"session_id": pa.array([f"s{row}" for row in range(len(inputs))]), "inputs": inputs, **columns})


def inputs(**changed: pa.Array) -> pa.Array:
    return struct(**{name: column(STEPS[name], KINDS[name][0]) for name in STEPS} | changed)


@pytest.mark.parametrize(
    ("name", "place"), [(name, place) for name, kinds in KINDS.items() for place in range(len(kinds))]
)
def test_every_form_of_an_input_is_read_as_its_json(name: str, place: int) -> None:
    rows = read_tensor_rows(body(inputs(**{name: column(STEPS[name], KINDS[name][place])})), ALL)
    assert rows.errors == {}
    assert rows.inputs.tobytes() == to_rows(JSON, ALL, "inputs").tobytes()


def test_one_nested_input_is_a_column_of_its_own_and_read_where_it_lies() -> None:
    message = body(column(STEPS["frame"], KINDS["frame"][-1]))
    rows = read_tensor_rows(message, RowLayout((FRAME,)))
    assert rows.inputs.tolist() == [np.ravel(step).astype(np.float32).tolist() for step in STEPS["frame"]]
    address = rows.inputs.__array_interface__["data"][0]
    assert 0 < address - pa.py_buffer(message).address < len(message)


@pytest.mark.parametrize(
    ("name", "kind", "bad", "field", "detail"),
    [
        ("load", pa.list_(pa.float32()), [1.0, 2.0, 3.0], "inputs.load[1]", "3 values where"),
        ("load", pa.list_(pa.float32(), 2), None, "inputs.load[1]", "a list is needed, not null"),
        ("load", pa.list_(pa.float64(), 2), [1e39, 0.0], "inputs.load[1][0]", "does not fit float32"),
        ("day", pa.int64(), 7, "inputs.day[1]", "codes are 0 to 6"),
        ("day", pa.int64(), None, "inputs.day[1]", "a value is missing"),
        ("day", pa.float64(), 1.5, "inputs.day[1]", "1.5 does not fit int64"),
        ("sky", pa.utf8(), "snow", "inputs.sky[1]", "'snow' is no word of 'sky'; it has dry, wet"),
        ("sky", pa.dictionary(pa.int8(), pa.utf8()), "snow", "inputs.sky[1]", "'snow' is no word"),
        ("frame", pa.list_(pa.list_(pa.float32())), [[1.0, 2.0, 3.0]], "inputs.frame[1]", "1 values where"),
        ("frame", pa.list_(pa.list_(pa.float32())), [[1.0] * 3, [1.0]], "inputs.frame[1][1]", "1 values where"),
        ("frame", pa.list_(pa.list_(pa.float32())), [[1.0] * 3, None], "inputs.frame[1][1]", "not null"),
        ("frame", pa.list_(pa.list_(pa.float32())), [[1.0] * 3, [0.0, None, 0.0]], "inputs.frame[1][1][1]", "missing"),
        ("frame", pa.list_(pa.list_(pa.float32(), 3), 2), [[1.0] * 3, [0, np.inf, 0]], "inputs.frame[1][1][1]", "fit"),
    ],
)
def test_a_step_that_does_not_fit_fails_alone_by_its_place(
    name: str, kind: pa.DataType, bad: Any, field: str, detail: str
) -> None:
    steps = [STEPS[name][0], bad, STEPS[name][2]]
    rows = read_tensor_rows(body(inputs(**{name: column(steps, kind)})), ALL)
    assert list(rows.errors) == [1]
    assert getattr(rows.errors[1], "field", None) == field
    assert detail in str(rows.errors[1])
    good = to_rows(JSON, ALL, "inputs")
    assert rows.inputs[[0, 2]].tobytes() == good[[0, 2]].tobytes()


def test_a_null_word_in_a_dictionary_is_missing_as_a_null_index_is() -> None:
    words = pa.DictionaryArray.from_arrays(pa.array([1, 0, None], pa.int8()), pa.array(["wet", None]))
    rows = read_tensor_rows(body(words), RowLayout((SKY,)))
    assert rows.errors == {}
    np.testing.assert_array_equal(rows.inputs, [[np.nan], [1], [np.nan]])
    needed = SKY.model_copy(update={"missing": False})
    assert list(read_tensor_rows(body(words), RowLayout((needed,))).errors) == [0, 2]


WIND = Input(
    name="x", dtype="float32", shape=("B", "T", 2), features=("speed", "from"), categories={"from": ("N", "E")}
)


def by_feature(words: Any = ("E", "N", "E"), **changed: Any) -> pa.Array:
    columns = {"from": pa.array(words), "speed": pa.array([1.5, 2.0, 0.1]), **changed}
    return struct(**columns)


def test_a_flat_input_may_come_by_feature_with_words_among_its_numbers() -> None:
    expected = to_rows([[1.5, "E"], [2.0, "N"], [0.1, "E"]], RowLayout((WIND,)), "x")
    for words in (pa.array(["E", "N", "E"]), pa.array(["E", "N", "E"]).dictionary_encode(), pa.array([1, 0, 1])):
        rows, judging = begin_any_rows(body(by_feature(words)), RowLayout((WIND,)))
        assert judging is None
        assert rows.inputs.tobytes() == expected.tobytes()
        [sequence, _], _ = read_any_sequences(
            to_body({"inputs": lists(by_feature(words), [2, 1])}), RowLayout((WIND,)), ()
        )
        assert sequence.tobytes() == expected[:2].tobytes()
    assert sizes_of(pa.list_(pa.utf8(), 2), WIND) is None


@pytest.mark.parametrize(
    ("changed", "field", "detail"),
    [
        ({"from": pa.array(["E", "W", "N"])}, "inputs[1][1]", "'W' is no word of 'from'"),
        ({"speed": pa.array([0.0, None, 1.0])}, "inputs[1][0]", "a value is missing"),
        ({"from": pa.array([0, 2, 1])}, "inputs[1][1]", "2 is no code of 'from'"),
    ],
)
def test_a_step_by_feature_fails_alone_by_its_place(changed: dict[str, pa.Array], field: str, detail: str) -> None:
    rows, judging = begin_any_rows(body(by_feature(**changed)), RowLayout((WIND,)))
    for _ in judging or ():
        pass
    assert {row: getattr(error, "field", None) for row, error in rows.errors.items()} == {1: field}
    assert detail in str(rows.errors[1])


@pytest.mark.parametrize(
    ("column_", "field"),
    [
        (pa.array([{}] * 3, pa.struct([])), "inputs"),
        (struct(speed=pa.array([1.0])), "inputs"),
        (struct(speed=pa.array([1.0]), other=pa.array([1.0])), "inputs"),
        (by_feature(speed=pa.array(["1", "2", "3"])), "inputs.speed"),
        (by_feature(speed=pa.nulls(3)), "inputs.speed"),
        (by_feature(speed=pa.array([[1.0]] * 3)), "inputs.speed"),
        (pa.array(["N"] * 3), "inputs"),
    ],
)
def test_a_struct_of_other_features_is_refused(column_: pa.Array, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        begin_any_rows(body(column_), RowLayout((WIND,)))
    assert refused.value.field == field


def test_a_null_struct_fails_its_row() -> None:
    whole = inputs()
    holed = pa.StructArray.from_arrays(
        [whole.field(name) for name in STEPS], list(STEPS), mask=pa.array([False, True, False])
    )
    rows = read_tensor_rows(body(holed), ALL)
    assert {row: (str(error), getattr(error, "field", None)) for row, error in rows.errors.items()} == {
        1: ("an object is needed, not null", "inputs[1]")
    }


@pytest.mark.parametrize(
    ("given", "column_", "field"),
    [
        (ALL, pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2)), "inputs"),
        (ALL, inputs(other=pa.array([1, 2, 3])), "inputs.other"),
        (ALL, struct(load=column(STEPS["load"], KINDS["load"][0])), "inputs"),
        (ALL, inputs(day=pa.nulls(3)), "inputs.day"),
        (ALL, inputs(day=pa.array(["1", "2", "3"])), "inputs.day"),
        (ALL, inputs(day=pa.array([[], [], []], pa.list_(pa.int64(), 0))), "inputs.day"),
        (ALL, inputs(day=pa.array([{}, {}, {}], pa.struct([]))), "inputs.day"),
        (ALL, inputs(load=pa.array([[1.0]] * 3, pa.list_(pa.float32(), 1))), "inputs.load"),
        (ALL, inputs(sky=pa.array(["wet"] * 3).cast(pa.string_view())), "inputs.sky"),
        (ALL, inputs(frame=pa.array([[[]] * 2] * 3, pa.list_(pa.list_(pa.float32(), 0), 2))), "inputs.frame"),
        (ALL, inputs(frame=pa.array([[[1.0] * 2] * 3] * 3, pa.list_(pa.list_(pa.float32(), 2), 3))), "inputs.frame"),
        (ALL, inputs(frame=pa.array([[[1.0] * 3] * 2] * 3, pa.list_(pa.list_view(pa.float32()), 2))), "inputs.frame"),
        (RowLayout((FRAME,)), column(STEPS["frame"], pa.fixed_shape_tensor(pa.float32(), [3, 2])), "inputs"),
        (
            RowLayout((FRAME,)),
            column(STEPS["frame"], pa.fixed_shape_tensor(pa.float32(), [2, 3], permutation=[1, 0])),
            "inputs",
        ),
        (RowLayout((FRAME,)), pa.array([{"frame": 1.0}]), "inputs"),
        (RowLayout((DAY,)), pa.RunEndEncodedArray.from_arrays(pa.array([3], pa.int32()), pa.array([1])), "inputs"),
    ],
)
def test_a_column_of_another_type_is_refused_before_it_is_made(
    given: RowLayout[Input], column_: pa.Array, field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_tensor_rows(body(column_), given)
    assert refused.value.field == field


def test_rows_are_counted_before_they_are_made() -> None:
    def none(_: int) -> None:
        raise TooLarge("3")

    with pytest.raises(TooLarge):
        read_tensor_rows(body(inputs()), ALL, none)
    with pytest.raises(TooLarge):
        read_any_sequences(sequences_body(), ALL, CONTEXT, none)


def lists(steps: pa.Array, lengths: list[int]) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(np.cumsum([0, *lengths]), pa.int32()), steps)


def context(**changed: pa.Array) -> pa.Array:
    whole = {"who": pa.array([[1.0, 2.0, None], None], pa.list_(pa.float32())), "region": pa.array([4, 0])}
    return (
        struct(who=pa.array([[1.0, 2.0, None], [0.0] * 3], pa.list_(pa.float32(), 3)), region=whole["region"])
        if not (changed)
        else struct(**changed)
    )


def sequences_body(context_: pa.Array | None = None, **changed: pa.Array) -> bytes:
    listed = {name: lists(column(STEPS[name], KINDS[name][0]), [1, 2]) for name in STEPS} | changed
    return to_body({"inputs": struct(**listed), "context": context() if context_ is None else context_})


def test_sequences_are_lists_of_steps_by_name_with_a_context_each() -> None:
    sequences, contexts = read_any_sequences(sequences_body(), ALL, CONTEXT)
    whole = to_rows(JSON, ALL, "inputs")
    assert [each.tobytes() for each in sequences] == [whole[:1].tobytes(), whole[1:].tobytes()]
    np.testing.assert_array_equal(contexts[0][0], np.array([1, 2, np.nan], np.float32))
    assert [(each[1].shape, int(each[1])) for each in contexts] == [((), 4), ((), 0)]


def test_one_nested_input_s_sequences_are_lists_of_steps() -> None:
    given = RowLayout((FRAME,))
    for kind in KINDS["frame"]:
        steps = column(STEPS["frame"], kind)
        sequences, contexts = read_any_sequences(to_body({"inputs": lists(steps, [2, 1])}), given, ())
        assert [len(each) for each in sequences] == [2, 1]
        assert np.concatenate(sequences).tobytes() == to_rows(STEPS["frame"], given, "x").tobytes()
        assert contexts == [[], []]


@pytest.mark.parametrize(
    ("changed", "field", "detail"),
    [
        ({"day": lists(pa.array([0, 9, 3]), [1, 2])}, "inputs[1].day[0]", "codes are 0 to 6"),
        ({"day": lists(pa.array([0, 6, 3]), [2, 1])}, "inputs[0]", "load 1, day 2"),
        ({"day": pa.array([[1], None], pa.list_(pa.int64()))}, "inputs[1].day", "not null"),
        ({"day": pa.array([[1], []], pa.list_(pa.int64()))}, "inputs[1].day", "no step"),
        (
            {"frame": lists(column([*STEPS["frame"][:2], [[1.0] * 3, [1.0]]], KINDS["frame"][1]), [1, 2])},
            "inputs[1].frame[1][1]",
            "1 values",
        ),
        ({"context_": context(region=pa.array([1, 5]))}, "context[1].region", "codes are 0 to 4"),
        (
            {"context_": context(who=pa.array([[1.0] * 3] * 2, pa.list_(pa.float32(), 3)))},
            "context",
            "'region' is absent",
        ),
        ({"context_": context(region=pa.array([1, 1]), x=pa.array([1, 1]))}, "context.x", "has no 'x'"),
        ({"context_": pa.array([{}, {}], pa.struct([]))}, "context", "'region' is absent"),
    ],
)
def test_a_sequence_that_does_not_fit_is_refused_by_its_place(
    changed: dict[str, pa.Array], field: str, detail: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_any_sequences(sequences_body(**changed), ALL, CONTEXT)
    assert detail in str(refused.value)
    assert refused.value.field == field


def test_a_context_that_may_be_missing_may_be_left_out() -> None:
    who = CONTEXT[:1]
    steps = {"inputs": lists(column(STEPS["frame"], KINDS["frame"][0]), [2, 1])}
    _, contexts = read_any_sequences(to_body(steps), RowLayout((FRAME,)), who)
    assert all(np.isnan(each[0]).all() and each[0].shape == (3,) for each in contexts)
    empty = to_body({**steps, "context": pa.array([{}, {}], pa.struct([]))})
    with pytest.raises(InvalidInput, match="objects with who"):
        read_any_sequences(empty, RowLayout((FRAME,)), who)
    with pytest.raises(InvalidInput, match="it has none"):
        read_any_sequences(empty, RowLayout((FRAME,)), ())


LEVEL = Output(name="level", dtype="float32", shape=("B", "T", 2), features=("a", "b"))
KIND = Output(name="kind", dtype="int64", shape=("B", "T"), features=("kind",))
IS_SHUT = Output(name="is_shut", dtype="bool", shape=("B", "T", 2, 2), features=tuple("abcd"))
SUMMARY = Output(name="summary", dtype="float32", shape=("B", 3), features=("x", "y", "z"))
MADE = RowLayout((LEVEL, KIND, IS_SHUT, SUMMARY))
TENSORS = [
    np.array([[1, 2], [3, 4], [5, 6]], np.float32),
    np.array([2**62 + 1, 0, -1]),
    np.array([[[True, False], [False, True]]] * 3),
    np.array([[1, 2, 3]] * 3, np.float32),
]


def read(message: bytes) -> pa.Table:
    table = ipc.open_stream(message).read_all()
    table.validate(full=True)
    return table


def test_outputs_of_rows_are_structs_by_name_and_null_where_one_failed() -> None:
    seqs = np.arange(3)
    table = read(write_rows(["a", "b", "c"], seqs, MADE.pack(TENSORS), {1: ("code", "why")}, MADE))
    assert str(table.schema.field("outputs").type) == (
        "struct<level: fixed_size_list<item: float>[2], kind: int64, is_shut: fixed_size_list<item: "
        "fixed_size_list<item: bool>[2]>[2], summary: fixed_size_list<item: float>[3]>"
    )
    rows = table["outputs"].to_pylist()
    assert rows[0] == {
        "level": [1.0, 2.0],
        "kind": 2**62 + 1,
        "is_shut": [[True, False], [False, True]],
        "summary": [1.0, 2.0, 3.0],
    }
    assert rows[1] is None
    nested = RowLayout((IS_SHUT,))
    table = read(write_rows(["a", "b", "c"], seqs, nested.pack(TENSORS[2:3]), {2: ("code", "why")}, nested))
    assert table["outputs"].to_pylist() == [[[True, False], [False, True]]] * 2 + [None]


def test_outputs_of_sequences_are_lists_by_name_and_one_that_is_made_once_has_one_step() -> None:
    whole = MADE.pack(TENSORS)
    rows = read(write_sequences([whole[:1], whole[1:]], MADE))["outputs"].to_pylist()
    assert rows[1]["level"] == [[3.0, 4.0], [5.0, 6.0]]
    assert rows[1]["kind"] == [0, -1]
    assert rows[1]["summary"] == [[1.0, 2.0, 3.0]]
    assert len(rows[1]["is_shut"]) == 2
    last = read(write_last_steps([whole[:1], whole[1:]], MADE))["outputs"].to_pylist()
    assert [(row["kind"], row["summary"]) for row in last] == [(2**62 + 1, [1.0, 2.0, 3.0]), (-1, [1.0, 2.0, 3.0])]


@pytest.mark.parametrize("seed", range(4))
def test_no_change_of_bytes_does_more_than_be_refused(seed: int) -> None:
    generator = random.Random(seed)
    dictionary = inputs(sky=column(STEPS["sky"], KINDS["sky"][3]), frame=column(STEPS["frame"], KINDS["frame"][1]))
    for message, is_rows in ((body(dictionary), True), (sequences_body(), False)):
        for _ in range(150):
            changed = bytearray(message)
            for _ in range(generator.randint(1, 4)):
                changed[generator.randrange(len(changed))] = generator.randrange(256)
            try:
                if is_rows:
                    rows = read_tensor_rows(bytes(changed), ALL)
                    assert rows.inputs.shape == (len(rows.session_ids), ALL.width)
                else:
                    sequences, contexts = read_any_sequences(bytes(changed), ALL, CONTEXT)
                    assert len(sequences) == len(contexts)
            except InvalidInput:
                pass
