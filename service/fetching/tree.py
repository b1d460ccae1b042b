"""Trees: the files of a source, by their paths, wherever they are; and the bounds that hold for all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Protocol, TypeAlias

from ostinato.service.artifact.regular_files import open_regular
from ostinato.service.errors import FetchFailed

CHUNK_BYTES = 1024 * 1024
MAX_BYTES = 64 * 1024**3
"""Of one archive, and of one version's files."""
MAX_FILES = 10_000
"""Of one source."""
MAX_DEPTH = 4
"""Folders above a ``model.json``."""
MAX_WORDS = 300
"""Characters of what a library says."""

Pieces: TypeAlias = Generator[bytes, None, None]
Report: TypeAlias = Callable[[str, int], None]
"""Told how many bytes more have come, and of what."""


class FileTree(Protocol):
    """The files of a source."""

    def paths(self) -> list[str]:
        """Paths of its files that are known without asking for each, with ``/`` between their parts.

        Raises:
            FetchFailed: it cannot be read; names the source.
        """

    def chunks(self, path: str) -> Pieces:
        """What is in a file, piece by piece.

        Raises:
            FetchFailed: it cannot be read; names the source.
            FileNotFoundError: there is no such file.
        """


class NotWritten(OSError):
    """A file could not be written into the repository; the source is not at fault."""


@contextmanager
def reading(
    what: str, advice: str = "look at the source, or fetch it again", *, lets: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """While something of a source is read, whatever fails then is the source's, and is told in a sentence.

    What comes from outside may fail in every library that it passes, by errors of any kind, so none is listed.

    Args:
        what: of which the sentence is; in it are the source, and what was tried.
        lets: errors that mean something to the caller.

    Raises:
        FetchFailed: it did.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, (FetchFailed, NotWritten, *lets)):
            raise
        raise FetchFailed(f"{what}: {words_of(error)}; {advice}") from error


def words_of(error: Exception) -> str:
    """An error of a library as part of a sentence."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, (TypeError, AttributeError, LookupError)):
        return "it has another form"  # these speak of code
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).splitlines()
    return lines[0][:MAX_WORDS] if lines and lines[0] else type(error).__name__


class GuardedTree:
    """A tree of which every failure is told as ``reading`` tells it."""

    def __init__(self, tree: FileTree, shown: str) -> None:
        self._tree, self._what = tree, f"{shown}: it cannot be read"

    def paths(self) -> list[str]:
        """See ``FileTree``."""
        with reading(self._what):
            return self._tree.paths()

    def chunks(self, path: str) -> Pieces:
        """See ``FileTree``."""
        with reading(self._what, lets=(FileNotFoundError,)), closing(self._tree.chunks(path)) as chunks:
            yield from chunks


class FolderTree:
    """A folder of this machine."""

    def __init__(self, folder: Path, shown: str) -> None:
        self._folder, self._shown = folder, shown

    def paths(self) -> list[str]:
        """See ``FileTree``."""
        found: list[str] = []
        folders = [self._folder]
        for folder in folders:  # links may lead in circles, so folders are counted, too
            depth = len(folder.relative_to(self._folder).parts)
            for path in self._within(folder):
                if not path.is_dir():
                    found.append(path.relative_to(self._folder).as_posix())
                elif depth < MAX_DEPTH:
                    folders.append(path)
                check_count(len(found) + len(folders) - 1, self._shown)
        return found

    def _within(self, folder: Path) -> list[Path]:
        try:
            within = sorted(islice(folder.iterdir(), MAX_FILES + 1))
        except OSError as error:
            raise FetchFailed(f"{self._shown}: {error.strerror}") from error
        return [path for path in within if not path.name.startswith(".")]

    def chunks(self, path: str) -> Pieces:
        """See ``FileTree``."""
        try:
            with open_regular(self._folder / path) as file:
                yield from pieces(file)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise FetchFailed(f"{self._shown}: {path}: {error.strerror}") from error


def check_count(number: int, shown: str) -> None:
    """Refuse a source with more files than any has.

    Raises:
        FetchFailed: it has.
    """
    if number > MAX_FILES:
        raise FetchFailed(f"{shown}: it has more than {MAX_FILES:,} files; name the folder of the models themselves")


def pieces(file: IO[bytes]) -> Pieces:
    """What is in an open file, piece by piece."""
    while piece := file.read(CHUNK_BYTES):
        yield piece


def save(chunks: Iterable[bytes], path: Path, shown: str, report: Report, *, most_bytes: int = MAX_BYTES) -> str:
    """Write what comes into a new file.

    Returns:
        its SHA-256, in hexadecimal.

    Raises:
        FetchFailed: it is too much; names what it is of.
        NotWritten: it cannot be written.
    """
    found, left = hashlib.sha256(), most_bytes
    with _new_file(path) as file:
        for piece in chunks:
            left -= len(piece)
            if left < 0:
                raise FetchFailed(f"{shown}: it has more than {most_bytes:,} bytes")
            found.update(piece)
            file.write(piece)
            report(shown, len(piece))
    return found.hexdigest()


@contextmanager
def _new_file(path: Path) -> Iterator[IO[bytes]]:
    """A new file, to be written; meanwhile every ``OSError`` is of that, except that there is no file."""
    try:
        file = path.open("xb")
    except OSError as error:
        raise NotWritten(error.errno, error.strerror) from error
    try:
        with file:
            yield file
    except FileNotFoundError:
        raise
    except OSError as error:
        raise NotWritten(error.errno, error.strerror) from error


def check_sum(found: str, wanted: str, shown: str) -> None:
    """Hold what came to a checksum; an empty one holds it to nothing.

    Raises:
        FetchFailed: it has another.
    """
    if wanted and found != wanted:
        raise FetchFailed(
            f"{shown}: its SHA-256 is {found} and not {wanted}; it was changed, or cut short on the way: fetch it "
            "again, or ask the person who gave you the checksum"
        )
