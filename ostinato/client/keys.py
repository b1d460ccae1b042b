"""The key that a client shows: the one that it is given, or else the environment's."""

from __future__ import annotations

import os
from pathlib import Path

from ostinato.errors import CommandError

VARIABLE, FILE_VARIABLE = "OSTINATO_KEY", "OSTINATO_KEY_FILE"


def own_key(given: str | None = None) -> str | None:
    """The key to show; None = none. It is never a word of a command, which everybody on the machine may see.

    Raises:
        CommandError: the file that the environment names cannot be read, or what is there is no key.
    """
    key = given if given is not None else os.environ.get(VARIABLE, "")
    where = "the key" if given is not None else VARIABLE
    if not key and given is None and (file := os.environ.get(FILE_VARIABLE)):
        where = f"{FILE_VARIABLE} {file}"
        try:
            key = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{where}: {getattr(error, 'strerror', None) or 'it is no text'}") from None
    key = key.strip()
    if not key:
        return None
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise CommandError(f"{where}: a key is one word of visible ASCII characters")
    return key


def headers_of(key: str | None) -> dict[str, str]:
    """What shows a key; empty without one."""
    return {} if key is None else {"authorization": f"Bearer {key}"}
