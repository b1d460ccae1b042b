"""Names of outputs and states: keys, fields and arguments of a user's module, or numbers where it has none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ostinato.export.contracts.adapter import Call
from ostinato.export.contracts.calls import REST, Values
from ostinato.export.contracts.structures import flatten
from ostinato.export.errors import ExportError


def names_of(call: Call, answer: Any, values: Values, taken: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those of the outputs in an answer, and of the states that were given.

    Args:
        values: the states, by the parameters that took them.
        taken: names of inputs and contexts, which no state has.
    """
    ways = [name for name, _ in flatten(answer)[0]]
    outputs = _short([ways[place] for place in call.outputs], "output", [])
    if len(outputs) == 1 and outputs[0] == "output_0":
        outputs = ["outputs"]
    states = [way for name, value in values.items() for way, _ in flatten(value, name.replace(REST, "state"))[0]]
    shorter = _short([way.removeprefix(f"{next(iter(values))}_") for way in states], "", taken)
    named = shorter if len(values) == 1 and all(shorter) and REST not in values else states
    return tuple(outputs), tuple(f"state_{name}" if name in taken else name for name in named)


def check_apart(what: str, names: Sequence[str]) -> None:
    """Whether no two of the names that were given for ``what`` are the same.

    Raises:
        ExportError: two are.
    """
    for name in names:
        if names.count(name) > 1:
            raise ExportError(f"{what}: two are named {name!r}; each needs a name of its own")


def notes_on_joined(call: Call) -> tuple[str, ...]:
    """What a user must know where batch and steps were one axis of an output."""
    if not call.joined:
        return ()
    return ("what it returns has batch and steps in one axis, and is given each its own, as by reshape(B, T, -1)",)


def _short(ways: Sequence[str], word: str, taken: Sequence[str]) -> list[str]:
    """Ways without the places at their beginning, or ``word`` and a number where nothing is left."""
    names = [re.sub(r"[^A-Za-z0-9_.-]", "_", re.sub(r"^(\d+(_|$))+", "", way)) for way in ways]
    if len(set(names)) != len(names) or set(names) & set(taken) or (not word and not all(names)):
        names = [""] * len(names)
    return [name or (f"{word}_{place}" if word else "") for place, name in enumerate(names)]
