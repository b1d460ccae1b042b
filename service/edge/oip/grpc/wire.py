"""The wire: the protocol's messages and calls, of the set that `make protos` compiles from ``inference.proto``.

They are in a pool of their own: a process may have two packages that bring the same names, as NVIDIA's client and
KServe's do, and protobuf takes each name once in the pool that all share.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from ostinato.service.errors import InvalidInput

COMPILED = Path(__file__).with_name("inference.binpb")
SERVICE = "inference.GRPCInferenceService"

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
        InvalidInput: they are none of this kind.
    """
    try:
        return kind.FromString(content)
    except DecodeError as error:
        raise InvalidInput(f"the message is no {kind.DESCRIPTOR.name}") from error
