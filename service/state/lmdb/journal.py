"""The journal in front of the database: what was committed last, in order, and shared by the processes of a machine.

A commit appends one entry to a file, whatever the sessions in it are: one write, in place of a page of the database for
each session. Entries are appended under a lock, and who takes it first reads what others have appended since, so
all processes see the same order of changes. Each knows where the newest record of a session stands in the segments;
records that are in none are in the database.

A segment ends with a mark, and another begins. When all of it is in the database, a second mark says so, and its file
is used for a later segment: a file that is there already is written many times faster than one that grows. So what
stands in a file may be of a former segment. It is told by the number at the beginning of the file, and every entry's
checksum covers the number and the place; an entry that a crash has cut short fails it, too, and is overwritten.

One that was damaged fails it as well, and is told from that by what follows (``salvage.py``): what is sound is taken,
sessions whose record is not are read as b"", and where it is not known whose records are gone, the journal is refused.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import mmap
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ostinato.service.state.lmdb.entries import BEGUN, OVER, RECORDS, STORED, Entry, Synced
from ostinato.service.state.lmdb.salvage import Salvaged, salvage
from ostinato.service.state.lmdb.segment import Segment

logger = logging.getLogger(__name__)

_WORD_BYTES = 8
SEGMENT_BYTES = 32 * 1024 * 1024
"""A segment that is as large as this, or larger, is over."""

MAX_SPARES = 4
"""Files of former segments that are kept for later ones."""

_FILE = re.compile(r"journal\.([0-9]{8,})")

WAY_OUT = (
    "some sessions may be older than what was acknowledged, and which is not known. Put the whole folder back as it "
    "was, or take what is there with lmdb://PATH?recover=yes"
)


class JournalDamaged(OSError):
    """The journal has lost what was committed, and whose it was is not known; the message names the file."""


LOCK_FILE = "journal.lock"


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes from opening the folder, and from appending, meanwhile."""
    lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


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
        self._recovers = recovers
        self._synced = Synced()
        self._lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._is_held = False
        # In the order in which they were written, and are synced.
        self._unsynced: dict[Segment, None] = {}
        self._has_new_names = True
        self._has_failed = False
        self.segments: list[Segment] = []
        self.damaged_ids: set[str] = set()
        """Sessions of which a record was found damaged; perhaps not the newest."""
        self.on_over: Callable[[], object] | None = None
        """Called when a segment is over."""
        os.truncate(self._lock, 2 * _WORD_BYTES)
        self._shared = mmap.mmap(self._lock, 2 * _WORD_BYTES)
        # Where entries end, of which segment: it tells a process that reads less that it does not see all there is.
        self._shared_end = memoryview(self._shared).cast("Q")
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
            elif not self._is_behind():
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
        """Append the records of sessions, which stand in a buffer one behind another; only under ``locked``.

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
            self.current.write(BEGUN, self.current.number, segment.end.to_bytes(8, "little"), b"", self._synced)
            segment.write(OVER, segment.number, b"", b"", self._synced)
        except OSError:
            self.segments.pop().close()
            raise
        segment.is_over = True
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
        self._shared_end.release()
        self._shared.close()
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
                if segment.is_empty:
                    segment.close()
                    break
                self._end_before(segment)
            if number != expected:
                self._report_missing(expected)
            expected = number + 1
            self.segments.append(segment)
            self._read_whole(segment)
        if not self.segments:
            if stored_before is not None:
                self._report_missing(first)
            self.segments.append(Segment(self._path(first), first, is_new=True))
        if self.current.is_over:
            if not self._path(expected).exists():
                self._report_missing(expected)
            self._append_segment(is_new=True)
        # What a power cut left behind the last sound entry could look sound behind a new one.
        self.current.cut()
        for number in self._numbers():
            if number > self.current.number:
                self._path(number).unlink()
        self._unsynced.update(dict.fromkeys(self.segments))
        self._share_end()

    def _read_whole(self, segment: Segment) -> None:
        """Take in all that a segment holds, behind damage, too."""
        while True:
            for entry in segment.read_on():
                self._take(entry)
            found = None if segment.is_over else salvage(segment)
            if found is None or not found.is_proof:
                if found is not None:
                    logger.warning(
                        "%s: what follows byte %d was written shortly before the machine ended, and did not reach the "
                        "disk whole; it was never promised to, and is not taken",
                        self._path(segment.number),
                        segment.end,
                    )
                return
            self._report_damage(segment, found)
            segment.end, segment.is_over = found.end, found.entry.kind == OVER
            self._take(found.entry)

    def _end_before(self, following: Segment) -> None:
        """Take the current segment for over, since another follows, which says where it ended."""
        found = following.entry_at(following.end)
        ended_at = found[0].number if found is not None and found[0].kind == BEGUN else 0
        if ended_at > self.current.end:
            self._report_lost(self.current, ended_at)
        self.current.is_over = True

    def _report_damage(self, segment: Segment, found: Salvaged) -> None:
        if found.start > segment.end:
            self._report_lost(segment, found.start)
        self.damaged_ids.update(found.damaged_ids)
        if found.start == segment.end or found.damaged_ids:
            named = ", ".join(found.damaged_ids) or "none: all its records are sound"
            logger.error(
                "%s is damaged in its entry at byte %d. Sessions whose newest record is lost, and which are refused: "
                "%s. The file is kept as %s",
                self._path(segment.number),
                found.start,
                named,
                self._keep(segment),
            )

    def _report_lost(self, segment: Segment, end: int) -> None:
        """Whose records stood between the segment's end and ``end`` is not known.

        Raises:
            JournalDamaged: that is not to be accepted.
        """
        what = (
            f"{self._path(segment.number).name} is damaged from byte {segment.end} to {end}, and is kept as "
            f"{self._keep(segment)}"
        )
        if not self._recovers:
            raise JournalDamaged(f"{what}: {WAY_OUT}")
        logger.error("%s; what is behind it is taken. Sessions not stepped since may be older than acknowledged", what)

    def _report_missing(self, number: int) -> None:
        what = f"{self._path(number).name} is missing, which holds what is not in the database yet"
        if not self._recovers:
            raise JournalDamaged(f"{what}: {WAY_OUT}")
        logger.error("%s; the sessions that it held may be older than acknowledged", what)

    def _keep(self, segment: Segment) -> str:
        """Put a copy of a damaged file aside; its name."""
        path = self._path(segment.number)
        copy = path.with_name(f"{path.name}.damaged-at-{segment.end}")
        if not copy.exists():
            try:
                shutil.copyfile(path, copy)
            except OSError as error:
                logger.error("%s could not be kept: %s", path, error)
                with contextlib.suppress(OSError):
                    copy.unlink()
        return copy.name

    def _is_behind(self) -> bool:
        """Whether others have appended what this process does not see."""
        return tuple(self._shared_end) > (self.current.number, self.current.end)

    def _catch_up(self) -> None:
        """Take in what another process has appended and something has damaged since."""
        segment = self.current
        with self._held():
            for entry in segment.read_on():
                self._take(entry)
            number, end = self._shared_end
            if segment.is_over or not self._is_behind():
                return
            if number > segment.number:
                self._begin_anew()
                return
            self._read_whole(segment)
            if self._is_behind():
                self._report_lost(segment, end)
                segment.end = end

    def _share_end(self) -> None:
        self._shared_end[0], self._shared_end[1] = self.current.number, self.current.end

    def _appended(self) -> None:
        self._unsynced[self.current] = None
        self._share_end()

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
        return sorted(int(match[1]) for path in self._folder.iterdir() if (match := _FILE.fullmatch(path.name)))

    def _path(self, number: int) -> Path:
        return self._folder / f"journal.{number:08d}"

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
