"""Answers as types: the document of the routes shows them, and tests hold real answers to them.

Handlers write plain objects, which is quicker; what is answered must be one of these, with nothing unknown in it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from ostinato.service.artifact.manifest import Task

OutputRows = list[Any] | dict[str, list[Any]]
"""Of one output its rows, nested as it is; of several, those of each by name."""
OutputSteps = list[int] | dict[str, list[int]]
Time = Annotated[datetime, msgspec.Meta(tz=True)]


class AnswerSchema(msgspec.Struct, forbid_unknown_fields=True):
    """A JSON object that is answered."""


class FailedVersion(AnswerSchema):
    """A version that is not served, and why."""

    version: str
    reason: str


class ModelSummary(AnswerSchema):
    """A model: which of its versions are served, the newest last."""

    model: str
    task: Task | None
    versions: list[str]
    status: Literal["ready", "failed"]
    failed: list[FailedVersion]


class ModelDetails(ModelSummary):
    """A model with the manifest (``model.json``) of its newest served version."""

    manifest: dict[str, Any] | None


class ModelList(AnswerSchema):
    """All models, served or not."""

    models: list[ModelSummary]


class SessionFacts(AnswerSchema):
    """A session as it is now."""

    session_id: str
    model: str
    version: str
    steps: Annotated[int, msgspec.Meta(ge=0)]
    opened_at: Time
    expires_at: Time | None


class SessionList(AnswerSchema):
    """A page of the live sessions."""

    sessions: list[SessionFacts]
    next_cursor: str | None
    unreadable: int | UnsetType = UNSET


class StepOutputs(AnswerSchema):
    """What a chunk came to."""

    session_id: str
    seq: Annotated[int, msgspec.Meta(ge=0)]
    steps: Annotated[int, msgspec.Meta(ge=0)]
    outputs: OutputRows
    speaks_of: int | dict[str, int] | UnsetType = UNSET
    output_steps: OutputSteps | UnsetType = UNSET


class StreamOutputs(StepOutputs):
    """The answer to a text frame of a stream."""

    id: str | int | UnsetType = UNSET


class FailedRow(AnswerSchema):
    """Why one row of a columnar message was not applied; the others were."""

    row: Annotated[int, msgspec.Meta(ge=0)]
    code: str
    detail: str
    field: str | UnsetType = UNSET
    expected_seq: int | UnsetType = UNSET


class ColumnOutputs(AnswerSchema, kw_only=True):
    """What one step each of many sessions came to, row by row; null in a row that failed."""

    session_ids: list[str]
    seq: list[int | None]
    outputs: OutputRows
    output_steps: list[Any] | dict[str, list[Any]] | UnsetType = UNSET
    errors: list[FailedRow]


class Predictions(AnswerSchema):
    """What whole sequences came to, one entry each."""

    model: str
    version: str
    outputs: list[Any]
    output_steps: list[Any] | UnsetType = UNSET
    states: list[dict[str, Any]] | UnsetType = UNSET


class ForecastOutputs(AnswerSchema):
    """The steps to come of a session."""

    session_id: str
    outputs: OutputRows


class GeneratedOutputs(AnswerSchema):
    """An output for each input; with ``num_return`` over 1 a list of them, the best first."""

    model: str
    version: str
    outputs: list[Any]
    scores: list[Any]
    finish_reasons: list[Any]
    seed: int | UnsetType = UNSET
    log_probs: list[Any] | UnsetType = UNSET
    attention: list[Any] | UnsetType = UNSET


class OutputStep(AnswerSchema, kw_only=True):
    """An event ``step`` of a stream of outputs: one step of the output of one input."""

    index: Annotated[int, msgspec.Meta(ge=0)]
    step: Annotated[int, msgspec.Meta(ge=1)]
    place: int | UnsetType = UNSET
    output: Any
    log_prob: float | UnsetType = UNSET


class TargetScores(AnswerSchema):
    """How likely each target is, as a whole and step by step."""

    model: str
    version: str
    scores: list[float]
    log_probs: list[list[float]]


class Liveness(AnswerSchema):
    """The process runs."""

    status: Literal["alive"]


class VersionReadiness(AnswerSchema):
    """A version and whether it is served."""

    model: str
    version: str
    status: Literal["ready", "failed", "missing"]
    reason: str | UnsetType = UNSET
    sessions: int | UnsetType = UNSET


class Readiness(AnswerSchema):
    """Whether requests should come here."""

    status: Literal["ready", "starting", "failed", "store_unavailable", "draining"]
    models: list[VersionReadiness]
    reason: str | UnsetType = UNSET


class ProblemDetails(AnswerSchema):
    """A problem document (RFC 9457): why a request was refused, in a sentence and in a machine's word."""

    type: str
    title: str
    status: int
    detail: str
    code: str


class InvalidInputProblem(ProblemDetails):
    """What was sent does not fit; ``field`` is the place in it."""

    field: str | UnsetType = UNSET


class SeqConflictProblem(ProblemDetails):
    """``seq`` is not the number of steps that the session has; ``expected_seq`` is."""

    expected_seq: Annotated[int, msgspec.Meta(ge=0)]


class StreamProblem(AnswerSchema):
    """The answer to a frame of a stream that was refused; ``error`` has the members of a problem document."""

    session_id: str | None
    id: str | int | None
    error: dict[str, Any]
