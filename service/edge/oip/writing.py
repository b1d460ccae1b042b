"""Writing of answers to inference requests over HTTP, in JSON or with tensors behind it."""

from __future__ import annotations

import re
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.edge.message import Response, json_in_slices, to_json
from ostinato.service.edge.oip.datatypes import BYTES
from ostinato.service.edge.oip.messages import InferResponse, NamedTensor
from ostinato.service.edge.oip.reading import OCTETS, BinaryOutputs
from ostinato.service.edge.oip.steps import SequenceStep
from ostinato.service.errors import InvalidInput
from ostinato.service.sessions.chunk import StepAnswer

_SEQ, _STEPS = 7_151_413_978_316_465_191, 8_151_413_978_316_465_192
"""In the place of an answer's numbers."""
_LENGTH = struct.Struct("<I")


def write(response: InferResponse, binary: BinaryOutputs) -> Response:
    """An answer; raises InvalidInput where an output can only be told as it lies in memory."""
    content, behind = _content(response, binary)
    if not behind:
        return Response(200, to_json(content))
    return _with_behind(to_json(content), behind)


async def write_in_slices(response: InferResponse, binary: BinaryOutputs) -> Response:
    """``write`` for many numbers, so that others have their turn."""
    content, behind = _content(response, binary)
    made = await json_in_slices(content)
    return _with_behind(made.body, behind) if behind else made


class AnswerHead:
    """The header of answers to steps of one known form, all of it but two numbers.

    Attributes:
        fit: what the steps' form was when it was made; of another it is made anew.
    """

    __slots__ = ("_pieces", "fit")

    def __init__(self, step: SequenceStep, binary: BinaryOutputs) -> None:
        self.fit = fit = step.fit
        self._pieces: list[bytes] | None = None
        made = fit.model.made
        is_plain = fit.plain_dtype is not None and made.is_flat and not fit.model.tells_more
        if is_plain and len(fit.names) == 1 and fit.names[0] in binary:
            response = step.response(StepAnswer("", _SEQ, _STEPS, made.zeros(1), made))
            header = to_json(_content(response, binary)[0])
            pieces = re.split(b"%d|%d" % (_SEQ, _STEPS), header)
            # Where there are more, a client has these very numbers in its request.
            self._pieces = pieces if len(pieces) == 3 else None

    def write(self, answer: StepAnswer) -> Response | None:
        """The answer to a step; None where it is to be written as any other."""
        if self._pieces is None:
            return None
        before, between, behind = self._pieces
        header = b"%b%d%b%d%b" % (before, answer.seq, between, answer.steps, behind)
        headers = ((b"inference-header-content-length", b"%d" % len(header)),)
        return Response(200, header + answer.outputs.tobytes(), OCTETS, headers)


def write_step(answer: StepAnswer, step: SequenceStep, binary: BinaryOutputs) -> Response:
    """The answer to a step."""
    if step.raw:
        head = binary.head
        if head is None or head.fit is not step.fit:
            head = binary.head = AnswerHead(step, binary)
        response: Response | None = head.write(answer)
        if response is not None:
            return response
    return write(step.response(answer), binary)


def _with_behind(header: bytes, behind: list[bytes]) -> Response:
    headers = ((b"inference-header-content-length", b"%d" % len(header)),)
    return Response(200, b"".join([header, *behind]), OCTETS, headers)


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
