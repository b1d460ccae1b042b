"""Links: what is put into a template is a part of an address, whatever it holds."""

from __future__ import annotations

import pytest

from ostinato.connectors.links import check_template, link_of
from ostinato.errors import InputError


def test_a_link_has_the_values_as_parts_of_an_address() -> None:
    values = {"service": "http://h:3000/base", "session": "a:20b", "key": "a b/../?x=1&y", "offset": "7"}
    assert link_of("{service}/v1/sessions/{session}", values) == "http://h:3000/base/v1/sessions/a%3A20b"
    assert link_of("https://g/d?k={key}&o={offset}", values) == "https://g/d?k=a%20b%2F..%2F%3Fx%3D1%26y&o=7"
    assert link_of("{key}", {"key": b"\xff".decode("utf-8", "surrogateescape")}) == "%FF"


def test_a_name_that_there_is_not_is_refused() -> None:
    check_template("here", "https://g/{event}/{source}/{model}/{version}")
    with pytest.raises(InputError, match=r"^here: there is no \{sesion\}; there is \{service\}, \{session\}"):
        check_template("here", "{service}/{sesion}")
