"""The service with iterations that wait until the lock on the file of ``HELD_FILE`` can be shared."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from ostinato.service.engine.recurrent.batching import Iteration
from ostinato.service.engine.recurrent.runner import Result, Runner
from ostinato.service.state.arena import Arena
from tests.process.hold import HELD_FILE

run_at_once = Runner.run_iteration


def run_when_let(self: Runner, iteration: Iteration, arena: Arena) -> Result:
    with Path(os.environ[HELD_FILE]).open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
    return run_at_once(self, iteration, arena)


Runner.run_iteration = run_when_let  # type: ignore[method-assign]

from ostinato.service.app import Ostinato  # noqa: E402

__all__ = ["Ostinato"]
