"""The opening of a session: what may be asked of one that begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypedDict

from ostinato.service.config import MIN_TTL_SECONDS, is_time_to_live
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import InvalidInput
from ostinato.service.inputs.rows import to_context
from ostinato.service.state.base import Address, Facts, Snapshot


class Opening(TypedDict, total=False):
    """Options. ``ttl_seconds``: 0 = it never expires. ``context``: name -> nested lists, see ``to_context``."""

    session_id: str | None
    ttl_seconds: float | None
    version: str | None
    context: Mapping[str, Any] | None


class Opened(NamedTuple):
    """A session as it was opened, and where it is in memory; None = it is not there."""

    facts: Facts
    address: Address | None


def check_time_to_live(seconds: float) -> None:
    """Refuse a time to live that is too short.

    Raises:
        InvalidInput.
    """
    if not is_time_to_live(seconds):
        raise InvalidInput(f"0, for ever, or at least {MIN_TTL_SECONDS:g} s", field="ttl_seconds")


def initial_of(engine: Engine, context: Mapping[str, Any] | None) -> Snapshot | None:
    """The initial state of a session about ``context``; None = as of any session.

    Raises:
        InvalidInput: it is not what the model needs.
    """
    if not (engine.manifest.context or context):
        return None
    return Snapshot.initial(engine.arena, to_context(context, engine.manifest.context, "context"))
