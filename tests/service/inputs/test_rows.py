from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Input
from ostinato.service.errors import InvalidInput
from ostinato.service.inputs.rows import read_rows, to_context, to_rows

WIND = Input(
    name="inputs",
    dtype="float32",
    shape=("B", "T", 2),
    features=("speed", "from"),
    categories={"from": ("N", "E", "S")},
)
PIXELS = Input(name="pixels", dtype="float32", shape=("B", "T", 2, 3), features=tuple("abcdef"), missing=True)
CODE = Input(name="code", dtype="int64", shape=("B", "T"), features=("code",), num_codes=4)
BOTH = RowLayout([PIXELS, CODE])


def test_words_become_the_codes_that_they_stand_for() -> None:
    rows = to_rows([[1.5, "S"], [2, 0], [3, "E"]], RowLayout([WIND]), "inputs")
    assert rows.tolist() == [[1.5, 2], [2, 0], [3, 1]]
    assert rows.dtype == np.float32


@pytest.mark.parametrize(
    ("row", "field", "detail"),
    [
        ([1.5, "W"], "inputs[1][1]", "'W' is no word of 'from'; it has N, E, S"),
        (["N", 1], "inputs[1][0]", "'N' is no number, and 'speed' has no words"),
        (["N"], "inputs[1]", "1 features; a step has 2"),
        ([1.5, 3], "inputs[1][1]", "no code of 'from'"),
        ("N", "inputs[1]", "1 features"),
        ([1.5, [1]], "inputs[1][1]", "got `array`"),
        ({"speed": 1}, "inputs[1]", "got `object`"),
    ],
)
def test_a_word_that_there_is_not_is_refused_by_its_place(row: Any, field: str, detail: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        to_rows([[1, "N"], row], RowLayout([WIND]), "inputs")
    assert refusal.value.field == field
    assert detail in str(refusal.value)


def test_a_hole_stays_a_hole_in_a_nested_tensor_and_codes_come_bare_or_in_lists() -> None:
    given = {"pixels": [[[1, 2, 3], [4, None, 6]]] * 2, "code": [3, 0]}
    pixels, code = BOTH.unpack(to_rows(given, BOTH, "inputs"))
    np.testing.assert_array_equal(pixels[1], np.array([[1, 2, 3], [4, np.nan, 6]], np.float32))
    assert code.tolist() == [3, 0]
    listed = to_rows({**given, "code": [[3], [0]]}, BOTH, "inputs")
    assert listed.tobytes() == to_rows(given, BOTH, "inputs").tobytes()


def test_whole_numbers_beyond_what_a_float_holds_stay_as_they_are_and_such_floats_are_refused() -> None:
    wide = RowLayout([PIXELS, CODE.model_copy(update={"num_codes": None})])
    given = {"pixels": [[[1] * 3] * 2], "code": [2**53 + 1]}
    assert wide.unpack(to_rows(given, wide, "inputs"))[1].tolist() == [2**53 + 1]
    with pytest.raises(InvalidInput, match="may be another number"):
        to_rows({**given, "code": [float(2**53)]}, wide, "inputs")


def test_whole_numbers_of_a_nested_tensor_stay_as_they_are() -> None:
    nested = RowLayout([PIXELS.model_copy(update={"dtype": "int64"})])
    given = [[[2**63 - 1, -(2**63), 2**53 + 1], [0, 1, 3.0]]]
    assert to_rows(given, nested, "inputs").tolist() == [[2**63 - 1, -(2**63), 2**53 + 1, 0, 1, 3]]
    with pytest.raises(InvalidInput, match="9223372036854775808 does not fit int64") as refusal:
        to_rows([[[1, 2, 3], [0, 2**63, 0]]], nested, "inputs")
    assert refusal.value.field == "inputs[0][1][1]"


async def test_rows_read_in_slices_are_those_read_at_once_and_name_the_same_place() -> None:
    generator = np.random.default_rng(0)
    given: dict[str, Any] = {
        "pixels": generator.standard_normal((6000, 2, 3)).tolist(),
        "code": generator.integers(0, 4, 6000).tolist(),
    }
    read = await read_rows(given, BOTH, "inputs")
    assert read.rows.tobytes() == to_rows(given, BOTH, "inputs").tobytes()
    given["code"][5432] = 4
    with pytest.raises(InvalidInput) as refusal:
        await read_rows(given, BOTH, "inputs")
    assert refusal.value.field == "inputs.code[5432][0]"


async def test_rows_that_were_read_for_one_version_are_not_taken_for_another_s() -> None:
    read = await read_rows({"pixels": [[[1] * 3] * 2], "code": [1]}, BOTH, "inputs")
    assert to_rows(read, BOTH, "inputs") is read.rows
    with pytest.raises(InvalidInput, match="takes other inputs by now"):
        to_rows(read, RowLayout([PIXELS, CODE.model_copy(update={"num_codes": 9})]), "inputs")


def test_steps_that_are_too_wide_are_refused_before_their_numbers_are_looked_at() -> None:
    given: dict[str, Any] = {"pixels": [[[1, 2, 3], [4, 5, 6]]], "code": [[1, "no number"]]}
    with pytest.raises(InvalidInput, match="2 features") as refusal:
        to_rows(given, BOTH, "inputs")
    assert refusal.value.field == "inputs.code[0]"
    given = {"pixels": [[[1, 2, 3], [4, 5, 6, "no number"]]], "code": [1]}
    with pytest.raises(InvalidInput, match="4 values") as refusal:
        to_rows(given, BOTH, "inputs")
    assert refusal.value.field == "inputs.pixels[0][1]"


def test_of_flat_steps_the_one_that_is_short_is_named() -> None:
    with pytest.raises(InvalidInput, match="5 values") as refusal:
        to_rows([[1] * 6, [1] * 5], RowLayout([PIXELS]), "inputs")
    assert refusal.value.field == "inputs[1]"


async def test_brackets_in_the_name_of_an_input_are_no_step() -> None:
    odd = RowLayout([CODE.model_copy(update={"name": "code[0]"}), CODE])
    with pytest.raises(InvalidInput) as refusal:
        await read_rows({"code[0]": [1] * 19_999 + [4], "code": [1] * 20_000}, odd, "inputs")
    assert refusal.value.field == "inputs.code[0][19999][0]"


def test_of_very_many_words_few_are_told() -> None:
    many = WIND.model_copy(update={"categories": {"from": tuple(f"w{number}" for number in range(10_000))}})
    assert to_rows([[1, "w9999"]], RowLayout([many]), "inputs")[0, 1] == 9999
    with pytest.raises(InvalidInput) as refusal:
        to_rows([[1, "x"]], RowLayout([many]), "inputs")
    assert len(str(refusal.value)) < 1000


def part(name: str, dtype: str, *shape: int, **more: Any) -> Input:
    features = tuple(f"{name}_{index}" for index in range(int(np.prod(shape))))
    return Input(name=name, dtype=dtype, shape=("B", *shape), features=features, **more)  # type: ignore[arg-type]


def test_a_context_is_given_in_its_own_shape() -> None:
    context = [part("customer", "float32", 2), part("grid", "float32", 2, 2), part("region", "int64")]
    given = {"customer": [1, 2], "grid": [[1, 2], [3, 4]], "region": 7}
    rows = to_context(given, context, "context")
    assert [row.tolist() for row in rows] == [[1, 2], [[1, 2], [3, 4]], 7]
    assert [row.dtype.name for row in rows] == ["float32", "float32", "int64"]
    assert to_context({**given, "region": [7]}, context, "context")[2] == 7


def test_a_context_that_may_be_missing_is_nan_where_it_is_not_given() -> None:
    context = [part("customer", "float32", 2, missing=True)]
    for given in (None, {}, {"customer": None}):
        assert np.isnan(to_context(given, context, "context")[0]).all()
    with pytest.raises(InvalidInput, match="an object with customer"):
        to_context([1, 2], context, "context")


def test_a_word_may_be_a_context() -> None:
    kinds = part("kind", "float32", 1, categories={"kind_0": ("shop", "home")})
    assert to_context({"kind": ["home"]}, [kinds], "context")[0].tolist() == [1]


def test_an_unknown_word_s_error_shows_a_few_of_many_words_and_not_all_of_a_long_one() -> None:
    words = tuple(f"word{number}" for number in range(1000))
    part = Input(name="x", dtype="int64", shape=("B", "T"), features=("x",), categories={"x": words})
    for given in ([["?" * 100_000]], [[5000]]):
        with pytest.raises(InvalidInput) as refused:
            to_rows(given, RowLayout((part,)), "inputs")
        assert "and 940 more" in str(refused.value)
        assert len(str(refused.value)) < 1000


def test_a_context_of_another_width_is_told_in_its_own_name() -> None:
    with pytest.raises(InvalidInput, match="1 features; 'customer' has 2: customer_0, customer_1") as refusal:
        to_context({"customer": [1]}, [part("customer", "float32", 2)], "context")
    assert refusal.value.field == "context.customer"
