"""Waiting, where an end has nothing to do meanwhile."""

from __future__ import annotations

import time


def idle_for(seconds: float) -> None:
    """Sleep."""
    time.sleep(seconds)
