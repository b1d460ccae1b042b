"""Reports of a connector: lines for who runs it, and none of them more often than once a minute."""

from __future__ import annotations

from collections.abc import Callable

MINUTE_SECONDS = 60.0
FIRST_WAIT_SECONDS, LAST_WAIT_SECONDS = 0.1, 5.0


class Reports:
    """A callable that writes a line, unless it wrote one about the same within the last minute."""

    def __init__(self, write: Callable[[str], object], clock: Callable[[], float]) -> None:
        self._write = write
        self._clock = clock
        self._told_at: dict[str, float] = {}

    def __call__(self, line: str, about: str = "") -> None:
        """Write a line, unless one about the same was written within the last minute; ``about``: empty = the line."""
        now = self._clock()
        self._told_at = {known: at for known, at in self._told_at.items() if now - at < MINUTE_SECONDS}
        if (about or line) not in self._told_at:
            self._told_at[about or line] = now
            self._write(line)


class GrowingWait:
    """How long to wait before the next attempt: twice as long each time, up to five seconds, until one succeeds."""

    def __init__(self) -> None:
        self._seconds = FIRST_WAIT_SECONDS

    def next_seconds(self) -> float:
        """The next wait."""
        seconds, self._seconds = self._seconds, min(2 * self._seconds, LAST_WAIT_SECONDS)
        return seconds

    def succeeded(self) -> None:
        """Begin with short ones again."""
        self._seconds = FIRST_WAIT_SECONDS
