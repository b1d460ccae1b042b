"""Verdicts: what trials found of releases, known to all processes of a server, so that each release is tried once."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ostinato.service.catalogue.passing import is_passing
from ostinato.service.catalogue.repository import find_versions, mark_of
from ostinato.service.catalogue.trial import Allowances, Trial
from ostinato.service.catalogue.tried import try_version
from ostinato.service.config import Settings
from ostinato.service.errors import ModelRejected

POLL_SECONDS = 0.02
HEAD = b"ostinato verdicts 1\n"
_FIRST_LOCK = 1 << 40
"""Locks are on bytes behind all that is ever written."""

logger = logging.getLogger(__name__)


class Verdicts:
    """Tries a version, or finds that another process of this server has.

    They are in a file without a name, a line each, which a server's processes inherit. It goes with the last of them.

    Args:
        descriptor: of that file; None = this process is alone.
    """

    def __init__(self, settings: Settings, descriptor: int | None = None) -> None:
        self._settings = settings
        self._trial = Trial(Allowances.of(settings))
        self._is_closed = False
        self._descriptor = descriptor if descriptor is not None and _is_ours(descriptor) else None

    @classmethod
    def begin(cls, settings: Settings) -> Verdicts:
        """The first of a server, whose file is yet empty."""
        try:
            return cls(settings, _make_file())
        except OSError as error:
            logger.warning("each worker tries versions for itself: %s", error)
            return cls(settings)

    @property
    def descriptor(self) -> int | None:
        """Of the file that other processes are to inherit."""
        return self._descriptor

    def check(self, directory: Path, mark: str | None) -> None:
        """Have a version loaded in a child process, unless that was done.

        Args:
            mark: see ``mark_of``; None = it is tried, and nobody else is told.

        Raises:
            ModelRejected: it was not, or would not be, loaded.
        """
        if self._descriptor is None or mark is None:
            try_version(directory, self._settings, self._trial)
            return
        key = f"{directory} {mark}"
        with self._only_one(key):
            reason = self._known(key)
            if reason is None:
                reason = self._try(directory, key)
        if reason:
            raise ModelRejected(reason)

    def claim(self, directory: Path, digest: str) -> None:
        """Say of which files a version is that this process is about to serve.

        Args:
            digest: see ``digest_of``.

        Raises:
            ModelRejected: other workers of this server serve it from other files, and one session would be answered by
                both.
        """
        if self._descriptor is None or self._settings.workers < 2:
            return
        key = f"served {directory}"
        with self._only_one(key):
            known = self._known(key)
            if known is None:
                self._note(key, digest)
        if known not in (None, digest):
            raise ModelRejected(
                f"{directory}: other workers serve this version from the files that were there before; give the new "
                "ones a version of their own, or restart the server"
            )

    def end_child(self) -> None:
        """End the child, if there is one; another is started where one is needed."""
        self._trial.close()

    def close(self) -> None:
        """Wait for no verdict any more, whoever does."""
        self._is_closed = True
        self._trial.close()

    def check_all(self) -> None:
        """Try all versions of the repository, for those who will ask; says nothing."""
        try:
            for directory in find_versions(self._settings.repository):
                with contextlib.suppress(ModelRejected):
                    self.check(directory, mark_of(directory))
        except (ModelRejected, OSError):
            return  # as anyone who loads them will say
        finally:
            self.end_child()

    def _try(self, directory: Path, key: str) -> str:
        """The reason why a version is rejected, noted; empty where it is not."""
        try:
            try_version(directory, self._settings, self._trial)
            reason = ""
        except ModelRejected as error:
            if is_passing(error):
                raise
            reason = str(error)
        self._note(key, reason)
        return reason

    def _note(self, key: str, found: str) -> None:
        assert self._descriptor is not None
        with contextlib.suppress(OSError):  # no room: then others find it for themselves
            os.write(self._descriptor, json.dumps([key, found]).encode() + b"\n")

    def _known(self, key: str) -> str | None:
        assert self._descriptor is not None
        try:
            text = os.pread(self._descriptor, os.fstat(self._descriptor).st_size, 0)
        except OSError:
            return None
        for line in text.split(b"\n")[1:-1]:
            entry: Any = json.loads(line)
            if entry[0] == key:
                return str(entry[1])
        return None

    @contextlib.contextmanager
    def _only_one(self, key: str) -> Iterator[None]:
        """While no other process tries the same."""
        assert self._descriptor is not None
        place = _FIRST_LOCK + zlib.crc32(key.encode())
        while not self._is_locked(place):
            if self._is_closed:
                raise ModelRejected("this server ends") from InterruptedError(errno.EINTR, "told to")
            time.sleep(POLL_SECONDS)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, place)

    def _is_locked(self, place: int) -> bool:
        assert self._descriptor is not None
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except OSError as error:
            return error.errno not in (errno.EACCES, errno.EAGAIN)  # a system without: then it is tried twice
        return True


def _make_file() -> int:
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("ostinato-verdicts", 0)
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_APPEND)
    os.set_inheritable(descriptor, True)
    os.write(descriptor, HEAD)
    return descriptor


def _is_ours(descriptor: int) -> bool:
    """Whether it is such a file: the variable that names it may have been inherited from far above."""
    try:
        return os.pread(descriptor, len(HEAD), 0) == HEAD
    except OSError:
        return False
