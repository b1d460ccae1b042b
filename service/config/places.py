"""Places: paths, and addresses that have paths in them, as they are from any working folder."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote, unquote


def absolute_path(path: str, folder: Path) -> str:
    """A path that is written from ``folder``."""
    return str((folder / path).absolute())


def absolute_address(address: str, folder: Path) -> str:
    """The address of a store whose path, or the files that its options name, are written from ``folder``."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address
    if scheme == "lmdb":
        path, question, options = rest.partition("?")
        return f"lmdb://{_quoted(path, folder)}{question}{options}" if path else address
    return re.sub(r"(?<=[?&])([a-z_]+_file)=([^&]+)", lambda found: f"{found[1]}={_quoted(found[2], folder)}", address)


def _quoted(path: str, folder: Path) -> str:
    return quote(absolute_path(unquote(path), folder))


def split_sources(text: str) -> list[str]:
    """Sources of models, which are separated by commas or spaces."""
    return [source for source in re.split(r"[,\s]+", text) if source]


def is_folder(source: str) -> bool:
    """Whether a source is a path of this machine, and no address."""
    return re.match(r"[a-z][a-z0-9+.-]*:", source, re.IGNORECASE) is None


def absolute_sources(text: str, folder: Path) -> str:
    """Sources of models, of which those that are paths are written from ``folder``."""
    return ",".join(_absolute_source(each, folder) if is_folder(each) else each for each in split_sources(text))


def _absolute_source(source: str, folder: Path) -> str:
    path, sign, checksum = source.partition("#")
    path = absolute_path(path, folder)
    # As a URL it holds what would part it from itself.
    return (f"file://{quote(path)}" if re.search(r"[,\s#]", path) else path) + sign + checksum
