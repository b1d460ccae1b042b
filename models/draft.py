"""Drafts: recipes to begin with, as files, with a word on each key."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any


@dataclass(frozen=True)
class Draft:
    """A recipe to begin with.

    ``tables``: ``data``, ``network``, ``training``, each to its keys; without the file, which whoever writes it knows.
    ``words``: what stands behind a key as a comment, by ``table.key``.
    ``beside``: keys of ``data`` that are files next to the file, by their names.
    """

    description: str
    tables: Mapping[str, Mapping[str, Any]]
    words: Mapping[str, str] = field(default_factory=dict)
    beside: Mapping[str, str] = field(default_factory=dict)

    def text(self, kind: str, name: str, file: str) -> str:
        """The TOML file of it.

        Args:
            file: the path that the recipe is to have.
        """
        lines = [
            f"# {self.description}.",
            "# Train with:  ostinato train RECIPE --output runs/NAME",
            "# Then:        ostinato export runs/NAME --repository repository",
            f"kind = {_value(kind)}",
            f"name = {_value(name)}",
            f"description = {_value(self.description)}",
        ]
        for table in ("data", "network", "training"):
            keys = {
                **(self._files(file) if table == "data" else {}),
                **self.tables.get(table, {}),
            }
            lines += ["", f"[{table}]"]
            for key, value in keys.items():
                words = self.words.get(f"{table}.{key}", "")
                lines.append(f"{key} = {_value(value)}" + (f"  # {words}" if words else ""))
        return "\n".join(lines) + "\n"

    def _files(self, file: str) -> dict[str, str]:
        beside = {key: posixpath.normpath(f"{file}/../{name}") for key, name in self.beside.items()}
        return {"file": file, **beside, "source": "", "licence": ""}


def _value(value: Any) -> str:
    """A value as TOML writes it; its strings are those of JSON, but for the character 127."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_value(str(key))} = {_value(inner)}" for key, inner in value.items()) + "}"
    return "[" + ", ".join(map(_value, value)) + "]"
