"""Retries: whether a request is retried, and when. Pure: time and chance are arguments.

What came of sending it is one of four:

    DONE         a 2xx
    REFUSED      an answer that stays the same however often it is asked for
    NOT_NOW      refused for now, or never sent: nothing was applied, so it may always be retried
    UNKNOWN      lost, or an answer that leaves open whether it was applied: retried only if that is harmless
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

NOTHING_APPLIED = ("starting", "draining", "overloaded")
"""Codes of a 503 that promise that nothing was applied. Without one of them, a 503 may be a proxy's that lost it."""


@dataclass(frozen=True)
class ServiceAnswer:
    """What the service said.

    Attributes:
        status: of HTTP; in an error frame, the one that the request would have got.
        members: the JSON object; None where it is none.
        body: as it came; empty for a frame.
        retry_after_seconds: when to come back; None where it does not say.
        where: whence it came, for messages.
        media_type: of the body; empty where none is told.
        hang_up: ends the connection on which it came; None where there is none.
    """

    status: int
    members: Mapping[str, Any] | None = None
    body: bytes = field(default=b"", repr=False)
    retry_after_seconds: float | None = None
    where: str = ""
    media_type: str = ""
    hang_up: Callable[[], object] | None = field(default=None, repr=False, compare=False)

    @property
    def is_success(self) -> bool:
        """Whether the service did what was asked."""
        return 200 <= self.status < 300

    @property
    def code(self) -> str:
        """The machine word of a refusal; empty where there is none."""
        return str((self.members or {}).get("code", ""))


@dataclass(frozen=True)
class Lost:
    """No answer: why, and whether the request may have arrived all the same, or nobody listens there."""

    reason: str
    may_have_arrived: bool = True
    where: str = ""
    nobody_listens: bool = False


Outcome = ServiceAnswer | Lost


class Verdict(Enum):
    """What an outcome means; the module says what each is."""

    DONE = auto()
    REFUSED = auto()
    NOT_NOW = auto()
    UNKNOWN = auto()


def judge(outcome: Outcome) -> Verdict:
    """What came of sending a request once."""
    if isinstance(outcome, Lost):
        return Verdict.UNKNOWN if outcome.may_have_arrived else Verdict.NOT_NOW
    if outcome.is_success:
        return Verdict.DONE
    if outcome.status == 429 or (outcome.status == 503 and outcome.code in NOTHING_APPLIED):
        return Verdict.NOT_NOW
    return Verdict.UNKNOWN if outcome.status in (502, 503, 504) else Verdict.REFUSED


@dataclass(frozen=True)
class RetryPolicy:
    """How long and how often a request is retried.

    Attributes:
        patience_seconds: counted from its first sending; 0 = it is sent once.
        first_pause_seconds: about how long to wait after the first attempt; twice as long after each further one.
        longest_pause_seconds: about the longest of these pauses. The service's ``Retry-After`` may be longer.
    """

    patience_seconds: float = 30.0
    first_pause_seconds: float = 0.1
    longest_pause_seconds: float = 5.0

    def pause_seconds(
        self,
        outcome: Outcome,
        *,
        may_repeat: bool,
        may_be_there: bool = True,
        num_attempts: int,
        elapsed_seconds: float,
        chance: float,
    ) -> float | None:
        """How long to wait before the request is retried; None = never: the outcome is final.

        Args:
            outcome: of the latest attempt.
            may_repeat: whether the request does no harm when it is applied and retried.
            may_be_there: whether a service has ever been reached, or an address was not tried yet. Where nobody listens
                and nobody ever did, waiting is no help: the address is wrong, or the service is still to be started.
            num_attempts: how often it was sent, at least 1.
            elapsed_seconds: since it was first sent.
            chance: from [0, 1), so that clients who failed together do not all come back together.
        """
        verdict = judge(outcome)
        if verdict in (Verdict.DONE, Verdict.REFUSED) or (verdict is Verdict.UNKNOWN and not may_repeat):
            return None
        if isinstance(outcome, Lost) and outcome.nobody_listens and not may_be_there:
            return None
        left_seconds = self.patience_seconds - elapsed_seconds
        if left_seconds <= 0:
            return None
        asked_seconds = outcome.retry_after_seconds if isinstance(outcome, ServiceAnswer) else None
        if asked_seconds:
            return asked_seconds if asked_seconds <= left_seconds else None
        # The exponent is bounded so that a patience of weeks overflows nothing.
        doubled = self.first_pause_seconds * 2.0 ** min(num_attempts - 1, 60)
        # The last attempt is made when patience ends.
        return min(min(doubled, self.longest_pause_seconds) * (1 + chance) / 2, left_seconds)
