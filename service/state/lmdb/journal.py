"""The journal in front of the database: what was committed last, in order, and shared by the processes of a machine.

A commit appends one entry to a file, whatever the sessions in it are: one write, in place of a page of the database for
each session. Entries are appended under a lock, and who takes it first reads what others have appended since, so
all processes see the same order of changes. Each knows where the newest record of a session is in the segments;
records that are in none are in the database.

A segment ends with a mark, and another begins. When all of it is in the database, a second mark says so, and its file
is used for a later segment: a file that is there already is written many times faster than one that grows. So what
is in a file may be of a former segment. It is told by the number at the beginning of the file, and every entry's
checksum covers the number and the place; an entry that a crash has cut short fails it, too, and is overwritten.

One that was damaged fails it as well, and is distinguished from that by what follows (``salvage.py``): what is sound
is taken, sessions whose record is not are read as b"", and where it is not known whose records are gone, the journal
is refused.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ostinato.service.state.lmdb.damage import Damage
from ostinato.service.state.lmdb.entries import BEGUN, OVER, RECORDS, STORED, Entry, Synced
from ostinato.service.state.lmdb.salvage import lost_before, salvage
from ostinato.service.state.lmdb.segment import Segment, segment_path
from ostinato.service.state.lmdb.shared_end import LOCK_FILE, SharedEnd

SEGMENT_BYTES = 64 * 1024 * 1024
"""A segment that is as large as this, or larger, is over."""

MAX_SPARES = 4
"""Files of former segments that are kept for later ones."""

_FILE = re.compile(r"journal\.([0-9]{8,})")


def segment_files(folder: Path) -> list[tuple[int, Path]]:
    """The files that segments have, or will have, by their number."""
    paths = [(match, path) for path in folder.iterdir() if (match := _FILE.fullmatch(path.name))]
    return sorted((int(match[1]), path) for match, path in paths)


class Journal:
    """The segments of a folder, as one process sees them. Every method may raise ``OSError``, and has changed nothing.

    Args:
        first: tells the number of the first segment of which not all is in the database; None = there was none yet.
        on_foreign: called with the ids of sessions that another process has changed; with None where it may be any.
        recovers: take what there is, where something is lost and whose it was is not known.

    Raises:
        JournalDamaged: where it was not to do so; also by any method that reads what others have appended.
    """

    def __init__(
        self,
        folder: Path,
        first: Callable[[], int | None],
        on_foreign: Callable[[Sequence[str] | None], object],
        *,
        recovers: bool = False,
    ) -> None:
        self._folder = folder
        self._first = first
        self._on_foreign = on_foreign
        self.damage = Damage(recovers=recovers)
        self._synced = Synced()
        self._lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._is_held = False
        # In the order in which they were written, and are synced.
        self._unsynced: dict[Segment, None] = {}
        self._has_new_names = True
        self._has_failed = False
        self.segments: list[Segment] = []
        self.on_over: Callable[[], object] | None = None
        """Called when a segment is over."""
        self._shared_end = SharedEnd(self._lock)
        try:
            with self._held():
                self._open()
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<Journal {self.segments}>"

    @property
    def current(self) -> Segment:
        """Where entries go."""
        return self.segments[-1]

    def read(self, session_id: str) -> bytes | None:
        """The newest record of a session, as far as this process has followed; None where it is in no segment."""
        for segment in reversed(self.segments):
            if session_id in segment.newest:
                # None where its file is another's by now: then the database has this record, or a later one.
                return segment.read(session_id)
        return None

    def follow(self) -> None:
        """Take in what other processes have appended."""
        while True:
            segment = self.current
            for entry in segment.read_on():
                self._take(entry)
            if segment.is_over:
                self._go_on()
            elif not segment.is_own:
                self._begin_anew()
            elif not self._shared_end.is_behind(segment):
                return
            else:
                self._catch_up()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from appending, having taken in all that they have."""
        with self._held():
            self.follow()
            yield

    def append(self, session_ids: Sequence[str], records: Any, sizes: Sequence[int] | int) -> None:
        """Append the records of sessions, which are in a buffer one behind another; only under ``locked``.

        Args:
            sizes: bytes of each; or of every one, where they are alike.
        """
        if self.current.end >= SEGMENT_BYTES:
            self.rotate()
        self.current.append(session_ids, records, sizes, self._synced)
        self._appended()

    def rotate(self) -> None:
        """End the current segment and begin another; only under ``locked``."""
        segment = self.current
        self._append_segment(is_new=True)
        try:
            ended_at = segment.end
            segment.write(OVER, segment.number, b"", b"", self._synced)
        except OSError:
            self.segments.pop().close()
            raise
        segment.is_over = True
        with contextlib.suppress(OSError):  # it is missed where the other mark is damaged only
            self.current.write(BEGUN, self.current.number, ended_at.to_bytes(8, "little"), b"", self._synced)
        self._unsynced[segment] = None
        self._appended()
        if self.on_over is not None:
            self.on_over()

    def give_up(self, segment: Segment) -> None:
        """Everything of a segment that is over is in the database: its file is used again; only under ``locked``."""
        self.current.write(STORED, segment.number, b"", b"", self._synced)
        self._appended()
        number = segment.number
        self._drop(number)
        begins_at = self.current.number + 1
        spares = [path for path in map(self._path, range(begins_at, begins_at + MAX_SPARES)) if not path.exists()]
        for other in [self._path(other) for other in self._numbers() if other <= number]:
            if spares:
                other.rename(spares.pop(0))
            else:
                other.unlink()

    def begin_sync(self) -> Callable[[], None]:
        """What has all that was appended until now, by any process, put on the disk; it may run in a thread."""
        segments = self.segments if self._has_failed else list(self._unsynced)
        synced = Synced(self.current.number, self.current.end)
        files: list[int] = []
        try:
            files += [os.dup(segment.file) for segment in segments]
            if self._has_new_names or self._has_failed:
                files.append(os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            for file in files:
                os.close(file)
            raise
        self._unsynced.clear()
        self._has_new_names = self._has_failed = False

        def sync() -> None:
            try:
                for file in files:
                    os.fsync(file)
                self._synced = max(self._synced, synced)
            except OSError:
                self._has_failed = True  # the next one does all of it again
                raise
            finally:
                for file in files:
                    os.close(file)

        return sync

    def close(self) -> None:
        """Let go of all files."""
        for segment in self.segments:
            segment.close()
        os.close(self._lock)

    @contextmanager
    def _held(self) -> Iterator[None]:
        if self._is_held:
            yield
            return
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _open(self) -> None:
        """Read all segments there are. One that another follows is over, though a power cut took the mark."""
        stored_before = self._first()
        first = expected = stored_before or 1
        for number in [number for number in self._numbers() if number >= first]:
            try:
                segment = Segment(self._path(number), number)
            except FileNotFoundError:
                continue  # a file to be used again
            if self.segments and not self.current.is_over:
                if not segment.is_begun and salvage(segment) is None:
                    segment.close()
                    break
                self._end_before(segment)
            if number != expected:
                self.damage.missing(self._path(expected))
            expected = number + 1
            self.segments.append(segment)
            self._read_whole(segment)
        if not self.segments:
            if stored_before is not None:
                self.damage.missing(self._path(first))
            self.segments.append(Segment(self._path(first), first, is_new=True))
        self.damage.compare(self.current, *self._shared_end.get())
        if self.current.is_over:
            if not self._path(expected).exists():
                self.damage.missing(self._path(expected))
            self._append_segment(is_new=True)
        # What a power cut left behind the last sound entry could look sound behind a new one.
        self.current.cut()
        for number in self._numbers():
            if number > self.current.number:
                self._path(number).unlink()
        self._unsynced.update(dict.fromkeys(self.segments))
        self._shared_end.put(self.current)

    def _read_whole(self, segment: Segment) -> None:
        """Take in all that a segment holds, behind damage, too."""
        while True:
            for entry in segment.read_on():
                self._take(entry)
            found = None if segment.is_over else salvage(segment)
            if found is None or not found.is_proof:
                if found is not None:
                    self.damage.torn(segment)
                return
            self.damage.found(segment, found)
            segment.end, segment.is_over = found.end, found.entry.kind == OVER
            self._take(found.entry)

    def _end_before(self, following: Segment) -> None:
        """Take the current segment for over, since another follows, which says where it ended."""
        ended_at = lost_before(self.current, following)
        if ended_at is not None:
            self.damage.lost(self.current, ended_at)
        self.current.is_over = True

    def _catch_up(self) -> None:
        """Take in what another process has appended and something has damaged since."""
        segment = self.current
        with self._held():
            for entry in segment.read_on():
                self._take(entry)
            number, end = self._shared_end.get()
            if segment.is_over or not self._shared_end.is_behind(segment):
                return
            if number > segment.number:
                self._begin_anew()
                return
            self._read_whole(segment)
            if self._shared_end.is_behind(segment):
                self.damage.lost(segment, end)
                segment.end = end

    def _appended(self) -> None:
        self._unsynced[self.current] = None
        self._shared_end.put(self.current)

    def _go_on(self) -> None:
        """The current segment is over: another process has begun the next."""
        try:
            self._append_segment(is_new=False)
        except FileNotFoundError:
            self._begin_anew()

    def _begin_anew(self) -> None:
        """Segments have come and gone while this process slept."""
        with self._held():
            former, self.segments = self.segments, []
            try:
                self._open()
            except BaseException:
                former, self.segments = self.segments, former  # so that it is found out again
                raise
            finally:
                for segment in former:
                    self._unsynced.pop(segment, None)
                    segment.close()
            self._has_new_names = True
        self._on_foreign(None)

    def _numbers(self) -> list[int]:
        """Of the segments that have a file."""
        return [number for number, _ in segment_files(self._folder)]

    def _path(self, number: int) -> Path:
        return segment_path(self._folder, number)

    def _append_segment(self, *, is_new: bool) -> None:
        number = self.current.number + 1
        self.segments.append(Segment(self._path(number), number, is_new=is_new))
        self._has_new_names = True  # the process that named it may not have that on the disk yet

    def _take(self, entry: Entry) -> None:
        if entry.kind == RECORDS:
            self.current.newest.update(zip(entry.session_ids, entry.places, strict=True))
            # Its process may have ended before it had this on the disk.
            self._unsynced[self.current] = None
            self._on_foreign(entry.session_ids)
        elif entry.kind == STORED:
            self._drop(entry.number)

    def _drop(self, number: int) -> None:
        for segment in [segment for segment in self.segments if segment.number <= number]:
            self.segments.remove(segment)
            self._unsynced.pop(segment, None)
            segment.close()
