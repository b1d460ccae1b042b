"""The keys that workers of one server leave to each other: the text of the last file of keys that could be read.

It lies in the memory that the meters are in, behind them. A worker that is started while the file is broken has the
keys of those before it.
"""

from __future__ import annotations

import os
from hashlib import sha256

from ostinato.service.access.meter import NUM_BYTES

_NUM_DIGEST_BYTES = 32


class SharedKeys:
    """The text of the last good file, where every worker finds it.

    Args:
        descriptor: of the memory that the workers share; None = there is none, and nothing is kept.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = descriptor

    def put(self, text: str) -> None:
        """Leave a text that could be read."""
        if self._descriptor is not None:
            content = text.encode()
            # Two workers write the same, or the digest tells a reader that one was in the middle of it.
            size = len(content).to_bytes(8, "little")
            os.pwrite(self._descriptor, size + sha256(content).digest() + content, NUM_BYTES)

    def get(self) -> str | None:
        """What was left; None = nothing, or not whole."""
        if self._descriptor is None:
            return None
        size = int.from_bytes(os.pread(self._descriptor, 8, NUM_BYTES), "little")
        whole = os.pread(self._descriptor, _NUM_DIGEST_BYTES + size, NUM_BYTES + 8)
        digest, content = whole[:_NUM_DIGEST_BYTES], whole[_NUM_DIGEST_BYTES:]
        return content.decode() if size and digest == sha256(content).digest() else None
