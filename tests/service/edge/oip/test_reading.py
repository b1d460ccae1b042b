from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pytest

from ostinato.service.edge.message import OCTETS, Request
from ostinato.service.edge.oip.messages import InferRequest
from ostinato.service.edge.oip.reading import HEADER_LENGTH, MAX_TENSORS, read, read_short
from ostinato.service.errors import InvalidInput, UnsupportedMediaType
from ostinato.service.inputs.turns import SLICE_NUMBERS
from tests.service.edge.oip.protocol import packed


def request(content: Any, behind: bytes = b"", *, length: int | str | None = None, media_type: str = "") -> Request:
    header = content if isinstance(content, bytes) else json.dumps(content).encode()
    if length is None and behind:
        length = len(header)
    headers = [] if length is None else [(HEADER_LENGTH, str(length).encode())]
    return Request("m", b"", media_type, header + behind, headers)


def given(shape: Any, datatype: str = "FP32", **members: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "shape": shape, "datatype": datatype, **members}]}


def binary(shape: Any, datatype: str, size: Any) -> dict[str, Any]:
    return given(shape, datatype, parameters={"binary_data_size": size})


def decoded(asked: Request) -> InferRequest:
    return read_short(asked, "m", None)[0]


@pytest.mark.parametrize(
    ("datatype", "array"),
    [
        ("FP32", np.array([[0.1, -3.5], [1e-40, 7]], np.float32)),
        ("FP64", np.array([[0.1, 1 / 3]])),
        ("FP16", np.array([1.5, -2], np.float16)),
        ("INT64", np.array([9007199254740993, -(2**63), 2**63 - 1])),
        ("INT32", np.array([[-1], [2**31 - 1]], np.int32)),
        ("UINT8", np.array([0, 255], np.uint8)),
        ("BOOL", np.array([[True, False]])),
        ("BYTES", np.array([b"", "süß".encode(), b"a" * 300], object)),
    ],
)
def test_a_tensor_is_the_same_in_json_flat_and_nested_and_behind_the_header(datatype: str, array: Any) -> None:
    plain = [each.decode() if isinstance(each, bytes) else each for each in array.reshape(-1).tolist()]
    nested = np.array(plain, object).reshape(array.shape).tolist()
    part = packed(array)
    for asked in (
        request(given(array.shape, datatype, data=plain)),
        request(given(array.shape, datatype, data=nested)),
        request(binary(array.shape, datatype, len(part)), part),
        request(binary(array.shape, datatype, len(part)), part, media_type=OCTETS),
    ):
        (found,) = decoded(asked).inputs
        assert (found.name, found.datatype, found.shape, found.data.dtype) == ("x", datatype, array.shape, array.dtype)
        np.testing.assert_array_equal(found.data, array)


