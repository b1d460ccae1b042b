from __future__ import annotations

import json

from ostinato.service import errors
from ostinato.service.edge.problems import MAX_DETAIL_LENGTH, Problem


def test_a_problem_says_what_where_and_what_would_be_right() -> None:
    response = Problem(errors.SeqConflict("it has applied 3 steps", expected_seq=3)).response()
    assert (response.status, response.media_type) == (409, "application/problem+json")
    assert json.loads(response.body) == {
        "type": "urn:ostinato:problem:seq_conflict",
        "title": "Seq conflict",
        "status": 409,
        "detail": "it has applied 3 steps",
        "code": "seq_conflict",
        "expected_seq": 3,
    }
    invalid = json.loads(Problem(errors.InvalidInput("bad", field="inputs[0]")).response().body)
    assert (invalid["status"], invalid["code"], invalid["field"]) == (422, "invalid_input", "inputs[0]")


def test_what_an_error_quotes_of_a_request_is_not_all_sent_back() -> None:
    problem = Problem(errors.InvalidInput("b" * 5000, field="a" * 5000))
    assert len(problem.row["field"]) == len(problem.row["detail"]) == MAX_DETAIL_LENGTH
    assert len(problem.sentence) < 3 * MAX_DETAIL_LENGTH


def test_who_may_try_again_is_told_when() -> None:
    assert (b"retry-after", b"7") in Problem(errors.Overloaded("full", retry_after_seconds=7)).response().headers
    assert (b"retry-after", b"1") in Problem(errors.StateStoreUnavailable("gone")).response().headers
    assert (b"allow", b"GET, POST") in Problem(errors.MethodNotAllowed("no", ("GET", "POST"))).response().headers


def test_a_bug_keeps_its_words_to_itself() -> None:
    response = Problem(KeyError("a secret")).response()
    assert response.status == 500
    assert b"secret" not in response.body
