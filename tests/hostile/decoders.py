"""The decoders of the service: what is well formed, how it is read, and what must hold of what was accepted."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import numpy as np
import pyarrow as pa
from pyarrow import ipc

from ostinato.export.errors import ExportError
from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Input, State
from ostinato.service.artifact.wire import BrokenWire
from ostinato.service.edge.arrow.answers import write_rows, write_sequences
from ostinato.service.edge.arrow.columns import (
    begin_tensor_rows,
    read_any_sequences,
    read_rows,
    read_sequences,
)
from ostinato.service.edge.arrow.templates import Templates
from ostinato.service.edge.v1.codec import decode_json, decode_query
from ostinato.service.edge.v1.schemas import Body
from ostinato.service.edge.websocket.frames import read_address, read_frame
from ostinato.service.errors import OstinatoError
from ostinato.service.inputs.rows import to_context, to_rows
from ostinato.service.inputs.sequences import step_packer, to_sequence, to_states, to_steps
from ostinato.service.sessions.blocks import NO_SEQ
from ostinato.service.sessions.session_file import MAX_STEPS, read_session, write_session
from ostinato.service.state.arena import Arena
from ostinato.service.state.base import Snapshot
from ostinato.service.state.cursor import read_cursor, write_cursor
from ostinato.service.state.lmdb.entries import SIZE_BITS, SIZE_MASK
from ostinato.service.state.lmdb.salvage import salvage
from ostinato.service.state.lmdb.segment import Segment
from ostinato.service.state.records import Layout, is_sound, read_head
from ostinato.service.state.redis.scan import Position
from ostinato.service.state.schemas import SCHEMAS
from tests.hostile.graph_files import WORDS, graph_files, read_graph_file, walk_graph_file
from tests.hostile.mutation import JSON_WORDS
from tests.hostile.seeds import BODIES, CURSORS, FRAMES, QUERIES
from tests.service.puppet import MANIFEST

FLOATS = Input(name="inputs", dtype="float32", shape=("B", "T", 3), features=("a", "b", "c"))
CODES = Input(name="inputs", dtype="int64", shape=("B", "T", 1), features=("word",), num_codes=7)
TENSORS = RowLayout(
    (
        Input(name="frame", dtype="float32", shape=("B", "T", 2, 2), features=("a", "b", "c", "d")),
        Input(name="code", dtype="int64", shape=("B", "T"), features=("code",), num_codes=7),
        Input(name="word", dtype="int64", shape=("B", "T"), features=("word",), categories={"word": ("dry", "wet")}),
    )
)
STATES = (
    State(name="h", input="h", output="h_next", shape=("B", 3), dtype="float32"),
    State(name="count", input="count", output="count_next", shape=("B",), dtype="int64"),
)
MODEL = MANIFEST.model_copy(update={"states": STATES})

KINDS: dict[str, Any] = {"memory": tuple[int, int], "lmdb": str, "redis": Position}
"""Store -> the type of its cursors' positions."""


@dataclass(frozen=True)
class Decoder:
    """One way in for bytes.

    Attributes:
        seeds: well-formed content, which is read without an error.
        read: raises an ``OstinatoError`` or one of ``refusals`` where content is refused, and ``AssertionError`` where
            it was accepted and something does not hold.
        words: of the format.
    """

    name: str
    seeds: Callable[[], Sequence[bytes]]
    read: Callable[[bytes], object]
    words: Sequence[bytes] = ()
    refusals: tuple[type[BaseException], ...] = ()


def stream(columns: dict[str, pa.Array]) -> bytes:
    """An Arrow IPC stream of one batch."""
    batch = pa.record_batch(columns)
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


