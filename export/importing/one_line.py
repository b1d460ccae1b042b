"""Errors of an import in one line: a graph of a kind that nobody thought of is no reason for a traceback."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from pathlib import Path

from ostinato.export.errors import ExportError, first_line


@contextlib.contextmanager
def one_line(path: Path) -> Iterator[None]:
    """Let what is raised about a file name it, and what nobody expected be an error of one line with its place; the
    error itself is its cause.

    Raises:
        ExportError: something is wrong with the file, or with the import of it.
    """
    try:
        yield
    except ExportError as error:
        raise (error if str(error).startswith(str(path)) else ExportError(f"{path}: {error}")) from error
    except Exception as error:
        if type(error).__module__.startswith("ostinato.") or isinstance(error, (OSError, ImportError)):
            raise
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise ExportError(
            f"{path}: the import does not know what to do with this graph: {type(error).__name__} in {place.name} "
            f"({Path(place.filename).name}, line {place.lineno}): {first_line(error)}"
        ) from error
