"""A forecaster's recipe: which columns of which table are learned from, the network, and streams to train on."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import AliasChoices, Field, model_validator

from ostinato.models.networks.layers_recipe import CellName, LayersRecipe
from ostinato.models.recipe import Count, FileRecipe, RunRecipe, Section, TrainingRecipe
from ostinato.tables.cells import MISSING_WORDS
from ostinato.tables.gaps import Gaps
from ostinato.tables.steps import TimeStep

Quantile: TypeAlias = Annotated[float, Field(gt=0, lt=1)]
Loss: TypeAlias = Literal["absolute", "squared", "pinball", "gaussian", "counts"]


class DataRecipe(FileRecipe):
    """Where the rows come from and what they mean.

    ``file``: a table as ``docs/tables.md`` says; a relative path starts at the recipe's own folder.
    ``target``: what is forecast, one column or several; those that are no features are learned from, and not given.
    ``features``: the input columns in the order in which a client sends them.
    ``series``: the column that tells several series in one file apart; None = it holds one.
    ``static``: columns with one value in all rows of a series, as where it is: a session is opened with them.
    ``categorical``: those features and static columns whose words are codes and not amounts.
    ``known_future``: those features that whoever forecasts knows ahead, as a price or a holiday.
    ``cycles``: those categorical features whose code counts on by one each step and begins anew after the last, like
    the hour of the day: where one is missing, as in a forecast, the network counts on by itself.
    ``least``: what no target can fall below, 0 for a concentration; no forecast does.
    ``missing``: the cells that stand for a missing value; given, they are all of them.
    ``time``: one ISO 8601 column, or whole-number columns: year, month, day, and optionally hour, minute, second.
    ``gaps``: ``fill`` puts in the steps that have no row, their values missing; ``refuse`` refuses a file that has such
    steps; ``ignore`` takes rows as consecutive steps, whatever their times.
    ``step``: how far steps are apart, as ``1 hour``; None = as the rows show it.
    ``validation_from``, ``test_from``: where the second and third part begin; each holds its first moment.
    ``test_until``: where the third ends, before this moment; None = with the file.
    ``season_steps``: the period of the seasonal naive forecast, 24 for a day of hours.
    """

    target: str | Annotated[tuple[str, ...], Field(min_length=1)]
    features: Annotated[tuple[str, ...], Field(min_length=1)]
    series: str | None = None
    static: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    known_future: tuple[str, ...] = ()
    cycles: tuple[str, ...] = ()
    least: float | None = None
    time: Annotated[tuple[str, ...], Field(min_length=1, max_length=6)]
    missing: tuple[str, ...] = MISSING_WORDS
    gaps: Gaps = "fill"
    step: str | None = None
    validation_from: datetime
    test_from: datetime
    test_until: datetime | None = None
    season_steps: Count = 24

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns that are forecast."""
        return (self.target,) if isinstance(self.target, str) else self.target

    @property
    def unseen_targets(self) -> tuple[str, ...]:
        """Those of them that are no features."""
        return tuple(name for name in self.targets if name not in self.features)

    @model_validator(mode="before")
    @classmethod
    def _dates_are_midnights(cls, given: dict[str, Any]) -> dict[str, Any]:
        return {key: _naive_utc(value) for key, value in given.items()}

    @model_validator(mode="after")
    def _check(self) -> DataRecipe:
        for key, names in (("features", self.features), ("target", self.targets), ("static", self.static)):
            if len(set(names)) != len(names):
                raise ValueError(f"{key}: a column stands twice")
        self._check_columns()
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
        if self.test_until is not None and self.test_from >= self.test_until:
            raise ValueError("test_from must be earlier than test_until")
        return self

    def _check_columns(self) -> None:
        if both := set(self.static) & {*self.features, *self.targets}:
            raise ValueError(f"static: {sorted(both)} are features or targets, which change from step to step")
        if codes := set(self.targets) & set(self.categorical):
            raise ValueError(f"target: {sorted(codes)[0]!r} is categorical; a forecast needs an amount")
        for key, names, known in (
            ("categorical", self.categorical, (*self.features, *self.static)),
            ("known_future", self.known_future, self.features),
            ("cycles", self.cycles, [name for name in self.categorical if name in self.features]),
        ):
            if unknown := set(names) - set(known):
                what = "categorical features" if key == "cycles" else "features"
                raise ValueError(f"{key}: {sorted(unknown)} are not among the {what} {list(known)}")
        if forecast := set(self.known_future) & set(self.targets):
            raise ValueError(f"known_future: {sorted(forecast)} are what is forecast")


