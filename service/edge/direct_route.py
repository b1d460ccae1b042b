"""Direct routes: those whose plain steps are handed on and answered without a task."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol

from ostinato.service.edge.message import Request, Response
from ostinato.service.errors import OstinatoError
from ostinato.service.sessions.chunk import StepAnswer, Waiter
from ostinato.service.sessions.session import LiveSession


class DirectRoute(Protocol):
    """What a direct exchange asks of the handlers of a route that takes steps; ``step`` is what ``read`` gave."""

    def read(self, request: Request) -> tuple[LiveSession, Any] | None:
        """A step, and its session where that is in memory; None where a task is needed."""

    def begin(self, session: LiveSession, step: Any, future: Waiter) -> Awaitable[StepAnswer]:
        """Check a step and put it to its session; ``future`` gets its answer."""

    def answer(self, answer: StepAnswer, step: Any) -> Response:
        """Word an answer."""

    def answer_in_slices(self, answer: StepAnswer, step: Any) -> Awaitable[Response]:
        """``answer`` for many numbers, so that others have their turn."""

    def told(self, step: Any, error: Exception) -> Exception:
        """What the client is told of why a step was not applied, which is ``error`` or of its kind."""

    def step_anew(self, session: LiveSession, step: Any, error: OstinatoError) -> Awaitable[Response]:
        """Apply a step that ``session``, which may be an old copy, has refused with ``error``."""
