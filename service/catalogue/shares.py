"""Shares of sessions: who falls into one is told by the names alone, in every process and after a restart."""

from __future__ import annotations

from hashlib import blake2b


def share_of(model: str, name: str, draw: str = "") -> float:
    """The least share of a model's sessions that a session is not in, at least 0 and below 1: it is in each share above
    it, so anyone who is in a share stays there when that grows.

    Args:
        name: the session's.
        draw: what the share is of: two draws know nothing of each other.
    """
    digest = blake2b("\0".join((draw, model, name)).encode(), digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / (1 << 53)  # as many bits as a float has: it never comes to 1
