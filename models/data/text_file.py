"""A text file, plain or compressed."""

from __future__ import annotations

import lzma
from pathlib import Path

from ostinato.models.errors import DataError


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, with a mark at its beginning or without; one that ends in ``.xz`` is decompressed.

    Raises:
        DataError: the file cannot be read, or is not what its name says.
    """
    try:
        content = path.read_bytes()
        return (lzma.decompress(content) if path.suffix == ".xz" else content).decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except lzma.LZMAError as error:
        raise DataError(f"{path}: is not an xz file: {error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text: {error}") from error
