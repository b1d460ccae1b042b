"""What can be trained: the kinds a recipe may name, and what each of them offers.

Each kind's module has ``train_run(recipe, directory, seed, report) -> (directory, score tables)``: it reads the recipe,
trains, writes the run directory and says how good the network is. The module is imported when it is asked for.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, TypeAlias, cast

from ostinato.models.errors import RecipeError

# What a recipe or a run without the key `kind` is.
FORECASTER = "forecaster"

KINDS: dict[str, str] = {
    FORECASTER: "ostinato.models.kinds.forecaster",
    "pronunciation": "ostinato.models.kinds.pronunciation",
    "multi_horizon": "ostinato.models.kinds.multi_horizon",
    "language_model": "ostinato.models.kinds.language_model",
    "caption": "ostinato.models.kinds.caption",
}

# report(done, total, text): how many of how many epochs, and what is worth showing beside the bar.
Report: TypeAlias = Callable[[int, int, str], None]


@dataclass(frozen=True)
class ScoreTable:
    """What a network scores, ready to be shown: the first column is text, the others are numbers.

    ``note``: a sentence to show below it; empty for none.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


class Kind(Protocol):
    """The module of a kind."""

    def train_run(
        self, recipe: Path, directory: Path | None, seed: int | None, report: Report
    ) -> tuple[Path, Sequence[ScoreTable]]:
        """Train what the recipe says into a run directory.

        Args:
            directory: ``runs/<name of the recipe>`` where None.
            seed: stands in for the recipe's own where it is not None.

        Raises:
            TrainingError: the recipe or the data cannot be used, or training fails.
        """


def kind_of(recipe: Path) -> str:
    """The kind that a recipe names.

    Raises:
        RecipeError: the file is absent, is not TOML, or names a kind that there is not.
    """
    try:
        kind = tomllib.loads(recipe.read_text(encoding="utf-8")).get("kind", FORECASTER)
    except OSError as error:
        raise RecipeError(f"{recipe}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{recipe}: is not TOML: {error}") from error
    if not isinstance(kind, str) or kind not in KINDS:
        raise RecipeError(f"{recipe}: kind: {kind!r} is none of {', '.join(sorted(KINDS))}")
    return kind


def load_kind(kind: str) -> Kind:
    """The module of a kind in ``KINDS``."""
    return cast(Kind, import_module(KINDS[kind]))
