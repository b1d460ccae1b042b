"""Refusals: with which statuses, codes and documents an operation may refuse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ostinato.service import errors
from ostinato.service.edge.message import JSON
from ostinato.service.edge.oip.answer_schemas import OipError
from ostinato.service.edge.openapi.operation import EVERY, Operation
from ostinato.service.edge.problems import INTERNAL, MEDIA_TYPE, PROBLEMS, oip_status
from ostinato.service.edge.v1 import answer_schemas as answers

SAID = {
    errors.MalformedRequest: "the request is not valid HTTP/1.1",
    errors.HostRefused: "the server answers only to the names of its own machine, and was asked by another name",
    errors.OriginRefused: "a page of another site may not send this request",
    errors.Unauthenticated: "the request has no valid key",
    errors.Forbidden: "the key does not have the right to do this",
    errors.UnknownModel: "no such model or version is served",
    errors.UnknownSession: "there is no such session",
    errors.UnknownRoute: "there is no such path",
    errors.MethodNotAllowed: "the path has no such method",
    errors.RequestTimeout: "the request did not come in time",
    errors.SeqConflict: "`seq` is not the session's number of steps",
    errors.TimeConflict: "`at` does not follow the time of the session's last step",
    errors.SessionExists: "the id is taken",
    errors.CheckpointExists: "the name is taken",
    errors.VersionInUse: "sessions still run the version",
    errors.UnknownCheckpoint: "there is no such checkpoint",
    errors.SessionExpired: "the session was idle for longer than its time to live",
    errors.SessionClosed: "the session was closed",
    errors.TooLarge: "the request is larger than a limit",
    errors.UnsupportedCoding: "the format or coding of the body is not supported",
    errors.UnsupportedMediaType: "the format or coding of the body is not supported",
    errors.InvalidInput: "the request does not fit; `field` names the place",
    errors.UpgradeRequired: "the request is not the handshake of a WebSocket",
    errors.Overloaded: "the request was refused before it was queued; retry later",
    errors.RateLimited: "the key has sent more than its limits; retry later",
    errors.HeadTooLarge: "the head of the request is larger than its limits",
    errors.RunFailed: "the graph failed or gave numbers that are not finite; the session is as it was",
    errors.RecordUnreadable: "the session's record cannot be read",
    errors.TooManyConnections: "too many connections are open",
    errors.Starting: "the models are still being checked",
    errors.Draining: "the server is shutting down",
    errors.StateStoreUnavailable: "the store cannot be reached",
    errors.DeadlineExceeded: "the request was not answered in time",
}
"""What each error says of a request, in a few words."""
_OWN_TYPES: dict[str, type[answers.ProblemDetails]] = {
    "invalid_input": answers.InvalidInputProblem,
    "seq_conflict": answers.SeqConflictProblem,
    "time_conflict": answers.TimeConflictProblem,
}
"""The problems that have members of their own, by code."""
PROBLEM_TYPES: tuple[type[answers.ProblemDetails], ...] = (answers.ProblemDetails, *_OWN_TYPES.values())


def refusals(operation: Operation) -> Mapping[int, dict[str, str]]:
    """What an operation may refuse with, by status: codes, and what each says."""
    by_status: dict[int, dict[str, str]] = {}
    for error in operation.raises:
        by_status.setdefault(status_of(operation, error), {})[PROBLEMS[error][1]] = SAID[error]
    status, code = INTERNAL
    by_status.setdefault(status, {})[code] = "an error in the server, which its log describes"
    return by_status


def status_of(operation: Operation, error: type[errors.OstinatoError]) -> int:
    """The status of an error of this operation."""
    return oip_status(error) if operation.is_of_protocol else PROBLEMS[error][0]


def forms(operation: Operation, status: int) -> Mapping[str, Sequence[Any]]:
    """The types that a refusal with this status may have, by media type."""
    codes = refusals(operation)[status]
    kinds = tuple(dict.fromkeys(_OWN_TYPES.get(code, answers.ProblemDetails) for code in codes))
    if not operation.is_of_protocol:
        return {MEDIA_TYPE: kinds}
    # Who reads the bytes of a connection refuses them before there is a path.
    before = {MEDIA_TYPE: (answers.ProblemDetails,)} if any(status == PROBLEMS[error][0] for error in EVERY) else {}
    return {JSON: (OipError,), **before}
