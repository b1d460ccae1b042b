from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ostinato.service.edge.oip.datatypes import DTYPES
from ostinato.service.edge.oip.grpc.conversion import read_request, write_error, write_response
from ostinato.service.edge.oip.grpc.wire import ModelInferRequest, ModelInferResponse
from ostinato.service.edge.oip.messages import InferParameters, InferResponse, NamedTensor
from ostinato.service.edge.problems import Problem
from ostinato.service.errors import InvalidInput, SeqConflict
from tests.service.edge.oip.grpc.peer import put

FIELDS: dict[str, tuple[str, list[Any]]] = {
    "BOOL": ("bool_contents", [True, False, True]),
    "UINT8": ("uint_contents", [0, 7, 255]),
    "UINT16": ("uint_contents", [0, 7, 65_535]),
    "UINT32": ("uint_contents", [0, 7, 2**32 - 1]),
    "UINT64": ("uint64_contents", [0, 7, 2**64 - 1]),
    "INT8": ("int_contents", [-128, 0, 127]),
    "INT16": ("int_contents", [-32_768, 0, 32_767]),
    "INT32": ("int_contents", [-(2**31), 0, 2**31 - 1]),
    "INT64": ("int64_contents", [-(2**63), 0, 2**63 - 1]),
    "FP32": ("fp32_contents", [0.5, -0.0, float("inf")]),
    "FP64": ("fp64_contents", [0.1, -0.0, 1e300]),
    "BYTES": ("bytes_contents", [b"", b"\xff\0", "é".encode()]),
}


def request(datatype: str, shape: list[int], raw: bytes | None = None, **contents: Any) -> Any:
    message = ModelInferRequest(model_name="m")
    tensor = message.inputs.add(name="x", datatype=datatype, shape=shape)
    for field, values in contents.items():
        getattr(tensor.contents, field).extend(values)
    if raw is not None:
        message.raw_input_contents.append(raw)
    return message


def lengths(*texts: bytes) -> bytes:
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


@pytest.mark.parametrize("datatype", FIELDS)
async def test_elements_in_their_field_are_those_that_come_raw(datatype: str) -> None:
    field, values = FIELDS[datatype]
    raw = lengths(*values) if datatype == "BYTES" else np.array(values, DTYPES[datatype]).tobytes()
    typed = await read_request(request(datatype, [1, 3], None, **{field: values}), 10)
    as_bytes = await read_request(request(datatype, [1, 3], raw), 10)
    for tensor in (typed.inputs[0], as_bytes.inputs[0]):
        assert (tensor.datatype, tensor.shape, tensor.data.dtype) == (datatype, (1, 3), DTYPES[datatype])
        assert tensor.data.tolist() == [values]


async def test_many_elements_are_read_in_slices_and_are_all_there() -> None:
    values = list(range(50_000))
    read = await read_request(request("INT64", [50_000], int64_contents=values), 1_000_000)
    assert read.inputs[0].data.tolist() == values


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (request("FP31", [1]), "no datatype 'FP31'"),
        (request("FP32", [2**40, 2**40], b"1234"), "more elements than any"),
        (request("FP32", [2, 3], b"1234"), "4 bytes for shape"),
        (request("FP32", [-1], b"1234"), "none negative"),
        (request("FP32", [1] * 40, b"1234"), "up to 32 sizes"),
        (request("FP32", [2**30]), "0 elements for shape"),
        (request("FP32", [1], fp64_contents=[1.0]), "are in fp32_contents, not in fp64_contents"),
        (request("FP32", [1], fp32_contents=[1.0], int_contents=[1]), "not in int_contents"),
        (request("INT8", [1], int_contents=[200]), "does not fit INT8"),
        (request("UINT16", [1], uint_contents=[70_000]), "does not fit UINT16"),
        (request("FP16", [1], fp32_contents=[1.0]), "come in raw_input_contents"),
        (request("FP32", [1], b"1234", fp32_contents=[1.0]), "send them once"),
        (request("BYTES", [2**30], lengths(b"a")), "for their lengths alone"),
        (request("BYTES", [1], b"\xff\xff\xff\xffab"), "ends behind the tensor's"),
        (request("BYTES", [1], lengths(b"a", b"b")), "behind the last of 1 elements"),
    ],
    ids=range(15),
)
async def test_what_is_not_what_it_says_is_refused_before_anything_of_its_size_is_made(
    message: Any, sentence: str
) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        await read_request(message, 10)


async def test_raw_contents_are_as_many_as_inputs() -> None:
    message = request("FP32", [1], b"1234")
    message.raw_input_contents.append(b"1234")
    with pytest.raises(InvalidInput, match="2 elements, and there are 1 inputs"):
        await read_request(message, 10)


async def test_parameters_have_their_kinds_and_one_without_a_value_is_refused() -> None:
    message = request("FP32", [0], b"")
    put(message.parameters, {"b": True, "i": -3, "s": "text", "d": 0.5})
    message.parameters["u"].uint64_param = 2**64 - 1
    read = await read_request(message, 10)
    assert read.parameters == {"b": True, "i": -3, "s": "text", "d": 0.5, "u": 2**64 - 1}
    assert type(read.parameters["b"]) is bool
    message.parameters["none"].SetInParent()
    with pytest.raises(InvalidInput, match="no value"):
        await read_request(message, 10)


async def test_a_tensor_in_shared_memory_is_refused() -> None:
    message = request("FP32", [1])
    put(message.inputs[0].parameters, {"shared_memory_region": "r"})
    with pytest.raises(InvalidInput, match="shared memory"):
        await read_request(message, 10)


def test_an_answer_has_the_elements_of_its_outputs_raw_and_its_parameters() -> None:
    words = np.array([[b"a"], [b""]], object)
    turned = np.arange(6, dtype=np.float32).reshape(2, 3).T
    tensors = [NamedTensor("w", "BYTES", (2, 1), words), NamedTensor("x", "FP32", (3, 2), turned)]
    parameters: InferParameters = {"sequence_id": 2**64 - 1, "seq": 3, "final": True, "s": "t", "d": 0.5}
    message = write_response(InferResponse("m", "2", "id", parameters, tensors))
    again = ModelInferResponse.FromString(message.SerializeToString())
    assert (again.model_name, again.model_version, again.id) == ("m", "2", "id")
    assert [(each.name, each.datatype, list(each.shape)) for each in again.outputs] == [
        ("w", "BYTES", [2, 1]),
        ("x", "FP32", [3, 2]),
    ]
    assert again.raw_output_contents[0] == lengths(b"a", b"")
    assert np.frombuffer(again.raw_output_contents[1], np.float32).tolist() == [0, 3, 1, 4, 2, 5]
    assert again.parameters["sequence_id"].uint64_param == 2**64 - 1
    assert again.parameters["seq"].int64_param == 3
    assert again.parameters["final"].WhichOneof("parameter_choice") == "bool_param"


def test_an_error_of_a_stream_says_whose_it_is_and_what_was_expected() -> None:
    message = write_error(Problem(SeqConflict("the session has 3 steps", 3)), "a sentence", "id")
    assert (message.error_message, message.infer_response.id) == ("a sentence", "id")
    assert message.infer_response.parameters["code"].string_param == "seq_conflict"
    assert message.infer_response.parameters["expected_seq"].int64_param == 3
