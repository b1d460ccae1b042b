"""The keys of a server, as its file has them now."""

from __future__ import annotations

import logging
import stat
from pathlib import Path

from ostinato.service.access.key import Key, digest_of
from ostinato.service.access.key_file import keys_in, read_text
from ostinato.service.access.shared_keys import SharedKeys
from ostinato.service.errors import KeysUnreadable

logger = logging.getLogger(__name__)

Mark = tuple[int, ...]


class Keys:
    """The keys of a file, looked up by what a request shows.

    What was shown is digested, and the digest looked up: how long that takes tells nothing about any key.

    Args:
        shared: what workers leave to each other, which is read where the file cannot be.

    Attributes:
        generation: one more with each change, so that anyone who keeps a key knows when it is not one any more.
        trouble: why the file's newest content is not in effect; None = it is.

    Raises:
        KeysUnreadable: the file is not one of keys, and no worker has left any.
    """

    def __init__(self, path: Path, shared: SharedKeys | None = None) -> None:
        self._path, self._shared = path, shared or SharedKeys()
        self.generation = 0
        self.trouble: str | None = None
        self._mark = _mark_of(path)
        try:
            self._by_digest = self._read()
        except KeysUnreadable as error:
            left = self._shared.get()
            if left is None:
                raise
            self._by_digest = {key.digest: key for key in keys_in(left, path)}
            self.trouble = str(error)
            logger.error("the keys stay as they were: %s", error)

    def __repr__(self) -> str:
        return f"<Keys {self._path}, {len(self._by_digest)} keys>"

    def __len__(self) -> int:
        return len(self._by_digest)

    def find(self, shown: bytes) -> Key | None:
        """The key that a request shows; None = there is no such key, or not any more."""
        return self._by_digest.get(digest_of(shown))

    def holds(self, key: Key) -> bool:
        """Whether a key is one still, with the same rights and limits."""
        return self._by_digest.get(key.digest) == key

    def refresh(self) -> None:
        """Read the file again if it has changed. One that cannot be read is told to the log, and the keys stay as they
        were until it can.
        """
        mark = _mark_of(self._path)
        if mark == self._mark and self.trouble is None:
            return
        try:
            by_digest = self._read()
        except KeysUnreadable as error:
            if self.trouble != str(error):
                logger.error("the keys stay as they were: %s", error)
            self.trouble = str(error)
            return
        if self._by_digest != by_digest:
            logger.info("there are %d keys now", len(by_digest))
            self._by_digest = by_digest
            self.generation += 1
        self.trouble, self._mark = None, mark

    def _read(self) -> dict[bytes, Key]:
        text = read_text(self._path)
        by_digest = {key.digest: key for key in keys_in(text, self._path)}
        self._shared.put(text)
        return by_digest


def warning_of(path: Path) -> str | None:
    """What is to be said of who else may read a file of keys; None = nobody."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return None
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"{path} can be written by others than its owner: they can make themselves a key"
    return None


def _mark_of(path: Path) -> Mark | None:
    try:
        found = path.stat()  # of what a link leads to, as a Secret of Kubernetes has them
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size
