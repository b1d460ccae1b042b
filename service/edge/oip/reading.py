"""Reading of inference requests over HTTP: a header in JSON, tensors in it or behind it as they lie in memory."""

from __future__ import annotations

import math
import re
from collections.abc import Generator, Iterator, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from ostinato.service.edge.message import FORM, JSON, OCTETS, Request
from ostinato.service.edge.oip.datatypes import BYTES, DTYPES
from ostinato.service.edge.oip.interface import refuse_shared_memory
from ostinato.service.edge.oip.json_elements import elements_of
from ostinato.service.edge.oip.messages import InferParameters, InferRequest, NamedTensor, RequestedOutput
from ostinato.service.edge.v1.body_place import BodyPlace
from ostinato.service.edge.v1.codec import decode_json
from ostinato.service.edge.v1.large import FEW_BYTES, is_large, read_large
from ostinato.service.errors import InvalidInput, UnsupportedMediaType
from ostinato.service.inputs.turns import SLICE_NUMBERS, in_turns

HEADER_LENGTH = b"inference-header-content-length"
MAX_AXES = 32
MAX_TENSORS = 1024
"""Of a message, and outputs that it asks for: no model has as many, and each costs some, with nothing in it, too."""
MAX_ELEMENTS = 2**48
"""Of a shape without its zeros: numpy has no larger ones, not even where there is nothing in them."""
_LENGTH_BYTES = 4
"""Of an element of BYTES, before it."""


class ShapedTensor(Protocol):
    """A tensor as a message has it, before its data are looked at."""

    @property
    def name(self) -> str:
        """Of the input."""

    @property
    def shape(self) -> Sequence[int]:
        """As the client says; nothing is known of it."""


class TensorHeader(msgspec.Struct):
    """An input as the header has it; ``data`` is absent if its bytes follow the header."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: Any = None


class OutputHeader(msgspec.Struct):
    """An output that is asked for."""

    name: str
    parameters: dict[str, Any] | None = None


class InferHeader(msgspec.Struct):
    """The header of a request. Clients may add other members, and null for what they leave out."""

    inputs: list[TensorHeader]
    id: str | None = None
    parameters: dict[str, bool | int | float | str] | None = None
    outputs: list[OutputHeader] | None = None


class _LooseHeader(msgspec.Struct):
    """A large one, whose inputs are read a slice at a time."""

    inputs: list[dict[str, Any]]
    id: str | None = None
    parameters: dict[str, bool | int | float | str] | None = None
    outputs: list[OutputHeader] | None = None


_HEADER = msgspec.json.Decoder(InferHeader)
_BARE_NAN = re.compile(rb'"(?:[^"\\]|\\.)*+"|NaN\b', re.DOTALL)
"""A text, in which it may occur, or the word itself."""
_LOOSE = msgspec.json.Decoder(_LooseHeader)


class BinaryOutputs:
    """Which outputs go behind the header of the answer."""

    __slots__ = ("_by_name", "_otherwise")

    def __init__(self, parameters: InferParameters, outputs: list[OutputHeader]) -> None:
        self._otherwise = _flag(parameters, "binary_data_output", False)
        self._by_name = {
            output.name: _flag(output.parameters or {}, "binary_data", self._otherwise) for output in outputs
        }

    def __contains__(self, name: str) -> bool:
        return self._by_name.get(name, self._otherwise)


def _flag(parameters: InferParameters, name: str, otherwise: bool) -> bool:
    value = parameters.get(name, otherwise)
    if type(value) is not bool:
        raise InvalidInput(f"{name} is true or false", name)
    return value


def is_short(body: bytes, size: int) -> bool:
    """Whether a request with a header of ``size`` bytes is read at once, and need not give others their turn."""
    if len(body) <= FEW_BYTES:
        return True
    return not is_large(body[:size]) and len(body) - size <= FEW_BYTES * 8


def header_bytes(request: Request) -> int:
    """How long the header of a request is.

    Raises:
        UnsupportedMediaType: it is no request by its content type.
        InvalidInput: it says a length that it does not have.
    """
    media_type = request.media_type
    if media_type not in (OCTETS, JSON, "", FORM) and not media_type.endswith("+json"):
        raise UnsupportedMediaType(f"this route reads {JSON} and {OCTETS}, not {media_type}")
    size = len(request.body)
    value = None
    for name, text in request.headers:
        if name == HEADER_LENGTH:
            value = text
    if value is None:
        return size
    if not value.isdigit() or len(value) > 15 or int(value) > size:
        raise InvalidInput(f"Inference-Header-Content-Length is a number of the body's {size} bytes")
    return int(value)


def read_short(request: Request, model: str, version: str | None) -> tuple[InferRequest, BinaryOutputs]:
    """A request that ``is_short``.

    Raises:
        UnsupportedMediaType, InvalidInput: it is none; names the tensor and the place.
    """
    size = header_bytes(request)
    body = request.body
    header = _decode_header(body if size == len(body) else body[:size])
    tensors: list[NamedTensor] = []
    for _ in _tensors(header, memoryview(body)[size:], tensors):
        pass
    return _request(header, tensors, model, version)


async def read(request: Request, model: str, version: str | None) -> tuple[InferRequest, BinaryOutputs]:
    """A request of any size; raises as ``read_short``."""
    size = header_bytes(request)
    if is_short(request.body, size):
        return read_short(request, model, version)
    text = request.body[:size]
    if is_large(text):
        loose = await read_large(text, _LOOSE, lambda _: _check_large, "the header", {})
        header = _held(loose)
    else:
        header = _decode_header(text)
    tensors: list[NamedTensor] = []
    await in_turns(_tensors(header, memoryview(request.body)[size:], tensors))
    return _request(header, tensors, model, version)


def _check_large(place: BodyPlace, count: int) -> None:
    """Refuse what a large header has too many of, before they are decoded."""
    if place.is_member and count > MAX_TENSORS:
        raise InvalidInput(f"{count} tensors; the most is {MAX_TENSORS}", place)
    if place.num_levels == 2 and place.endswith(".shape"):
        raise InvalidInput(f"a shape of {count} sizes; {MAX_AXES} are the most", place)


def _decode_header(text: bytes) -> InferHeader:
    """A header that is not large. NVIDIA's client writes a missing number as ``NaN``, which is no JSON: it is null."""
    try:
        return decode_json(text, _HEADER, "the header")
    except InvalidInput:
        if b"NaN" not in text:
            raise
        plain = _BARE_NAN.sub(lambda found: found[0] if found[0].startswith(b'"') else b"null", text)
        if plain == text:
            raise
        return decode_json(plain, _HEADER, "the header")


