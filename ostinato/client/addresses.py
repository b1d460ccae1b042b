"""Addresses of services as they may be shown: without what they may hold of users and passwords."""

from __future__ import annotations

import re


def shown(address: str) -> str:
    """``address`` as errors and logs may have it."""
    return re.sub(r"^([a-z0-9+.-]*:/*)?.*@", r"\1***@", address, flags=re.DOTALL | re.IGNORECASE)
