"""Conversion of inference messages: the wire's into the protocol's own, which HTTP has, too, and back."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.edge.oip.datatypes import BYTES, DTYPES
from ostinato.service.edge.oip.grpc.wire import ModelInferResponse, ModelStreamInferResponse, WireMessage
from ostinato.service.edge.oip.interface import refuse_shared_memory
from ostinato.service.edge.oip.messages import (
    InferParameter,
    InferParameters,
    InferRequest,
    InferResponse,
    NamedTensor,
    RequestedOutput,
)
from ostinato.service.edge.oip.reading import read_elements, shape_of
from ostinato.service.edge.oip.writing import write_elements
from ostinato.service.edge.problems import Problem
from ostinato.service.edge.v1.large import FEW_BYTES
from ostinato.service.errors import InvalidInput
from ostinato.service.inputs.turns import SLICE_NUMBERS, in_turns

FINAL = "triton_final_response"
"""What each answer of a stream carries: true, since a request has one."""
MAX_INT64 = 2**63 - 1

_CONTENTS = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}
"""Where a tensor's elements are that do not come raw; those of FP16 always do."""


async def read_request(message: WireMessage, num_bytes: int) -> InferRequest:
    """A request out of its message of ``num_bytes``; a large one is read a slice at a time.

    Raises:
        InvalidInput: a parameter has no value, or a tensor is not what it says; names it.
    """
    parameters = read_parameters(message.parameters)
    outputs = [RequestedOutput(output.name, read_parameters(output.parameters)) for output in message.outputs]
    tensors: list[NamedTensor] = []
    pieces = _tensors(message, tensors)
    if num_bytes > FEW_BYTES:
        await in_turns(pieces)
    else:
        for _ in pieces:
            pass
    return InferRequest(message.model_name, message.model_version or None, message.id, parameters, tensors, outputs)


def read_parameters(parameters: Mapping[str, WireMessage]) -> InferParameters:
    """Parameters by their names.

    Raises:
        InvalidInput: one has no value.
    """
    return {name: _parameter(name, value) for name, value in parameters.items()}


def _parameter(name: str, value: WireMessage) -> InferParameter:
    kind = value.WhichOneof("parameter_choice")
    if kind is None:
        raise InvalidInput("this parameter has no value, or one of a kind that is not known", name[:60])
    chosen: InferParameter = getattr(value, kind)
    return chosen


def _tensors(message: WireMessage, tensors: list[NamedTensor]) -> Iterator[None]:
    """Put the tensors of a request into ``tensors``, some of the work at a time."""
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise InvalidInput(f"raw_input_contents has {len(raw)} elements, and there are {len(message.inputs)} inputs")
    for index, tensor in enumerate(message.inputs):
        name, datatype = tensor.name, tensor.datatype
        dtype = DTYPES.get(datatype)
        if dtype is None:
            raise InvalidInput(f"no datatype {datatype[:60]!r}; there are: {', '.join(DTYPES)}", name)
        refuse_shared_memory(tensor.parameters, name)
        shape, count = shape_of(tensor)
        if not raw:
            data = yield from _of_contents(tensor, datatype, dtype, count)
        elif tensor.HasField("contents"):
            raise InvalidInput("its elements are in contents, and in raw_input_contents: send them once", name)
        elif datatype == BYTES:
            data = yield from read_elements(memoryview(raw[index]), count, name)
        elif len(raw[index]) != count * dtype.itemsize:
            raise InvalidInput(
                f"{len(raw[index])} bytes for shape {list(shape)} of {datatype}, which needs {count * dtype.itemsize}",
                name,
            )
        else:
            data = np.frombuffer(raw[index], dtype)
        tensors.append(NamedTensor(name, datatype, shape, data.reshape(shape)))


def _of_contents(
    tensor: WireMessage, datatype: str, dtype: np.dtype[Any], count: int
) -> Generator[None, None, NDArray[Any]]:
    """The elements of a tensor out of the field of its datatype; how many there are is seen before any is copied."""
    field = _CONTENTS.get(datatype)
    if field is None:
        raise InvalidInput(f"elements of {datatype} come in raw_input_contents", tensor.name)
    others = [other.name for other, _ in tensor.contents.ListFields() if other.name != field]
    if others:
        raise InvalidInput(f"elements of {datatype} are in {field}, not in {others[0]}", tensor.name)
    values = getattr(tensor.contents, field)
    if len(values) != count:
        raise InvalidInput(f"{len(values)} elements for shape {list(tensor.shape)}, which has {count}", tensor.name)
    data = np.empty(count, dtype)
    for start in range(0, count, SLICE_NUMBERS):
        part = values[start : start + SLICE_NUMBERS]
        try:
            data[start : start + len(part)] = part
        except OverflowError as error:
            raise InvalidInput(f"an element does not fit {datatype}", tensor.name) from error
        yield
    return data


def write_response(response: InferResponse) -> WireMessage:
    """An answer as its message, with the elements of all outputs as they lie in memory."""
    message = ModelInferResponse(model_name=response.model, model_version=response.version, id=response.id)
    _write_parameters(message, response.parameters)
    for tensor in response.outputs:
        message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        content = write_elements(tensor.data) if tensor.datatype == BYTES else tensor.data.tobytes()
        message.raw_output_contents.append(content)
    return message


def write_streamed(response: InferResponse) -> WireMessage:
    """The same as one message of a stream."""
    message = write_response(response)
    message.parameters[FINAL].bool_param = True
    return ModelStreamInferResponse(infer_response=message)


def write_error(problem: Problem, sentence: str, request_id: str) -> WireMessage:
    """What a stream says of a request that failed: a sentence, and whose it is. A client may go by ``code`` and
    ``expected_seq``, which are parameters.
    """
    message = ModelStreamInferResponse(error_message=sentence)
    message.infer_response.id = request_id
    parameters: dict[str, InferParameter] = {FINAL: True, "code": problem.code}
    if (expected_seq := problem.row.get("expected_seq")) is not None:
        parameters["expected_seq"] = expected_seq
    _write_parameters(message.infer_response, parameters)
    return message


def _write_parameters(message: WireMessage, parameters: InferParameters) -> None:
    for name, value in parameters.items():
        parameter = message.parameters[name]
        if isinstance(value, bool):
            parameter.bool_param = value
        elif isinstance(value, int) and value > MAX_INT64:
            parameter.uint64_param = value
        elif isinstance(value, int):
            parameter.int64_param = value
        elif isinstance(value, float):
            parameter.double_param = value
        else:
            parameter.string_param = value
