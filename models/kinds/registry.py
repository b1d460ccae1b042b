"""The kinds that can be trained: each is one module of this folder, and the module's name is the kind's.

A kind's module has two functions:

- ``train_run(recipe, directory, seed, report) -> (directory, score tables)``: read the recipe, train, write the run
  directory, and say how good the network is.
- ``load_run(directory)``: the trained network of a run directory, for ``ostinato/export/runs/<kind>.py`` to export.

Kinds are found by looking into the folder; CONTRIBUTING.md lists the steps of adding one. A kind's module is imported
when it is asked for, since training libraries take seconds to import.
"""

from __future__ import annotations

import pkgutil
import tomllib
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from ostinato.models import kinds
from ostinato.models.errors import RecipeError
from ostinato.models.report import Report, ScoreTable

# What a recipe or a run without the key `kind` is.
FORECASTER = "forecaster"


class Kind(Protocol):
    """The module of a kind, as far as training goes."""

    def train_run(
        self, recipe: Path, directory: Path | None, seed: int | None, report: Report
    ) -> tuple[Path, Sequence[ScoreTable]]:
        """Train what the recipe says into a run directory.

        Args:
            directory: ``runs/<name of the recipe>`` where None.
            seed: replaces the recipe's own where it is not None.

        Raises:
            TrainingError: the recipe or the data cannot be used, or training fails.
        """


def kind_names() -> list[str]:
    """The kinds that there are, sorted: every module of this folder except this one."""
    own = __name__.rpartition(".")[2]
    return sorted(module.name for module in pkgutil.iter_modules(kinds.__path__) if module.name != own)


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
    if kind not in (known := kind_names()):
        raise RecipeError(f"{recipe}: kind: {kind!r} is none of {', '.join(known)}")
    return str(kind)


def load_kind(kind: str) -> Kind:
    """The module of one of ``kind_names()``."""
    return cast(Kind, import_module(f"{kinds.__name__}.{kind}"))
