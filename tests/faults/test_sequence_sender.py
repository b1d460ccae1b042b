from __future__ import annotations

import httpx2
import pytest

from tests.faults.chunk import NotAnswered, Refused
from tests.faults.sequence_sender import sentence_of

PAGE = "<html><head><title>502 Bad Gateway</title></head></html>"


def test_a_refusal_says_why() -> None:
    assert sentence_of(httpx2.Response(409, json={"error": "it is another's"})) == "it is another's"


@pytest.mark.parametrize("status", [502, 504])
def test_a_page_of_a_proxy_is_no_answer(status: int) -> None:
    with pytest.raises(NotAnswered, match=f"a proxy says {status}"):
        sentence_of(httpx2.Response(status, text=PAGE))


def test_any_other_page_is_a_refusal_that_is_told() -> None:
    with pytest.raises(Refused):
        sentence_of(httpx2.Response(500, text=PAGE))