@cache
def arrow_rows() -> list[bytes]:
    """Messages of one step for each of some sessions, in the forms that Arrow has for them."""
    numbers = pa.array(np.arange(6, dtype=np.float32))
    fixed = pa.FixedSizeListArray.from_arrays(numbers, 3)
    lists = pa.array([[1.0, 2.0, 3.0], [4.0, None, 6.0]], pa.list_(pa.float64()))
    ids, seqs = pa.array(["a", "b"]), pa.array([0, None], pa.int64())
    return [
        stream({"session_id": ids, "inputs": fixed, "seq": pa.array([3, 4], pa.int64())}),
        stream({"session_id": ids, "inputs": lists, "seq": seqs}),
        stream({"session_id": ids.dictionary_encode(), "inputs": fixed}),
        stream({"session_id": ids.cast(pa.string_view()), "inputs": fixed, "seq": pa.array([1, 2], pa.uint8())}),
        stream({"session_id": ids.cast(pa.large_string()), "inputs": lists.cast(pa.large_list(pa.float32()))}),
        stream({"session_id": ids, "inputs": pa.array([[1, 2, 3], [4, 5, 6]], pa.list_(pa.int16()))}),
        stream({"session_id": ids, "inputs": fixed.cast(pa.list_(pa.float16(), 3)), "seq": pa.nulls(2)}),
    ]


@cache
def arrow_codes() -> list[bytes]:
    """The same for a model whose one feature is a code from 0 to 6."""
    ids = pa.array(["a", "b"])
    kinds = pa.list_(pa.int64(), 1), pa.list_(pa.uint8()), pa.list_(pa.float32(), 1), pa.large_list(pa.int32())
    return [stream({"session_id": ids, "inputs": pa.array([[0], [6]], kind)}) for kind in kinds]


