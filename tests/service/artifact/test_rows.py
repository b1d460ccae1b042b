from __future__ import annotations

import numpy as np

from ostinato.service.artifact.framing import Framing
from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Input, Output


def part(name: str, dtype: str, *sizes: int) -> Input:
    features = tuple(f"{name}_{index}" for index in range(int(np.prod(sizes))))
    return Input(name=name, dtype=dtype, shape=("B", "T", *sizes), features=features)  # type: ignore[arg-type]


def test_the_row_of_one_tensor_is_its_numbers() -> None:
    layout = RowLayout([part("x", "float32", 3)])
    steps = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert layout.dtype == np.float32
    assert (layout.width, layout.is_single) == (3, True)
    assert layout.pack([steps]) is steps or np.shares_memory(layout.pack([steps]), steps)
    assert layout.unpack(steps)[0].tolist() == steps.tolist()


def test_a_frame_lies_flat_and_comes_out_in_its_own_shape() -> None:
    layout = RowLayout([part("frames", "float64", 2, 3)])
    frames = np.arange(12, dtype=np.float64).reshape(2, 2, 3)
    rows = layout.pack([frames])
    assert rows.shape == (2, 6)
    np.testing.assert_array_equal(layout.unpack(rows)[0], frames)


def test_several_tensors_come_out_to_the_bit_whatever_their_dtypes_and_shapes() -> None:
    parts = [part("flag", "bool", 1), part("load", "float32", 2, 3), part("code", "int64"), part("wide", "float64", 5)]
    layout = RowLayout(parts)
    generator = np.random.default_rng(0)
    tensors = [
        generator.integers(0, 2, (4, 7, 1)).astype(bool),
        generator.standard_normal((4, 7, 2, 3), np.float32),
        generator.integers(-(2**62), 2**62, (4, 7)),
        np.full((4, 7, 5), np.nan),
    ]
    rows = layout.pack(tensors)
    assert rows.shape == (4, 7, layout.width)
    assert rows.dtype == np.uint8
    for made, given in zip(layout.unpack(rows[1:, ::2]), tensors, strict=True):
        np.testing.assert_array_equal(made, given[1:, ::2])
        assert made.dtype == given.dtype


def test_what_is_written_to_a_tensor_of_rows_is_in_the_rows() -> None:
    layout = RowLayout([part("a", "int8", 3), part("b", "float32", 2)])
    rows = layout.zeros(2)
    layout.flat(rows)[1][1] = [1.5, 2.5]
    assert layout.unpack(rows)[1].tolist() == [[0, 0], [1.5, 2.5]]
    assert layout.unpack(rows)[0].tolist() == [[0] * 3] * 2


def test_outputs_lie_as_inputs_do() -> None:
    layout = RowLayout([Output(name="y", dtype="float32", shape=("B", 2), features=("a", "b"))])
    assert layout.unpack(layout.pack([np.ones((5, 2), np.float32)]))[0].shape == (5, 2)


def output(name: str, *shape: int | str) -> Output:
    features = tuple(
        f"{name}_{index}" for index in range(int(np.prod([size for size in shape if isinstance(size, int)])))
    )
    return Output(name=name, dtype="float32", shape=shape, features=features)  # type: ignore[arg-type]


def test_what_is_made_once_a_run_is_worded_once_for_a_sequence_and_for_each_of_many_sessions() -> None:
    layout = RowLayout([output("level", "B", "T", 2), output("summary", "B", 3)])
    rows = layout.settle(layout.pack([np.ones((4, 2), np.float32), np.arange(12, dtype=np.float32).reshape(4, 3)]))
    assert layout.words(rows)["summary"].tolist() == [[9, 10, 11]]
    assert layout.words(rows)["level"].tolist() == [[1, 1]] * 4
    assert layout.words(rows[-1])["summary"].tolist() == [9, 10, 11]
    assert len(layout.words(rows, of_many=True)["summary"]) == 4


def test_rows_of_runs_cut_otherwise_are_the_same_when_settled() -> None:
    layout = RowLayout([output("level", "B", "T", 2), output("summary", "B", 3)])
    whole = layout.pack([np.ones((4, 2), np.float32), np.full((4, 3), 7, np.float32)])
    cut = layout.pack([np.ones((4, 2), np.float32), np.array([[1] * 3, [2] * 3, [3] * 3, [7] * 3], np.float32)])
    assert layout.settle(whole).tobytes() == layout.settle(cut).tobytes()


