"""A decoder that ends its process, for tests; another process has to find it by its name."""

from __future__ import annotations

import os

from tests.hostile.decoders import Decoder


def seeds() -> list[bytes]:
    """What it is given."""
    return [b'{"a": 1}']


def end(_: bytes) -> None:
    """Die."""
    os.abort()


DEADLY = Decoder("deadly", seeds, end)
