"""Options of requests, as types, each written once: decoding one checks it, and refuses members it does not know.

A body is one of these; where options may also be in the query, those are a base class of the body. The typed BentoML
routes and the frames of a stream take the same bodies, with the model or the session named in them.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import msgspec

from ostinato.service.catalogue.decisions import Fate, ShareOfSessions
from ostinato.service.config import MAX_TTL_SECONDS
from ostinato.service.sessions.offsets import MAX_SOURCE_CHARACTERS, ChunkOffset, chunk_offset
from ostinato.service.sessions.session import SESSION_ID_PATTERN

SessionId = Annotated[str, msgspec.Meta(pattern=SESSION_ID_PATTERN)]
Number = int | float
"""A whole number stays one: as a float it would be rounded from 2^53 on."""
Sequence = list[list[Number | None]]
FrameId = Annotated[str, msgspec.Meta(max_length=128)] | Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Seq = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
At = Annotated[str, msgspec.Meta(max_length=64)]
"""A time as RFC 3339; without an offset by the clock of the model's zone."""
Offset = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
# Without a NUL, since records have zeros behind it.
Source = Annotated[str, msgspec.Meta(max_length=MAX_SOURCE_CHARACTERS, pattern=r"^[^\x00]*\Z")]
TimeToLive = Annotated[float, msgspec.Meta(ge=0, le=MAX_TTL_SECONDS)]


Percent = Annotated[float, msgspec.Meta(gt=0, lt=100)]
Probability = Annotated[float, msgspec.Meta(gt=0, lt=1)]
MAX_QUANTILES, MAX_SAMPLES = 100, 1000


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """A JSON object."""


class StepOptions(Body):
    """How a chunk is applied and answered.

    ``at``: the time of its first step, or of each, in place of ``seq``.
    """

    seq: Seq | None = None
    at: At | list[At] | None = None
    return_sequences: bool = True
    source: Source = ""
    offset: Offset | None = None
    first_offset: Offset | None = None

    @property
    def chunk_offset(self) -> ChunkOffset | None:
        """Where the chunk is in its source; None = it is not said.

        Raises:
            InvalidInput: it ends before it begins, or only a part of it is said.
        """
        if self.offset is None and not self.source and self.first_offset is None:
            return None
        return chunk_offset(self.source, self.first_offset, self.offset)


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
    """``POST /v1/models/{model}/step``: one step a row, inputs ``[R, F]``; see ``StepBody``. Or one chunk a row, in
    ``NestedColumnsBody``: ``R`` lists of ``[n, F]``.
    """

    holds_numbers: ClassVar[bool] = True
    session_ids: list[str]
    inputs: Sequence
    seq: list[Seq | None] | None = None
    at: list[At | None] | None = None
    source: Source = ""
    offset: list[Offset | None] | None = None
    first_offset: list[Offset | None] | None = None


class NestedColumnsBody(ColumnsBody, kw_only=True):
    """The same, as ``NestedStepBody``."""

    holds_numbers: ClassVar[bool] = False
    inputs: Any


class ModelQuery(Body):
    """``GET /v1/models/{model}``."""

    version: str | None = None


class PageQuery(Body):
    """``GET /v1/sessions``."""

    model: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    cursor: str | None = None
    tenant: str | None = None


class DecisionBody(Body):
    """``PUT /v1/admin/models/{model}/default`` and ``.../aliases/{alias}``."""

    version: str


class CanaryBody(Body):
    """``PUT /v1/admin/models/{model}/canary``."""

    version: str
    share: ShareOfSessions


class UnloadBody(Body):
    """``POST /v1/admin/models/{model}/versions/{version}/unload``.

    ``sessions``: what becomes of those that run it; ``version``: the one that they continue with, of ``migrate``.
    """

    sessions: Fate = "refuse"
    version: str | None = None


class ShadowBody(Body):
    """``PUT /v1/admin/models/{model}/shadow``; ``share`` is of the sessions that begin from then on."""

    version: str
    share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.1


class OpenBody(Body):
    """``POST /v1/models/{model}/sessions``; ``from`` is a checkpoint's name."""

    session_id: SessionId | None = None
    ttl_seconds: TimeToLive | None = None
    version: str | None = None
    context: dict[str, Any] | None = None
    checkpoint: str | None = msgspec.field(default=None, name="from")


class CheckpointBody(Body):
    """``POST /v1/sessions/{id}/checkpoint``."""

    name: SessionId


class MigrateBody(Body):
    """``POST /v1/sessions/{id}/migrate``."""

    version: str


class CheckpointQuery(Body):
    """``GET /v1/checkpoints``."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    cursor: str | None = None


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
    ``context``: name -> what is the same in all steps of a sequence, in the same way. ``holds_numbers``: as of
    ``StepBody``.
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


class ForecastBody(Body, kw_only=True):
    """``POST /v1/sessions/{id}/forecast``: how many steps ahead, and what is answered.

    ``level``: of intervals, in percent. ``quantiles``: probabilities. ``num_samples``: paths that are drawn, from
    ``seed``. ``known_future``: input feature -> values of the steps ahead, or words for codes; or rows of all features
    that are not forecast, in the manifest's order.
    """

    horizon: Annotated[int, msgspec.Meta(ge=1)]
    level: Annotated[list[Percent], msgspec.Meta(max_length=MAX_QUANTILES)] | None = None
    quantiles: Annotated[list[Probability], msgspec.Meta(max_length=MAX_QUANTILES)] | None = None
    num_samples: Annotated[int, msgspec.Meta(ge=1, le=MAX_SAMPLES)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None
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
