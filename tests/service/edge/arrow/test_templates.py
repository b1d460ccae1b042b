from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from ostinato.service.artifact.tensors import FeatureRange
from ostinato.service.edge.arrow import templates
from ostinato.service.edge.arrow.answers import write_rows
from ostinato.service.edge.arrow.columns import read_rows
from ostinato.service.edge.arrow.templates import Templates
from ostinato.service.errors import InvalidInput
from ostinato.service.sessions.blocks import RowAnswers
from ostinato.service.sessions.rows import Columns
from tests.service.puppet import House

Array = NDArray[Any]


def message(
    session_ids: Sequence[str],
    inputs: Sequence[float],
    seqs: Sequence[int | None] | None = None,
    kind: Any = np.float32,
    *,
    ids_last: bool = False,
) -> bytes:
    columns = {
        "session_id": pa.array(session_ids, pa.utf8()),
        "inputs": pa.FixedSizeListArray.from_arrays(pa.array(np.array(inputs, kind)), 1),
    }
    if seqs is not None:
        columns["seq"] = pa.array(seqs, pa.int64())
    if ids_last:
        columns["session_id"] = columns.pop("session_id")
    sink = pa.BufferOutputStream()
    batch = pa.record_batch(columns)
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    made: bytes = sink.getvalue().to_pybytes()
    return made


def said(columns: Columns) -> tuple[list[str], list[float], list[int] | None]:
    seqs = None if columns.seqs is None else columns.seqs.tolist()
    return list(columns.roster.session_ids), columns.inputs[:, 0].tolist(), seqs


async def test_a_message_with_other_numbers_is_read_where_the_numbers_stood() -> None:
    house = House()
    messages = Templates()
    first, one = messages.read(message(["a", "b"], [1, 2], [0, 7]), house.engine)
    second, other = messages.read(message(["a", "b"], [3, 4], [1, 8]), house.engine)
    assert said(first) == (["a", "b"], [1, 2], [0, 7])
    assert said(second) == (["a", "b"], [3, 4], [1, 8])
    assert other is one
    assert second.roster is first.roster
    # What was read before is not overwritten by what came after it.
    assert said(first) == (["a", "b"], [1, 2], [0, 7])


@pytest.mark.parametrize(
    "other",
    [
        message(["a", "c"], [3, 4], [1, 8]),
        message(["b", "a"], [3, 4], [1, 8]),
        message(["a", "b"], [3, 4], [1, None]),
        message(["ab", ""], [3, 4], [1, 8]),
    ],
    ids=["another id", "another order", "a seq that is null", "ids cut elsewhere"],
)
async def test_another_message_of_the_same_length_is_read_for_itself(other: bytes) -> None:
    house = House()
    messages = Templates()
    known = message(["a", "b"], [1, 2], [0, 7])
    _, one = messages.read(known, house.engine)
    columns, found = messages.read(other, house.engine)
    expected = read_rows(other, house.engine.manifest.inputs[0])
    assert found is not one
    assert list(columns.roster.session_ids) == expected.session_ids
    assert columns.seqs is not None
    assert expected.seqs is not None
    assert columns.seqs.tolist() == expected.seqs.tolist()


async def test_ids_that_stand_behind_the_numbers_are_compared_too() -> None:
    house = House()
    messages = Templates()
    messages.read(message(["a", "b"], [1, 2], [0, 7], ids_last=True), house.engine)
    columns, _ = messages.read(message(["a", "c"], [3, 4], [1, 8], ids_last=True), house.engine)
    assert said(columns) == (["a", "c"], [3, 4], [1, 8])


def like(engine: Any, **changes: Any) -> Any:
    """Another model version, as far as reading messages goes."""
    manifest = engine.manifest
    (part,) = manifest.inputs
    names: dict[str, Any] = {name: changes.pop(name) for name in ("name", "version") if name in changes}
    names["inputs"] = (part.model_copy(update=changes),)
    other = manifest.model_copy(update=names)
    checks_each = bool(changes.get("ranges"))
    pack_step = None if checks_each else engine.pack_step
    return SimpleNamespace(
        manifest=other,
        series_clock=None,
        given=other.given,
        made=other.made,
        pack_step=pack_step,
        check_rows=engine.check_rows,
        check_length=engine.check_length,
    )


@pytest.mark.parametrize("name", ["name", "version"])
async def test_a_message_to_another_model_version_is_read_as_that_takes_it(name: str) -> None:
    house = House()
    wider = like(house.engine, **{name: "other"}, shape=("B", "T", 2), features=("x", "y"))
    messages = Templates()
    messages.read(message(["a"], [1]), house.engine)
    with pytest.raises(InvalidInput, match="2"):
        messages.read(message(["a"], [3]), wider)


