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
    """A model with the manifest (``model.json``) of the version asked for, or of the default version."""

    version: str | None
    manifest: dict[str, Any] | None


class ModelList(AnswerSchema):
    """All models, served or not."""

    models: list[ModelSummary]


class Canary(AnswerSchema):
    """A version that a share of the new sessions run that name no version; ``not_drawn``: why no session begins with it
    now.
    """

    version: str
    share: float
    not_drawn: str | UnsetType = UNSET


class ShadowDecided(AnswerSchema):
    """The version that runs a copy of the traffic of a share of the sessions."""

    version: str
    share: float


class ModelDecided(AnswerSchema):
    """What operators decided about a model, and which of its versions are served."""

    model: str
    default: str | None
    aliases: dict[str, str]
    canary: Canary | None
    shadow: ShadowDecided | None
    versions: list[str]
    unloading: list[str]
    failed: list[FailedVersion]


class LoadedVersion(AnswerSchema):
    """A version that is served, or about to be."""

    model: str
    version: str
    status: Literal["ready", "loading"]


class UnloadedVersion(AnswerSchema):
    """A version that is no longer served; ``sessions``: how many were closed, or migrated."""

    model: str
    version: str
    status: Literal["unloaded"]
    sessions: Annotated[int, msgspec.Meta(ge=0)]


class SessionFacts(AnswerSchema, kw_only=True):
    """A session as it is now."""

    session_id: str
    model: str
    version: str
    steps: Annotated[int, msgspec.Meta(ge=0)]
    opened_at: Time
    expires_at: Time | None
    last_at: Time | UnsetType | None = UNSET
    source: str | UnsetType = UNSET
    offset: int | UnsetType = UNSET


class PutSession(SessionFacts, kw_only=True):
    """A session that was given a state, and where the state was made, if that differs from where the session runs."""

    bits_may_differ: str | UnsetType = UNSET


class SessionList(AnswerSchema):
    """A page of the live sessions."""

    sessions: list[SessionFacts]
    next_cursor: str | None
    unreadable: int | UnsetType = UNSET


class CheckpointFacts(AnswerSchema):
    """A checkpoint."""

    name: str
    model: str
    version: str
    steps: Annotated[int, msgspec.Meta(ge=0)]
    saved_at: Time


class CheckpointList(AnswerSchema):
    """A page of the checkpoints."""

    checkpoints: list[CheckpointFacts]
    next_cursor: str | None
    unreadable: int | UnsetType = UNSET


class MigratedSession(SessionFacts, kw_only=True):
    """A session that continues with another version, and the two versions' outputs of its last step."""

    former_version: str
    replayed: Annotated[int, msgspec.Meta(ge=0)]
    difference: float | None
    output_before: Any
    output_after: Any


class ReadingEvent(AnswerSchema):
    """What began or ended with a step of a calibrated forecaster: an anomaly, or readings beyond a limit; ``row`` is of
    a columnar message.
    """

    event: Literal["anomaly_began", "anomaly_ended", "level_began", "level_ended"]
    step: Annotated[int, msgspec.Meta(ge=1)]
    row: int | UnsetType = UNSET
    anomaly: float | UnsetType | None = UNSET
    feature: str | UnsetType = UNSET
    above: float | UnsetType = UNSET
    below: float | UnsetType = UNSET
    value: float | UnsetType | None = UNSET


class StepOutputs(AnswerSchema):
    """The results of a chunk."""

    session_id: str
    seq: Annotated[int, msgspec.Meta(ge=0)]
    steps: Annotated[int, msgspec.Meta(ge=0)]
    outputs: OutputRows
    speaks_of: int | dict[str, int] | UnsetType = UNSET
    output_steps: OutputSteps | UnsetType = UNSET
    at: list[str | None] | UnsetType = UNSET
    filled: int | UnsetType = UNSET
    anomaly: list[float | None] | UnsetType = UNSET
    events: list[ReadingEvent] | UnsetType = UNSET


class StreamOutputs(StepOutputs):
    """The answer to a text frame of a stream."""

    id: str | int | UnsetType = UNSET


class FailedRow(AnswerSchema):
    """Why one row of a columnar message was not applied. The others were."""

    row: Annotated[int, msgspec.Meta(ge=0)]
    code: str
    detail: str
    field: str | UnsetType = UNSET
    expected_seq: int | UnsetType = UNSET
    last_at: str | UnsetType = UNSET
    expected_at: str | UnsetType = UNSET
    source: str | UnsetType = UNSET
    offset: int | UnsetType = UNSET
    last_seq: int | UnsetType = UNSET


class ColumnOutputs(AnswerSchema, kw_only=True):
    """The results of one step, or one chunk, of each of many sessions, row by row; null in a row that failed."""

    session_ids: list[str]
    seq: list[int | None]
    outputs: OutputRows
    output_steps: list[Any] | dict[str, list[Any]] | UnsetType = UNSET
    at: list[str | None] | UnsetType = UNSET
    filled: list[int] | UnsetType = UNSET
    anomaly: list[float | list[float | None] | None] | UnsetType = UNSET
    events: list[ReadingEvent] | UnsetType = UNSET
    errors: list[FailedRow]


class Predictions(AnswerSchema):
    """The results of whole sequences, one entry for each."""

    model: str
    version: str
    outputs: list[Any]
    output_steps: list[Any] | UnsetType = UNSET
    states: list[dict[str, Any]] | UnsetType = UNSET


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
    """Whether requests should be sent here."""

    status: Literal["ready", "starting", "failed", "store_unavailable", "draining"]
    models: list[VersionReadiness]
    reason: str | UnsetType = UNSET


class ProblemDetails(AnswerSchema):
    """A problem document (RFC 9457): why a request was refused, in a sentence for people and a word for programs."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str


class InvalidInputProblem(ProblemDetails):
    """The request does not fit; ``field`` is the place in it."""

    field: str | UnsetType = UNSET


class SeqConflictProblem(ProblemDetails):
    """``seq`` is not the number of steps of the session, which is ``expected_seq``; or readings were applied already,
    up to ``offset`` in ``source``.
    """

    expected_seq: Annotated[int, msgspec.Meta(ge=0)]
    source: str | UnsetType = UNSET
    offset: Annotated[int, msgspec.Meta(ge=0)] | UnsetType = UNSET
    last_seq: Annotated[int, msgspec.Meta(ge=0)] | UnsetType = UNSET


class TimeConflictProblem(ProblemDetails):
    """The times do not follow the session's last step, which was at ``last_at``; ``expected_at`` would be next."""

    last_at: str | UnsetType = UNSET
    expected_at: str | UnsetType = UNSET


class StreamProblem(AnswerSchema):
    """The answer to a frame of a stream that was refused; ``error`` has the members of a problem document."""

    session_id: str | None
    id: str | int | None
    error: dict[str, Any]
