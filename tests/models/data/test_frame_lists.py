from __future__ import annotations

from pathlib import Path

import pytest

from ostinato.models.data.frame_lists import read_list
from ostinato.models.errors import DataError


def write(folder: Path, text: str) -> Path:
    (folder / "list.csv").write_text(text, encoding="utf-8")
    return folder / "list.csv"


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("sequence_id,file,label\n1,a.png,x\n", ("sequence_id", "file", "label")),
        ("Class;Path;Clip\nx;a.PNG;1\n", ("Clip", "Path", "Class")),
        ("u\tv\tw\n1\ta.png\tx\n", ("u", "v", "w")),
        ("u,v\n1,a.png\n", ("u", "v", "")),
        ("1,a.png,x\n", ("1", "2", "3")),
    ],
)
def test_columns_are_told_by_name_and_content(text: str, columns: tuple[str, str, str], tmp_path: Path) -> None:
    found = read_list(write(tmp_path, text))
    assert columns == (found.id, found.picture, found.label)
    assert [row.sequence for row in found.rows] == ["1"]
    assert found.rows[0].label == ("x" if columns[2] else "")


def test_pictures_without_a_sequence_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    found = read_list(write(tmp_path, "file\na/1.png\nb/1.png\na/2.png\n"))
    assert {name: [row.picture for row in rows] for name, rows in found.sequences().items()} == {
        "a": ["a/1.png", "a/2.png"],
        "b": ["b/1.png"],
    }


@pytest.mark.parametrize(
    ("text", "asked", "words"),
    [
        ("id,file,label\n1,a.png,\n", {}, r"line 2, column 'label': is empty"),
        ("id,file,label\n1,a.png,x\n", {"label": "lable"}, "did you mean 'label'"),
        ("id,file\n", {}, "has no row below its header"),
    ],
)
def test_what_is_wrong_is_named(text: str, asked: dict[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        read_list(write(tmp_path, text), **asked)


def test_labels_are_one_or_one_for_each_frame(tmp_path: Path) -> None:
    found = read_list(write(tmp_path, "id,label\na,x\na,y\nb,z\n"))
    assert found.labels_of(("a",), 2) == ("x", "y")
    assert found.labels_of(("clips/b", "b"), 9) == ("z",)
    with pytest.raises(DataError, match="2 labels for 'a', which has 3 frames"):
        found.labels_of(("a",), 3)
    with pytest.raises(DataError, match="has no row for the sequence 'c'"):
        found.labels_of(("c",), 1)
