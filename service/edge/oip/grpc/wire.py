"""The wire: the protocol's messages and calls, of the set that `make protos` compiles from ``inference.proto``.

They are in a pool of their own: a process may have two packages that bring the same names, as NVIDIA's client and
KServe's do, and protobuf takes each name once in the pool that all share.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from ostinato.service.edge.oip.reading import MAX_AXES
from ostinato.service.edge.v1.large import FEW_BYTES
from ostinato.service.errors import InvalidInput

COMPILED = Path(__file__).with_name("inference.binpb")
SERVICE = "inference.GRPCInferenceService"

MAX_FIELDS = 4096
"""Of a message and of the tensors in it, inclusive, without their elements: two bytes make a field, and it becomes an
object of a hundred.
"""
_TENSORS = (5, 6)
"""The fields of a request that are tensors."""
_SHAPE = 3
"""Of an input; outputs have none."""
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10

WireMessage: TypeAlias = Any
"""A message of the protocol's; what it has is told by ``inference.proto`` and not by Python."""


class WireMethod(NamedTuple):
    """A call: the classes of its messages. ``is_stream``: any number of both."""

    request: Any
    response: Any
    is_stream: bool


def _load() -> DescriptorPool:
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(COMPILED.read_bytes()).file:
        pool.Add(file)
    return pool


POOL = _load()
METHODS: dict[str, WireMethod] = {
    method.name: WireMethod(
        GetMessageClass(method.input_type), GetMessageClass(method.output_type), method.client_streaming
    )
    for method in POOL.FindServiceByName(SERVICE).methods
}
"""All calls of the service, by name."""
ModelInferRequest, ModelInferResponse, _ = METHODS["ModelInfer"]
ModelStreamInferResponse = METHODS["ModelStreamInfer"].response


def parse(kind: Any, content: bytes) -> WireMessage:
    """A message out of its bytes.

    Raises:
        InvalidInput: they are none of this kind, or have very many fields.
    """
    if len(content) > FEW_BYTES:
        _check_fields(content)
    try:
        return kind.FromString(content)
    except DecodeError as error:
        raise InvalidInput(f"the message is no {kind.DESCRIPTOR.name}") from error


def reader(kind: Any) -> Callable[[bytes], Any]:
    """What gRPC reads a call's requests with: a message, or the error that it is none, for the call to answer. What is
    raised there the library would log each time, with all places in the code.
    """

    def read(content: bytes) -> Any:
        try:
            return parse(kind, content)
        except InvalidInput as error:
            return error

    return read


def _check_fields(content: bytes) -> None:
    """Refuse a message of very many fields before it is parsed, which would keep the event loop to itself meanwhile.

    Raises:
        InvalidInput: there are over ``MAX_FIELDS``, or a shape is far too long.

    What is no message is left to who parses it.
    """
    count = 0
    spans = [(0, len(content), False)]
    while spans:
        at, end, is_tensor = spans.pop()
        while at < end:
            count += 1
            if count > MAX_FIELDS:
                raise InvalidInput(f"a message of over {MAX_FIELDS} fields; send fewer tensors and parameters")
            key, at = _varint(content, at)
            kind = key & 7
            if kind == _LENGTH:
                size, at = _varint(content, at)
                if not is_tensor and key >> 3 in _TENSORS:
                    spans.append((at, min(at + size, end), True))
                if is_tensor and key >> 3 == _SHAPE and size > MAX_AXES * _MAX_VARINT_BYTES:
                    raise InvalidInput(f"a shape of more than {MAX_AXES} sizes")
                at += size
            elif kind == _VARINT:
                _, at = _varint(content, at)
            else:  # the rest are the ends of groups, which have nothing in them
                at += {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}.get(kind, 0)


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """A number, and where it ends."""
    value = 0
    for place, byte in enumerate(content[at : at + _MAX_VARINT_BYTES]):
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    return value, len(content)
