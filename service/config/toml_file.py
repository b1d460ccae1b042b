"""The configuration file: a member of TOML for each setting, and the line in which it stands."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ConfigurationFile:
    """What a file says, before anybody has looked whether it can be.

    Attributes:
        path: as the operator wrote it.
        members: by their names.
        text: all of it.
    """

    path: Path
    members: Mapping[str, Any]
    text: str

    @property
    def folder(self) -> Path:
        """Paths in it are written from there."""
        return self.path.absolute().parent

    def place_of(self, name: str) -> str:
        """``ostinato.toml, line 3``, or the file alone where a member stands in no line of its own."""
        key = rf"(?:{re.escape(name)}|'{re.escape(name)}'|\"{re.escape(name)}\")"
        found = re.search(rf"^[ \t]*\[*[ \t]*{key}[ \t]*[=.\]]", self.text, re.MULTILINE)
        return f"{self.path}, line {self.text.count(chr(10), 0, found.start()) + 1}" if found else str(self.path)


def read_file(path: Path) -> ConfigurationFile:
    """The members of a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no TOML; in one sentence, with line and column.
    """
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line, column = _position(content[: error.start].decode("utf-8-sig", "replace"))
        raise ValueError(f"{path}, line {line}, column {column}: it is no UTF-8") from None
    try:
        return ConfigurationFile(path, tomllib.loads(text), text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}{_told(str(error), text)}") from None
    except RecursionError:
        raise ValueError(f"{path}: it is nested too deeply") from None


def _told(message: str, text: str) -> str:
    """A fault as tomllib tells it, with its place in front: ``, line 3, column 7: invalid value``."""
    reason, _, place = message.rpartition(" (at ")
    found = re.match(r"line (\d+), column (\d+)", place)
    line, column = (int(found[1]), int(found[2])) if found else _position(text)
    return f", line {line}, column {column}: {reason[0].lower()}{reason[1:]}"


def _position(before: str) -> tuple[int, int]:
    """Line and column of what follows a text."""
    lines = before.split("\n")
    return len(lines), len(lines[-1]) + 1
