from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from ostinato.service.artifact.framing import Framing
from ostinato.service.artifact.manifest import GraphFile, Manifest
from ostinato.service.artifact.tensors import Input, Output, State
from ostinato.service.errors import InvalidInput
from ostinato.service.sessions.session_file import read_session, write_session
from ostinato.service.state.base import Snapshot

DTYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")


def manifest(*states: State, output_dtype: str = "float32", **changes: Any) -> Manifest:
    """A model with these states and two outputs."""
    return Manifest(
        name="odd",
        version="3",
        task="recurrent",
        graphs={"step": GraphFile(file="model.onnx", sha256="0" * 64)},
        inputs=(Input(name="x", dtype="float32", shape=("B", "T", 1), features=("x",)),),
        outputs=(
            Output.model_validate({"name": "y", "dtype": output_dtype, "shape": ("B", 2), "features": ("a", "b")}),
        ),
        states=states,
        **changes,
    )


def state(name: str = "h", dtype: str = "float32", *row_shape: int) -> State:
    return State.model_validate(
        {"name": name, "input": name, "output": f"{name}_n", "shape": ("B", *row_shape), "dtype": dtype}
    )


def tensor_file(header: dict[str, Any], data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


ONE = manifest(state())
SOUND = save({"h": np.array(0.5, np.float32)})


def refusal(content: bytes, of: Manifest = ONE) -> InvalidInput:
    with pytest.raises(InvalidInput) as refused:
        read_session(content, of)
    return refused.value


@pytest.mark.parametrize("output_dtype", DTYPES)
def test_what_is_written_is_read_back_to_the_bit(output_dtype: str) -> None:
    states = [state(f"s {dtype}", dtype, *shape) for dtype, shape in zip(DTYPES, [(), (3,), (2, 2)] * 3, strict=True)]
    model = manifest(*states, output_dtype=output_dtype)
    generator = np.random.default_rng(0)
    rows = [generator.normal(0, 50, each.row_shape).astype(each.dtype) for each in states]
    answer = generator.normal(0, 50, (5, 2)).astype(output_dtype)
    file = read_session(write_session("a", model, Snapshot(rows, 7, answer, 2, 12345)), model)
    assert file.steps == 7
    for read, written in zip([*file.states, file.last_output], [*rows, answer[-1]], strict=True):
        assert read is not None
        assert (read.dtype, read.shape, read.tobytes()) == (written.dtype, written.shape, written.tobytes())
    again = file.snapshot(model.made)
    # A chunk sent to the former session is not one sent to this one.
    assert (again.last_seq, again.digest, again.answer.shape) == (-1, 0, (1, 2))


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, -0.0, 1e-45])
def test_a_state_that_a_session_came_to_comes_back_whatever_it_is(number: float) -> None:
    row = np.array(number, np.float32)
    model = manifest(state().model_copy(update={"missing": True, "infinite": True}))
    file = read_session(write_session("a", model, Snapshot([row], 1, np.ones((1, 2), np.float32))), model)
    assert file.states[0].tobytes() == row.tobytes()


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_state_that_no_session_comes_to_is_refused_in_our_own_format_too(number: float) -> None:
    row = np.array(number, np.float32)
    written = write_session("a", ONE, Snapshot([row], 1, np.ones((1, 2), np.float32)))
    assert refusal(written, ONE).field == "h"


@pytest.mark.parametrize("numbers", [[2**63 - 1, -(2**63)], [2**53 + 1, 0]])
def test_large_whole_numbers_of_a_last_output_are_exact(numbers: list[int]) -> None:
    model = manifest(state(), output_dtype="int64")
    written = write_session("a", model, Snapshot([np.ones((), np.float32)], 1, np.array([numbers])))
    last_output = read_session(written, model).last_output
    assert last_output is not None
    assert last_output.tolist() == numbers


def test_a_last_output_that_is_not_known_stays_so() -> None:
    plain = read_session(SOUND, ONE)
    assert (plain.steps, plain.last_output) == (None, None)
    snapshot = plain.snapshot(ONE.made)._replace(steps=9)
    again = read_session(write_session("a", ONE, snapshot), ONE)
    assert (again.steps, again.last_output) == (9, None)


@pytest.mark.parametrize("text", ["", "[]"])
def test_an_empty_last_output_is_none(text: str) -> None:
    assert read_session(save({"h": np.array(0, np.float32)}, {"last_output": text}), ONE).last_output is None


def test_nan_may_be_in_a_state_where_the_network_s_own_hold_it() -> None:
    model = manifest(state("h", "float64", 2).model_copy(update={"missing": True}))
    nan = read_session(save({"h": np.array([np.nan, 1])}), model).states[0]
    assert nan.tolist()[1:] == [1.0]
    assert np.isnan(nan[0])
    assert refusal(save({"h": np.array([1, -np.inf])}), model).field == "h[1]"
    assert refusal(save({"h": np.array([1, np.nan])}), manifest(state("h", "float64", 2))).field == "h[1]"


