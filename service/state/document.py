"""The document of a store: what its operators decided, beside the sessions, changed by compare-and-set."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ostinato.service.errors import InvalidInput, StateStoreUnavailable

MAX_BYTES = 1024 * 1024
"""What it may hold, in every store; a longer one would be read in part, and then by nobody."""


class Document(ABC):
    """A small text that all who use a store share; it is as durable as its sessions."""

    async def read(self) -> bytes:
        """What is there; empty where nothing is.

        Raises:
            StateStoreUnavailable: the store does not answer, or what is there is none of ours.
        """
        return checked(await self.get())

    async def swap(self, before: bytes, after: bytes) -> bool:
        """Put ``after``, which nobody else puts there, in the place of ``before``; False = something else is there.

        Raises:
            InvalidInput: it is too large; nothing was put there.
            StateStoreUnavailable: it may or may not have been put there.
        """
        if len(after) > MAX_BYTES:
            raise InvalidInput(f"what is decided about all models has more than {MAX_BYTES:,} bytes; take aliases away")
        return await self.compare_and_set(before, after)

    @abstractmethod
    async def get(self) -> bytes:
        """What is there, or so much of it that it is seen to be too large."""

    @abstractmethod
    async def compare_and_set(self, before: bytes, after: bytes) -> bool:
        """See ``swap``."""

    async def stop(self) -> None:  # noqa: B027
        """End what it holds."""


def checked(content: bytes) -> bytes:
    """What is there, if it is ours; raises StateStoreUnavailable."""
    if len(content) > MAX_BYTES:
        raise StateStoreUnavailable(f"the store's document of decisions has more than {MAX_BYTES:,} bytes")
    return content


class MemoryDocument(Document):
    """A document that ends with this process."""

    def __init__(self) -> None:
        self._content = b""

    async def get(self) -> bytes:
        """See ``Document.get``."""
        return self._content

    async def compare_and_set(self, before: bytes, after: bytes) -> bool:
        """See ``Document.swap``."""
        if self._content != before:
            return False
        self._content = after
        return True
