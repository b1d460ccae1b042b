from __future__ import annotations

import io
import tarfile

import pytest

from ostinato.service.fetching import tar
from ostinato.service.fetching.tar import BLOCK_BYTES, DamagedArchive, TarEntry, entries

LONG = "/".join(["folder"] * 30) + "/model.json"


def written(form: int, names: dict[str, bytes]) -> bytes:
    """An archive by Python's own writer."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form) as file:
        for name, content in names.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(content), 1.5 if form == tarfile.PAX_FORMAT else 1
            file.addfile(entry, io.BytesIO(content))
    return made.getvalue()


def read(content: bytes) -> dict[str, bytes]:
    """Name -> content of the files of an archive."""
    found = [entry for entry in entries(io.BytesIO(content)) if entry is not None]
    return {entry.name: content[entry.place : entry.place + entry.size] for entry in found if entry.is_file}


def header(kind: bytes, size: int | bytes, name: str = "x") -> bytes:
    """A header with a sound checksum, whatever its size says."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.size = kind, size if isinstance(size, int) else 0
    block = bytearray(entry.tobuf(tarfile.GNU_FORMAT))
    if isinstance(size, bytes):
        block[124:136] = size
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def with_content(kind: bytes, content: bytes) -> bytes:
    return header(kind, len(content)) + content.ljust(-(-len(content) // BLOCK_BYTES) * BLOCK_BYTES, b"\0")


def record(key: str, value: str) -> bytes:
    rest = f" {key}={value}\n".encode()
    length = len(rest) + 1
    while length != len(str(length)) + len(rest):
        length = len(str(length)) + len(rest)
    return str(length).encode() + rest


FILE = with_content(b"0", b"content")
END = bytes(2 * BLOCK_BYTES)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_others_write_is_read(form: int) -> None:
    names = {"model.json": b"{}", LONG: b"x" * 1000, "émpty ü": b"", "last": b"y" * 512}
    assert read(written(form, names)) == names


def test_links_and_folders_are_no_files() -> None:
    content = header(b"2", 5, "link") + header(b"5", 0, "folder/") + header(b"\0", 0, "old/") + FILE + END
    assert [each for each in entries(io.BytesIO(content)) if each] == [
        TarEntry("link", False, False, 512, 0),
        TarEntry("folder/", False, True, 1024, 0),
        TarEntry("old/", False, True, 1536, 0),
        TarEntry("x", True, False, 2048, 7),
    ]


def test_a_size_beside_the_header_counts() -> None:
    told = with_content(b"x", record("size", "7") + record("path", "a/b"))
    assert read(told + header(b"0", 0) + b"content".ljust(BLOCK_BYTES, b"\0") + END) == {"a/b": b"content"}
    assert read(with_content(b"g", record("comment", "of all")) + FILE + END) == {"x": b"content"}


@pytest.mark.parametrize("told", [b"x", b"g", b"L", b"K"])
def test_any_number_of_headers_may_tell_of_one_entry(told: bytes) -> None:
    content = with_content(told, b"name\0" if told in b"LK" else record("comment", "word"))
    found = list(entries(io.BytesIO(content * 5000 + FILE + END)))
    assert found[:-1] == [None] * 5000, "each is counted by whoever bounds their number"
    assert found[-1] is not None
    assert found[-1].size == 7


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "it is empty"),
        (b"hello", "it is empty, or has another form"),
        (b"h" * 512, "for a number"),
        (header(b"0", 0)[:-1] + b"x", "there is no header at byte 0"),
        (FILE + b"x" * 512, "for a number"),
        (FILE + b"x", "it is cut short"),
        (header(b"0", 100), "it is cut short"),
        (header(b"x", 100), "it is cut short"),
        (header(b"0", b"\xff" * 12) + END, "a negative number"),
        (header(b"x", b"\xff" * 12) + END, "a negative number"),
        (header(b"0", b"-0000000001\0") + END, "b'-0000000001' for a number"),
        (header(b"L", 3_000_000) + bytes(3_000_320), "a header of 3,000,000 bytes"),
        (header(b"S", 0) + END, "it has files with holes"),
        (with_content(b"x", record("GNU.sparse.map", "1,2")) + FILE, "it has files with holes"),
        *[
            (with_content(b"x", record("size", value)) + FILE + END, "for a number")
            for value in ("-1", "nan", "1e5", "", "9" * 400, "٣")
        ],
        *[
            (with_content(b"x", words) + FILE + END, "no record|for a number")
            for words in (b"0 a=b\n", b"1 a=b\n", b"99 a=b\n", b"6 a=b.", b"a=b\n", b"6 a.b\n", b" a=b\n", b"3 = \n")
        ],
    ],
)
def test_what_is_no_archive_is_refused(content: bytes, sentence: str) -> None:
    with pytest.raises(DamagedArchive, match=sentence):
        list(entries(io.BytesIO(content)))


def test_a_header_full_of_digits_is_read_once() -> None:
    """Python's own reader would look at these for hours, and again for each such header."""
    with pytest.raises(DamagedArchive, match="for a number"):
        list(entries(io.BytesIO(with_content(b"x", b"1" * tar.MAX_HEADER_BYTES) + FILE)))
    many = record("a", "b") * 50_000
    assert read(with_content(b"x", many) + FILE + END) == {"x": b"content"}


def test_an_archive_may_end_without_its_end() -> None:
    assert read(FILE) == read(FILE + END) == {"x": b"content"}
