"""Text files, plain or compressed, line by line; a fault names the file, and the line where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from ostinato.errors import InputError


def read_lines(path: Path) -> Iterator[str]:
    r"""The lines of a UTF-8 file, each with its end: ``\n``, ``\r\n`` or ``\r``. A byte order mark is left out.

    A file whose name ends in ``.xz``, ``.gz`` or ``.bz2`` is decompressed while it is read.

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


def _open(path: Path) -> IO[str]:
    opener: Any = open
    match path.suffix.lower():
        case ".xz":
            from lzma import open as opener
        case ".gz":
            from gzip import open as opener
        case ".bz2":
            from bz2 import open as opener
    # Escaped, what is not UTF-8 is found in the line where it is; else the decoder would tell its place in a block.
    return cast("IO[str]", opener(path, "rt", encoding="utf-8-sig", errors="surrogateescape", newline=""))


def _is_unicode(line: str) -> bool:
    try:
        line.encode()
    except UnicodeEncodeError:
        return False
    return True
