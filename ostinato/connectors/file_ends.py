"""Files as source and sink: a message a line, an answer a line; and positions in a file that is replaced as a whole.

An answer's file grows, and the position's file says how long it was when that was true: whatever comes after was
written by a batch that was not committed, and is cut off at the start.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from ostinato.connectors.arrivals import Messages, SourcePosition
from ostinato.connectors.end_settings import FileSinkSettings, FileSourceSettings
from ostinato.connectors.ends import (
    AnswerSink,
    BatchCommit,
    EndUnreachable,
    Kept,
    PositionKeeper,
    ReadingSource,
    refusal_json,
)
from ostinato.connectors.waiting import idle_for
from ostinato.errors import CommandError, InputError


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EndUnreachable(f"{path}: {error.strerror}") from error


class PositionFile(PositionKeeper):
    """Positions, and how long other files were with them, in a file of JSON that this connector alone may write.

    Raises:
        CommandError: another connector has it, or it is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = path.with_name(f"{path.name}.lock").open("wb")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise CommandError(f"{path}: another connector keeps its position here") from None
        self._content: dict[str, Any] = {"positions": {}, "times": {}, "lengths": {}}
        if path.exists():
            try:
                self._content |= json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise CommandError(f"{path}: not a connector's position: {error}") from error

    def kept(self, partitions: Iterable[str]) -> dict[str, Kept]:
        """See ``PositionKeeper``."""
        positions, times = self._content["positions"], self._content["times"]
        return {
            name: Kept(SourcePosition.read(positions[name]) if name in positions else None, dict(times.get(name, {})))
            for name in partitions
        }

    def length(self, name: str) -> int:
        """How long a file was; 0 = it was not there."""
        return int(self._content["lengths"].get(name, 0))

    def commit(self, commit: BatchCommit, lengths: Mapping[str, int]) -> None:
        """Replace the file, so that the next start finds this commit or the one before, also after a loss of power."""
        content = {
            "positions": self._content["positions"]
            | {name: position.text() for name, position in commit.positions.items()},
            "times": self._content["times"]
            | {name: self._content["times"].get(name, {}) | times for name, times in commit.times.items() if times},
            "lengths": self._content["lengths"] | dict(lengths),
        }
        fresh = self._path.with_name(f"{self._path.name}.new")
        with _translated(self._path):
            with fresh.open("w", encoding="utf-8") as file:
                json.dump(content, file)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        self._content = content

    def close(self) -> None:
        """Let others have it."""
        self._lock.close()


