"""A rival: what a network is scored next to, from the last seen value to boosted trees.

Whatever is learned, it is told in one way: a rival has the name that tables show, and a function of the data that
learns from the training part, chooses by the validation part, and answers for the test part, whose truth it never looks
at. The module of each kind of data has its rivals.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Generic, TypeVar

from ostinato.errors import MissingExtra
from ostinato.extras import require

Data = TypeVar("Data")
Answers = TypeVar("Answers")


NETWORK = "network"
"""What is scored next to the rivals, where they are told by their names."""


@dataclass(frozen=True)
class Rival(Generic[Data, Answers]):
    """One rival.

    ``name``: as tables and metrics have it.
    ``answers``: what it makes of the data; None = there is too little to learn from.
    ``library``: without which it cannot be had; empty = it needs none but those of every training.
    """

    name: str
    answers: Callable[[Data], Answers | None]
    library: str = ""


def answers_of(rivals: Sequence[Rival[Data, Answers]], data: Data) -> tuple[dict[str, Answers], str]:
    """What each of the rivals makes of the data, by its name, and a sentence about those that are left out.

    One is left out where its library cannot be had, and where it fails: what was trained for hours is not lost with it.
    The sentence is empty where none is left out.
    """
    missing = {rival.library: missing_sentence(rival) for rival in rivals if rival.library}
    found: dict[str, Answers] = {}
    sentences = [sentence for sentence in missing.values() if sentence]
    for rival in rivals:
        if missing.get(rival.library):
            continue
        try:
            answers = rival.answers(data)
        except Exception as error:  # libraries' exceptions share no base class
            sentences.append(f"the rival {rival.name!r} is left out, since it failed: {type(error).__name__}: {error}")
            continue
        if answers is not None:
            found[rival.name] = answers
    return found, "; ".join(sentences)


def missing_sentence(rival: Rival[Data, Answers]) -> str:
    """Why the library of a rival cannot be had, and what to do; empty where it can.

    A library of the system that it is linked against may be missing, too: LightGBM takes OpenMP's from there.
    """
    subject = f"the rival {rival.name!r}"
    try:
        require(rival.library, subject)
        import_module(rival.library)
    except MissingExtra as error:
        return str(error)
    except (ImportError, OSError) as error:
        return f"{subject} is left out, since {rival.library} cannot be loaded: {error}"
    return ""


def metric_name(name: str) -> str:
    """What the figures of a rival are called among the metrics: its name in small letters, joined by underscores."""
    return re.sub(r"\W+", "_", name).strip("_").lower()