def test_null_is_a_missing_value_of_floating_numbers_alone() -> None:
    assert np.isnan(decoded(request(given([2], data=[None, 1]))).inputs[0].data).tolist() == [True, False]
    with pytest.raises(InvalidInput, match="element 1 is not a whole number"):
        decoded(request(given([2], "INT64", data=[1, None])))


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (request(b""), "not JSON"),
        (request(b"[1]"), "Expected `object`, got `array`"),
        (request({}), "missing required field `inputs`"),
        (request(given([1], "FP31", data=[1])), "no datatype 'FP31'"),
        (request(given([2], data=[1])), "1 elements"),
        (request(given([1], data=[1, 2])), "2 elements"),
        (request(given([1, 2], data=[[1], [2]])), "2 elements where the shape has 1"),
        (request(given([2, 2], data=[[1, 2], 3])), "flat, or nested"),
        (request(given([2, 2], data=[[1, 2], [3]])), "1 elements where the shape has 2"),
        (request(given([], data=[[1]])), "not a number"),
        (request(given([1], data=["1"])), "element 0 is not a number"),
        (request(given([1], data=[True])), "element 0 is not a number"),
        (request(given([1], "INT64", data=[1.5])), "not a whole number"),
        (request(given([1], "INT64", data=[2**63])), "element 0 does not fit int64"),
        (request(given([2], "UINT8", data=[255, -1])), "element 1 does not fit uint8"),
        (request(given([1], "FP32", data=[10**400])), "element 0 does not fit float32"),
        (request(given([1], "BOOL", data=[1])), "not true or false"),
        (request(given([1], "BYTES", data=[1])), "not a text"),
        (request(given([-1], data=[1])), "none negative"),
        (request(given([2**20, 2**20], data=[1])), "1 elements"),
        (request(given([1] * 33, data=[1])), "up to 32 sizes"),
        (request(given([1.5], data=[1])), "Expected `int`"),
        (request(given([1])), "neither data"),
        (request(given([1], data=3)), "neither data"),
        (
            request(b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [-Infinity]}]}'),
            "NaN and infinity",
        ),
        (request(binary([2], "FP32", 8), b"1234"), "there are 4 left"),
        (request(binary([2], "FP32", 8), b"123456789"), "1 bytes behind the tensors"),
        (request(binary([2], "FP32", 4), b"1234"), "4 bytes for shape \\[2\\] of FP32, which needs 8"),
        (request(binary([2**47], "FP32", 4), b"1234"), "4 bytes for shape"),
        (request(binary([1], "FP32", -4), b"1234"), "a number of bytes"),
        (request(binary([1], "FP32", True), b"1234"), "a number of bytes"),
        (request(binary([1], "FP32", 2**70), b"1234"), "there are 4 left"),
        (request(given([1], data=[1], parameters={"binary_data_size": 4}), b"1234"), "without data in the header"),
        (request(given([1], parameters={"shared_memory_region": "r"})), "shared memory"),
        (request(binary([1], "BYTES", 4), b"\xff\xff\xff\xff"), "element 0 ends behind"),
        (request(binary([1], "BYTES", 6), b"\x01\0\0\0ab"), "1 bytes behind the last of 1"),
        (request(binary([2**40], "BYTES", 4), b"\0\0\0\0"), "elements have 4 for their lengths alone"),
        (request(b"{}", length=5), "Inference-Header-Content-Length"),
        (request(b"{}", length="-1"), "Inference-Header-Content-Length"),
        (request(b"{}", length="9" * 5000), "Inference-Header-Content-Length"),
        (request(b"{}", length="²"), "Inference-Header-Content-Length"),
        (request({"parameters": {"binary_data_output": 1}, **given([1], data=[1])}), "true or false"),
        (request({"parameters": {"a": [1]}, **given([1], data=[1])}), "Expected"),
        (request(b'{"inputs": [{"data": ' + b"[" * 5000), "nested too deeply"),
        (request(given([0, 2**70], data=[])), "more elements than any message has"),
    ],
)
async def test_what_is_no_request_is_refused_in_a_sentence(asked: Request, sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        read_short(asked, "m", None)
    with pytest.raises(InvalidInput, match=sentence):
        await read(asked, "m", None)


def test_a_bare_nan_is_null_as_clients_write_it_and_in_a_text_it_stays() -> None:
    tensor = b'{"name": "x", "shape": [3], "datatype": "FP32", "data": [1.5, NaN,NaN]}'
    text = b'{"id": "NaN, \\"NaN\\\\", "inputs": [%b]}' % tensor
    found = decoded(request(text))
    assert found.id == 'NaN, "NaN\\'
    np.testing.assert_array_equal(found.inputs[0].data, np.array([1.5, np.nan, np.nan], np.float32))
    with pytest.raises(InvalidInput, match="whole number"):
        decoded(request(text.replace(b"FP32", b"INT64").replace(b"1.5", b"1")))


def test_null_is_as_nothing_said() -> None:
    nothing = {"id": None, "parameters": None, "outputs": None}
    asked = request({**given([1], data=[1], parameters=None), **nothing})
    (found,) = decoded(asked).inputs
    assert decoded(asked)._replace(inputs=[]) == InferRequest("m", None, "", {}, [], [])
    assert found.data.tolist() == [1]
    outputs = [{"name": "y", "parameters": None}]
    assert decoded(request({**given([1], data=[1]), "outputs": outputs})).outputs[0].parameters == {}


def test_a_body_of_a_type_that_clients_say_of_any_is_read() -> None:
    for media_type in ("", "application/x-www-form-urlencoded", "application/octet-stream", "application/vnd.x+json"):
        assert decoded(request(given([1], data=[1]), media_type=media_type)).inputs[0].data.tolist() == [1]


def test_a_body_of_another_type_is_not_read() -> None:
    with pytest.raises(UnsupportedMediaType):
        decoded(request(given([1], data=[1]), media_type="text/plain"))


@pytest.mark.parametrize("is_nested", [False, True])
@pytest.mark.parametrize("datatype", ["FP32", "INT64", "BYTES"])
async def test_a_large_header_is_read_as_a_short_one_and_gives_others_their_turns(
    datatype: str, is_nested: bool
) -> None:
    numbers = np.arange(60_000).reshape(3, -1, 4)
    data: Any = [str(each) for each in numbers.reshape(-1)] if datatype == "BYTES" else numbers.reshape(-1).tolist()
    if is_nested:
        data = np.array(data, object).reshape(numbers.shape).tolist()
    asked = request({"id": "large", **given(numbers.shape, datatype, data=data), "parameters": {"sequence_id": 3}})
    at_once = decoded(asked)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.ensure_future(count())
    in_slices, _ = await read(asked, "m", None)
    counting.cancel()
    assert turns > 10
    np.testing.assert_array_equal(in_slices.inputs[0].data, at_once.inputs[0].data, strict=True)
    assert in_slices._replace(inputs=()) == at_once._replace(inputs=())


async def test_in_a_large_header_the_place_of_what_is_wrong_is_named() -> None:
    data = [1.0] * 50_000
    data[33_333] = "x"  # type: ignore[call-overload]
    with pytest.raises(InvalidInput, match="element 33333 is not a number"):
        await read(request(given([50_000], data=data)), "m", None)
    asked = request({"inputs": [{"name": "x", "datatype": "FP32", "data": [1.0] * 50_000}]})
    with pytest.raises(InvalidInput, match="shape"):
        await read(asked, "m", None)


@pytest.mark.parametrize("shape", [[200_000, 0], [100_000, 0, 4], [100_000, 1], [200_000]])
async def test_lists_of_nothing_and_of_little_give_others_their_turns(shape: list[int]) -> None:
    data = np.zeros(shape).tolist()
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.ensure_future(count())
    made, _ = await read(request(given(shape, data=data)), "m", None)
    counting.cancel()
    assert turns > 5
    assert made.inputs[0].data.shape == tuple(shape)


async def test_elements_keep_their_order_where_their_rows_fill_several_slices() -> None:
    rows = [[float(row)] for row in range(3 * SLICE_NUMBERS + 5)]
    made, _ = await read(request(given([len(rows), 1], data=rows)), "m", None)
    np.testing.assert_array_equal(made.inputs[0].data, np.array(rows, np.float32), strict=True)


@pytest.mark.parametrize("member", ["inputs", "outputs"])
async def test_more_tensors_than_any_model_has_are_refused_before_they_are_read(member: str) -> None:
    many = [{"name": "x", "datatype": "FP32", "shape": [0], "data": []}] * (MAX_TENSORS + 1)
    with pytest.raises(InvalidInput, match=f"{MAX_TENSORS + 1} tensors; the most is {MAX_TENSORS}"):
        await read(request({**given([0], data=[]), member: many, "id": "a" * 70_000}), "m", None)


async def test_a_shape_of_a_million_sizes_is_refused_before_it_is_read() -> None:
    with pytest.raises(InvalidInput, match="100000 sizes") as caught:
        await read(request(given([1] * 100_000, data=[1])), "m", None)
    assert caught.value.field == "inputs[0].shape"
