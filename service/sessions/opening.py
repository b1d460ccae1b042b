"""The opening of a session: what may be asked of one that begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict


class Opening(TypedDict, total=False):
    """Options. ``ttl_seconds``: 0 = it never expires. ``context``: name -> nested lists, see ``to_context``."""

    session_id: str | None
    ttl_seconds: float | None
    version: str | None
    context: Mapping[str, Any] | None
