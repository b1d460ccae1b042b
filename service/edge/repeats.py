"""Repeats: failures that come many at a time, as the log has them.

The first of a kind is logged at once, with its cause; those that follow it within a while are one line then, which
says how many.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Hashable
from dataclasses import dataclass

from ostinato.service.edge.tags import NO_TAG, Tag

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Kind:
    ends_at: float
    every_seconds: float
    num_more: int = 0
    last: str = ""


class Repeats:
    """What was logged just now, and what came since and was not."""

    def __init__(self) -> None:
        self._kinds: dict[Hashable, _Kind] = {}

    def tell(
        self,
        what: str,
        error: BaseException,
        kind: Hashable,
        every_seconds: float,
        now: float,
        tag: Tag = NO_TAG,
    ) -> None:
        """Log that ``what`` failed, or count it, where one of its kind was logged in the last ``every_seconds``."""
        self.sum_up(now)
        seen = self._kinds.get(kind)
        if seen is None:
            logger.error("%s%s failed", what, tag.label, exc_info=error, extra=tag.fields)
            self._kinds[kind] = _Kind(now + every_seconds, every_seconds)
        else:
            seen.num_more += 1
            seen.last = f"{what}{tag.label} failed: {error}"

    def sum_up(self, now: float = math.inf) -> None:
        """Log how many more there were, of each kind whose time is over; without a time, of each."""
        for kind, seen in list(self._kinds.items()):
            if now < seen.ends_at:
                continue
            if not seen.num_more:
                del self._kinds[kind]
                continue
            logger.error("%d more of these in %g s; the last: %s", seen.num_more, seen.every_seconds, seen.last)
            seen.num_more, seen.ends_at = 0, now + seen.every_seconds


def kind_of(error: BaseException) -> Hashable:
    """What two failures have in common that are one to whoever reads the log: where they were raised, and why."""
    return type(error), type(error.__cause__), _origin(error.__cause__ or error)


def _origin(error: BaseException) -> tuple[str, int] | None:
    trace = error.__traceback__
    if trace is None:
        return None
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_filename, trace.tb_lineno
