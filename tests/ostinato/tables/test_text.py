from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ostinato.errors import InputError
from ostinato.tables.text import read_lines

TEXT = "\ufefföne\r\ntwo\nthree\rfour".encode()
LINES = ["öne\r\n", "two\n", "three\r", "four"]
COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    "a.txt.xz": lzma.compress,
    "a.txt.gz": gzip.compress,
    "a.txt.BZ2": bz2.compress,
    "a.txt": bytes,
}


@pytest.mark.parametrize("name", COMPRESSED)
def test_a_file_is_read_line_by_line_plain_or_compressed(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(COMPRESSED[name](TEXT))
    assert list(read_lines(tmp_path / name)) == LINES


def test_a_byte_that_is_no_utf_8_is_told_with_its_line_however_far_down(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"fine\n" * 20_000 + b"M\xfcnchen\n")
    with pytest.raises(InputError, match=r"a\.txt: line 20001: is not UTF-8 text"):
        list(read_lines(path))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_a_byte_order_mark_tells_the_encoding_and_is_left_out(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("größe,b\n1,2\n".encode(encoding))
    assert list(read_lines(tmp_path / "a.txt")) == ["größe,b\n", "1,2\n"]


def test_the_one_file_of_an_archive_is_read_and_of_several_each_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "one.zip", "w") as archive:
        archive.writestr("folder/a.csv", "a,b\n1,2\n")
        archive.writestr("__MACOSX/._a.csv", "x")
    assert list(read_lines(tmp_path / "one.zip")) == ["a,b\n", "1,2\n"]
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.csv", "a")
        archive.writestr("b.csv", "b")
    with pytest.raises(InputError, match=r"two\.zip: holds 2 files \(a\.csv, b\.csv\), and one is read: unpack it"):
        list(read_lines(tmp_path / "two.zip"))
    (tmp_path / "two.zip").rename(tmp_path / "book.csv")
    with pytest.raises(InputError, match=r"book\.csv: is a workbook or an archive, and no text; save the table as CSV"):
        list(read_lines(tmp_path / "book.csv"))


@pytest.mark.parametrize("name", ["a.xz", "a.gz", "a.bz2"])
def test_a_file_that_is_not_what_its_name_says_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"load\n1\n")
    with pytest.raises(InputError, match=rf"{name}: is not an {name[2:]} file"):
        list(read_lines(tmp_path / name))


@pytest.mark.parametrize("name", ["a.txt.xz", "a.txt.gz", "a.txt.BZ2"])
def test_a_compressed_file_that_was_cut_off_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(COMPRESSED[name](bytes(range(128)) * 100)[:-4])
    with pytest.raises(InputError, match=f"{name}: is not an"):
        list(read_lines(tmp_path / name))


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.csv: cannot be read: No such file"):
        list(read_lines(tmp_path / "absent.csv"))
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        list(read_lines(tmp_path))
