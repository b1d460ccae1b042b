"""The bytes of an Arrow IPC stream to columns that can be trusted, and back.

The bytes come from outside, and what they declare may be far more than they hold: lists of length 0, columns of nulls
and run ends need no byte for any number of rows, and few compressed bytes unpack into any number. So the schema says
first which types there may be, all of which need bytes for each row, and the headers of the batches how many rows: both
are looked at before Arrow makes an array. Arrow then checks every offset, index and text against the buffers it points
into.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from contextlib import suppress

import numpy.ma  # noqa: F401  # pyarrow's arrays look for it: not when all descriptors are in use
import pyarrow as pa
from pyarrow import ipc

from ostinato.service.errors import InvalidInput

# Of its first array pyarrow asks for pandas, and imports it where it is there: not while messages are served.
pa.array([0])

MAX_MESSAGES = 1024
"""A stream has at most so many, its schema among them: each costs some time, however little it holds."""

MAX_MESSAGES_WITH_DICTIONARY = 16
"""Each of these may bring the whole dictionary with it again, to be checked again."""

MAX_COLUMNS = 64
MAX_SCHEMA_BYTES = 1024 * 1024
"""With the schema's metadata, in which pandas and others leave notes of some kilobytes."""

CheckType = Callable[[pa.DataType], None]
"""Raises ``InvalidInput`` where a column may not be of a type."""


def without_limit(*_: object) -> None:
    """What takes any number."""


def read_columns(
    body: bytes | memoryview,
    required: Mapping[str, CheckType],
    optional: Mapping[str, CheckType],
    check_rows: Callable[[int], None],
) -> dict[str, list[pa.Array]]:
    """``read_stream`` without what the schema notes."""
    return read_stream(body, required, optional, check_rows)[0]


def read_stream(
    body: bytes | memoryview,
    required: Mapping[str, CheckType],
    optional: Mapping[str, CheckType],
    check_rows: Callable[[int], None],
) -> tuple[dict[str, list[pa.Array]], Mapping[bytes, bytes]]:
    """Column name -> its arrays, one a batch, checked in full; and the metadata of the schema.

    Args:
        required, optional: column name -> what its type must be.
        check_rows: raises where so many rows are too many.

    Raises:
        InvalidInput: it is not one whole stream, is compressed, has no batch, or has not these columns and no others.
        Whatever ``check_rows`` does.
    """
    try:
        buffer = pa.py_buffer(body)
        messages = _read_messages(buffer)
        schema = ipc.read_schema(messages[0])
        names = schema.names
        _check_names(names, required, optional)
        for field in schema:
            (required.get(field.name) or optional[field.name])(field.type)
        check_rows(sum(_num_rows(message) for message in messages[1:] if message.type == "record batch"))
        if any(message.type == "dictionary" for message in messages):
            if len(messages) > MAX_MESSAGES_WITH_DICTIONARY:
                raise InvalidInput(f"dictionaries in more than {MAX_MESSAGES_WITH_DICTIONARY} messages; send one batch")
            batches = list(ipc.open_stream(buffer))
        else:  # in a third of the time
            batches = [ipc.read_record_batch(message, schema) for message in messages[1:]]
        for batch in batches:
            batch.validate(full=True)
        columns = {name: [batch.column(index) for batch in batches] for index, name in enumerate(names)}
    except (pa.ArrowException, ValueError, KeyError, OSError, OverflowError, TypeError, struct.error) as error:
        reason = str(error).partition("\n")[0]
        raise InvalidInput(f"the body is not an Arrow IPC stream: {reason}") from error
    if not batches:
        raise InvalidInput("the Arrow stream has no record batch")
    return columns, schema.metadata or {}


