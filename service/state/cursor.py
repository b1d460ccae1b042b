"""Cursors: where a page of sessions ended, as a word that only the kind of store that gave it takes back."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from ostinato.service.errors import InvalidInput

_CHECK_BYTES = 4

Position = TypeVar("Position")


def write_cursor(store: str, position: Any) -> str:
    """A position in a kind of store, a tuple, as a word; ``read_cursor`` undoes it."""
    content = msgspec.json.encode(position)
    return base64.urlsafe_b64encode(_check(store, content) + content).decode()


def read_cursor(
    store: str, word: str, kind: type[Position], is_possible: Callable[[Position], bool] = lambda _: True
) -> Position:
    """A position of the type ``kind``.

    Args:
        is_possible: whether the store may ever have given such a position. Who knows how a word is made can make
            others, which are refused before they do harm.

    Raises:
        InvalidInput: that kind of store never gave this word.
    """
    try:
        given = base64.b64decode(word.encode("ascii"), b"-_", validate=True)
        check, content = given[:_CHECK_BYTES], given[_CHECK_BYTES:]
        if check == _check(store, content):
            position = msgspec.json.decode(content, type=kind)
            if is_possible(position):
                return position
    except ValueError:  # it is no ASCII, base64 or UTF-8; or no such JSON
        pass
    raise InvalidInput("the cursor is not one that this server gave", field="cursor")


def _check(store: str, content: bytes) -> bytes:
    """It finds out what is not ours, and does not keep anybody from forging it: a position is no secret."""
    return zlib.crc32(store.encode() + b"\0" + content).to_bytes(_CHECK_BYTES, "big")
