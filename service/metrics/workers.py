"""Metrics of all worker processes of a server, whichever of them is asked for ``/metrics``.

Each worker writes its numbers to a file in a folder that the server's workers share, once a second; the worker that is
asked adds its own numbers to those of the others' files. It writes its own first, so whatever was shown is in a file,
and no counter of the server falls when a worker is killed.

The numbers of a worker that has ended are folded into one file, ``past.json``, which also names whose they are: who
reads a worker's file and ``past.json`` after it never counts them twice, and never misses them.

The parent writes a file, too, ``parent.json``: how often it started a worker in the place of one that ended, which
those that live on cannot know.

Nobody waits for a lock. A worker holds one (``flock``) on its newest file, and the kernel lets go of it however the
worker ends; that is how the others know.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import shutil
import stat
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from ostinato.service.metrics.families import SeriesNumbers
from ostinato.service.metrics.series import Metrics

WRITE_SECONDS = 1.0
MAX_FOLDED_NAMES = 1000
"""Names kept in ``past.json``; one must be known only as long as somebody may still be reading the worker's file."""

_PAST, _PAST_LOCK, _PARENT = "past.json", "past.lock", "parent.json"
_PREFIX = "ostinato-workers"
_FAMILIES = {family.name: family for family in Metrics().families}
_LAYOUT = zlib.crc32(
    repr([(family.name, family.label_names, len(family.new().numbers())) for family in _FAMILIES.values()]).encode()
)
"""Tells a file of this release from one of another, should the code be replaced below a running server."""

logger = logging.getLogger(__name__)


def merge(snapshots: Iterable[SeriesNumbers]) -> SeriesNumbers:
    """The numbers of several workers as those of one server."""
    merged: SeriesNumbers = {}
    for snapshot in snapshots:
        for name, series in snapshot.items():
            over_workers, together = _FAMILIES[name].over_workers, merged.setdefault(name, {})
            for labels, numbers in series.items():
                before = together.get(labels)
                together[labels] = (
                    list(numbers) if before is None else list(map(over_workers, zip(before, numbers, strict=True)))
                )
    return merged


def lasting(snapshot: SeriesNumbers) -> SeriesNumbers:
    """What still counts of a worker that has ended: counters and histograms."""
    return {name: series for name, series in snapshot.items() if _FAMILIES[name].is_lasting}


class _File(msgspec.Struct):
    """A worker's numbers, or those of the workers that have ended and their names."""

    layout: int = _LAYOUT
    series: dict[str, list[tuple[tuple[str, ...], list[float]]]] = {}
    folded: list[str] = []

    @property
    def numbers(self) -> SeriesNumbers:
        return {name: dict(series) for name, series in self.series.items()}


def encode(numbers: SeriesNumbers, folded: Iterable[str] = ()) -> bytes:
    """The text of a file; ``decode`` undoes it."""
    series = {name: list(each.items()) for name, each in numbers.items()}
    return msgspec.json.encode(_File(series=series, folded=list(folded)))


def decode(text: bytes) -> tuple[SeriesNumbers, list[str]]:
    """The numbers in a file and the names folded into it; none where it cannot be read."""
    try:
        file = msgspec.json.decode(text, type=_File)
    except msgspec.DecodeError:
        file = _File()
    return (file.numbers if file.layout == _LAYOUT else {}), file.folded


