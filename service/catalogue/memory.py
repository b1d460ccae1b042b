"""The memory that this machine, or this container, has left."""

from __future__ import annotations

from pathlib import Path

from pydantic import ByteSize

MACHINE = Path("/proc/meminfo")
GROUP = Path("/sys/fs/cgroup")
_FILES = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))
"""Of the second and of the first kind of control groups."""


def available_bytes(machine: Path = MACHINE, group: Path = GROUP) -> int | None:
    """What a process may still take; None = this system does not say."""
    known = [number for number in (_of_machine(machine), *_of_group(group)) if number is not None]
    return min(known) if known else None


def readable(num_bytes: int) -> str:
    """A size in words, as ``8.0GiB``."""
    return ByteSize(num_bytes).human_readable()


def _of_machine(path: Path) -> int | None:
    try:
        lines = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError, IndexError):
        return None


def _of_group(folder: Path) -> list[int]:
    left = []
    for most, current in _FILES:
        try:
            left.append(max(0, int((folder / most).read_text()) - int((folder / current).read_text())))
        except (OSError, ValueError):  # there is none, or it says "max"
            continue
    return left
