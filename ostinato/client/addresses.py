"""Addresses of services: as they may be shown, without users and passwords; and names in them, which may be any."""

from __future__ import annotations

import re
from urllib.parse import quote


def shown(address: str) -> str:
    """``address`` as errors and logs may have it."""
    return re.sub(r"^([a-z0-9+.-]*:/*)?.*@", r"\1***@", address, flags=re.DOTALL | re.IGNORECASE)


def part_of_path(name: str) -> str:
    """A name as the part of a path that it is."""
    # As they are, "." and ".." would be taken for steps in the path.
    return name.replace(".", "%2E") if name in (".", "..") else quote(name, safe="")


def model_path(model: str, action: str = "") -> str:
    """The path of a model, or of what is done with it."""
    return f"/v1/models/{part_of_path(model)}{action}"


def session_path(session_id: str, action: str = "") -> str:
    """The path of a session, or of what is done with it."""
    return f"/v1/sessions/{part_of_path(session_id)}{action}"
