from __future__ import annotations

import asyncio
import os
import threading
import time

import pytest

from ostinato.service.metrics import process
from ostinato.service.metrics.process import ProcessWatch
from ostinato.service.metrics.series import Metrics
from tests.waiting import until_true


def test_the_process_tells_what_it_takes() -> None:
    metrics = Metrics()
    watch = ProcessWatch(metrics)
    before = metrics.process_open_fds.labels().read()
    files = [os.open("/dev/null", os.O_RDONLY) for _ in range(7)]
    try:
        watch.look()
        assert metrics.process_open_fds.labels().read() == before + 7
    finally:
        for file in files:
            os.close(file)
    assert metrics.process_max_fds.labels().read() > before
    assert metrics.process_resident_bytes.labels().read() > 1e6
    assert 0 < metrics.process_cpu_seconds.labels().value <= time.process_time()
    assert metrics.process_start_time.labels().read() < time.time()


async def test_a_loop_that_was_held_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LAG_SECONDS", 0.001)
    metrics = Metrics()
    lag = metrics.loop_lag_seconds.labels()
    keeping = asyncio.create_task(ProcessWatch(metrics).keep())
    await until_true(lambda: sum(lag.counts) >= 1)
    before = lag.total
    count = sum(lag.counts)
    goes_on = threading.Event()
    threading.Timer(0.3, goes_on.set).start()
    goes_on.wait()  # which holds the loop
    await until_true(lambda: sum(lag.counts) > count)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    assert lag.total - before >= 0.29
