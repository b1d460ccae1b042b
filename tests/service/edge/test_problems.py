from __future__ import annotations

import json

from ostinato.service import errors
from ostinato.service.edge.problems import problem_response


def test_a_problem_says_what_where_and_what_would_be_right() -> None:
    response = problem_response(errors.SeqConflict("it has applied 3 steps", expected_seq=3))
    assert (response.status, response.media_type) == (409, "application/problem+json")
    assert json.loads(response.body) == {
        "type": "urn:ostinato:problem:seq_conflict",
        "title": "Seq conflict",
        "status": 409,
        "detail": "it has applied 3 steps",
        "code": "seq_conflict",
        "expected_seq": 3,
    }
    invalid = json.loads(problem_response(errors.InvalidInput("bad", field="inputs[0]")).body)
    assert (invalid["status"], invalid["code"], invalid["field"]) == (422, "invalid_input", "inputs[0]")


def test_who_may_try_again_is_told_when() -> None:
    assert (b"retry-after", b"7") in problem_response(errors.Overloaded("full", retry_after_seconds=7)).headers
    assert (b"retry-after", b"1") in problem_response(errors.StateStoreUnavailable("gone")).headers
    assert (b"allow", b"GET, POST") in problem_response(errors.MethodNotAllowed("no", ("GET", "POST"))).headers


def test_a_bug_keeps_its_words_to_itself() -> None:
    response = problem_response(KeyError("a secret"))
    assert response.status == 500
    assert b"secret" not in response.body