def _held(loose: _LooseHeader) -> InferHeader:
    """A large header with its inputs as they must be."""
    inputs = []
    for index, members in enumerate(loose.inputs):
        data = members.pop("data", None)
        try:
            tensor = msgspec.convert(members, TensorHeader)
        except msgspec.ValidationError as error:
            raise InvalidInput(str(error).partition(" - at `$")[0], f"inputs[{index}]") from error
        tensor.data = data
        inputs.append(tensor)
    return InferHeader(inputs, loose.id, loose.parameters, loose.outputs)


def _request(
    header: InferHeader, tensors: list[NamedTensor], model: str, version: str | None
) -> tuple[InferRequest, BinaryOutputs]:
    named, parameters = header.outputs or [], header.parameters or {}
    outputs = [RequestedOutput(output.name, output.parameters or {}) for output in named]
    request = InferRequest(model, version, header.id or "", parameters, tensors, outputs)
    return request, BinaryOutputs(parameters, named)


def _tensors(header: InferHeader, behind: memoryview, tensors: list[NamedTensor]) -> Iterator[None]:
    """Put the tensors of a request into ``tensors``, some of the work at a time."""
    at = 0
    for tensor in header.inputs:
        name = tensor.name
        dtype = DTYPES.get(tensor.datatype)
        if dtype is None:
            raise InvalidInput(f"no datatype {tensor.datatype[:60]!r}; there are: {', '.join(DTYPES)}", name)
        shape, count = shape_of(tensor)
        told = tensor.parameters or {}
        refuse_shared_memory(told, name)
        size = told.get("binary_data_size")
        if size is None:
            data = yield from elements_of(tensor.data, shape, count, dtype, name)
        else:
            if type(size) is not int or size < 0 or tensor.data is not None:
                raise InvalidInput(
                    "binary_data_size is a number of bytes, of a tensor without data in the header", name
                )
            if size > len(behind) - at:
                raise InvalidInput(f"{size} bytes, and behind the header there are {len(behind) - at} left", name)
            part = behind[at : at + size]
            at += size
            if tensor.datatype == BYTES:
                data = yield from read_elements(part, count, name)
            elif size != count * dtype.itemsize:
                raise InvalidInput(
                    f"{size} bytes for shape {list(shape)} of {tensor.datatype}, which needs {count * dtype.itemsize}",
                    name,
                )
            else:
                data = np.frombuffer(part, dtype)
        tensors.append(NamedTensor(name, tensor.datatype, shape, data.reshape(shape)))
    if at < len(behind):
        raise InvalidInput(f"{len(behind) - at} bytes behind the tensors, which are none of theirs")


def shape_of(tensor: ShapedTensor) -> tuple[tuple[int, ...], int]:
    """A shape, and how many elements it has; whether they are there is not known yet."""
    given = tensor.shape
    shape = tuple(given[: MAX_AXES + 1])  # a long one is not copied
    if len(given) > MAX_AXES or any(size < 0 for size in shape):
        raise InvalidInput(f"shape {list(shape[:MAX_AXES])}: up to {MAX_AXES} sizes, none negative", tensor.name)
    if math.prod(size for size in shape if size) > MAX_ELEMENTS:
        raise InvalidInput("a shape of more elements than any message has", tensor.name)
    return shape, math.prod(shape)


def read_elements(part: memoryview, count: int, name: str) -> Generator[None, None, NDArray[Any]]:
    """The elements of BYTES, each behind its length."""
    if count * _LENGTH_BYTES > len(part):
        raise InvalidInput(
            f"{len(part)} bytes, and {count} elements have {_LENGTH_BYTES} for their lengths alone", name
        )
    elements = np.empty(count, object)
    at = 0
    for index in range(count):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(part[at:start], "little")
        if start > len(part) or at > len(part):
            raise InvalidInput(f"element {index} ends behind the tensor's {len(part)} bytes", name)
        elements[index] = bytes(part[start:at])
        if index % SLICE_NUMBERS == SLICE_NUMBERS - 1:
            yield
    if at < len(part):
        raise InvalidInput(f"{len(part) - at} bytes behind the last of {count} elements", name)
    return elements
