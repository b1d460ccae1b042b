"""Times that settings and requests may have, in seconds."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

MIN_TTL_SECONDS, MAX_TTL_SECONDS = 0.001, 1e9
"""Of a session that expires. Less is not seen on a clock; more than 31 years might as well be for ever (0)."""


def is_time_to_live(seconds: float) -> bool:
    """Whether a session can have that, where what it can have is at most ``MAX_TTL_SECONDS``; 0 = it never expires."""
    return seconds == 0 or seconds >= MIN_TTL_SECONDS


def _check_time_to_live(seconds: float) -> float:
    if not is_time_to_live(seconds):
        raise ValueError(f"0, for ever, or at least {MIN_TTL_SECONDS:g} s")
    return seconds


Seconds = Annotated[float, Field(ge=0, le=MAX_TTL_SECONDS, allow_inf_nan=False)]
LifeSeconds = Annotated[Seconds, AfterValidator(_check_time_to_live)]
