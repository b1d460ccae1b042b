"""Ids of keys: reversible, allowed, and never shared."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.connectors.session_ids import MAX_ID, key_of, session_id_of


@pytest.mark.parametrize(
    ("key", "session_id"),
    [("pump-7", "pump-7"), ("a b", "a:20b"), ("a:20b", "a:3a20b"), ("ü", ":c3:bc"), ("x/y", "x:2fy"), ("%", ":25")],
)
def test_a_key_has_one_id_and_the_way_back(key: str, session_id: str) -> None:
    assert session_id_of(key) == session_id
    assert key_of(session_id) == key


@given(st.text(min_size=1, max_size=10), st.text(min_size=1, max_size=10))
def test_no_two_keys_share_an_id(one: str, other: str) -> None:
    ids = [session_id_of(key, "site.") for key in (one, other)]
    assert all(re.fullmatch(r"[A-Za-z0-9._:-]{1,128}", each) for each in ids)
    assert (ids[0] == ids[1]) == (one == other)
    assert [key_of(each, "site.") for each in ids] == [one, other]


def test_a_key_whose_id_would_be_too_long_is_refused_and_the_longest_is_not() -> None:
    assert len(session_id_of("k" * MAX_ID)) == MAX_ID
    for key in ("k" * (MAX_ID + 1), "ü" * 22):  # 22 letters of two bytes, three characters each: 132
        with pytest.raises(ValueError, match="at most 128"):
            session_id_of(key)
    with pytest.raises(ValueError, match="empty"):
        session_id_of("")
