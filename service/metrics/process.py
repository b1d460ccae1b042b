"""The process behind the series: what it is, what it takes of the machine, and how late its event loop is."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from pathlib import Path

from ostinato.service.metrics.series import Metrics

LAG_SECONDS = 0.25
"""How often the event loop's lag is measured."""
EVERY = 20
"""How many of these lie between two looks at the process: it reads the system's files."""


class ProcessWatch:
    """Keeps a worker's series of its own process and event loop."""

    def __init__(self, metrics: Metrics) -> None:
        self._cpu = metrics.process_cpu_seconds.labels()
        self._resident = metrics.process_resident_bytes.labels()
        self._open, self._most = metrics.process_open_fds.labels(), metrics.process_max_fds.labels()
        self._lag = metrics.loop_lag_seconds.labels()
        metrics.process_start_time.labels().set(time.time() - _age_seconds())
        self.look()

    def look(self) -> None:
        """Take down what the process takes now."""
        self._cpu.value = time.process_time()
        self._most.set(float(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))
        try:
            self._resident.set(float(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize())
            self._open.set(float(sum(1 for _ in Path("/proc/self/fd").iterdir())))
        except OSError:  # no descriptor left, or no such files here: the numbers of before stay
            return

    async def keep(self) -> None:
        """Measure for ever."""
        loop = asyncio.get_running_loop()
        number = 0
        while True:
            due_at = loop.time() + LAG_SECONDS
            await asyncio.sleep(LAG_SECONDS)
            self._lag.observe(max(0.0, loop.time() - due_at))
            number += 1
            if number % EVERY == 0:
                self.look()


def _age_seconds() -> float:
    """How long ago this process was started."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, AttributeError, ValueError):
        return 0.0
