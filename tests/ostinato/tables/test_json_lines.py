from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from ostinato.errors import InputError
from ostinato.tables.table import Table

LINES = '{"a": 1, "b": "x y"}\n\n{"b": null, "a": 2.5}\n{"a": true}\n'


def test_an_object_a_line_is_a_row(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(LINES.encode()))
    table = Table(tmp_path / "a.jsonl.gz")
    assert table.header == ("a", "b")
    assert [(row.line, row.cells) for row in table.rows()] == [(1, ["1", "x y"]), (3, ["2.5", ""]), (4, ["1", ""])]


def test_one_list_of_objects_is_a_table(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[\n {"a": 1},\n {"a": 2}\n]')
    assert Table(tmp_path / "a.json").columns(["a"]).cells == {"a": ["1", "2"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}\n{"a": ', "line 2: is not JSON"),
        ('{"a": 1}\n[1]\n', "line 2: is no object"),
        ('{"a": {"b": 1}}\n', "line 1: 'a' holds an object, and no single value"),
        ("[1, 2]", "item 0 is no object"),
        ('[{"a": 1}', "is not JSON"),
    ],
)
def test_what_is_no_table_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=message):
        list(Table(tmp_path / "a.json").rows())
