from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from ostinato.service.artifact.framing import Framing
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.tensors import Input, State
from ostinato.service.errors import RecordUnreadable
from ostinato.service.state.arena import Arena
from ostinato.service.state.base import Commit, Snapshot
from ostinato.service.state.records import Layout, is_sound, read_head, tombstone
from ostinato.service.state.schemas import SCHEMA, SCHEMAS, Schema, head_of, is_over
from tests.service.puppet import MANIFEST

STATES = (
    State(name="h", input="h", output="h_next", shape=("B", 3), dtype="float32"),
    State(name="count", input="count", output="count_next", shape=("B",), dtype="int64"),
)
MANIFEST_OF_TWO = MANIFEST.model_copy(update={"states": STATES})


class Rows(NamedTuple):
    """Two sessions' records, as a commit makes them: of one step, and of three."""

    layout: Layout
    records: list[bytes]


def committed(schema: Schema = SCHEMAS[SCHEMA]) -> Rows:
    arena = Arena(MANIFEST_OF_TWO, 4)
    layout = Layout(arena, schema)
    for slot, session_id in enumerate(("a", "b")):
        assert arena.allocate(session_id) == slot
        layout.keep_id(slot, session_id)
    arena.opened_at[:2], arena.ttl_seconds[:2] = 5.0, (7.0, np.inf)
    commit = Commit(
        arena=arena,
        slots=np.array([0, 1]),
        states=[np.array([[1, 2, 3], [4, 5, 6]], np.float32), np.array([10, 20])],
        steps_before=np.array([8, 9]),
        steps_after=np.array([9, 12]),
        digests=np.array([70, 71]),
        outputs=np.array([[0.5], [0.25]], np.float32),
        long_answers={1: np.array([[1.5], [2.5], [0.25]], np.float32)},
    )
    return Rows(layout, layout.records(commit, layout.fill_rows(commit, np.array([100, 101]), 1000.0)))


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=lambda schema: f"schema {schema.number}")
def test_a_record_gives_back_what_was_committed(schema: Schema) -> None:
    layout, records = committed(schema)
    for session_id, record, stamp, expected in (
        ("a", records[0], 100, ([1, 2, 3], 10, [[0.5]], 9, 8, 70)),
        ("b", records[1], 101, ([4, 5, 6], 20, [[1.5], [2.5], [0.25]], 12, 9, 71)),
    ):
        head = read_head(session_id, record)
        assert (head.stamp, head.model, head.version, head.opened_at) == (stamp, "sum", "1", 5.0)
        assert head.expires_at == (1007.0 if session_id == "a" else np.inf)
        read = layout.read(session_id, head, record)
        states = [state.tolist() for state in read.states]
        assert (*states, read.answer.tolist(), read.steps, read.last_seq, read.digest) == expected


def test_this_release_reads_what_the_one_before_wrote() -> None:
    """And one that writes the former schema reads what this one writes: replicas of both, during a roll-out."""
    for writes, reads in ((1, 2), (2, 1)):
        record = committed(SCHEMAS[writes]).records[1]
        layout = Layout(Arena(MANIFEST_OF_TWO, 4), SCHEMAS[reads])
        read = layout.read("b", read_head("b", record), record)
        assert [state.tolist() for state in read.states] == [[4, 5, 6], 20]
        assert read.answer.tolist() == [[1.5], [2.5], [0.25]]


