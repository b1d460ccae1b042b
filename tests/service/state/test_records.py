from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from ostinato.service.artifact.framing import Framing
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.tensors import Input, State
from ostinato.service.errors import RecordUnreadable
from ostinato.service.state.arena import Arena
from ostinato.service.state.base import Address, Snapshot
from ostinato.service.state.commit import Commit
from ostinato.service.state.reaches import NO_OFFSET, NOWHERE, Reach, Reaches
from ostinato.service.state.records import Layout, is_sound, read_head, tombstone
from ostinato.service.state.schemas import SCHEMA, SCHEMAS, Schema, head_of, is_of_another, is_over, version_of
from tests.service.puppet import MANIFEST

STATES = (
    State(name="h", input="h", output="h_next", shape=("B", 3), dtype="float32"),
    State(name="count", input="count", output="count_next", shape=("B",), dtype="int64"),
)
MANIFEST_OF_TWO = MANIFEST.model_copy(update={"states": STATES})


WRITTEN_BY_0_1_0 = (
    "6400000000000000020103000100b24392b909000000000000000800000000000000460000000000000000000000000014400000000000001c40"
    "0000000000788f40010000001f4e961eb632c6e6ef891f23a0ba56f373756d31c8f0018a726abfa30000803f00000040000040400a0000000000"
    "00000000003f",
    "6500000000000000020103000100b24392b90c00000000000000090000000000000047000000000000000000000000001440000000000000f07f"
    "000000000000f07f030000003f84d8441c0b5a57c33fd78444386f2473756d315e5cdc8c712708a0000080400000a0400000c040140000000000"
    "00000000803e0000c03f000020400000803e",
)
"""What that release made of the commit of ``committed``."""


class Rows(NamedTuple):
    """Two sessions' records, as a commit makes them: of one step, and of three."""

    layout: Layout
    records: list[bytes]


def committed(schema: Schema = SCHEMAS[SCHEMA], reaches: Reaches | None = None) -> Rows:
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
        reaches=reaches,
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
    for writes, reads in ((2, 3), (3, 2)):
        record = committed(SCHEMAS[writes]).records[1]
        layout = Layout(Arena(MANIFEST_OF_TWO, 4), SCHEMAS[reads])
        read = layout.read("b", read_head("b", record), record)
        assert [state.tolist() for state in read.states] == [[4, 5, 6], 20]
        assert read.answer.tolist() == [[1.5], [2.5], [0.25]]


def test_what_the_release_before_left_behind_is_read_and_written_to_the_byte() -> None:
    """Its records come from its own code, so that no change here moves both sides at once."""
    _, records = committed(SCHEMAS[2])
    assert [record.hex() for record in records] == list(WRITTEN_BY_0_1_0)
    for session_id, written in zip(("a", "b"), WRITTEN_BY_0_1_0, strict=True):
        record = bytes.fromhex(written)
        read = Layout(Arena(MANIFEST_OF_TWO, 4)).read(session_id, read_head(session_id, record), record)
        assert read.reach == NOWHERE
        assert read.steps == (9 if session_id == "a" else 12)


SOURCES = ["", "s", "é" * 32, "é" * 33, "w" * 255, "字" * 255]


@pytest.mark.parametrize("source", SOURCES, ids=len)
def test_how_far_a_session_has_come_is_in_its_record_and_in_the_head_of_it(source: str) -> None:
    """Beside one that never said, of whatever length the names of both are."""
    reaches = Reaches(np.array([source, None], object), np.array([2**63 - 1, NO_OFFSET]), np.array([9, 0]))
    layout, records = committed(reaches=reaches)
    expected = {"a": Reach(source, 2**63 - 1, 9), "b": NOWHERE}
    for session_id, record in zip(("a", "b"), records, strict=True):
        assert read_head(session_id, head_of(record)).facts(session_id).reach == expected[session_id]
        assert layout.read(session_id, read_head(session_id, record), record).reach == expected[session_id]
        assert is_sound(session_id, record)
        assert version_of(record) == b"sum\n1"
        assert not is_of_another(session_id.encode(), record)
        assert is_of_another(b"c", record)
        assert is_over(record, 1007.0) is (session_id == "a")
    # The same record comes of a snapshot, as of a commit.
    read = layout.read("a", read_head("a", records[0]), records[0])
    again = layout.record("a", read, stamp=100, opened_at=5.0, ttl_seconds=7.0, expires_at=1007.0)
    both = Reaches(reaches.sources[[0, 0]], reaches.offsets[[0, 0]], reaches.steps[[0, 0]])
    alone = committed(reaches=both).records[0]
    assert again == alone
    # What is forgotten with the state is forgotten by the tombstone, too.
    assert read_head("a", tombstone("a", read_head("a", records[0]), 5, 1100.0)).reach == NOWHERE


def test_records_of_batches_with_and_without_offsets_come_from_one_layout() -> None:
    """What a batch has written into the rows that are kept must not stand in the next."""
    arena = Arena(MANIFEST_OF_TWO, 4)
    layout = Layout(arena)
    alone: dict[Reach, bytes] = {}
    for reach in (NOWHERE, Reach("s", 5, 1), Reach("", 6, 1), NOWHERE, Reach("t" * 90, 7, 1), Reach("", 8, 2), NOWHERE):
        slot = arena.allocate("a")
        snapshot = Snapshot.initial(arena)._replace(reach=reach)
        snapshot.put(Address(arena, slot))
        layout.keep_id(slot, "a")
        states = [rows[slot : slot + 1] for rows in arena.states]
        zeros = np.zeros(1, np.int64)
        commit = Commit(
            arena, np.array([slot]), states, zeros, zeros, zeros, arena.last_output[slot : slot + 1].copy(), {}
        )
        (record,) = layout.records(commit, layout.fill_rows(commit, 1, 0.0))
        assert read_head("a", record).reach == reach
        assert alone.setdefault(reach, record) == record
        arena.release(slot)


@pytest.mark.parametrize("reach", [None, Reaches(np.array(["s", "t"], object), np.array([5, 6]), np.array([9, 12]))])
def test_no_flipped_bit_is_read(reach: Reaches | None) -> None:
    layout, records = committed(reaches=reach)
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
    with pytest.raises(RecordUnreadable, match=f"is of schema {SCHEMA + 1}, and this release reads 2 and 3"):
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
