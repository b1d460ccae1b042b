"""Archives of models: tar, packed or not, and zip. Nothing is unpacked but what a manifest lists, by its name."""

from __future__ import annotations

import gzip
import io
import stat
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeAlias

from ostinato.service.errors import FetchFailed
from ostinato.service.fetching.tar import entries
from ostinato.service.fetching.tree import CHUNK_BYTES, MAX_BYTES, Pieces, check_count, pieces, reading, save

MAX_RATIO = 100
"""Bytes that one byte of an archive may become; weights become hardly more than one."""
FREE_BYTES = 64 * 1024**2
"""That any archive may become."""
MAX_DIRECTORY_BYTES = 4 * 1024**2
"""Of the directory of a zip, which is read at once: hundreds for each file that there may be."""
GZIP, ZIP = b"\x1f\x8b", b"PK"

Unpack: TypeAlias = Callable[[], Pieces]


class ArchiveTree:
    """The regular files of an archive.

    Args:
        path: of the archive.
        scratch: a folder for what it is, unpacked of gzip.
        shown: what it is called.
    """

    def __init__(self, path: Path, scratch: Path, shown: str) -> None:
        self._path, self._scratch, self._shown = path, scratch, shown
        self._most_bytes = min(MAX_BYTES, FREE_BYTES + MAX_RATIO * path.stat().st_size)
        self._files: dict[str, Unpack] | None = None
        self._others: set[str] = set()

    def paths(self) -> list[str]:
        """See ``FileTree``."""
        return list(self._opened())

    def others(self) -> set[str]:
        """Paths of what is neither a regular file nor a folder, as links are."""
        self._opened()
        return self._others

    def chunks(self, path: str) -> Pieces:
        """See ``FileTree``."""
        try:
            chunks = self._opened()[path]
        except KeyError:
            raise FileNotFoundError(path) from None
        with self._reading():
            yield from chunks()

    def _opened(self) -> dict[str, Unpack]:
        if self._files is None:
            with self._reading():
                with self._path.open("rb") as file:
                    begins = file.read(2)
                self._files = self._of_zip() if begins == ZIP else self._of_tar(is_packed=begins == GZIP)
        return self._files

    def _reading(self) -> AbstractContextManager[None]:
        # Each library has errors of its own for what is damaged, and others for what it did not think of.
        return reading(f"{self._shown}: it is no archive (tar, tar.gz, zip), or is damaged", "pack it again")

    def _of_zip(self) -> dict[str, Unpack]:
        files: dict[str, Unpack] = {}
        with self._path.open("rb") as file, zipfile.ZipFile(_ShortReads(file)) as archive:
            self._check(len(archive.infolist()), sum(entry.file_size for entry in archive.infolist()))
            for entry in archive.infolist():
                kind = stat.S_IFMT(entry.external_attr >> 16)
                if not entry.is_dir() and kind in (0, stat.S_IFREG):
                    files[_plain(entry.filename)] = partial(_of_entry, self._path, entry)
        return files

    def _of_tar(self, *, is_packed: bool) -> dict[str, Unpack]:
        path = self._unpacked() if is_packed else self._path
        files: dict[str, Unpack] = {}
        with path.open("rb") as file:
            for number, entry in enumerate(entries(file)):
                self._check(number, 0)
                if entry is None:
                    continue
                name = _plain(entry.name)
                if entry.is_file:
                    files[name] = partial(_part_of, path, entry.place, entry.size)
                elif not entry.is_folder:
                    files.pop(name, None)
                    self._others.add(name)
        return files

    def _unpacked(self) -> Path:
        path = self._scratch / f"{self._path.name}.unpacked"
        with closing(self._unpacking()) as chunks:
            save(chunks, path, self._shown, lambda _shown, _num_bytes: None)
        return path

    def _unpacking(self) -> Pieces:
        size = 0
        with self._reading(), gzip.open(self._path) as packed:
            while piece := packed.read(CHUNK_BYTES):
                size += len(piece)
                self._check(0, size)
                yield piece

    def _check(self, num_files: int, num_bytes: int) -> None:
        check_count(num_files, self._shown)
        if num_bytes > self._most_bytes:
            raise FetchFailed(
                f"{self._shown}: unpacked it has more than {self._most_bytes:,} bytes, {MAX_RATIO} times what it is; "
                "unpack it yourself if you trust it, and name the folder"
            )


class _ShortReads(io.RawIOBase):
    """A file that is not read in pieces as large as a zip may claim that its directory is."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        """As of a file.

        Raises:
            zipfile.BadZipFile: it is more than anybody asks for who reads an archive of models.
        """
        content = self._file.read(MAX_DIRECTORY_BYTES + 1 if size < 0 else min(size, MAX_DIRECTORY_BYTES + 1))
        if len(content) > MAX_DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"its directory has more than {MAX_DIRECTORY_BYTES:,} bytes")
        return content

    def seek(self, place: int, whence: int = 0) -> int:
        """As of a file."""
        return self._file.seek(place, whence)

    def tell(self) -> int:
        """As of a file."""
        return self._file.tell()


def _of_entry(path: Path, entry: zipfile.ZipInfo) -> Pieces:
    # Python unpacks these two by pieces; of all others a piece may become terabytes at once.
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise zipfile.BadZipFile("it is packed by another way than deflate")
    with zipfile.ZipFile(path) as archive, archive.open(entry) as file:
        yield from pieces(file)


def _part_of(path: Path, place: int, size: int) -> Pieces:
    with path.open("rb") as file:
        file.seek(place)
        while size:
            piece = file.read(min(size, CHUNK_BYTES))
            if not piece:
                raise EOFError("it ends too early")
            size -= len(piece)
            yield piece


def _plain(name: str) -> str:
    """A name without the ``./`` that tar puts before it."""
    return name.removeprefix("./")
