"""The service with a wall clock that can be set."""

from __future__ import annotations

import time

from tests.faults.clock import stepped_time

time.time = stepped_time

from ostinato.service.app import Ostinato  # noqa: E402

__all__ = ["Ostinato"]
