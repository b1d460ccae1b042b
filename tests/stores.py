"""Stores of sessions as parameters of a test: what it tells it tells of one, and of the others before a release."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

STORES = ("memory", "lmdb", "redis")


def stores(*quick: str, of: Sequence[str] = STORES) -> list[Any]:
    """Parameters: those that are ``quick`` each time, the others with ``make long``."""
    return [store if store in quick else pytest.param(store, marks=pytest.mark.long) for store in of]
