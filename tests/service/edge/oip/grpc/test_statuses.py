from __future__ import annotations

from urllib.parse import quote

import grpc
import pytest

from ostinato.service import errors
from ostinato.service.edge.oip.grpc.statuses import CODES_OF_STATUS, code_of, shortened, trailing_of
from ostinato.service.edge.problems import PROBLEMS, Problem


def test_every_error_has_a_code() -> None:
    assert {status for status, _ in PROBLEMS.values()} <= CODES_OF_STATUS.keys()
    assert code_of(Problem(ValueError("a bug"))) is grpc.StatusCode.INTERNAL


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidInput("x"), grpc.StatusCode.INVALID_ARGUMENT),
        (errors.UnknownModel("x"), grpc.StatusCode.NOT_FOUND),
        (errors.UnknownSession("x"), grpc.StatusCode.FAILED_PRECONDITION),
        (errors.SessionExpired("x"), grpc.StatusCode.FAILED_PRECONDITION),
        (errors.SeqConflict("x", 1), grpc.StatusCode.ABORTED),
        (errors.TooLarge("x"), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (errors.Overloaded("x"), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (errors.Draining("x"), grpc.StatusCode.UNAVAILABLE),
        (errors.DeadlineExceeded("x"), grpc.StatusCode.DEADLINE_EXCEEDED),
        (errors.MethodNotAllowed("x", ()), grpc.StatusCode.UNIMPLEMENTED),
    ],
)
def test_a_client_can_tell_errors_apart(error: Exception, code: grpc.StatusCode) -> None:
    assert code_of(Problem(error)) is code


def test_when_to_come_back_and_what_is_expected_come_with_the_status() -> None:
    assert ("retry-after", "7") in trailing_of(Problem(errors.Overloaded("x", 7)))
    assert ("ostinato-expected-seq", "3") in trailing_of(Problem(errors.SeqConflict("x", 3)))
    assert trailing_of(Problem(errors.InvalidInput("x"))) == (("ostinato-code", "invalid_input"),)


@pytest.mark.parametrize("sentence", ["a" * 900, "é" * 1000, "☃" * 1000, "\ud800" * 10, "100 % of it"])
def test_a_sentence_fits_into_a_status_whatever_it_is_written_in(sentence: str) -> None:
    short = shortened(sentence)
    assert sentence.startswith(short)
    assert short
    assert len(quote(short, safe=" ", errors="replace")) <= 3000
    assert len(sentence) > 500 or short == sentence
