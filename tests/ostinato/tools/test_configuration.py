from __future__ import annotations

from pathlib import Path

import pytest

from ostinato.service.config import Settings
from ostinato.tools.configuration import with_settings

PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"


def test_the_page_is_what_the_settings_make_of_it() -> None:
    page = PAGE.read_text("utf-8")
    assert with_settings(page) == page, "make reference"


def test_every_setting_stands_there_once_with_its_default() -> None:
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| `")]
    named = [row.split("`", 2)[1] for row in rows]
    assert sorted(named) == sorted(Settings.model_fields)
    (port,) = (row for row in rows if row.startswith("| `port`"))
    assert "| `3000` | 0 to 65535 |" in port
    assert "`--port`<br>`OSTINATO_PORT`" in port


def test_what_was_between_the_marks_is_replaced_and_the_rest_stays() -> None:
    page = with_settings("before\n<!-- settings -->\nold\n<!-- end of the settings -->\nafter\n")
    assert page.startswith("before\n<!-- settings -->\n\n### Models\n")
    assert page.endswith("\n<!-- end of the settings -->\nafter\n")
    assert "old\n" not in page


@pytest.mark.parametrize("page", ["none", "<!-- settings -->", "<!-- end of the settings -->\n<!-- settings -->"])
def test_a_page_without_the_marks_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="the page has no <!-- settings -->"):
        with_settings(page)
