"""Parquet files as rows of cells, written as a text file would have them: the reader sees one kind of table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from ostinato.errors import InputError

SUFFIXES = (".parquet", ".pq", ".parq")
_MAGIC = b"PAR1"
_ROWS = 4096


def is_parquet(path: Path) -> bool:
    """Whether a file is one, by its name or its first bytes."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def parquet_records(path: Path) -> Iterator[list[str]]:
    """The names of the columns, and behind them each row's cells. A missing value is an empty cell.

    Raises:
        InputError: the file cannot be read, or holds no columns of single values.
        ModuleNotFoundError: the library that reads it is not installed.
    """
    import pyarrow as arrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            # What a column holds of several values is columns of their own, as ``translation.en``.
            schema = arrow.Table.from_batches([], file.schema_arrow).flatten().schema
            for field in schema:
                if arrow.types.is_nested(field.type):
                    raise InputError(f"{path}: column {field.name!r} holds {field.type}, and no single values")
            yield list(schema.names)
            for batch in file.iter_batches(_ROWS):
                flat = arrow.Table.from_batches([batch]).flatten().combine_chunks()
                columns = [_texts(column.chunk(0), arrow) for column in flat.columns if column.num_chunks]
                yield from (list(cells) for cells in zip(*columns, strict=True))
    except (arrow.ArrowException, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise InputError(f"{path}: cannot be read: {reason}") from error


def _texts(column: Any, arrow: Any) -> list[str]:
    kind = column.type
    if arrow.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if arrow.types.is_timestamp(kind) and kind.unit == "ns":
        # Finer than any reader's clock.
        column = column.cast(arrow.timestamp("us", kind.tz), safe=False)
    # As the nearest numbers of as few digits as it takes to tell them apart in their own width.
    if arrow.types.is_float32(kind):
        return ["" if value is None else _number(value) for value in column.to_numpy(zero_copy_only=False)]
    write: Callable[[Any], str] = _text
    return ["" if value is None else write(value) for value in column.to_pylist()]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    return str(value).strip()


def _number(value: Any) -> str:
    text = str(value)
    return "" if text == "nan" else text
