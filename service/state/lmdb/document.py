"""The document of ``lmdb://``: a file in its folder."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from ostinato.service.errors import StateStoreUnavailable
from ostinato.service.state.document import MAX_BYTES, Document

FILE = "decisions.json"


class FileDocument(Document):
    """A file that is replaced whole, while its folder is locked.

    Args:
        folder: of the store.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / FILE

    async def get(self) -> bytes:
        """See ``Document.get``."""
        with _translated(self._path):
            return await asyncio.to_thread(self._read)

    async def compare_and_set(self, before: bytes, after: bytes) -> bool:
        """See ``Document.swap``."""
        with _translated(self._path):
            return await asyncio.to_thread(self._swap, before, after)

    def _read(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                return file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return b""

    def _swap(self, before: bytes, after: bytes) -> bool:
        folder = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            if self._read() != before:
                return False
            draft = self._path.with_suffix(".draft")
            with draft.open("wb") as file:
                file.write(after)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
            os.fsync(folder)
            return True
        finally:
            os.close(folder)


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StateStoreUnavailable(f"{path}: {(error.strerror or str(error)).lower()}") from error
