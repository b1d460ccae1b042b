"""A recipe: the TOML file that says what to train, on which columns of which CSV, and how."""

from __future__ import annotations

import tomllib
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ostinato.models.errors import RecipeError
from ostinato.tables.cells import MISSING_WORDS
from ostinato.tables.gaps import Gaps
from ostinato.tables.steps import TimeStep

Count: TypeAlias = Annotated[int, Field(ge=1)]
Positive: TypeAlias = Annotated[float, Field(gt=0)]
Fraction: TypeAlias = Annotated[float, Field(ge=0, lt=1)]
RecipeName: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
AnyRecipe = TypeVar("AnyRecipe", bound="Section")


class Section(BaseModel):
    """A table of a recipe: it cannot be changed, and takes no key that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FileRecipe(Section):
    """What is learned from; a relative path starts at the recipe's own folder.

    ``source``, ``licence``: of the data, for those who read a model's manifest.
    """

    file: Path
    source: str = ""
    licence: str = ""


class SeededRecipe(Section):
    """How it is trained: what every kind's training depends on.

    ``num_threads``: another number of threads rounds its sums otherwise, so it belongs to the recipe.
    """

    seed: int = 0
    num_threads: Count = 1


class RunRecipe(Section):
    """All that one training run of some kind depends on; each kind says more precisely what its parts are."""

    kind: str
    name: RecipeName
    description: str = ""
    data: FileRecipe
    network: Section
    training: SeededRecipe

    @classmethod
    def read(cls, path: Path, seed: int | None = None) -> Self:
        """The recipe in a TOML file; ``data.file`` is made absolute.

        Args:
            seed: replaces the recipe's own where it is not None.

        Raises:
            RecipeError: the file is absent, is not TOML, or a key is unknown, missing or wrong.
        """
        recipe = read_recipe(path, cls)
        file = path.parent.resolve() / recipe.data.file
        changed: dict[str, Section] = {"data": recipe.data.model_copy(update={"file": file})}
        if seed is not None:
            changed["training"] = recipe.training.model_copy(update={"seed": seed})
        return recipe.model_copy(update=changed)

    def portable(self) -> dict[str, Any]:
        """The recipe without where on this machine its data lay."""
        content = self.model_dump(mode="json")
        content["data"]["file"] = self.data.file.name
        return content


class DataRecipe(FileRecipe):
    """Where the rows come from and what they mean.

    ``file``: a table as ``docs/tables.md`` says; a relative path starts at the recipe's own folder.
    ``features``: the input columns in the order in which a client sends them; ``target`` is one of them.
    ``categorical``: those features whose words are codes and not amounts.
    ``missing``: the cells that stand for a missing value; given, they are all of them.
    ``time``: one ISO 8601 column, or whole-number columns: year, month, day, and optionally hour, minute, second.
    ``gaps``: ``fill`` puts in the steps that have no row, their values missing; ``refuse`` refuses a file that has such
    steps; ``ignore`` takes rows as consecutive steps, whatever their times.
    ``step``: how far steps are apart, as ``1 hour``; None = as the rows show it.
    ``validation_from``, ``test_from``: where the second and third part begin; each holds its first moment.
    ``season_steps``: the period of the seasonal naive forecast, 24 for a day of hours.
    """

    target: str
    features: Annotated[tuple[str, ...], Field(min_length=1)]
    categorical: tuple[str, ...] = ()
    time: Annotated[tuple[str, ...], Field(min_length=1, max_length=6)]
    missing: tuple[str, ...] = MISSING_WORDS
    gaps: Gaps = "fill"
    step: str | None = None
    validation_from: datetime
    test_from: datetime
    season_steps: Count = 24

    @model_validator(mode="before")
    @classmethod
    def _dates_are_midnights(cls, given: dict[str, Any]) -> dict[str, Any]:
        return {key: _naive_utc(value) for key, value in given.items()}

    @model_validator(mode="after")
    def _check(self) -> DataRecipe:
        if len(set(self.features)) != len(self.features):
            raise ValueError("features: a column stands twice")
        if self.target not in self.features:
            raise ValueError(f"target: {self.target!r} must be one of the features {list(self.features)}")
        if self.target in self.categorical:
            raise ValueError(f"target: {self.target!r} is categorical; a forecast needs an amount")
        if unknown := set(self.categorical) - set(self.features):
            raise ValueError(f"categorical: {sorted(unknown)} are not among the features {list(self.features)}")
        if len(self.time) == 2:
            raise ValueError("time: give one ISO 8601 column, or year, month, day and smaller units")
        if self.step is not None:
            try:
                TimeStep.parse(self.step)
            except ValueError as error:
                raise ValueError(f"step: {error}") from error
        if self.step is not None and self.gaps == "ignore":
            raise ValueError(
                "step: gaps = 'ignore' takes rows as they come, whatever their times; leave one of them out"
            )
        if self.validation_from >= self.test_from:
            raise ValueError("validation_from must be earlier than test_from")
        return self


class NetworkRecipe(Section):
    """The network: ``dropout`` stands between layers only, so it does nothing where ``num_layers`` is 1."""

    cell: Literal["lstm", "gru"]
    hidden_size: Count = 64
    num_layers: Count = 1
    dropout: Fraction = 0.0


class TrainingRecipe(SeededRecipe):
    """How it is trained.

    ``num_streams``: into how many rows of a batch the training part is cut.
    ``window_steps``: over how many steps the gradient flows back; the state is carried on from window to window.
    ``patience_epochs``: after how many epochs without a better validation error training stops.
    ``max_gradient_norm``: longer gradients are shortened to this.
    ``num_threads``: layers of this size gain nothing by more than one, and lose much where the other cores are busy.
    """

    num_streams: Count = 32
    window_steps: Count = 48
    max_epochs: Count = 40
    patience_epochs: Count = 6
    learning_rate: Positive = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_gradient_norm: Positive = 1.0


class Recipe(RunRecipe):
    """All that one forecaster's training depends on."""

    kind: Literal["forecaster"] = "forecaster"
    data: DataRecipe
    network: NetworkRecipe
    training: TrainingRecipe = TrainingRecipe()


def read_recipe(path: Path, kind: type[AnyRecipe]) -> AnyRecipe:
    """The recipe of one kind in a TOML file, paths as they are written there.

    Raises:
        RecipeError: the file is absent, is not TOML, or a key is unknown, missing or wrong.
    """
    try:
        return kind.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: is not TOML: {error}") from error
    except ValidationError as error:
        faults = "; ".join(_fault(fault) for fault in error.errors(include_url=False))
        raise RecipeError(f"{path}: {faults}") from error


def _naive_utc(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    if isinstance(value, date):
        return datetime.combine(value, datetime.min.time())
    return value


def _fault(fault: Any) -> str:
    place = ".".join(str(part) for part in fault["loc"])
    message = str(fault["msg"]).removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
