from __future__ import annotations

import bz2
import gzip
import lzma
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


def test_utf_16_is_refused_in_its_first_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("a,b\n".encode("utf-16"))
    with pytest.raises(InputError, match="line 1: is not UTF-8 text"):
        list(read_lines(tmp_path / "a.txt"))


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
