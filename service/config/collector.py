"""The collector that spans are sent to."""

from __future__ import annotations

from typing import Annotated, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator


def collector_url(text: str) -> str:
    """``http://collector:4318``, or empty.

    Raises:
        ValueError: it is no such address.
    """
    parts = urlsplit(text)
    if text and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment):
        raise ValueError(f"give a collector as http://HOST:4318, not {text!r}")
    return text


CollectorUrl: TypeAlias = Annotated[str, AfterValidator(collector_url)]
