"""Text files, plain or compressed, line by line; a fault names the file, and the line where there is one."""

from __future__ import annotations

import codecs
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ostinato.errors import InputError

COMPRESSED = (".xz", ".gz", ".bz2", ".zip")
# What .xlsx, .ods and other archives begin with.
_WORKBOOK = b"PK\x03\x04"


def read_lines(path: Path) -> Iterator[str]:
    r"""The lines of a UTF-8 file, each with its end: ``\n``, ``\r\n`` or ``\r``. A byte order mark is left out.

    A file whose name ends in ``.xz``, ``.gz`` or ``.bz2`` is decompressed while it is read, and so is the one file in a
    ``.zip``. A byte order mark of UTF-16 is heeded.

    Raises:
        InputError: the file cannot be read, is not what its name says, or a line is not UTF-8.
    """
    try:
        with _open(path) as file:
            for number, line in enumerate(file, start=1):
                if not line.isascii() and not _is_unicode(line):
                    raise InputError(f"{path}: line {number}: is not UTF-8 text; save the file as UTF-8")
                yield line
    except InputError:
        raise
    except Exception as error:  # each compression has exceptions of its own
        if isinstance(error, OSError) and error.strerror:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error
        raise InputError(f"{path}: is not an {path.suffix.lower().removeprefix('.')} file: {error}") from error


def plain_suffix(path: Path) -> str:
    """The end of a file's name, in small letters, without that of a compression."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in COMPRESSED]
    return suffixes[-1] if suffixes else ""


def _open(path: Path) -> IO[str]:
    opener: Any = open
    match path.suffix.lower():
        case ".xz":
            from lzma import open as opener
        case ".gz":
            from gzip import open as opener
        case ".bz2":
            from bz2 import open as opener
        case ".zip":
            opener = _open_zipped
    with opener(path, "rb") as file:
        start = file.read(8)
    if start.startswith(_WORKBOOK):
        raise InputError(f"{path}: is a workbook or an archive, and no text; save the table as CSV (UTF-8)")
    encoding = "utf-16" if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    # Escaped, what is not UTF-8 is found in the line where it is; else the decoder would tell its place in a block.
    errors = "surrogateescape" if encoding == "utf-8-sig" else "strict"
    return io.TextIOWrapper(opener(path, "rb"), encoding=encoding, errors=errors, newline="")


def _open_zipped(path: Path, _mode: str) -> IO[bytes]:
    """The one file of an archive; what a system adds for itself does not count."""
    with zipfile.ZipFile(path) as archive:
        names = [
            name
            for name in archive.namelist()
            if not name.endswith("/") and not name.startswith("__MACOSX/") and not Path(name).name.startswith(".")
        ]
        if len(names) != 1:
            held = ", ".join(names[:4]) or "none"
            raise InputError(
                f"{path}: holds {len(names)} files ({held}), and one is read: unpack it, and name the file"
            )
        return archive.open(names[0])


def _is_unicode(line: str) -> bool:
    try:
        line.encode()
    except UnicodeEncodeError:
        return False
    return True
