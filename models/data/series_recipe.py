"""A forecaster's recipe: which columns of which table are learned from, the network, and streams to train on."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, model_validator

from ostinato.models.recipe import Count, FileRecipe, Fraction, RunRecipe, Section, TrainingRecipe
from ostinato.tables.cells import MISSING_WORDS
from ostinato.tables.gaps import Gaps
from ostinato.tables.steps import TimeStep


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


class StreamTraining(TrainingRecipe):
    """How it is trained.

    ``batch_size``: into how many streams, rows of a batch, the training part is cut; ``num_streams`` is a former name.
    ``window_steps``: over how many steps the gradient flows back; the state is carried on from window to window.
    """

    batch_size: Count = Field(default=32, validation_alias=AliasChoices("batch_size", "num_streams"))
    max_epochs: Count = Field(default=40, validation_alias=AliasChoices("max_epochs", "num_epochs"))
    patience_epochs: Count | None = 6
    window_steps: Count = 48


class Recipe(RunRecipe):
    """All that one forecaster's training depends on."""

    kind: Literal["forecaster"] = "forecaster"
    data: DataRecipe
    network: NetworkRecipe
    training: StreamTraining = StreamTraining()


def _naive_utc(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    if isinstance(value, date):
        return datetime.combine(value, datetime.min.time())
    return value