class ForecasterNetwork(LayersRecipe):
    """The network.

    ``cell``: has no default.
    ``forecast``: ``fed_back``: the next step, which is fed back to look further ahead; ``direct``: each step ahead up
    to ``training.horizon_steps`` at once; ``attention``: a decoder (LSTM or GRU) that attends to what was remembered of
    the last ``memory_steps``, and forecasts as far as it is asked.
    ``memory_size``: how many numbers are remembered of each step.
    ``quantiles``: of the loss ``pinball``: rising, as many below the median as above it.
    """

    cell: CellName | Annotated[tuple[CellName, ...], Field(min_length=1)]
    forecast: Literal["fed_back", "direct", "attention"] = "fed_back"
    memory_steps: Count = 168
    memory_size: Count = 32
    quantiles: Annotated[tuple[Quantile, ...], Field(min_length=1)] = (0.1, 0.5, 0.9)

    @model_validator(mode="after")
    def _check_forecast(self) -> ForecasterNetwork:
        if list(self.quantiles) != sorted(set(self.quantiles)):
            raise ValueError(f"quantiles: {list(self.quantiles)} do not rise")
        if self.quantiles[len(self.quantiles) // 2] != 0.5 or len(self.quantiles) % 2 == 0:
            raise ValueError(f"quantiles: 0.5 must stand in the middle of {list(self.quantiles)}")
        if self.forecast == "attention" and self.cell not in ("lstm", "gru"):
            raise ValueError("cell: of a network whose forecast is by attention it is lstm or gru")
        given = [name for name in ("memory_steps", "memory_size") if getattr(self, name) != _default(type(self), name)]
        if self.forecast != "attention" and given:
            raise ValueError(f"{given[0]}: is of forecast = 'attention'")
        return self


class StreamTraining(TrainingRecipe):
    """How it is trained.

    ``batch_size``: into how many streams, rows of a batch, the training part is cut; ``num_streams`` is a former name.
    ``window_steps``: over how many steps the gradient flows back; the state is carried on from window to window.
    """

    batch_size: Count = Field(default=32, validation_alias=AliasChoices("batch_size", "num_streams"))
    max_epochs: Count = Field(default=40, validation_alias=AliasChoices("max_epochs", "num_epochs"))
    patience_epochs: Count | None = 6
    window_steps: Count = 48


class ForecasterTraining(StreamTraining):
    """How it is trained.

    ``loss``: what is learned: the median (``absolute``), the mean (``squared``), quantiles (``pinball``), mean and
    spread (``gaussian``), or the mean of counts (``counts``), which are distributed as ``counts`` says.
    ``horizon_steps``: how far ahead it is scored; and, of a direct forecast, answers.
    ``origin_steps``: of a forecast by attention: in training one is made after every so many steps of a window.
    ``validation_origin_steps``: the same in the validation part.
    """

    loss: Loss = "absolute"
    counts: Literal["poisson", "negative_binomial"] = "negative_binomial"
    horizon_steps: Count = 1
    origin_steps: Count = 8
    validation_origin_steps: Count = 5


class Recipe(RunRecipe):
    """All that one forecaster's training depends on.

    ``one_step``: of a forecast by attention, the recipe of a forecaster of one step that is trained, too, and compared,
    fed its own output; a relative path starts at this recipe's own folder.
    """

    kind: Literal["forecaster"] = "forecaster"
    data: DataRecipe
    network: ForecasterNetwork
    training: ForecasterTraining = ForecasterTraining()
    one_step: Path | None = None

    @model_validator(mode="after")
    def _check_parts(self) -> Recipe:
        if self.network.quantiles != _default(ForecasterNetwork, "quantiles") and self.training.loss != "pinball":
            raise ValueError("network.quantiles: are of training.loss = 'pinball'")
        if self.network.forecast == "fed_back" and self.training.horizon_steps > 1 and self.data.unseen_targets:
            raise ValueError(
                f"training.horizon_steps: {self.data.unseen_targets[0]!r} is no feature, so its forecast cannot be fed "
                "back; network.forecast = 'direct' looks so far ahead at once"
            )
        if self.network.forecast != "attention":
            if self.one_step is not None:
                raise ValueError("one_step: is of network.forecast = 'attention'")
            return self
        if self.training.loss != "pinball" or len(self.data.targets) > 1 or self.data.unseen_targets:
            raise ValueError(
                "network.forecast: by attention the quantiles (training.loss = 'pinball') of one target are forecast, "
                "which is a feature; 'direct' takes any"
            )
        if self.data.static:
            raise ValueError("network.forecast: by attention nothing is known of data.static; 'direct' takes them")
        return self

    def located(self, folder: Path) -> Self:
        """The recipe with its paths, which start at its own folder, made absolute."""
        recipe = super().located(folder)
        return recipe.model_copy(update={"one_step": self.one_step and folder / self.one_step})

    def portable(self) -> dict[str, Any]:
        """The recipe without where on this machine its data and the other recipe lay."""
        return super().portable() | {"one_step": self.one_step and self.one_step.name}


def _default(section: type[Section], key: str) -> Any:
    return section.model_fields[key].default


def _naive_utc(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    if isinstance(value, date):
        return datetime.combine(value, datetime.min.time())
    return value
