from __future__ import annotations

import os
import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ostinato.service.state.lmdb import journal
from ostinato.service.state.lmdb.journal import Journal
from tests.service.state.lmdb.machine import restart_machine


class Process:
    """A journal as one process has it, and what that was told of the others."""

    def __init__(self, folder: Path, first: int | None = None) -> None:
        self.first = first
        self.foreign: list[Sequence[str] | None] = []
        self.journal = Journal(folder, lambda: self.first, self.foreign.append)

    def append(self, **records: bytes) -> None:
        with self.journal.locked():
            self.journal.append(list(records), b"".join(records.values()), list(map(len, records.values())))

    def rotate(self) -> None:
        with self.journal.locked():
            self.journal.rotate()

    def store(self) -> None:
        """Drop the segment that is over, as when all of it is in the database."""
        with self.journal.locked():
            segment = self.journal.segments[0]
            self.first = segment.number + 1
            self.journal.give_up(segment)

    def read(self, *session_ids: str) -> list[bytes | None]:
        self.journal.follow()
        return [self.journal.read(session_id) for session_id in session_ids]


def test_the_newest_record_of_each_session_is_read(tmp_path: Path) -> None:
    one = Process(tmp_path)
    one.append(a=b"1", b=b"22")
    one.append(b=b"333")
    one.append(c=b"", a=b"4444")
    assert one.read("a", "b", "c", "d") == [b"4444", b"333", b"", None]
    assert one.foreign == []


def test_what_one_process_appends_another_reads_and_is_told_of(tmp_path: Path) -> None:
    one, other = Process(tmp_path), Process(tmp_path)
    one.append(a=b"1", b=b"22")
    one.append(b=b"333")
    assert other.read("a", "b", "c") == [b"1", b"333", None]
    assert other.foreign == [["a", "b"], ["b"]]
    other.append(a=b"4444")
    assert one.read("a", "b") == [b"4444", b"333"]
    assert one.foreign == [["a"]]


def test_whoever_appends_has_read_what_others_appended_before(tmp_path: Path) -> None:
    one, other = Process(tmp_path), Process(tmp_path)
    one.append(a=b"1")
    with other.journal.locked():
        assert other.foreign == [["a"]]
        other.journal.append(["a"], b"2", [1])
    assert one.read("a") == [b"2"]


def test_a_new_process_reads_all_segments(tmp_path: Path) -> None:
    one = Process(tmp_path)
    one.append(a=b"1", b=b"1")
    one.rotate()
    one.append(b=b"2")
    assert Process(tmp_path).read("a", "b") == [b"1", b"2"]


def test_a_segment_that_is_stored_is_gone_for_all(tmp_path: Path) -> None:
    one, other = Process(tmp_path), Process(tmp_path)
    one.append(a=b"1")
    one.rotate()
    one.append(b=b"2")
    assert other.read("a", "b") == [b"1", b"2"]
    one.store()
    assert other.read("a", "b") == [None, b"2"]
    # Its file is kept, to be the next segment's.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["journal.00000002", "journal.00000003", "journal.lock"]
    assert Process(tmp_path, first=2).read("a", "b") == [None, b"2"]


def test_a_process_that_slept_through_segments_takes_nothing_for_sure(tmp_path: Path) -> None:
    one, sleeper = Process(tmp_path), Process(tmp_path)
    one.append(a=b"1")
    for turn in range(3):
        one.rotate()
        one.append(b=b"%d" % turn)
        one.store()
    sleeper.first = one.first
    assert sleeper.read("a", "b") == [None, b"2"]
    assert None in sleeper.foreign
    sleeper.append(c=b"3")
    assert one.read("c") == [b"3"]


def test_a_segment_whose_mark_was_lost_is_over_when_another_follows(tmp_path: Path) -> None:
    one = Process(tmp_path)
    one.append(a=b"1")
    end = one.journal.current.end
    one.rotate()
    one.append(b=b"2")
    os.truncate(tmp_path / "journal.00000001", end)
    again = Process(tmp_path)
    assert again.read("a", "b") == [b"1", b"2"]
    again.append(c=b"3")
    assert Process(tmp_path).read("a", "b", "c") == [b"1", b"2", b"3"]


def test_a_segment_that_was_made_and_never_begun_is_begun_later(tmp_path: Path) -> None:
    Process(tmp_path).append(a=b"1")
    (tmp_path / "journal.00000002").touch()  # its process ended before it ended the first
    one = Process(tmp_path)
    one.append(a=b"2")
    one.rotate()
    one.append(a=b"3")
    assert Process(tmp_path).read("a") == [b"3"]


