"""A postponement: of what the system refused, when it is tried again."""

from __future__ import annotations

import time
from dataclasses import dataclass

FIRST_PAUSE_SECONDS = 1.0
MAX_PAUSE_SECONDS = 60.0
"""Between two tries. They begin with a second, and it doubles."""


@dataclass
class Postponement:
    """Of what the system refused: when it is tried again."""

    pause_seconds: float = FIRST_PAUSE_SECONDS
    due_at: float = 0.0

    def put_off(self) -> None:
        """Wait twice as long as the last time."""
        self.due_at = time.monotonic() + self.pause_seconds
        self.pause_seconds = min(2 * self.pause_seconds, MAX_PAUSE_SECONDS)
