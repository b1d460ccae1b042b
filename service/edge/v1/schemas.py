"""Options of requests, as types, each written once: decoding one checks it, and refuses members it does not know.

A body is one of these; where options may also be in the query, those are a base class of the body. The typed BentoML
routes and the frames of a stream take the same bodies, with the model or the session named in them.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import msgspec

from ostinato.service.config import MAX_TTL_SECONDS
from ostinato.service.sessions.session import SESSION_ID_PATTERN

SessionId = Annotated[str, msgspec.Meta(pattern=SESSION_ID_PATTERN)]
Number = int | float
"""A whole number stays one: as a float it would be rounded from 2^53 on."""
Sequence = list[list[Number | None]]
FrameId = Annotated[str, msgspec.Meta(max_length=128)] | Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Seq = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
TimeToLive = Annotated[float, msgspec.Meta(ge=0, le=MAX_TTL_SECONDS)]


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """A JSON object."""


class StepOptions(Body):
    """How a chunk is applied and answered."""

    seq: Seq | None = None
    return_sequences: bool = True


class StepBody(StepOptions, kw_only=True):
    """``POST /v1/sessions/{id}/step``: inputs ``[n, F]``.

    ``holds_numbers``: whether decoding has checked that the inputs are rows of numbers; else they may be anything.
    """

    holds_numbers: ClassVar[bool] = True
    inputs: Sequence


class NestedStepBody(StepBody, kw_only=True):
    """The same for a model of several inputs, nested ones, or words for codes."""

    holds_numbers: ClassVar[bool] = False
    inputs: Any


class StepInput(StepBody, kw_only=True):
    """``POST /step``."""

    session_id: str


class NestedStepInput(StepInput, kw_only=True):
    """``POST /step``, as ``NestedStepBody``."""

    holds_numbers: ClassVar[bool] = False
    inputs: Any


class StreamFrame(StepBody, kw_only=True):
    """A text frame of ``WS /v1/models/{model}/stream``; ``id`` comes back with its answer."""

    session_id: SessionId
    id: FrameId | None = None


class NestedFrame(StreamFrame, kw_only=True):
    """The same, as ``NestedStepBody``."""

    holds_numbers: ClassVar[bool] = False
    inputs: Any


class ColumnsQuery(Body):
    """What may also be in the query of a columnar message, and of a stream's handshake."""

    create_missing: bool = False


class ColumnsBody(ColumnsQuery, kw_only=True):
    """``POST /v1/models/{model}/step``: one step a row, inputs ``[R, F]``; see ``StepBody``."""

    holds_numbers: ClassVar[bool] = True
    session_ids: list[str]
    inputs: Sequence
    seq: list[Seq | None] | None = None


class NestedColumnsBody(ColumnsBody, kw_only=True):
    """The same, as ``NestedStepBody``."""

    holds_numbers: ClassVar[bool] = False
    inputs: Any


class PageQuery(Body):
    """``GET /v1/sessions``."""

    model: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    cursor: str | None = None


class OpenBody(Body):
    """``POST /v1/models/{model}/sessions``."""

    session_id: SessionId | None = None
    ttl_seconds: TimeToLive | None = None
    version: str | None = None
    context: dict[str, Any] | None = None


class ForkBody(Body):
    """``POST /v1/sessions/{id}/fork``."""

    session_id: SessionId | None = None
    ttl_seconds: TimeToLive | None = None


class ResetBody(Body):
    """``POST /v1/sessions/{id}/reset``: it has no members."""


class PredictQuery(Body):
    """What is in the query of a ``predict`` in Arrow.

    ``align``: outputs that have a delay by the steps that they speak of (``RowLayout.align``).
    """

    return_sequences: bool = True
    go_backwards: bool = False
    align: bool = False
    version: str | None = None


class PredictBody(PredictQuery, kw_only=True):
    """``POST /v1/models/{model}/predict``: sequences ``[n, F]`` of any lengths.

    ``initial_state``: state name -> nested list of one row, one such object for each sequence or one for all.
    ``context``: name -> what is the same in all steps of a sequence, likewise. ``holds_numbers``: as of ``StepBody``.
    """

    holds_numbers: ClassVar[bool] = True
    sequences: list[Sequence]
    return_state: bool = False
    initial_state: dict[str, Any] | list[dict[str, Any] | None] | None = None
    context: dict[str, Any] | list[dict[str, Any] | None] | None = None


class NestedPredictBody(PredictBody, kw_only=True):
    """The same, as ``NestedStepBody``."""

    holds_numbers: ClassVar[bool] = False
    sequences: list[Any]


class PredictInput(PredictBody, kw_only=True):
    """``POST /predict``."""

    model: str


class NestedPredictInput(PredictInput, kw_only=True):
    """``POST /predict``, as ``NestedStepBody``."""

    holds_numbers: ClassVar[bool] = False
    sequences: list[Any]


class ForecastBody(Body):
    """``POST /v1/sessions/{id}/forecast``.

    ``known_future``: input feature -> values of the steps ahead, or words for codes; or rows of all features that are
    not forecast, in the manifest's order.
    """

    horizon: Annotated[int, msgspec.Meta(ge=1)]
    known_future: dict[str, list[Number | str | None]] | list[list[Number | str | None]] | None = None


class ForecastInput(ForecastBody, kw_only=True):
    """``POST /forecast``."""

    session_id: str


Count = Annotated[int, msgspec.Meta(ge=1)]


class OutputOptions(Body):
    """How outputs are chosen, and what is told of them."""

    max_steps: Count | None = None
    method: Literal["greedy", "beam", "sample"] = "greedy"
    num_beams: Count | None = None
    length_penalty: Annotated[float, msgspec.Meta(ge=0, le=10)] | None = None
    num_return: Count | None = None
    temperature: Annotated[float, msgspec.Meta(gt=0, le=1000)] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=0)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None
    return_attention: bool = False
    return_log_probs: bool = False
    version: str | None = None


class GenerateBody(OutputOptions, kw_only=True):
    """``POST /v1/models/{model}/generate``: inputs are texts, lists of codes, or sequences ``[n, F]``.

    Without ``inputs`` a model that needs no source writes one output from nothing.
    """

    inputs: list[str | list[Any]] | None = None
    stream: bool = False


class GenerateInput(GenerateBody, kw_only=True):
    """``POST /generate``."""

    model: str


class GenerateStreamInput(GenerateInput, kw_only=True):
    """``POST /generate_stream``, which is ``/generate`` with ``stream``."""

    stream: bool = True


class ScoreBody(Body):
    """``POST /v1/models/{model}/score``: how likely each target is as the output for its input."""

    targets: list[str | list[Number]]
    inputs: list[str | list[Any]] | None = None
    version: str | None = None
