"""Answers of the Open Inference Protocol as types: the document of the routes shows them, and tests hold answers to
them.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from ostinato.service.edge.v1.answer_schemas import AnswerSchema


class OipLive(AnswerSchema):
    """The process runs."""

    live: bool


class OipReady(AnswerSchema):
    """Whether requests should be sent here."""

    ready: bool


class OipServer(AnswerSchema):
    """The server, and which extensions of the protocol it has."""

    name: str
    version: str
    extensions: list[str]


class OipTensor(AnswerSchema):
    """An input or output of a model; -1 is any size."""

    name: str
    datatype: str
    shape: list[int]


class OipModel(AnswerSchema):
    """The inputs and outputs of a model."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[OipTensor]
    outputs: list[OipTensor]


class OipModelReady(AnswerSchema):
    """The model is served."""

    name: str
    ready: bool


class OipModelConfig(msgspec.Struct):
    """The parts of Triton's model configuration that have a meaning here."""

    name: str
    platform: str
    backend: str
    max_batch_size: int
    input: list[dict[str, Any]]
    output: list[dict[str, Any]]
    parameters: dict[str, Any]
    version_policy: dict[str, Any]
    default_model_filename: str
    sequence_batching: dict[str, Any] | UnsetType = UNSET


class OipCount(AnswerSchema):
    """How often, and for how many nanoseconds."""

    count: int
    ns: int


class OipInferStatistics(AnswerSchema):
    """How many requests succeeded and failed, and how long their parts took."""

    success: OipCount
    fail: OipCount
    queue: OipCount
    compute_input: OipCount
    compute_infer: OipCount
    compute_output: OipCount


class OipModelStatistics(AnswerSchema):
    """The work of a version since the server started."""

    name: str
    version: str
    inference_count: int
    execution_count: int
    inference_stats: OipInferStatistics
    batch_stats: list[Any]


class OipStatistics(AnswerSchema):
    """The work of versions."""

    model_stats: list[OipModelStatistics]


class OipIndexEntry(AnswerSchema):
    """A version in the repository, and whether it is served."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str


class OipOutput(AnswerSchema):
    """An output; without ``data``, its ``binary_data_size`` bytes follow the header."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | UnsetType = UNSET
    parameters: dict[str, Any] | UnsetType = UNSET


class OipInferAnswer(AnswerSchema, kw_only=True):
    """The answer to an inference request."""

    model_name: str
    model_version: str
    id: str | UnsetType = UNSET
    parameters: dict[str, Any] | UnsetType = UNSET
    outputs: list[OipOutput]


class OipError(AnswerSchema):
    """Why a request was refused, in a sentence."""

    error: str
