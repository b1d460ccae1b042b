from __future__ import annotations

import asyncio
import errno
import os
import resource
from collections.abc import Callable
from typing import Any

import pytest

from ostinato.service.edge.descriptors import (
    LOGGED_EVERY_SECONDS,
    RESERVED,
    DescriptorWatch,
    connections_within,
    raise_limit,
)


@pytest.mark.parametrize(
    ("soft", "hard", "found"),
    [
        (256, 4096, 4096),
        (256, 2**30, 1_048_576),
        (256, resource.RLIM_INFINITY, 1_048_576),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 1_048_576),
        (9, 9, 9),
    ],
)
def test_the_soft_limit_is_raised_to_the_hard_one(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, found: int
) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: told.append(limits))
    assert raise_limit() == found
    assert told == ([] if soft == hard else [(found, hard)])


def test_a_limit_that_cannot_be_raised_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert raise_limit() == 256


def test_fewer_connections_are_taken_where_fewer_files_may_be_open(caplog: pytest.LogCaptureFixture) -> None:
    assert connections_within(10_000, 500) == 500
    assert not caplog.text
    assert connections_within(200, 500) == 200 - RESERVED
    assert "ulimit -n" in caplog.text
    assert connections_within(10, 500) == 1


class Watched:
    def __init__(self) -> None:
        self.now, self.count = 0.0, 0
        self.watch = DescriptorWatch(self.add, clock=lambda: self.now)

    def add(self) -> None:
        self.count += 1


def test_descriptors_that_are_used_up_are_counted_each_time_and_said_once_in_a_while(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched()
    watched.watch.probe()
    assert watched.count == 0

    reason = errno.EACCES

    def fail(*_: object) -> int:
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(os, "open", fail)
    watched.watch.probe()
    assert watched.count == 0
    reason = errno.EMFILE
    for _ in range(3):
        watched.watch.probe()
    assert watched.count == 3
    (line,) = caplog.messages
    assert "--max-connections" in line
    watched.now += LOGGED_EVERY_SECONDS
    watched.watch.probe()
    assert "2 more times" in caplog.messages[-1]
    watched.now += LOGGED_EVERY_SECONDS
    watched.watch.probe()
    assert "0 more times" in caplog.messages[-1]


async def test_what_the_loop_tells_of_descriptors_is_taken_and_all_else_handed_on() -> None:
    loop, watched = asyncio.get_running_loop(), Watched()
    before: list[dict[str, Any]] = []
    handler: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] = lambda _, context: before.append(context)  # noqa: E731
    loop.set_exception_handler(handler)
    watched.watch.install(loop)
    loop.call_exception_handler({"message": "accept", "exception": OSError(errno.EMFILE, "Too many open files")})
    loop.call_exception_handler({"message": "another"})
    loop.call_exception_handler({"message": "a reset", "exception": OSError(errno.ECONNRESET, "Connection reset")})
    assert (watched.count, [context["message"] for context in before]) == (1, ["another", "a reset"])
