"""Forks of the process: what a child inherits and must not touch, and what it is given again in its place.

A child has copies of its parent's sockets and locks. If it wrote to the sockets, both would read each other's answers;
if it closed them politely, the parent's streams would end; and a lock that another thread held at that moment is held
in the child for ever, for that thread is not there. So in the child, before any other code runs, each inherited
connection is cut off from its parent's, and whatever holds one begins as new.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from typing import Any, Protocol


class Heir(Protocol):
    """Holds sockets or locks, and can do without those that it has."""

    def begin_anew(self) -> None:
        """Be as new, in a process that was forked off: cut off the sockets, take new locks, connect when asked."""


_heirs: weakref.WeakSet[Heir] = weakref.WeakSet()
_left_alone: list[Any] = []
"""What belongs to the parent, kept so that nothing of it is ever finalised here."""


def watch(heir: Heir) -> None:
    """Have an object begin anew in every process that is forked off while it lives."""
    _heirs.add(heir)


def leave_alone(*inherited: Any) -> None:
    """Keep what belongs to the parent from being closed, or waited for, by the garbage collector."""
    _left_alone.append(inherited)


def cut_off(socket: Any) -> None:
    """Cut an inherited socket off from its connection, which stays the parent's: its number leads nowhere from now on.

    Anyone who still holds it may write to it, shut it down or close it, and reaches nobody. And when the parent hangs
    up, the other side learns of it, for no copy is left here.
    """
    if socket is None:
        return
    with contextlib.suppress(OSError, ValueError):
        if (number := socket.fileno()) >= 0:
            nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            try:
                os.dup2(nowhere, number, inheritable=False)
            finally:
                os.close(nowhere)


def _after_fork() -> None:
    for heir in list(_heirs):
        heir.begin_anew()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_after_fork)
