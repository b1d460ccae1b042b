"""Errors on the way from a PyTorch module to a version's directory."""

from __future__ import annotations

import re

_COLOUR = re.compile(r"\x1b\[\d*m")


class ExportError(Exception):
    """The module cannot be exported as it stands; the message says what is wrong with it and what to do."""

    def __reduce__(self) -> tuple[object, ...]:
        # Pickled and copied with what it carries, though ``__init__`` may take more than the message.
        return Exception.__new__, (type(self), *self.args), vars(self)


def first_line(error: BaseException) -> str:
    """The first line of what an error of a library or a user's module says; its class where it says nothing."""
    said = _COLOUR.sub("", str(error)).strip()
    return said.splitlines()[0] if said else type(error).__name__
