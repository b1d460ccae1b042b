"""Statuses: the one table from the problems of HTTP to gRPC's codes, and what else a client is told of an error."""

from __future__ import annotations

from urllib.parse import quote

import grpc

from ostinato.service.edge.problems import Problem

Code = grpc.StatusCode

CODES_OF_STATUS = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    405: Code.UNIMPLEMENTED,
    408: Code.DEADLINE_EXCEEDED,
    409: Code.ABORTED,
    410: Code.FAILED_PRECONDITION,
    413: Code.RESOURCE_EXHAUSTED,
    415: Code.INVALID_ARGUMENT,
    421: Code.PERMISSION_DENIED,
    422: Code.INVALID_ARGUMENT,
    426: Code.FAILED_PRECONDITION,
    429: Code.RESOURCE_EXHAUSTED,
    431: Code.RESOURCE_EXHAUSTED,
    500: Code.INTERNAL,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
}
CODES_OF_WORD = {"unknown_session": Code.FAILED_PRECONDITION}
"""Where the machine's word says more than the status: a sequence that was not started is no missing resource."""
MAX_ENCODED_BYTES = 3000
"""Of a sentence as it goes over the wire, where each byte that is no letter takes three: clients refuse 8 KiB of
metadata, and would tell of that in place of the error.
"""


def code_of(problem: Problem) -> grpc.StatusCode:
    """The code of an error."""
    return CODES_OF_WORD.get(problem.code) or CODES_OF_STATUS[problem.status]


def shortened(sentence: str) -> str:
    """A sentence that a status can carry, whatever letters it is in."""
    if len(sentence) * 3 <= MAX_ENCODED_BYTES and sentence.isascii():
        return sentence
    size = 0
    for place, letter in enumerate(sentence):
        size += len(quote(letter, safe=" ", errors="replace"))
        if size > MAX_ENCODED_BYTES:
            return sentence[:place]
    return sentence


def trailing_of(problem: Problem) -> tuple[tuple[str, str], ...]:
    """What a client may go by: the machine's word, when to come back, the ``seq`` that is expected."""
    told = {"ostinato-code": problem.code}
    if problem.request_id:
        told["x-request-id"] = problem.request_id.decode()
    if problem.retry_after_seconds is not None:
        told["retry-after"] = str(problem.retry_after_seconds)
    if (expected := problem.row.get("expected_seq")) is not None:
        told["ostinato-expected-seq"] = str(expected)
    return tuple(told.items())
