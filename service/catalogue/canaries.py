"""Canaries: whether a version can have a share of the sessions that would begin with another."""

from __future__ import annotations

from typing import Any

from ostinato.service.artifact.manifest import Manifest

_FACTS = (
    "name",
    "dtype",
    "row_shape",
    "features",
    "missing",
    "num_codes",
    "categories",
    "unknown",
    "ranges",
    "per_frame",
    "delay",
)
"""What a client must know of a tensor."""


def why_unfit(meant: Manifest, canary: Manifest) -> str:
    """Why a client that speaks to the version that is meant could not speak to the canary; empty where it can."""
    for what in ("inputs", "context", "outputs"):
        mine, theirs = ([_facts_of(part) for part in getattr(each, what)] for each in (meant, canary))
        if mine != theirs:
            return f"version {canary.version!r} has other {what} than {meant.version!r}, which is meant else"
    if meant.framing != canary.framing:
        return f"version {canary.version!r} has another framing than {meant.version!r}, which is meant else"
    return ""


def _facts_of(part: Any) -> tuple[Any, ...]:
    return tuple(getattr(part, fact, None) for fact in _FACTS)