def test_where_no_output_has_steps_each_row_is_a_step_of_its_own() -> None:
    layout = RowLayout([output("level", "B", 2), output("summary", "B", 3)])
    rows = layout.settle(layout.pack([np.ones((4, 2), np.float32), np.ones((4, 3), np.float32)]))
    assert layout.words(rows)["summary"].tolist() == [[1, 1, 1]] * 4


def test_outputs_with_a_delay_are_put_by_the_steps_that_they_speak_of() -> None:
    level = Output(name="level", dtype="float32", shape=("B", "T", 2), features=("a", "b"), delay=2)
    kind = Output(name="kind", dtype="int64", shape=("B", "T"), features=("kind",), delay=1)
    summary = Output(name="summary", dtype="float32", shape=("B", 1), features=("summary",))
    steps = np.arange(6)
    levels = np.stack([steps, steps + 0.5], axis=1).astype(np.float32)
    assert RowLayout([level]).align(levels).tolist() == levels[2:].tolist()
    layout = RowLayout([level, kind, summary])
    assert layout.delay == {"level": 2, "kind": 1}
    aligned = layout.words(layout.align(layout.pack([levels, steps, steps[:, None].astype(np.float32)])))
    assert aligned["level"].tolist() == levels[2:].tolist()
    assert aligned["kind"].ravel().tolist() == [1, 2, 3, 4]
    assert aligned["summary"].tolist() == [[5]]
    assert layout.align(layout.zeros(2)).shape == (0, layout.width)


def test_without_a_delay_rows_stay_as_they_are() -> None:
    layout = RowLayout([Output(name="y", dtype="float32", shape=("B", "T", 1), features=("y",))])
    assert layout.delay is None
    assert layout.align(layout.zeros(4)).shape == (4, 1)


def frames_of(*shown: Output) -> RowLayout[Output]:
    """Answers to frames of four steps."""
    framing = Framing(window=4, hop=4)
    return RowLayout([framing.answer_of(part) for part in shown], framing, shown)


def test_rows_of_a_frame_are_shown_behind_each_other_each_with_its_step() -> None:
    halves = Output(name="halves", dtype="float32", shape=("B", "T", 2), features=("a", "b"), per_frame=2)
    layout = frames_of(halves)
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert layout.words(rows).tolist() == np.arange(12.0).reshape(6, 2).tolist()
    ends = layout.ends_of(19, 3)
    assert (ends.tolist(), layout.steps_of(ends).tolist()) == ([8, 12, 16], [6, 8, 10, 12, 14, 16])
    assert layout.words(rows[:0]).shape == (0, 2)
    assert layout.steps_of(layout.ends_of(3, 0)).tolist() == []
    # Of many sessions, each row is one frame's.
    assert layout.words(rows, of_many=True).shape == (3, 2, 2)
    assert layout.steps_of(ends, of_many=True).tolist() == [[6, 8], [10, 12], [14, 16]]


def test_outputs_of_different_rates_have_steps_of_their_own() -> None:
    thirds = Output(name="thirds", dtype="float32", shape=("B", "T"), features=("x",), per_frame=3)
    once = Output(name="once", dtype="int64", shape=("B", 1), features=("y",))
    layout = frames_of(thirds, once)
    rows = layout.pack([np.arange(6, dtype=np.float32).reshape(2, 3), np.array([[7], [8]])])
    words = layout.words(rows)
    assert words["thirds"].tolist() == [[0], [1], [2], [3], [4], [5]]
    assert words["once"].tolist() == [[7], [8]]
    # No row is of a step before its numbers can be there: 4 / 3 and 8 / 3 are rounded up.
    steps = layout.steps_of(layout.ends_of(8, 2))
    assert {name: each.tolist() for name, each in steps.items()} == {"thirds": [2, 3, 4, 6, 7, 8], "once": [4, 8]}


def test_an_answer_once_a_run_is_of_the_last_frame() -> None:
    each = Output(name="each", dtype="float32", shape=("B", "T", 1), features=("x",))
    last = Output(name="last", dtype="float32", shape=("B", 1), features=("y",))
    layout = RowLayout([each, last], Framing(window=4, hop=4), [each, last])
    steps = layout.steps_of(layout.ends_of(9, 2))
    assert {name: found.tolist() for name, found in steps.items()} == {"each": [4, 8], "last": [8]}
