"""A session's state as a file, as far as the client looks at it."""

from __future__ import annotations

import json

from ostinato.client.answers import hold


def check_state(file: bytes, session_id: str) -> None:
    """Hold a session's safetensors file to the session asked for, where it says whose it is.

    Raises:
        ValueError: it is another's.
    """
    num_header_bytes = int.from_bytes(file[:8], "little")
    try:
        header = json.loads(file[8 : 8 + num_header_bytes])
    except ValueError:
        return
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if isinstance(metadata, dict):
        hold({"session_id": session_id, **metadata}, session_id=session_id)
