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
    ("text", "header", "first"),
    [
        ('{"t": {"en": "a", "de": "b"}, "id": 1}\n' * 2, ("t.en", "t.de", "id"), ["a", "b", "1"]),
        ('["a", "b"]\n["c", "d"]\n', ("1", "2"), ["a", "b"]),
        ('[["a", "b"], ["c", "d"]]', ("1", "2"), ["a", "b"]),
        ('{"a": "b", "c": "d"}', ("key", "value"), ["a", "b"]),
        ('{"data": [{"x": 1}, {"x": 2}]}', ("x",), ["1"]),
        ('{"x": [1, 2], "y": [3, 4]}', ("x", "y"), ["1", "3"]),
    ],
)
def test_other_forms_of_rows_are_read_too(tmp_path: Path, text: str, header: tuple[str, ...], first: list[str]) -> None:
    (tmp_path / "a.json").write_text(text)
    table = Table(tmp_path / "a.json")
    assert (table.header, next(table.rows()).cells) == (header, first)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}\n{"a": ', "line 2: is not JSON"),
        ('{"a": 1}\n7\n', "line 2: is no row"),
        ('{"a": [1]}\n{"a": [2]}\n', r"line 1: 'a' holds \[1\], and no single value"),
        ("[1, 2]", "line 1: is no row: each is an object, or a list of its cells"),
        ('{"a": 1}\n' * 1000 + '{"b": 1}\n', "line 1001: has 'b', which is in no row above"),
        ('[{"a": 1}', "is not JSON"),
    ],
)
def test_what_is_no_table_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=message):
        list(Table(tmp_path / "a.json").rows())