def test_no_flipped_bit_is_read() -> None:
    layout, records = committed()
    for session_id, record in zip(("a", "b"), records, strict=True):
        assert is_sound(session_id, record)
        for bit in range(8 * len(record)):
            flipped = bytearray(record)
            flipped[bit // 8] ^= 1 << bit % 8
            with pytest.raises(RecordUnreadable, match=f"session '{session_id}'"):
                layout.read(session_id, read_head(session_id, bytes(flipped)), bytes(flipped))
            assert not is_sound(session_id, bytes(flipped))


def test_a_damaged_head_is_known_without_the_rest() -> None:
    """As a listing reads it; damage behind the head is none of its."""
    record = committed().records[1]
    head = head_of(record)
    assert len(head) < len(record) - 20
    for bit in range(8 * len(record)):
        flipped = bytearray(record)
        flipped[bit // 8] ^= 1 << bit % 8
        if bit // 8 < len(head):
            with pytest.raises(RecordUnreadable):
                read_head("b", head_of(bytes(flipped)))
        else:
            assert read_head("b", head_of(bytes(flipped))).steps == 12


@pytest.mark.parametrize("num_bytes", [0, 1, 8, 9, 69, 70, 97])
def test_a_record_cut_short_is_damaged_and_none_of_another_session_is_read(num_bytes: int) -> None:
    record = committed().records[0]
    with pytest.raises(RecordUnreadable, match="session 'a': its record is damaged"):
        read_head("a", record[:num_bytes])
    assert not is_over(record[:num_bytes], 1e12)
    with pytest.raises(RecordUnreadable, match="it is another session's"):
        read_head("b", record)


def test_a_record_of_the_schema_behind_is_refused_with_both_numbers() -> None:
    record = bytearray(committed().records[0])
    record[8] = SCHEMA + 1
    with pytest.raises(RecordUnreadable, match=f"is of schema {SCHEMA + 1}, and this release reads 1 and 2"):
        read_head("a", bytes(record))
    assert is_over(bytes(record), 1007.0)  # its time stands where it stands in every schema
    assert not is_over(bytes(record), 1006.9)


def test_a_tombstone_is_a_record_of_its_own() -> None:
    _, records = committed()
    closed = tombstone("a", read_head("a", records[0]), 5, 1100.0)
    head = read_head("a", closed)
    assert (head.stamp, head.model, head.steps, head.expires_at) == (5, "sum", 9, 1100.0)
    assert is_sound("a", closed)
    unknown = read_head("a", tombstone("a", None, 6, 1100.0))  # of what could not be read
    assert (unknown.stamp, unknown.model, unknown.expires_at) == (6, "", 1100.0)
    for record in (closed, tombstone("a", None, 6, 1100.0)):
        assert str(read_head("a", record).end("a", 1101.0, 10)) == "session 'a' was closed; open a new one"


def test_a_snapshots_record_is_checked_too() -> None:
    arena = Arena(MANIFEST_OF_TWO, 4)
    layout = Layout(arena)
    answer = np.array([[1.0], [2.0]], np.float32)
    record = layout.record(
        "a", Snapshot.initial(arena)._replace(answer=answer), stamp=1, opened_at=0.0, ttl_seconds=1.0, expires_at=1.0
    )
    assert is_sound("a", record)
    assert layout.read("a", read_head("a", record), record).answer.tolist() == [[1.0], [2.0]]


def about(*names: str, dtype: str = "float32") -> Manifest:
    """The model of two states with contexts of two numbers each."""
    context = [
        Input.model_validate({"name": name, "dtype": dtype, "shape": ("B", 2), "features": ("a", "b")})
        for name in names
    ]
    return MANIFEST_OF_TWO.model_copy(update={"context": tuple(context)})


def test_a_context_is_in_the_record_to_the_bit() -> None:
    arena = Arena(about("who", "where"), 4)
    given = [np.array([-0.0, 1e-45], np.float32), np.array([3.4028235e38, -7], np.float32)]
    snapshot = Snapshot.initial(arena, given)
    layout = Layout(arena)
    record = layout.record("a", snapshot, stamp=1, opened_at=5.0, ttl_seconds=7.0, expires_at=12.0)
    read = layout.read("a", read_head("a", record), record)
    assert [rows.tobytes() for rows in read.states[2:]] == [rows.tobytes() for rows in given]


@pytest.mark.parametrize(
    ("written", "reads"),
    [
        (MANIFEST_OF_TWO, about("who")),
        (about("who"), MANIFEST_OF_TWO),
        (about("who"), about("whom")),
        (about("who"), about("who", "where")),
        (about("who", "where"), about("where", "who")),
        (about("who"), about("who", dtype="int32")),
    ],
    ids=["none before", "none now", "another name", "one more", "another order", "another dtype"],
)
def test_a_record_with_other_contexts_than_the_model_has_is_not_read(written: Manifest, reads: Manifest) -> None:
    arena = Arena(written, 4)
    begun = Snapshot.initial(arena)
    record = Layout(arena).record("a", begun, stamp=1, opened_at=5.0, ttl_seconds=7.0, expires_at=12.0)
    with pytest.raises(RecordUnreadable, match="session 'a': sum/1 has another graph or other states"):
        Layout(Arena(reads, 4)).read("a", read_head("a", record), record)


@pytest.mark.parametrize("reads", ["4:3:full", "4:4"])
def test_a_record_of_another_framing_is_not_read_though_what_is_left_over_has_the_same_shape(reads: str) -> None:
    def framed(text: str) -> Manifest:
        return MANIFEST.model_copy(update={"framing": Framing.parse(text), "feedback": {}})

    arena = Arena(framed("4:1:full"), 4)
    assert arena.row_bytes == Arena(framed(reads), 4).row_bytes
    begun = Snapshot.initial(arena)
    record = Layout(arena).record("a", begun, stamp=1, opened_at=5.0, ttl_seconds=7.0, expires_at=12.0)
    assert Layout(Arena(framed("4:1:full"), 4)).read("a", read_head("a", record), record).steps == 0
    with pytest.raises(RecordUnreadable, match="session 'a': sum/1 has another graph or other states"):
        Layout(Arena(framed(reads), 4)).read("a", read_head("a", record), record)