def started_at(pid: int) -> int | None:
    """When a process was started, in the kernel's ticks since boot; None = there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[19])  # the name before it, in parentheses, may hold anything


def server_folder(place: Path, server_pid: int, user: int) -> Path:
    """The folder of the server whose workers are the children of ``server_pid``: no other server has the same."""
    return place / f"{_PREFIX}-{user}-{server_pid}-{started_at(server_pid) or 0}"


def remove_stale_folders(place: Path, user: int) -> None:
    """Remove what servers of this user left behind that were killed with all their workers."""
    for folder in place.glob(f"{_PREFIX}-{user}-*"):
        pid, _, ticks = folder.name.removeprefix(f"{_PREFIX}-{user}-").partition("-")
        is_over = pid.isdigit() and ticks.isdigit() and started_at(int(pid)) != int(ticks)
        if is_over and _is_ours(folder) and not any(_living(folder)):
            shutil.rmtree(folder, ignore_errors=True)


class WorkerMetrics:
    """The part of one worker.

    Args:
        folder: shared by the workers of this server and by nobody else; it is made, and the last worker removes it.
        name: of this worker, never used before in the folder.
    """

    def __init__(self, metrics: Metrics, folder: Path, name: str) -> None:
        self._metrics = metrics
        self.folder, self.name = folder, name
        self._descriptor: int | None = None
        self._trouble = ""

    def gather(self) -> SeriesNumbers:
        """The numbers of all workers; of this one only where the folder cannot be used."""
        own = self._metrics.numbers()
        try:
            self._write(own)
            return merge([own, *self._others()])
        except OSError as error:
            self._report(error)
            return own

    async def keep(self) -> None:
        """Write this worker's numbers and fold those of workers that ended, for ever."""
        while True:
            self.refresh()
            await asyncio.sleep(WRITE_SECONDS)

    def refresh(self) -> None:
        """Write this worker's numbers, and fold those of workers that ended."""
        try:
            self._write(self._metrics.numbers())
            self._fold()
        except OSError as error:
            self._report(error)

    def leave(self) -> None:
        """Write for the last time; the last worker removes the folder."""
        self.refresh()
        # First this and then the look at the others: of two that leave at once, one at least sees that it is the last.
        self._let_go()
        if not any(_living(self.folder)):
            shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, numbers: SeriesNumbers) -> None:
        _make(self.folder)
        path = self.folder / f"{self.name}.json"
        draft = path.with_suffix(".draft")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            # The name leads to a locked file at any time: the new one is locked before, the old one until after.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            text = encode(numbers)
            if os.write(descriptor, text) < len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(draft))
            draft.replace(path)
        except OSError:
            os.close(descriptor)
            raise
        self._let_go()
        self._descriptor = descriptor

    def _let_go(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _others(self) -> list[SeriesNumbers]:
        found: dict[str, SeriesNumbers] = {}
        for path in _worker_files(self.folder):
            if path.stem != self.name and (look := _look(path)) is not None:
                numbers, _ = decode(look[0])
                found[path.stem] = numbers if look[1] else lasting(numbers)
        # After the others' files: what was folded meanwhile is in it.
        past, folded = self._past()
        return [past, self._of_parent(), *(numbers for name, numbers in found.items() if name not in folded)]

    def _past(self) -> tuple[SeriesNumbers, list[str]]:
        try:
            return decode((self.folder / _PAST).read_bytes())
        except FileNotFoundError:
            return {}, []

    def _of_parent(self) -> SeriesNumbers:
        try:
            return decode((self.folder / _PARENT).read_bytes())[0]
        except FileNotFoundError:
            return {}

    def _fold(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.utime(self.folder / _PARENT)
        with contextlib.suppress(FileNotFoundError):
            os.utime(self.folder / _PAST)  # it may be old, but what tidies the system's folder shall leave it
        if all(lives for _, _, lives in _looks(self.folder)):
            return
        with _alone(self.folder / _PAST_LOCK) as is_alone:
            if not is_alone:
                return  # somebody else does it just now
            dead = {path: decode(text)[0] for path, text, lives in _looks(self.folder) if not lives}
            past, folded = self._past()
            new = [path for path in dead if path.stem not in folded]
            draft = self.folder / "past.draft"
            names = [*folded, *(path.stem for path in new)][-MAX_FOLDED_NAMES:]
            draft.write_bytes(encode(merge([past, *(lasting(dead[path]) for path in new)]), names))
            draft.replace(self.folder / _PAST)
            for path in dead:
                path.unlink(missing_ok=True)
                path.with_suffix(".draft").unlink(missing_ok=True)

    def _report(self, error: OSError) -> None:
        """Say once what is wrong, not every second."""
        if str(error) != self._trouble:
            self._trouble = str(error)
            logger.error("/metrics speaks for this worker only: %s", error)


def worker_metrics(metrics: Metrics, place: Path) -> WorkerMetrics:
    """The part of this process, a child of the server's, in a folder under ``place``."""
    user = os.geteuid()
    remove_stale_folders(place, user)
    name = f"{os.getpid()}-{time.time_ns()}"
    return WorkerMetrics(metrics, server_folder(place, os.getppid(), user), name)


def tell_restarts(place: Path, restarts: Mapping[str, int]) -> None:
    """Tell the workers of this process, their parent, how many were started again, by the signal that ended the former.

    Where that cannot be, only those know it that are started from now on.
    """
    try:
        folder = server_folder(place, os.getpid(), os.geteuid())
        _make(folder)
        draft = folder / "parent.draft"
        numbers: dict[tuple[str, ...], list[float]] = {(name,): [float(number)] for name, number in restarts.items()}
        draft.write_bytes(encode({"worker_restarts_total": numbers}))
        draft.replace(folder / _PARENT)
    except OSError as error:
        logger.warning("the workers cannot be told that one was restarted: %s", error)


def _make(folder: Path) -> None:
    """Make the folder.

    Raises:
        OSError: somebody else's is there, or it cannot be made.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    if not _is_ours(folder):
        raise PermissionError(f"{folder} belongs to somebody else")


def _is_ours(folder: Path) -> bool:
    status = folder.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()


def _worker_files(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*.json") if path.name not in (_PAST, _PARENT)]


def _looks(folder: Path) -> Iterator[tuple[Path, bytes, bool]]:
    """Each worker's file with its text and whether the worker lives."""
    for path in _worker_files(folder):
        look = _look(path)
        if look is not None:
            yield path, *look


def _living(folder: Path) -> Iterator[Path]:
    return (path for path, _, lives in _looks(folder) if lives)


def _look(path: Path) -> tuple[bytes, bool] | None:
    """A worker's file: its text, and whether the worker lives; None = it is gone."""
    while True:
        try:
            with path.open("rb") as file:
                try:
                    # Shared: two that look at once do not take each other for the worker.
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return file.read(), True
                if os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                    return file.read(), False
                # The worker has put a newer file there meanwhile, and let go of this one: look at that.
        except FileNotFoundError:
            return None


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[bool]:
    """Whether nobody else, in any process, is within this block for ``path``."""
    with path.open("wb") as file:
        is_alone = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            is_alone = False
        yield is_alone
