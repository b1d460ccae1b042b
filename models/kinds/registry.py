"""The kinds that can be trained: each is one module of this folder, and the module's name is the kind's.

A kind's module has

- ``RECIPE``: the class of its recipes.
- ``train(recipe, job) -> Trained``: read the data, train, and say how good the network is.
- ``load_run(directory)``: the trained network of a run directory, for ``ostinato/export/runs/<kind>.py`` to export.
- ``begin(file) -> Draft``: a recipe for a file, for ``ostinato train --init``.
- ``folds(recipe, number)``, of a kind whose data lies in time: the recipes of a backtest by rolling origins.

``models/trainer.py`` does what is the same for all: run directories, checkpoints, seeds, backtests, reports.

Kinds are found by looking into the folder; CONTRIBUTING.md lists the steps of adding one. A kind's module is imported
when it is asked for, since training libraries take seconds to import.
"""

from __future__ import annotations

import os
import pkgutil
import re
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from ostinato.models import kinds
from ostinato.models.draft import Draft
from ostinato.models.errors import DataError, RecipeError
from ostinato.models.recipe import RunRecipe, meant
from ostinato.models.run_files import Trained
from ostinato.models.training.job import Job

# What a recipe or a run without the key `kind` is.
FORECASTER = "forecaster"
# What kinds were called before.
FORMER = {"caption": "captions", "language_model": "text", "multi_horizon": FORECASTER, "pronunciation": "pairs"}


class Kind(Protocol):
    """The module of a kind, as far as training goes."""

    RECIPE: type[RunRecipe]

    def train(self, recipe: Any, job: Job) -> Trained:
        """Train what the recipe says.

        Raises:
            TrainingError: the data cannot be used, or training fails.
        """

    def begin(self, file: Path) -> Draft:
        """A recipe that trains on a file as it stands.

        Raises:
            DataError: the file is none that the kind can learn from.
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
        way_out = f"; 'ostinato train --init forecaster FILE.csv --output {recipe}' writes one"
        raise RecipeError(f"{recipe}: cannot be read: {error.strerror}{'' if recipe.exists() else way_out}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{recipe}: is not TOML: {error}") from error
    check_kind(kind, f"{recipe}: kind")
    return str(kind)


def check_kind(kind: object, place: str) -> None:
    """Whether there is such a kind.

    Raises:
        RecipeError: there is not; it names the nearest.
    """
    if kind in (known := kind_names()):
        return
    if now := FORMER.get(str(kind)):
        raise RecipeError(f"{place}: {kind!r} is called {now!r} now; docs/training.md says how it is written")
    raise RecipeError(f"{place}: {kind!r} is none of {', '.join(known)}{meant(kind, known)}")


def load_kind(kind: str) -> Kind:
    """The module of one of ``kind_names()``."""
    return cast(Kind, import_module(f"{kinds.__name__}.{kind}"))


def write_draft(kind: str, file: Path, recipe: Path | None) -> str:
    """Write a recipe that trains on a file as it stands; its path starts where the recipe lies.

    Args:
        recipe: the file to write, which is not there yet; None for none: paths then start where one is now.

    Returns:
        the recipe's text.

    Raises:
        RecipeError: there is no such kind, or the recipe would take another's place.
        DataError: the file is none that the kind can learn from.
    """
    check_kind(kind, "--init")
    if recipe is not None and recipe.exists():
        raise RecipeError(f"{recipe}: is there already; give another --output, or remove it")
    if not file.exists():
        raise DataError(f"{file}: there is no such file")
    draft = load_kind(kind).begin(file)
    folder = Path() if recipe is None else recipe.parent
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", file.name.split(".")[0]).strip("-._") or kind
    text = draft.text(kind, name[:128], os.path.relpath(file.resolve(), folder.resolve()))
    if recipe is not None:
        recipe.parent.mkdir(parents=True, exist_ok=True)
        recipe.write_text(text, encoding="utf-8")
    return text