async def test_a_number_that_has_bounds_is_held_to_them_in_each_message() -> None:
    bounded = like(House().engine, ranges={"x": FeatureRange(least=0, most=9)})
    messages = Templates()
    messages.read(message(["a"], [1]), bounded)
    columns, _ = messages.read(message(["a"], [10]), bounded)
    assert [getattr(error, "field", None) for error in columns.errors.values()] == ["inputs[0][0]"]


@pytest.mark.parametrize(
    ("inputs", "seqs", "place"),
    [
        ([1, np.nan], [0, 0], "inputs[1][0]"),
        ([np.inf, 2], [0, 0], "inputs[0][0]"),
        ([1, 2], [0, -4], "seq[1]"),
    ],
)
async def test_numbers_that_need_a_closer_look_get_it(inputs: list[float], seqs: list[int], place: str) -> None:
    house = House()
    messages = Templates()
    messages.read(message(["a", "b"], [1, 2], [0, 0]), house.engine)
    columns, _ = messages.read(message(["a", "b"], inputs, seqs), house.engine)
    assert [getattr(error, "field", None) for error in columns.errors.values()] == [place]


async def test_large_numbers_whose_squares_overflow_are_numbers_all_the_same() -> None:
    house = House()
    messages = Templates()
    messages.read(message(["a"], [1]), house.engine)
    columns, _ = messages.read(message(["a"], [3e38]), house.engine)
    assert columns.errors == {}
    assert columns.inputs[0, 0] == np.float32(3e38)


async def test_numbers_that_were_converted_are_not_taken_from_the_bytes() -> None:
    house = House()
    messages = Templates()
    messages.read(message(["a"], [1], kind=np.float64), house.engine)
    columns, _ = messages.read(message(["a"], [2.5], kind=np.float64), house.engine)
    assert columns.inputs.dtype == np.float32
    assert columns.inputs[0, 0] == 2.5


async def test_an_answer_like_the_last_has_the_bytes_that_arrow_writes() -> None:
    house = House()
    messages = Templates()
    made = []
    for numbers in ([1.0, 2.0], [3.0, 4.0], [-0.5, 1e-30]):
        _, like_it = messages.read(message(["a", "b"], numbers), house.engine)
        answers = RowAnswers(2, house.engine, house.engine.new_future())
        answers.put(np.array([0, 1]), [int(abs(numbers[1])), 9], np.array(numbers, np.float32)[:, None])
        expected = write_rows(["a", "b"], answers.seqs, answers.outputs, {})
        made.append((like_it.answer(answers), expected))
    # None of them is changed by those that followed, before it is sent.
    for answer, expected in made:
        assert answer == expected


async def test_answers_that_are_true_or_false_are_written_as_arrow_writes_them() -> None:
    house = House()
    _, template = Templates().read(message(["a", "b"], [1, 2]), house.engine)
    for flags in ([True, False], [False, True]):
        answers = RowAnswers(2, house.engine, house.engine.new_future())
        answers.put(np.array([0, 1]), [1, 2], np.zeros((2, 1), np.float32))
        answers.outputs = np.array(flags)[:, None]
        assert template.answer(answers) == write_rows(["a", "b"], answers.seqs, answers.outputs, {})


@pytest.mark.parametrize("num_lengths", [5, 2 * templates.MAX_TEMPLATES])
async def test_a_bounded_number_of_messages_is_kept(num_lengths: int) -> None:
    house = House()
    messages = Templates()
    for number in range(3 * templates.MAX_TEMPLATES):
        messages.read(message([f"{'x' * (8 * (number % num_lengths))}-{number:04d}"], [number]), house.engine)
        kept = [len(alike) for alike in messages._by_length.values()]
        assert sum(kept) <= templates.MAX_TEMPLATES
        assert max(kept) <= templates.MAX_OF_ONE_LENGTH


async def test_random_messages_read_as_arrow_reads_them() -> None:
    house = House()
    generator = np.random.default_rng(7)
    messages = Templates()
    part = house.engine.manifest.inputs[0]
    for _ in range(300):
        num_rows = int(generator.integers(1, 4))
        ids = [f"s{generator.integers(3)}" for _ in range(num_rows)]
        inputs = generator.choice([0.0, 1.5, -2.0, np.nan, np.inf], num_rows, p=[0.4, 0.3, 0.2, 0.05, 0.05])
        seqs = [None if generator.random() < 0.1 else int(generator.integers(-1, 5)) for _ in range(num_rows)]
        body = message(ids, inputs.tolist(), seqs if generator.random() < 0.7 else None)
        columns, _ = messages.read(body, house.engine)
        expected = read_rows(body, part)
        assert list(columns.roster.session_ids) == expected.session_ids
        assert set(columns.errors) == set(expected.errors)
        sound = [row for row in range(num_rows) if row not in expected.errors]
        np.testing.assert_array_equal(columns.inputs[sound], expected.inputs[sound])
        assert (columns.seqs is None) == (expected.seqs is None)
        if columns.seqs is not None and expected.seqs is not None:
            np.testing.assert_array_equal(columns.seqs[sound], expected.seqs[sound])
