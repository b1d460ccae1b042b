"""What can go wrong on the way from a PyTorch module to a version's directory."""

from __future__ import annotations


class ExportError(Exception):
    """The module cannot be exported as it stands; the message says what is wrong with it and what to do."""