@cache
def arrow_sequences() -> list[bytes]:
    """Whole sequences, in the forms that Arrow has for them."""
    nested = [[[1.0, 2.0, 3.0]], [[4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]]
    kinds = (
        pa.list_(pa.list_(pa.float32(), 3)),
        pa.large_list(pa.large_list(pa.float64())),
        pa.list_(pa.list_(pa.int32())),
    )
    same = pa.array([nested[1], nested[1]], pa.list_(pa.list_(pa.float32(), 3), 2))
    return [*(stream({"inputs": pa.array(nested, kind)}) for kind in kinds), stream({"inputs": same})]


def _read_rows(part: Input, content: bytes) -> None:
    rows = read_rows(content, part)
    num_rows = len(rows.session_ids)
    assert num_rows > 0, "a message without a row was taken"
    assert all(isinstance(name, str) for name in rows.session_ids), "an id that is no text"
    assert rows.inputs.shape == (num_rows, part.num_features), f"inputs of shape {rows.inputs.shape}"
    assert rows.inputs.dtype == np.dtype(part.dtype), f"inputs of {rows.inputs.dtype}"
    sound = [row for row in range(num_rows) if row not in rows.errors]
    assert np.isfinite(rows.inputs[sound]).all(), "a number that is not finite was taken"
    seqs = np.full(num_rows, NO_SEQ) if rows.seqs is None else rows.seqs
    assert seqs.shape == (num_rows,), f"seqs of shape {seqs.shape}"
    assert ((seqs[sound] >= 0) | (seqs[sound] == NO_SEQ)).all(), "a negative seq was taken"
    errors = {row: ("invalid_input", str(error)) for row, error in rows.errors.items()}
    answer = ipc.open_stream(write_rows(rows.id_column, seqs, rows.inputs, errors)).read_all()
    answer.validate(full=True)
    assert answer.num_rows == num_rows, f"{answer.num_rows} answers to {num_rows} rows"
    _compare_with_template(content, part, rows)


def _compare_with_template(content: bytes, part: Input, rows: Any) -> None:
    """What is read by the template of a well-formed message says what is read without one."""
    members = {
        "manifest": SimpleNamespace(name="a", version="1"),
        "given": RowLayout((part,)),
        "made": MODEL.made,
        "pack_step": step_packer(part),
        "series_clock": None,
        "check_rows": lambda *_: None,
        "check_length": lambda *_: None,
    }
    engine = cast(Any, SimpleNamespace(**members))
    templates = Templates()
    for seed in arrow_rows()[:2]:
        if len(seed) == len(content):
            templates.read(seed, engine)
    columns, _ = templates.read(content, engine)
    assert list(columns.roster.session_ids) == rows.session_ids, "the template has other ids"
    assert columns.errors.keys() == rows.errors.keys(), "the template has other errors"
    sound = [row for row in range(len(rows.session_ids)) if row not in rows.errors]
    assert columns.inputs[sound].tobytes() == rows.inputs[sound].tobytes(), "the template has other numbers"


def _read_sequences(content: bytes) -> None:
    sequences = read_sequences(content, FLOATS)
    assert sequences, "a message without a sequence was taken"
    for sequence in sequences:
        assert sequence.ndim == 2, f"a sequence of {sequence.ndim} axes"
        assert sequence.shape[1] == FLOATS.num_features, f"a sequence of shape {sequence.shape}"
        assert len(sequence), "an empty sequence was taken"
        assert np.isfinite(sequence).all(), "a number that is not finite was taken"
    ipc.open_stream(write_sequences(sequences)).read_all().validate(full=True)


@cache
def arrow_tensors() -> list[bytes]:
    """Steps of three inputs by name: nested, a code, and a word."""
    ids = pa.array(["a", "b"])
    frames = pa.array([[[1, 2], [3, 4]]] * 2, pa.list_(pa.list_(pa.float32(), 2), 2))
    loose = frames.cast(pa.list_(pa.list_(pa.float32())))
    codes, words = pa.array([0, 6]), pa.array(["wet", "dry"])
    by_feature = pa.StructArray.from_arrays([codes.cast(pa.int8())], ["code"])
    forms = [(frames, codes, words), (loose, codes, words.dictionary_encode()), (frames, by_feature, words)]
    return [
        stream({"session_id": ids, "inputs": pa.StructArray.from_arrays(form, [part.name for part in TENSORS.parts])})
        for form in forms
    ]


@cache
def arrow_tensor_sequences() -> list[bytes]:
    """Whole sequences of three inputs by name, with a context each."""
    steps = [
        pa.array([[[[1, 2], [3, 4]]] * 2, [[[5, 6], [7, 8]]]], pa.list_(pa.list_(pa.list_(pa.float32(), 2)))),
        pa.array([[0, 6], [1]]),
        pa.array([["wet", "dry"], ["dry"]]),
    ]
    inputs = pa.StructArray.from_arrays(steps, [part.name for part in TENSORS.parts])
    context = pa.StructArray.from_arrays([pa.array([[1, 2, 3]] * 2, pa.list_(pa.float32(), 3))], ["inputs"])
    return [stream({"inputs": inputs, "context": context})]


def _read_tensors(content: bytes) -> None:
    rows, judging = begin_tensor_rows(content, TENSORS)
    for _ in judging or ():
        pass
    num_rows = len(rows.session_ids)
    assert rows.inputs.shape == (num_rows, TENSORS.width), f"inputs of shape {rows.inputs.shape}"
    sound = [row for row in range(num_rows) if row not in rows.errors]
    _check_tensors(rows.inputs[sound])


def _read_tensor_sequences(content: bytes) -> None:
    sequences, contexts = read_any_sequences(content, TENSORS, (FLOATS,))
    assert len(sequences) == len(contexts) > 0, "sequences without a context each"
    for sequence, (context,) in zip(sequences, contexts, strict=True):
        assert len(sequence), "an empty sequence was taken"
        assert np.isfinite(context).all(), "a context that is not finite was taken"
        _check_tensors(sequence)


def _check_tensors(rows: Any) -> None:
    frame, code, word = TENSORS.unpack(rows)
    assert np.isfinite(frame).all(), "a number that is not finite was taken"
    assert ((code >= 0) & (code < 7)).all(), "a code that there is not was taken"
    assert np.isin(word, [0, 1]).all(), "a word that there is not was taken"


@cache
def session_files() -> list[bytes]:
    """Files of a session that has gone three steps, and of one that is new."""
    states = [np.array([1, 2, 3], np.float32), np.array(9)]
    gone = Snapshot(states, 3, np.array([[0.5]], np.float32))
    return [
        write_session("a", MODEL, gone, 60.0),
        write_session("b", MODEL, Snapshot(states, 0, np.array([[np.nan]], np.float32))),
    ]


def _read_session(content: bytes) -> None:
    read = read_session(content, MODEL)
    for state, rows in zip(STATES, read.states, strict=True):
        assert rows.shape == tuple(state.row_shape), f"a state of shape {rows.shape}"
        assert rows.dtype == np.dtype(state.dtype), f"a state of {rows.dtype}"
        assert np.isfinite(rows).all(), "a state that is not finite was taken"
    assert read.steps is None or 0 <= read.steps <= MAX_STEPS, f"{read.steps} steps"
    snapshot = read.snapshot(MODEL.made)
    again = read_session(write_session("a", MODEL, snapshot), MODEL).snapshot(MODEL.made)
    for before, after in zip(snapshot.states, again.states, strict=True):
        assert before.tobytes() == after.tobytes(), "the file that is written of it has other states"
    assert again.steps == snapshot.steps, "the file that is written of it has other steps"


def _read_body(kind: type[Body], content: bytes) -> None:
    body = decode_json(content, msgspec.json.Decoder(kind), "the body")
    written = msgspec.json.encode(body)
    assert msgspec.json.encode(msgspec.json.decode(written, type=kind)) == written, "it is not what is read of it"
    # Nested ones are read by the layout of a model's rows.
    if not kind.__name__.startswith("Nested"):
        _read_numbers(body)


def _read_query(kind: type[Body], content: bytes) -> None:
    query = decode_query(content, kind)
    assert msgspec.convert(msgspec.to_builtins(query), kind) == query, "it is not what is read of it"


def _read_numbers(body: Any) -> None:
    """What a handler makes of a body that was read."""
    if type(body).__name__.startswith("Nested"):
        _read_nested(body)
        return
    for part in (FLOATS, CODES):
        if hasattr(body, "seq") and isinstance(body.inputs, list):
            steps = _or_refusal(partial(to_steps, body.inputs, part, step_packer(part), "inputs"))
            if steps is not None:
                numbers = np.frombuffer(steps, part.dtype)
                assert np.isfinite(numbers).all(), "a number that is not finite was taken"
        for rows in getattr(body, "sequences", ()):
            sequence = _or_refusal(partial(to_sequence, rows, part, "sequences"))
            assert sequence is None or np.isfinite(sequence).all(), "a number that is not finite was taken"
    given = getattr(body, "initial_state", None)
    for state in given if isinstance(given, list) else [given]:
        if state is not None:
            rows = _or_refusal(partial(to_states, state, MODEL, "initial_state"))
            assert rows is None or all(np.isfinite(each).all() for each in rows), "a state that is not finite was taken"


def _read_nested(body: Any) -> None:
    for layout in (TENSORS, RowLayout((FLOATS,))):
        for given in getattr(body, "sequences", [getattr(body, "inputs", None)]):
            rows = _or_refusal(partial(to_rows, given, layout, "inputs"))
            if rows is not None and layout is TENSORS:
                _check_tensors(rows)
    given = getattr(body, "context", None)
    for context in given if isinstance(given, list) else [given]:
        for array in _or_refusal(partial(to_context, context, TENSORS.parts, "context")) or ():
            assert np.isfinite(array).all(), "a context that is not finite was taken"


def _or_refusal(read: Callable[[], Any]) -> Any:
    """What is read; None where it is refused."""
    try:
        return read()
    except OstinatoError:
        return None


def _read_frame(content: bytes) -> None:
    session_id, frame_id = read_address(content)
    assert session_id is None or isinstance(session_id, str), "an address that is no id"
    frame = read_frame(content, MODEL.given)
    assert (frame.session_id, frame.id) == (session_id, frame_id), "the address is not the frame's"
    _read_numbers(frame)


def _read_cursor(content: bytes) -> None:
    """A cursor as it is, and one that is forged: such content with the right checksum."""
    word = content.decode("latin-1")
    for store, kind in KINDS.items():
        _or_refusal(partial(read_cursor, store, word, kind))
        position = _or_refusal(partial(read_cursor, store, write_cursor(store, msgspec.Raw(content)), kind))
        if position is not None:
            assert read_cursor(store, write_cursor(store, position), kind) == position, "it is not what is read of it"


@cache
def _record_layouts() -> dict[int, Layout]:
    arena = Arena(MODEL, 4)
    return {number: Layout(arena, schema) for number, schema in SCHEMAS.items()}


@cache
def records() -> list[bytes]:
    """Records of session ``a``: of one step and of three, in each schema that is read."""
    states = [np.array([1, 2, 3], np.float32), np.array(9)]
    times: dict[str, Any] = {"stamp": 5, "opened_at": 5.0, "ttl_seconds": 7.0, "expires_at": 1007.0}
    answers = (np.array([[0.5]], np.float32), np.array([[1.5], [2.5], [0.25]], np.float32))
    return [
        layout.record("a", Snapshot(states, 3, answer), **times)
        for _, layout in sorted(_record_layouts().items(), reverse=True)
        for answer in answers
    ]


def _read_record(content: bytes) -> None:
    head = read_head("a", content)
    _record_layouts()[max(SCHEMAS)].read("a", head, content)
    assert content in records(), "a record that nobody wrote was taken"


@cache
def journals() -> list[bytes]:
    """Segment 1 of a journal with three entries: of one record, of two, of one again."""
    with tempfile.TemporaryDirectory(prefix="ostinato-hostile-") as folder:
        path = Path(folder) / "written"
        segment = Segment(path, 1, is_new=True)
        try:
            first, second, *_ = records()
            segment.append(["a"], first, len(first))
            segment.append(["a", "a"], second + first, [len(second), len(first)])
            segment.append(["a"], second, len(second))
        finally:
            segment.close()
        return [path.read_bytes()]


def _read_journal(content: bytes) -> None:
    """Every sound entry, and behind each damaged place what can be saved."""
    with tempfile.TemporaryDirectory(prefix="ostinato-hostile-") as folder:
        path = Path(folder) / "read"
        path.write_bytes(content)
        _read_segment(content, Segment(path, 1))


def _read_segment(content: bytes, segment: Segment) -> None:
    try:
        while True:
            for entry in segment.read_on():
                _check_places(content, entry.session_ids, entry.places)
            saved = None if segment.is_over else salvage(segment)
            if saved is None:
                return
            assert saved.end > segment.end, "what was saved is not behind what was read"
            segment.end = saved.end
            _check_places(
                content, saved.entry.session_ids, [place for place in saved.entry.places if place & SIZE_MASK]
            )
    finally:
        segment.close()


def _check_places(content: bytes, session_ids: Sequence[str], places: Sequence[int]) -> None:
    assert set(session_ids) <= {"a"}, f"records of sessions that there never were: {session_ids}"
    for place in places:
        at, size = place >> SIZE_BITS, place & SIZE_MASK
        record = content[at : at + size]
        assert is_sound("a", record), "a record that is not sound was taken"
        assert record in records(), "a record that nobody wrote was taken"


def frames() -> list[bytes]:
    """Text messages of a stream."""
    return FRAMES


def cursors() -> list[bytes]:
    """What stands in cursors."""
    return CURSORS


DECODERS = (
    Decoder("arrow-rows", arrow_rows, partial(_read_rows, FLOATS)),
    Decoder("arrow-codes", arrow_codes, partial(_read_rows, CODES)),
    Decoder("arrow-sequences", arrow_sequences, _read_sequences),
    Decoder("arrow-tensors", arrow_tensors, _read_tensors),
    Decoder("arrow-tensor-sequences", arrow_tensor_sequences, _read_tensor_sequences),
    Decoder("session-files", session_files, _read_session, JSON_WORDS),
    *(
        Decoder(f"json-{kind.__name__}", partial(BODIES.__getitem__, kind), partial(_read_body, kind), JSON_WORDS)
        for kind in BODIES
    ),
    *(
        Decoder(f"query-{kind.__name__}", partial(QUERIES.__getitem__, kind), partial(_read_query, kind), JSON_WORDS)
        for kind in QUERIES
    ),
    Decoder("frames", frames, _read_frame, JSON_WORDS),
    Decoder("cursors", cursors, _read_cursor, JSON_WORDS),
    Decoder("records", records, _read_record),
    Decoder("journals", journals, _read_journal, refusals=(FileNotFoundError,)),
    Decoder("graph-files", graph_files, read_graph_file, WORDS, refusals=(ExportError,)),
    Decoder("graph-wire", graph_files, walk_graph_file, WORDS, refusals=(BrokenWire,)),
)