def _read_messages(buffer: pa.Buffer) -> list[pa.Message]:
    """The stream's messages: a schema, then record batches and dictionaries, none of them compressed."""
    source = pa.BufferReader(buffer)
    messages: list[pa.Message] = []
    with suppress(EOFError):  # the stream's end is written, or the bytes' end stands for it
        while len(messages) <= MAX_MESSAGES:
            messages.append(ipc.read_message(source))
    if len(messages) > MAX_MESSAGES:
        raise InvalidInput(f"more than {MAX_MESSAGES} messages in the Arrow stream; send fewer, larger batches")
    if source.tell() != buffer.size:
        raise InvalidInput("bytes follow the end of the Arrow stream; send one stream")
    if not messages:
        raise InvalidInput("the Arrow stream is empty")
    for index, message in enumerate(messages):
        _check_message(message, is_first=index == 0)
    return messages


def _check_names(names: list[str], required: Mapping[str, CheckType], optional: Mapping[str, CheckType]) -> None:
    for name in required:
        if name not in names:
            raise InvalidInput(f"there is no column {name!r}", field=name)
    for name in names:
        if name not in required and name not in optional:
            raise InvalidInput(f"there may be no column {name!r}", field=name)
        if names.count(name) > 1:
            raise InvalidInput(f"two columns are called {name!r}", field=name)


def _check_message(message: pa.Message, is_first: bool) -> None:
    """Refuse compressed messages, and those that would crash Arrow, which does not ask whether a header is there.

    Source: Arrow's Message.fbs. Arrow has verified the flatbuffer's offsets when it read the message.
    """
    kind = message.type
    metadata = memoryview(message.metadata)
    header = _table(metadata, struct.unpack_from("<I", metadata)[0], 2)  # Message.header
    if not header or (kind != "schema" if is_first else kind not in ("record batch", "dictionary")):
        raise InvalidInput("an Arrow stream is a schema, then record batches and dictionaries")
    if is_first:
        columns = _table(metadata, header, 1)  # Schema.fields
        num_columns = struct.unpack_from("<I", metadata, columns)[0] if columns else 0
        if num_columns > MAX_COLUMNS or len(metadata) > MAX_SCHEMA_BYTES:
            raise InvalidInput(f"a schema of {num_columns} columns and {len(metadata)} bytes")
        return
    is_dictionary = kind == "dictionary"
    # DictionaryBatch.isDelta: Arrow would put it behind the last one before either is checked.
    if is_dictionary and (place := _field(metadata, header, 2)) and metadata[place]:
        raise InvalidInput("parts of dictionaries (deltas) are not read; send whole ones")
    batch = _table(metadata, header, 1) if is_dictionary else header  # DictionaryBatch.data
    # Before format V5 (2020) they said it elsewhere.
    if not batch or _field(metadata, batch, 3) or message.metadata_version < ipc.MetadataVersion.V5:
        raise InvalidInput("compressed Arrow is not read; write the stream without compression")


def _num_rows(message: pa.Message) -> int:
    """How many rows a record batch declares, of which Arrow has seen nothing yet."""
    metadata = memoryview(message.metadata)
    place = _field(metadata, _table(metadata, struct.unpack_from("<I", metadata)[0], 2), 0)  # RecordBatch.length
    return max(0, int(struct.unpack_from("<q", metadata, place)[0])) if place else 0


def _table(metadata: memoryview, table: int, number: int) -> int:
    """Where the table is that a flatbuffer's table has as a field; 0 = it has none."""
    place = _field(metadata, table, number)
    return place + int(struct.unpack_from("<I", metadata, place)[0]) if place else 0


def _field(metadata: memoryview, table: int, number: int) -> int:
    """Where a flatbuffer's table has a field; 0 = it has not."""
    vtable = table - struct.unpack_from("<i", metadata, table)[0]
    (num_bytes,) = struct.unpack_from("<H", metadata, vtable)
    entry = 4 + 2 * number
    offset = struct.unpack_from("<H", metadata, vtable + entry)[0] if entry < num_bytes else 0
    return table + offset if offset else 0


def write_columns(columns: dict[str, pa.Array]) -> bytes:
    """Columns of one length as a stream of one batch."""
    batch = pa.record_batch(columns)
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())
