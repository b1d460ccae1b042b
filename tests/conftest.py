"""Asynchronous tests run in an event loop of their own, with no plug-in between them and asyncio."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

TIMEOUT_SECONDS = 120.0


@pytest.fixture
def at_end() -> list[Callable[[], Awaitable[object]]]:
    """What is awaited in an asynchronous test's own event loop when it is over, the last first."""
    return []


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine function as a test; every task that it left behind is a failure."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments: dict[str, Any] = {name: pyfuncitem.funcargs[name] for name in names}

    async def run() -> None:
        try:
            await asyncio.wait_for(pyfuncitem.obj(**arguments), TIMEOUT_SECONDS)
        finally:
            finishes: list[Callable[[], Awaitable[object]]] = pyfuncitem.funcargs.get("at_end", [])  # type: ignore[assignment]
            for finish in reversed(finishes):
                await finish()
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert not left, f"tasks left behind: {left}"

    asyncio.run(run())
    return True