def test_minus_infinity_in_a_last_output_comes_back_where_the_model_answers_it() -> None:
    answers = ONE.outputs[0].model_copy(update={"minus_infinity": True})
    model = ONE.model_copy(update={"outputs": (answers,)})
    written = write_session("a", model, Snapshot([np.ones((), np.float32)], 1, np.array([[1, -np.inf]], np.float32)))
    last_output = read_session(written, model).last_output
    assert last_output is not None
    assert last_output.tolist() == [1.0, -np.inf]
    assert refusal(written, ONE).field == "__metadata__.last_output"


def test_a_file_of_another_format_has_no_metadata_of_ours() -> None:
    metadata = {"format": "pt", "steps": "many", "model": "other", "schema": "9"}
    assert read_session(save({"h": np.array(0, np.float32)}, metadata), ONE).steps is None


def test_another_version_s_state_fits_where_its_tensors_do() -> None:
    newer = ONE.model_copy(update={"version": "4"})
    written = write_session("a", ONE, Snapshot([np.ones((), np.float32)], 1, np.ones((1, 2), np.float32)))
    assert read_session(written, newer).steps == 1


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ({"schema": "2"}, "schema"),
        ({"model": "Odd"}, "model"),
        *(({"steps": text}, "steps") for text in ("", "-1", "+1", "1.0", "1e3", " 1", "٣", str(2**63), "9" * 5000)),
        *(
            ({"last_output": text}, "last_output")
            for text in (
                "[1]",
                "[1, 2, 3]",
                "1",
                "[1, null]",
                "[1, NaN]",
                "[1, 1e39]",
                "[1, 1e999]",
                '[1, "2"]',
                "[[1], [2]]",
                "{",
                "[" * 5000,
            )
        ),
    ],
)
@pytest.mark.parametrize("form", [{}, {"format": "ostinato-session"}], ids=["bare", "ours"])
def test_wrong_metadata_is_refused_by_its_place(form: dict[str, str], metadata: dict[str, str], field: str) -> None:
    content = save({"h": np.array(0, np.float32)}, {**form, **metadata})
    assert refusal(content).field == f"__metadata__.{field}"


@pytest.mark.parametrize("text", ["[1.5, 2]", "[1, 256]", "[1, -1]", "[1, true]", f"[1, {10**30}]"])
def test_a_last_output_of_whole_numbers_must_fit(text: str) -> None:
    model = manifest(state(), output_dtype="uint8")
    content = save({"h": np.array(0, np.float32)}, {"last_output": text})
    assert refusal(content, model).field == "__metadata__.last_output"


def test_a_forecaster_of_whole_numbers_needs_its_last_output() -> None:
    model = manifest(state(), output_dtype="int8", feedback={"a": "x"})
    assert refusal(SOUND, model).field == "__metadata__.last_output"
    begun = save({"h": np.array(0, np.float32)}, {"steps": "0"})
    assert read_session(begun, model).steps == 0


@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype != "float32"])
def test_another_dtype_is_refused_and_both_are_named(dtype: str) -> None:
    error = refusal(save({"h": np.array(1, dtype)}))
    assert error.field == "h"
    assert "where the state has F32 (float32)" in str(error)


@pytest.mark.parametrize(("dtype", "num_bytes"), [("BF16", 2), ("U16", 2), ("C64", 8), ("F8_E4M3", 1)])
def test_a_dtype_that_no_state_has_is_refused(dtype: str, num_bytes: int) -> None:
    header = {"h": {"dtype": dtype, "shape": [], "data_offsets": [0, num_bytes]}}
    error = refusal(tensor_file(header, bytes(num_bytes)))
    assert (error.field, str(error)) == ("h", f"dtype {dtype} where the state has F32 (float32)")


@pytest.mark.parametrize("shape", [(1,), (1, 1), (0,), (2,)])
def test_another_shape_is_refused_and_both_are_named(shape: tuple[int, ...]) -> None:
    error = refusal(save({"h": np.zeros(shape, np.float32)}))
    assert (error.field, str(error)) == ("h", f"shape {list(shape)} where the state has []")


def test_unknown_and_absent_states_are_named() -> None:
    assert refusal(save({"h": np.array(0, np.float32), "c": np.array(0, np.float32)})).field == "c"
    both = manifest(state("h"), state("c"))
    assert refusal(SOUND, both).field == "c"


@pytest.mark.parametrize(
    ("context", "field"),
    [
        ({"region": 5}, "region"),
        ({"region": -1}, "region"),
        ({"kind": [0.5, 2]}, "kind[1]"),
        ({"grid": [[0, 1], [2, 0]]}, "grid[1][0]"),
        ({"kind": [np.nan, 0]}, "kind[0]"),
    ],
)
def test_a_context_that_could_not_be_given_cannot_be_put(context: dict[str, Any], field: str) -> None:
    def part(name: str, dtype: str, *shape: int, **more: Any) -> Input:
        features = tuple(f"{name}_{index}" for index in range(int(np.prod(shape))))
        return Input.model_validate(
            {"name": name, "dtype": dtype, "shape": ("B", *shape), "features": features, **more}
        )

    model = manifest(
        state(),
        context=(
            part("region", "int64", num_codes=5),
            part("kind", "float32", 2, categories={"kind_1": ("shop", "home")}),
            part("grid", "int8", 2, 2, num_codes=2),
        ),
    )
    sound = {"h": 0.5, "region": 4, "kind": [0.5, 1], "grid": [[0, 1], [1, 0]]}

    def file(given: dict[str, Any]) -> bytes:
        return save({each.name: np.array(given[each.name], each.dtype) for each in model.carried})

    assert [rows.tolist() for rows in read_session(file(sound), model).states] == [*sound.values()]
    assert refusal(file(sound | context), model).field == field


