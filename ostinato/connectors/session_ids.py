"""Session ids of keys: whatever names a device or card, as an id that the service takes; no two keys share one.

A key of letters, digits, ``.``, ``_`` and ``-`` is its own id. In others each further byte of UTF-8 becomes ``:`` and
two hexadecimal digits, so the way back is as plain, and ``:`` itself is one of them.
"""

from __future__ import annotations

import re

MAX_ID = 128

_PLAIN = re.compile(r"[A-Za-z0-9._-]+")
_OTHER = re.compile(rb"[^A-Za-z0-9._-]")
_ESCAPED = re.compile(rb":([0-9a-f]{2})")


SETTLED = ":settled"
"""Behind the id of a key's session, of another that it has with the rule ``replay``; no key's own id ends so."""


def session_id_of(key: str, prefix: str = "", max_length: int = MAX_ID) -> str:
    """The id of a key's session, with a prefix of a connector in front.

    Raises:
        ValueError: the key is empty, or its id would be longer than ids may be.
    """
    if not key:
        raise ValueError("the key is empty")
    plain = key if _PLAIN.fullmatch(key) else _escaped(key)
    session_id = prefix + plain
    if len(session_id) > max_length:
        raise ValueError(f"the key makes an id of {len(session_id)} characters; a session's has at most {max_length}")
    return session_id


def key_of(session_id: str, prefix: str = "") -> str:
    """The key that has this id."""
    escaped = session_id.removeprefix(prefix).encode()
    return _ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), escaped).decode("utf-8", "surrogateescape")


def _escaped(key: str) -> str:
    content = key.encode("utf-8", "surrogateescape")
    return _OTHER.sub(lambda match: b":%02x" % match[0][0], content).decode()
