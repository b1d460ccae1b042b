"""Clocks around graphs and around the iterations of an engine, which itself has none in its hot path."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from typing import Any

import uvloop


class TimedSession:
    """An onnxruntime session that counts its runs and adds up their time."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.seconds = 0.0
        self.num_runs = 0

    def io_binding(self) -> Any:
        """See onnxruntime."""
        return self._session.io_binding()

    def run_with_iobinding(self, binding: Any, options: Any = None) -> None:
        """See onnxruntime."""
        began_at = time.perf_counter()
        self._session.run_with_iobinding(binding, options)
        self._add(began_at)

    def run(self, fetches: Sequence[str], feeds: Mapping[str, Any], options: Any = None) -> Any:
        """See onnxruntime."""
        began_at = time.perf_counter()
        made = self._session.run(fetches, feeds, options)
        self._add(began_at)
        return made

    def _add(self, began_at: float) -> None:
        self.seconds += time.perf_counter() - began_at
        self.num_runs += 1


class TimedLoop(uvloop.Loop):
    """An event loop that tells how long each callback took that was to be called soon."""

    observe: Callable[[float], object] | None = None

    def call_soon(  # type: ignore[override]  # asyncio's own says nothing more at run time
        self, callback: Callable[..., Any], *arguments: Any, context: Context | None = None
    ) -> Any:
        """See asyncio."""
        if self.observe is None:
            return super().call_soon(callback, *arguments, context=context)
        return super().call_soon(self._timed, callback, *arguments, context=context)

    def _timed(self, callback: Callable[..., Any], *arguments: Any) -> None:
        assert self.observe is not None
        began_at = time.perf_counter()
        callback(*arguments)
        self.observe(time.perf_counter() - began_at)


class IterationClock:
    """Adds up iterations, from the decision what runs to the last answer, and the graph's runs within them.

    An engine has the loop call it when an iteration is due; so an iteration is a callback in which its graph ran.

    Args:
        runner: of the engine; its graph's session becomes a timed one.
        loop: where the engine runs.
    """

    def __init__(self, runner: Any, loop: TimedLoop) -> None:
        self.run = runner.graph.session = TimedSession(runner.graph.session)
        loop.observe = self._observe
        self._num_seen = 0
        self.seconds = 0.0

    @property
    def num_iterations(self) -> int:
        """Iterations since ``reset``."""
        return self.run.num_runs

    def reset(self) -> None:
        """Begin to count anew."""
        self.seconds = self.run.seconds = 0.0
        self._num_seen = self.run.num_runs = 0

    def _observe(self, seconds: float) -> None:
        if self.run.num_runs != self._num_seen:
            self._num_seen = self.run.num_runs
            self.seconds += seconds
