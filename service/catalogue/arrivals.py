"""Arrivals: folders that come to the repository, and whether one is still coming."""

from __future__ import annotations

import asyncio
from collections.abc import Container
from pathlib import Path

from ostinato.service.catalogue.repository import is_complete, mark_of

STEADY_LOOKS, MAX_LOOKS = 2, 10
"""A folder is there when it was the same in so many looks and has all its files; or in so many, whatever it has."""


class Arrivals:
    """Remembers what folders were like at the last looks."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[str | None, int]] = {}

    async def is_there(self, directory: Path, *, at_once: bool) -> bool:
        """Whether a folder is to be tried now: it has come, and is not still coming. To be asked once a look.

        Args:
            at_once: whether somebody waits for it, and it need not be steady if it has all its files.
        """
        mark = await asyncio.to_thread(mark_of, directory)
        before, looks = self._seen.get(directory, ("", 0))
        looks = looks + 1 if mark == before else 0
        self._seen[directory] = mark, looks
        if looks >= MAX_LOOKS:
            return True
        return (at_once or looks >= STEADY_LOOKS) and await asyncio.to_thread(is_complete, directory)

    def forget_all_but(self, directories: Container[Path]) -> None:
        """Forget what is no longer looked at."""
        self._seen = {path: seen for path, seen in self._seen.items() if path in directories}
