"""Staging: a hidden folder of the repository in which a version is put together, and which is gone afterwards.

A process that is killed leaves one. It is locked as long as its process lives, so the next fetch knows and removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

PREFIX = ".fetch-"


@contextlib.contextmanager
def staging(repository: Path) -> Iterator[Path]:
    """A new folder in a repository, which is made where it is not there.

    Raises:
        OSError: it cannot be.
    """
    repository.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        # One at a time: between a folder and its lock, others would take it for one that was left behind. Where folders
        # cannot be locked, as on some file systems of the network, nobody removes anything.
        with _locked(repository, wait=True):
            _remove_left(repository)
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=repository))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            stack.enter_context(_locked(folder))
        yield folder


@contextlib.contextmanager
def tidy_on_sigterm() -> Iterator[None]:
    """While it lasts, a SIGTERM ends the process as an error does, so that what is half done is removed."""

    def end(_number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + signal.SIGTERM)

    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def put_in_place(folder: Path, place: Path) -> bool:
    """Have a folder be at its place from one moment to the next; whether it is, and not another's.

    Raises:
        OSError: it cannot be moved.
    """
    _sync(folder)
    place.parent.mkdir(exist_ok=True)
    try:
        folder.rename(place)
    except OSError:
        with contextlib.suppress(OSError):
            place.parent.rmdir()  # if it is empty
        if place.exists():
            return False
        raise
    _sync_folder(place.parent)
    return True


def _sync(folder: Path) -> None:
    """Have what is in a folder on the disk, before it has its name."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # not every system can
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _locked(folder: Path, *, wait: bool = False) -> Iterator[bool]:
    """While nobody else has it; whether that could be had. ``wait``: until nobody else has."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _remove_left(repository: Path) -> None:
    """Remove what others have left behind who are no more."""
    for folder in repository.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), _locked(folder) as is_left:
            if is_left:
                shutil.rmtree(folder, ignore_errors=True)
