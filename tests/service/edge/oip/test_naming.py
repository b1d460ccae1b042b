from __future__ import annotations

import re

import pytest

from ostinato.service.edge.oip.naming import session_name
from ostinato.service.errors import InvalidInput
from ostinato.service.sessions.session import SESSION_ID_PATTERN

IDS: list[int | str] = [1, 10, 2**64 - 1, "1", "a", "s:1", "h:1", "a b", "a/b", "ä", "x" * 300, "x" * 301, "\n", "a\n"]


def test_no_two_sequences_of_any_models_are_held_by_one_session() -> None:
    models = ["m", "h", "s", "m.s", "1", "n" * 100, "n" * 127, "n" * 128]
    names = [session_name(model, sequence_id) for model in models for sequence_id in IDS]
    assert len(set(names)) == len(names)
    assert all(re.match(SESSION_ID_PATTERN, name) for name in names)


def test_an_operator_sees_the_id_in_the_name_where_it_can_be_one() -> None:
    assert session_name("m", 42) == "m:42"
    assert session_name("m", "user-7") == "m:s:user-7"
    assert session_name("m", "user 7").startswith("m:h:")


@pytest.mark.parametrize("number", [-1, 2**64])
def test_a_number_that_is_no_id_is_refused(number: int) -> None:
    with pytest.raises(InvalidInput, match="no id"):
        session_name("m", number)
