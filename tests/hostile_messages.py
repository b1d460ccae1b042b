"""Hostile messages: bodies that cost their sender little and a careless reader much. A seed settles each."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pyarrow as pa
from pyarrow import ipc

NUM_UNBACKED_ROWS = 50_000_000
"""Rows of a message of a few hundred bytes."""


def arrow_stream(*batches: pa.RecordBatch) -> bytes:
    """Record batches of one schema as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    options = ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    with ipc.new_stream(sink, batches[0].schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return bytes(sink.getvalue())


def unbacked_columns(num_rows: int = NUM_UNBACKED_ROWS) -> dict[str, pa.Array]:
    """Columns of any number of rows for which no byte is needed, by what they are called."""
    empty = pa.array([], pa.float32())
    no_lists = pa.Array.from_buffers(pa.list_(pa.float32(), 0), num_rows, [None], children=[empty])
    no_steps = pa.Array.from_buffers(
        pa.list_(pa.list_(pa.float32(), 1), 0), num_rows, [None], children=[pa.array([], pa.list_(pa.float32(), 1))]
    )
    ends = pa.array([num_rows], pa.int32())
    return {
        "lists of length 0": no_lists,
        "sequences of length 0": no_steps,
        "nulls": pa.nulls(num_rows),
        "structs of nothing": pa.Array.from_buffers(pa.struct([]), num_rows, [None]),
        "run ends of text": pa.RunEndEncodedArray.from_arrays(ends, pa.array(["a"])),
        "run ends of numbers": pa.RunEndEncodedArray.from_arrays(ends, pa.array([1.0])),
    }


def unfit_columns() -> dict[str, pa.Array]:
    """Columns of three rows, of types that are no inputs, by what they are called."""
    steps = pa.array([[1.0], [2.0], [3.0]], pa.list_(pa.float32()))
    words = pa.DictionaryArray.from_arrays(pa.array([0, 0, 0], pa.int8()), steps.slice(0, 1))
    numbers = pa.DictionaryArray.from_arrays(pa.array([0, 0, 0], pa.int8()), pa.array([1.0], pa.float32()))
    return {
        "lists in a dictionary": words,
        "dictionaries in lists": pa.ListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), numbers),
        "views of lists": pa.ListViewArray.from_arrays([0, 0, 0], [1, 1, 1], pa.array([1.0], pa.float32())),
        "unions": pa.UnionArray.from_sparse(pa.array([0, 0, 0], pa.int8()), [steps]),
        "maps": pa.array([[("a", 1.0)]] * 3, pa.map_(pa.utf8(), pa.float32())),
        "decimals": pa.array([[1]] * 3, pa.list_(pa.decimal128(5))),
    }


def mutations(message: bytes, count: int, seed: int) -> Iterator[bytes]:
    """``message`` with some of its bytes changed, cut off or repeated."""
    draw = random.Random(seed)
    for _ in range(count):
        made = bytearray(message)
        for _ in range(draw.choice([1, 1, 2, 8])):
            place = draw.randrange(len(made))
            match draw.randrange(5):
                case 0:
                    made[place] = draw.randrange(256)
                case 1:
                    made[place] ^= 1 << draw.randrange(8)
                case 2:
                    made[place : place + 4] = draw.choice([b"\xff\xff\xff\xff", b"\0\0\0\x80", b"\xff\xff\xff\x7f"])
                case 3:
                    del made[place : place + draw.randrange(1, 64)]
                case _:
                    made[place:place] = made[place : place + draw.randrange(1, 64)]
            made = made or bytearray(b"\0")
        yield bytes(made)


def json_values(num_bytes: int) -> dict[str, bytes]:
    """Values of about so many bytes, of every odd shape, by what they are called."""
    return {
        "rows": b"[" + b",".join([b"[1]"] * (num_bytes // 4)) + b"]",
        "one row": b"[[" + b",".join([b"1"] * (num_bytes // 2)) + b"]]",
        "letters": b"[" + b",".join([b'"a"'] * (num_bytes // 4)) + b"]",
        "sequences": b"[" + b",".join([b"[[1]]"] * (num_bytes // 6)) + b"]",
        "empty lists": b"[" + b",".join([b"[]"] * (num_bytes // 3)) + b"]",
        "objects": b"[" + b",".join([b"{}"] * (num_bytes // 3)) + b"]",
        "brackets": b"[" * (num_bytes // 2) + b"]" * (num_bytes // 2),
        "a long text": b'["' + b"a" * num_bytes + b'"]',
        "escapes": b'["' + b"\\u0041" * (num_bytes // 6) + b'"]',
        "backslashes": b'["' + b"\\\\" * (num_bytes // 2) + b'"]',
        "a long fraction": b"[[0." + b"1" * num_bytes + b"]]",
        "a long number": b"[[" + b"1" * num_bytes + b"]]",
        "long numbers": b"[[" + b",".join([b"1" * 1000] * (num_bytes // 1001)) + b"]]",
        "exponents": b"[[" + b",".join([b"1e-999999"] * (num_bytes // 10)) + b"]]",
        "blanks": b"[" + b" " * num_bytes + b"]",
        "keys": b"{" + b",".join(b'"%d":1' % key for key in range(num_bytes // 11)) + b"}",
        "a key": b'{"' + b"a" * num_bytes + b'":1}',
        "no end": b"[" + b"[1]," * (num_bytes // 4),
        "too many ends": b"[" + b"[1]]," * (num_bytes // 5) + b"]",
        "no text": b"[" + b"\xff," * (num_bytes // 2) + b"1]",
    }