class FileSource(ReadingSource):
    """A file's lines, one partition ``NAME/0``. An offset is the place of a line's first byte, counted from 1."""

    def __init__(self, settings: FileSourceSettings, *, keeps_position: bool, has_header: bool) -> None:
        self._path = Path(settings.path)
        self._follows = settings.follow
        self._partition = f"{self._path.name}/0"
        self._has_header = has_header
        self._is_at_end = False
        try:
            self._file: IO[bytes] = self._path.open("rb")
        except OSError as error:
            raise InputError(f"[source] path: {self._path}: {error.strerror}") from error
        place = Path(settings.position or f"{settings.path}.position")
        self._keeper = PositionFile(place) if keeps_position else None
        self.keeper = self._keeper

    def header(self) -> bytes:
        """The first line."""
        self._file.seek(0)
        return self._file.readline()

    def partitions(self) -> list[str]:
        """See ``ReadingSource``."""
        return [self._partition]

    def start_at(self, positions: Mapping[str, SourcePosition | None]) -> None:
        """See ``ReadingSource``."""
        position = positions[self._partition]
        self.is_over = self._is_at_end = False
        if position is None:
            self._file.seek(0)
            if self._has_header:
                self._file.readline()
            return
        if os.fstat(self._file.fileno()).st_size < position.offset - 2:
            raise self._another_file("shorter than what was answered for")
        # Where nothing is held, the offset lies within the last line that was answered for: its rest is passed over.
        self._file.seek(max(0, position.offset - 2))
        if position.offset > 1 and self._file.read(1) != b"\n":
            self._file.readline()

    def poll(self, max_messages: int, seconds: float) -> list[Messages]:
        """See ``ReadingSource``."""
        messages = Messages(self._partition)
        with _translated(self._path):
            while len(messages) < max_messages:
                start = self._file.tell()
                line = self._file.readline()
                if not line or (self._follows and not line.endswith(b"\n")):
                    self._file.seek(start)  # a line that is still being written is none yet
                    self._is_at_end = True
                    if self._follows and not len(messages):
                        self._check_is_the_same(start)
                    self.is_over = not self._follows
                    break
                if line.strip():
                    messages.offsets.append(start + 1)
                    messages.keys.append(None)
                    messages.values.append(line.rstrip(b"\r\n"))
        if not messages and self._follows and seconds:
            idle_for(seconds)
        return [messages] if len(messages) else []

    def _check_is_the_same(self, end: int) -> None:
        """See that the file that is followed is still the one of this name, and was not cut.

        Raises:
            CommandError: it was rotated, so that nothing would ever come.
        """
        own = os.fstat(self._file.fileno())
        if own.st_size < end:
            raise self._another_file("cut short")
        with contextlib.suppress(FileNotFoundError):
            there = self._path.stat()
            if (there.st_dev, there.st_ino) != (own.st_dev, own.st_ino):
                raise self._another_file("another file now")

    def _another_file(self, how: str) -> CommandError:
        return CommandError(
            f"{self._path}: {how}. Offsets are places in the file, so a rotated one begins a source of its own: give "
            "it a name of its own ([source] path), or begin other sessions ([mapping] prefix) and remove the position"
        )

    def at_end(self) -> set[str]:
        """See ``ReadingSource``."""
        return {self._partition} if self._is_at_end else set()

    def idle(self, seconds: float) -> None:
        """See ``ReadingSource``."""
        idle_for(seconds)

    def answered(self, commit: BatchCommit) -> None:
        """See ``ReadingSource``."""
        if self._keeper is not None:
            self._keeper.commit(commit, {})

    def close(self) -> None:
        """See ``ReadingSource``."""
        self._file.close()
        if self._keeper is not None:
            self._keeper.close()


class FileSink(AnswerSink):
    """A file of answers, and one of dead letters; the positions are in ``PATH.position``."""

    def __init__(self, settings: FileSinkSettings, dead_letters: str) -> None:
        self._keeper = PositionFile(Path(f"{settings.path}.position"))
        self.keeper = self._keeper
        self._paths = [Path(settings.path), *([Path(dead_letters)] if dead_letters else [])]
        self._files: list[IO[bytes]] = []

    def open(self) -> None:
        """See ``AnswerSink``: what lies behind the last commit is cut off."""
        self._close_files()
        for path in self._paths:
            with _translated(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                file = path.open("ab")
                self._files.append(file)
                length = self._keeper.length(str(path))
                if file.tell() < length:
                    raise CommandError(f"{path}: shorter than what was committed: {file.tell()} of {length} bytes")
                file.truncate(length)

    def commit(self, commit: BatchCommit) -> None:
        """See ``AnswerSink``."""
        lines = [
            [one.value for one in commit.answers],
            [json.dumps(refusal_json(refusal)).encode() for refusal in commit.refusals],
        ]
        lengths = {}
        for path, file, new in zip(self._paths, self._files, lines, strict=False):
            with _translated(path):
                file.write(b"".join(line + b"\n" for line in new))
                file.flush()
                os.fsync(file.fileno())
                lengths[str(path)] = os.fstat(file.fileno()).st_size
        self._keeper.commit(commit, lengths)

    def close(self) -> None:
        """See ``AnswerSink``."""
        self._close_files()
        self._keeper.close()

    def _close_files(self) -> None:
        for file in self._files:
            file.close()
        self._files = []
