"""Durability of a Redis: what it is set to, as far as it may lose sessions by throwing keys away or by its end."""

from __future__ import annotations

from collections.abc import Iterable


def weaknesses(info: str) -> list[str]:
    """What may lose sessions, by a server's ``INFO memory`` and ``INFO persistence``; a sentence each.

    Managed servers refuse ``CONFIG GET``, and tell these all the same. Of what is not told, that is said.
    """
    facts = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    return [*_of_memory(facts), *_of_persistence(facts)]


def _of_memory(facts: dict[str, str]) -> Iterable[str]:
    policy = facts.get("maxmemory_policy")
    if policy is None:
        yield "it does not tell its maxmemory-policy; if that is not noeviction, it throws sessions away when full"
    elif policy != "noeviction":
        is_bounded = facts.get("maxmemory", "0") != "0"
        when = "when it is full" if is_bounded else "as soon as a maxmemory is set"
        yield f"maxmemory-policy is {policy}: {when}, it throws sessions away, and nobody is told; set it to noeviction"


def _of_persistence(facts: dict[str, str]) -> Iterable[str]:
    if "aof_enabled" not in facts:
        yield "it does not tell whether it is persistent; if appendonly is off, its end may be that of all sessions"
    elif facts["aof_enabled"] == "0":
        yield (
            "appendonly is off: when it ends, sessions go back to its last snapshot, if it makes any, or are gone; set "
            "appendonly to yes"
        )
    elif facts.get("aof_last_write_status", "ok") != "ok":
        yield "its last write to the append-only file failed: what it acknowledges may not survive its end"
