"""Messages of the Open Inference Protocol, as they are whichever way they came: HTTP and gRPC read and write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from numpy.typing import NDArray

InferParameter: TypeAlias = bool | int | float | str
InferParameters: TypeAlias = Mapping[str, InferParameter]
_NONE: InferParameters = MappingProxyType({})


class NamedTensor(NamedTuple):
    """A named array. ``data`` is of ``shape`` and in the dtype of its ``datatype``; for BYTES it has ``bytes`` objects.

    ``data`` may be a view of a message, which is read only.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: NDArray[Any]


class RequestedOutput(NamedTuple):
    """An output that is asked for by its name."""

    name: str
    parameters: InferParameters = _NONE


class InferRequest(NamedTuple):
    """A request to ``infer``.

    Attributes:
        version: None or empty = the newest that is served.
        id: comes back with the answer.
        outputs: none = the model's own.
    """

    model: str
    version: str | None
    id: str
    parameters: InferParameters
    inputs: Sequence[NamedTensor]
    outputs: Sequence[RequestedOutput] = ()


class InferResponse(NamedTuple):
    """The answer to one, with the version that ran; its outputs in the order in which they were asked for."""

    model: str
    version: str
    id: str
    parameters: InferParameters
    outputs: list[NamedTensor]
