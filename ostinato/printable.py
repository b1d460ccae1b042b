"""Printable text: what somebody else said, without what a terminal would obey."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def printable(text: str) -> str:
    """A text with its control characters, and what cannot be encoded, written out; line feeds and tabs stay."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)
