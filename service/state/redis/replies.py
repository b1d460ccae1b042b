"""Replies of Redis that are errors: which say that a server is not, or not any more, the one to be asked."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import hiredis

TURNED_AWAY: Final = frozenset({"READONLY", "MASTERDOWN", "LOADING", "NOAUTH", "WRONGPASS", "UNBLOCKED", "DENIED"})
"""A replica by now, one that has not read its data yet, or one that does not let this client in (any more)."""

IN_DOUBT: Final = frozenset({"CLUSTERDOWN", "NOREPLICAS"})
"""Cut off from others, which may have another in its place; or the one to be asked, and they are all gone."""

UNABLE: Final = frozenset({"MISCONF"})
"""The one to be asked, and it takes no changes until somebody has mended it."""

# A script's error has the command's own one within it, up to Redis 6: "ERR Error running script (...): ...: -READONLY".
_OF_SCRIPT = re.compile(r": -([A-Z]+) ")


def error_word(answer: Any) -> str:
    """The first word of an error; "" of what is none."""
    if not isinstance(answer, hiredis.ReplyError):
        return ""
    said = str(answer)
    word = said.partition(" ")[0]
    if word == "ERR" and (inner := _OF_SCRIPT.search(said)):
        return inner[1]
    return word


def is_elsewhere(answers: Iterable[Any]) -> bool:
    """Whether one of these says that another server is to be asked, or the same one again by a new connection."""
    return any(error_word(answer) in TURNED_AWAY or error_word(answer) in IN_DOUBT for answer in answers)
