"""Writing of answers to inference requests over HTTP, in JSON or with tensors behind it."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.edge.message import OCTETS, Response, json_in_slices, json_line, to_json
from ostinato.service.edge.oip.datatypes import BYTES
from ostinato.service.edge.oip.messages import InferResponse, NamedTensor
from ostinato.service.edge.oip.reading import BinaryOutputs
from ostinato.service.errors import InvalidInput

_LENGTH = struct.Struct("<I")


def write(response: InferResponse, binary: BinaryOutputs) -> Response:
    """An answer; raises InvalidInput where an output can only be told as it lies in memory."""
    content, behind = _content(response, binary)
    if not behind:
        return Response(200, json_line(content))
    return _with_behind(to_json(content), behind)


async def write_in_slices(response: InferResponse, binary: BinaryOutputs) -> Response:
    """``write`` for many numbers, so that others have their turn."""
    content, behind = _content(response, binary)
    made = await json_in_slices(content)
    return _with_behind(made.body.removesuffix(b"\n"), behind) if behind else made


def _with_behind(header: bytes, behind: list[bytes]) -> Response:
    return Response(200, b"".join([header, *behind]), OCTETS, header_length(header))


def header_length(header: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """The header of HTTP that says where the header of an answer ends."""
    return ((b"inference-header-content-length", b"%d" % len(header)),)


def _content(response: InferResponse, binary: BinaryOutputs) -> tuple[dict[str, Any], list[bytes]]:
    """The header, and what comes behind it."""
    behind: list[bytes] = []
    outputs: list[dict[str, Any]] = []
    for tensor in response.outputs:
        entry: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        if tensor.name in binary:
            data = write_elements(tensor.data) if tensor.datatype == BYTES else tensor.data.tobytes()
            entry["parameters"] = {"binary_data_size": len(data)}
            behind.append(data)
        elif tensor.datatype == BYTES:
            entry["data"] = _texts(tensor)
        else:
            entry["data"] = tensor.data.reshape(-1)
        outputs.append(entry)
    content: dict[str, Any] = {"model_name": response.model, "model_version": response.version}
    if response.id:
        content["id"] = response.id
    if response.parameters:
        content["parameters"] = response.parameters
    content["outputs"] = outputs
    return content, behind


def write_elements(data: NDArray[Any]) -> bytes:
    """Elements of BYTES, each behind its length."""
    return b"".join([part for text in data.reshape(-1).tolist() for part in (_LENGTH.pack(len(text)), text)])


def _texts(tensor: NamedTensor) -> list[str]:
    try:
        return [text.decode() for text in np.ravel(tensor.data).tolist()]
    except UnicodeDecodeError as error:
        raise InvalidInput("it is no text in UTF-8: ask for it with binary_data", tensor.name) from error
