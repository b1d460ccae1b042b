from __future__ import annotations

import json

from ostinato.service.catalogue.catalogue import Catalogue
from ostinato.service.edge.openapi.documents import Documents
from tests.service.puppet import House


async def test_they_are_made_once_and_again_when_other_models_are_served() -> None:
    catalogue = Catalogue()
    answers = Documents(catalogue).answers
    before = answers["/openapi.json"](), answers["/docs"]()
    assert (answers["/openapi.json"](), answers["/docs"]()) == before
    assert answers["/openapi.json"]() is before[0]
    assert not examples_of(before[0].body)
    catalogue.add(House().engine)
    after = answers["/openapi.json"](), answers["/docs"]()
    assert examples_of(after[0].body) == {
        "sum": {"summary": "for the model sum", "value": {"inputs": [[0.0]] * 2, "seq": 0}}
    }
    assert b"example-sum" in after[1].body
    assert answers["/docs"]() is after[1]


def examples_of(document: bytes) -> object:
    """The examples of a step."""
    body = json.loads(document)["paths"]["/v1/sessions/{session_id}/step"]["post"]["requestBody"]
    return body["content"]["application/json"].get("examples", {})


async def test_bentomls_places_lead_to_ours() -> None:
    answers = Documents(Catalogue()).answers
    for path, place in (("/", b"docs"), ("/docs.json", b"openapi.json")):
        answer = answers[path]()
        assert (answer.status, answer.headers) == (307, ((b"location", place),))
