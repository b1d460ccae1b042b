from __future__ import annotations

import pytest

from ostinato.commands.tables import PIPED_COLUMNS, table_console


def test_a_table_that_is_piped_is_as_wide_as_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert table_console().width == PIPED_COLUMNS
    monkeypatch.setenv("COLUMNS", "100")
    assert table_console().width == 100