def test_an_entry_cut_short_at_any_byte_is_no_entry_and_the_next_takes_its_place(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    one = Process(tmp_path / "whole")
    one.append(a=b"first")
    sound = one.journal.current.end
    one.append(a=b"second", b=b"second")
    whole = (tmp_path / "whole" / "journal.00000001").read_bytes()
    for length in range(sound, len(whole)):
        folder = tmp_path / str(length)
        folder.mkdir()
        (folder / "journal.00000001").write_bytes(whole[:length])
        other = Process(folder)
        assert other.read("a", "b") == [b"first", None], length
        other.append(b=b"third")
        assert Process(folder).read("a", "b") == [b"first", b"third"], length


def test_an_entry_with_any_wrong_byte_is_known_to_be_damaged(tmp_path: Path) -> None:
    """It was written to its end, so a session of it is not what it was before: these records have no checksums."""
    one = Process(tmp_path)
    one.append(a=b"first", b=b"first")
    sound = one.journal.current.end
    one.append(a=b"second")
    path = tmp_path / "journal.00000001"
    whole = path.read_bytes()
    for place in range(sound, len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        assert Process(tmp_path).read("a", "b") == [b"", b"first"], place


@pytest.mark.parametrize("seed", range(5))
def test_a_power_cut_leaves_what_was_synced_and_a_beginning_of_what_followed(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what was written since the last sync, any blocks may have reached the disk, and any may not."""
    generator = np.random.default_rng(seed)
    one = Process(tmp_path)
    ends: list[int] = []
    for turn in range(60):
        one.append(turn=b"%d" % turn, filler=generator.bytes(int(generator.integers(1, 9000))))
        ends.append(one.journal.current.end)
        if turn == 20:
            one.journal.begin_sync()()
    path = tmp_path / "journal.00000001"
    written = bytearray(path.read_bytes())
    for start in range(ends[20] // 4096 * 4096, len(written), 4096):
        if generator.random() < 0.2:
            block = slice(max(start, ends[20]), start + 4096)
            written[block] = bytes(len(written[block]))
    path.write_bytes(written[: int(generator.integers(ends[20], len(written) + 1))])
    restart_machine(monkeypatch)
    (last,) = Process(tmp_path).read("turn")
    assert last is not None
    assert int(last) >= 20
    survived = path.read_bytes()[: ends[int(last)]]
    assert survived == bytes(written[: ends[int(last)]])


@contextmanager
def files_of_at_most(num_bytes: int) -> Iterator[None]:
    """As on a full disk, a file cannot grow beyond ``num_bytes``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [0, 1, 40, 5000])
def test_an_entry_that_does_not_fit_on_the_disk_is_not_there_at_all(room: int, tmp_path: Path) -> None:
    one = Process(tmp_path)
    one.append(a=b"1")
    end = one.journal.current.end
    with files_of_at_most(end + room), pytest.raises(OSError, match="large"):
        one.append(a=b"2" * 10_000)
    assert one.journal.current.end == end
    assert one.read("a") == Process(tmp_path).read("a") == [b"1"]
    one.append(a=b"3")
    assert Process(tmp_path).read("a") == [b"3"]


@pytest.mark.parametrize("num_first", [1, 30, 9_000])
def test_an_entry_that_the_system_took_in_two_parts_is_whole(
    num_first: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = Process(tmp_path), Process(tmp_path)

    def first_part(file: int, parts: Sequence[Any], offset: int) -> int:
        return os.pwrite(file, b"".join(parts)[:num_first], offset)

    record = bytes(range(256)) * 40
    with monkeypatch.context() as patch:
        patch.setattr("ostinato.service.state.lmdb.segment.os.pwritev", first_part)
        one.append(a=record, b=b"behind")
    assert one.read("a", "b") == other.read("a", "b") == [record, b"behind"]


def test_an_entry_of_which_the_system_twice_took_a_part_is_not_there_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = Process(tmp_path), Process(tmp_path)
    one.append(a=b"1")
    end = one.journal.current.end

    def one_byte(_file: int, _parts: Any, _offset: int) -> int:
        return 1

    with monkeypatch.context() as patch:
        for name in ("pwritev", "pwrite"):
            patch.setattr(f"ostinato.service.state.lmdb.segment.os.{name}", one_byte)
        with pytest.raises(OSError, match="the disk is full"):
            one.append(a=b"2")
    assert one.journal.current.end == end
    assert one.read("a") == other.read("a") == [b"1"]


def test_what_another_process_appended_is_synced_by_whoever_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, reader = Process(tmp_path), Process(tmp_path)
    synced: list[int] = []
    monkeypatch.setattr(
        "ostinato.service.state.lmdb.journal.os.fsync", lambda file: synced.append(os.fstat(file).st_ino)
    )
    reader.journal.begin_sync()()
    reader.journal.begin_sync()()
    # Twice, so that only what is new is synced from here on.
    synced.clear()
    reader.journal.begin_sync()()
    assert synced == []
    writer.append(a=b"1")
    reader.journal.follow()
    reader.journal.begin_sync()()
    assert synced == [reader.journal.current.path.stat().st_ino]


def test_a_sync_leaves_no_file_open(tmp_path: Path) -> None:
    one = Process(tmp_path)
    one.append(a=b"1")
    num_open = len(list(Path("/proc/self/fd").iterdir()))
    one.journal.begin_sync()()
    assert len(list(Path("/proc/self/fd").iterdir())) == num_open


def test_rotation_on_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    one = Process(tmp_path)
    one.append(a=b"1")
    with files_of_at_most(one.journal.current.end), pytest.raises(OSError, match="large"):
        one.rotate()
    one.append(a=b"2")
    one.rotate()
    one.append(b=b"3")
    assert Process(tmp_path).read("a", "b") == [b"2", b"3"]


def test_a_process_whose_rotation_failed_goes_on_in_the_segment_of_its_neighbours(tmp_path: Path) -> None:
    one, other = Process(tmp_path), Process(tmp_path)
    one.append(a=b"1")
    with files_of_at_most(one.journal.current.end), pytest.raises(OSError, match="large"):
        one.rotate()
    other.append(a=b"2")
    assert one.read("a") == [b"2"]
    one.append(a=b"3")
    assert other.read("a") == [b"3"]
    other.rotate()
    other.append(a=b"4")
    assert one.read("a") == [b"4"]


def test_a_file_that_is_used_again_gives_nothing_of_what_it_held_before(tmp_path: Path) -> None:
    one = Process(tmp_path)
    for turn in range(4):
        one.append(**{f"s{turn}-{number}": b"%d" % number for number in range(50)})
        one.rotate()
        one.store()
        # The segments are alike except for their number: what the third wrote stands where the first did.
        other = Process(tmp_path, first=one.first)
        assert other.read(f"s{turn}-1", f"s{turn - 1}-1", f"s{turn - 2}-1") == [None] * 3
        one.append(last=b"%d" % turn)
        assert Process(tmp_path, first=one.first).read("last", f"s{turn - 1}-49") == [b"%d" % turn, None]


def test_a_process_that_slept_reads_nothing_from_a_file_that_became_anothers(tmp_path: Path) -> None:
    one, sleeper = Process(tmp_path), Process(tmp_path)
    one.append(a=b"of the first")
    sleeper.journal.follow()
    for _ in range(3):
        one.rotate()
        one.append(b=b"something else altogether")
        one.store()
    assert sleeper.journal.read("a") is None
    sleeper.first = one.first
    assert sleeper.read("a", "b") == [None, b"something else altogether"]


def test_a_segment_that_is_large_enough_is_followed_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 1000)
    one, other = Process(tmp_path), Process(tmp_path)
    for turn in range(30):
        one.append(a=b"%d" % turn * 100)
    assert one.journal.current.number > 3
    assert other.read("a") == one.read("a") == [b"29" * 100]


@pytest.mark.parametrize("seed", range(3))
def test_many_processes_see_one_order(seed: int, tmp_path: Path) -> None:
    generator = np.random.default_rng(seed)
    processes = [Process(tmp_path) for _ in range(4)]
    expected: dict[str, bytes] = {}
    for turn in range(400):
        process = processes[int(generator.integers(4))]
        records = {f"s{number}": b"%d" % turn for number in generator.choice(20, int(generator.integers(1, 6)), False)}
        process.append(**records)
        expected |= records
        if generator.random() < 0.02:
            process.rotate()
        if generator.random() < 0.05:
            process = processes[int(generator.integers(4))]
            assert process.read(*expected) == list(expected.values())
    for process in [*processes, Process(tmp_path)]:
        assert process.read(*expected) == list(expected.values())
