"""Several inputs of a model as one, for whoever has all of them in the columns of one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ostinato.errors import InputError


def merged_input(inputs: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """An entry of a manifest that has the features of all entries, one behind the other; of one entry, itself.

    Raises:
        InputError: two features have one name, so no column is theirs alone.
    """
    if len(inputs) == 1:
        return inputs[0]
    features = [name for part in inputs for name in part["features"]]
    if twice := sorted({name for name in features if features.count(name) > 1}):
        raise InputError(f"several inputs have a feature {twice[0]!r}, and a table has one column of a name")

    def first(member: str) -> Any:
        return next((part[member] for part in inputs if part.get(member) is not None), None)

    return {
        "features": features,
        "dtype": "float64",
        "missing": any(part.get("missing") for part in inputs),
        "missing_words": first("missing_words"),
        "times": first("times"),
        "categories": {name: words for part in inputs for name, words in part.get("categories", {}).items()},
        "unknown": {name: word for part in inputs for name, word in part.get("unknown", {}).items()},
    }


def split_steps(inputs: Sequence[Mapping[str, Any]], steps: Sequence[Sequence[Any]]) -> Any:
    """Steps of a merged input as the model takes them: by name, each a list of its features."""
    if len(inputs) == 1:
        return steps
    made = {}
    start = 0
    for part in inputs:
        end = start + len(part["features"])
        made[str(part["name"])] = [list(step[start:end]) for step in steps]
        start = end
    return made