def test_a_file_without_the_context_says_that_it_is_the_context() -> None:
    customer = Input(name="customer", dtype="float32", shape=("B", 2), features=("age", "size"))
    model = manifest(state(), context=(customer,))
    half = {"h": np.array(0.5, np.float32)}
    assert str(refusal(save(half), model)).startswith("context 'customer' is absent")
    short = half | {"customer": np.zeros(1, np.float32)}
    assert "where the context has [2]" in str(refusal(save(short), model))
    hollow = half | {"customer": np.array([np.nan, 1], np.float32)}
    assert "nan in a context" in str(refusal(save(hollow), model))


def test_a_bool_is_0_or_1() -> None:
    model = manifest(state("h", "bool", 2))
    header = {"h": {"dtype": "BOOL", "shape": [2], "data_offsets": [0, 2]}}
    assert read_session(tensor_file(header, b"\x01\x00"), model).states[0].tolist() == [True, False]
    assert refusal(tensor_file(header, b"\x01\x02"), model).field == "h"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 8,
        b"\xff" * 100,
        SOUND[:7],
        SOUND[:-1],
        SOUND + b"\x00",
        b"\xff\xff\xff\xff\xff\xff\xff\x7f" + SOUND[8:],
        (10**6).to_bytes(8, "little") + SOUND[8:],
        tensor_file({"h": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 4]}}, bytes(4)),
        tensor_file({"h": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}, bytes(4)),
        tensor_file({"h": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, bytes(4)),
        tensor_file({"h": {"dtype": "F32", "shape": [], "data_offsets": [4, 0]}}, bytes(4)),
        tensor_file({"h": {"dtype": "F32", "shape": [], "data_offsets": [1, 5]}}, bytes(5)),
        tensor_file({"h": {"dtype": "object", "shape": [], "data_offsets": [0, 4]}}, bytes(4)),
        tensor_file({"h": 1}),
        tensor_file({"__metadata__": {"steps": 5}}),
        (4).to_bytes(8, "little") + b"[[[[",
        (10_000).to_bytes(8, "little") + b"[" * 10_000,
        (4).to_bytes(8, "little") + b'{"\xff"',
    ],
)
def test_what_is_no_safetensors_file_is_refused(content: bytes) -> None:
    assert "not a safetensors file" in str(refusal(content))


def test_a_header_of_megabytes_is_refused_before_it_is_read() -> None:
    header = {f"h{number}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for number in range(2000)}
    content = tensor_file(header)
    assert str(refusal(content)).startswith(f"a header of {len(content) - 8} bytes")


def test_a_wide_model_with_long_names_fits_its_own_limit() -> None:
    states = [state(f"{'é' * 500} {number}") for number in range(300)]
    outputs = tuple(f"y{number}" for number in range(20_000))
    output = Output(name="y", dtype="float64", shape=("B", len(outputs)), features=outputs)
    model = manifest(*states).model_copy(update={"outputs": (output,)})
    answer = np.full((1, len(outputs)), -1.2345678901234567e-300)
    written = write_session("a", model, Snapshot([np.ones((), np.float32)] * len(states), 1, answer))
    read = read_session(written, model).last_output
    assert read is not None
    assert read.tolist() == answer[0].tolist()


def test_what_is_left_over_is_of_the_framing_that_it_was_written_by() -> None:
    def framed(text: str) -> Manifest:
        return manifest(state(), framing=Framing.parse(text))

    left_over = np.array([[2], [3], [4]], np.float32)
    answer = np.ones((1, 2), np.float32)
    written = write_session("a", framed("4:1:full"), Snapshot([np.ones((), np.float32), left_over], 4, answer))
    assert read_session(written, framed("4:1:full")).states[1].tolist() == left_over.tolist()
    for other in ("4:3:full", "4:4"):
        refused = refusal(written, framed(other))
        assert (refused.field, "framing '4:1:full'" in str(refused)) == ("__metadata__.framing", True)


@given(st.data())
def test_a_damaged_file_is_read_or_refused_and_nothing_else(data: st.DataObject) -> None:
    written = write_session("a", ONE, Snapshot([np.ones((), np.float32)], 3, np.ones((1, 2), np.float32)))
    content = bytearray(written)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        file = read_session(bytes(content), ONE)
    except InvalidInput:
        return
    assert file.states[0].shape == ()
    assert file.steps is None or file.steps >= 0
