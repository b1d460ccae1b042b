"""A forecaster's recipe: which table is learned from, the network, what it forecasts, and how it is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from ostinato.models.data.series_recipe import DataRecipe, StreamTraining
from ostinato.models.networks.layers_recipe import CellName, LayersRecipe
from ostinato.models.recipe import Count, Fraction, RunRecipe, Section

Quantile: TypeAlias = Annotated[float, Field(gt=0, lt=1)]
Loss: TypeAlias = Literal["absolute", "squared", "pinball", "gaussian", "counts"]


class ForecasterNetwork(LayersRecipe):
    """The network.

    ``cell``: has no default.
    ``forecast``: ``fed_back``: the next step, which is fed back to look further ahead; ``direct``: each step ahead up
    to ``training.horizon_steps`` at once; ``attention``: a decoder (LSTM or GRU) that attends to what was remembered of
    the last ``memory_steps``, and forecasts as far as it is asked.
    ``memory_size``: how many numbers are remembered of each step.
    ``quantiles``: of the loss ``pinball``: rising, as many below the median as above it.
    ``memory_steps``: of a forecast by attention, steps that are remembered.
    ``adaptive_rate``: of quantiles of a direct forecast: how fast their distances from the median adapt to a session's
    own misses; 0 = they stay as they were learned.
    """

    cell: CellName | Annotated[tuple[CellName, ...], Field(min_length=1)]
    forecast: Literal["fed_back", "direct", "attention"] = "fed_back"
    memory_steps: Count = 168
    memory_size: Count = 32
    quantiles: Annotated[tuple[Quantile, ...], Field(min_length=1)] = (0.1, 0.5, 0.9)
    adaptive_rate: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _check_forecast(self) -> ForecasterNetwork:
        if list(self.quantiles) != sorted(set(self.quantiles)):
            raise ValueError(f"quantiles: {list(self.quantiles)} do not rise")
        if self.quantiles[len(self.quantiles) // 2] != 0.5 or len(self.quantiles) % 2 == 0:
            raise ValueError(f"quantiles: 0.5 must be in the middle of {list(self.quantiles)}")
        if self.forecast == "attention" and self.cell not in ("lstm", "gru"):
            raise ValueError("cell: of a network whose forecast is by attention it is lstm or gru")
        given = [name for name in ("memory_steps", "memory_size") if getattr(self, name) != _default(type(self), name)]
        if self.forecast != "attention" and given:
            raise ValueError(f"{given[0]}: is of forecast = 'attention'")
        return self


class ForecasterTraining(StreamTraining):
    """How it is trained.

    ``loss``: what is learned: the median (``absolute``), the mean (``squared``), quantiles (``pinball``), mean and
    spread (``gaussian``), or the mean of counts (``counts``), which are distributed as ``counts`` says.
    ``horizon_steps``: how far ahead it is scored; and, of a direct forecast, answers.
    ``hidden_rate``: of a forecast that is fed back: the part of stretches of ``horizon_steps`` in which features that
    are not known ahead are hidden in training, as they are in such a forecast.
    ``origin_steps``: of a forecast by attention: in training one is made after every so many steps of a window.
    ``validation_origin_steps``: the same in the validation part.
    ``counts``: the distribution, where ``loss`` is ``counts``.
    """

    loss: Loss = "absolute"
    counts: Literal["poisson", "negative_binomial"] = "negative_binomial"
    horizon_steps: Count = 1
    hidden_rate: Fraction = 0.5
    origin_steps: Count = 8
    validation_origin_steps: Count = 5


class TreesRecipe(Section):
    """Boosted trees, whose forecasts are averaged with the network's, by weights that the validation part chooses.

    ``lags``: how many steps before the last one they are given.
    ``num_leaves``, ``max_depth``: of a tree, at most. ``learning_rate``: what part of each tree's answer counts.
    ``feature_fraction``: the part of the columns that a tree may look at, drawn for each.
    ``members``: boosters of each number, of seeds that follow each other, whose mean counts.
    ``max_trees``, ``patience_trees``: of a booster, which ends after so many trees without a better validation loss.
    """

    lags: Count = 24
    num_leaves: Annotated[int, Field(ge=2)] = 31
    max_depth: Annotated[int, Field(ge=1, le=10)] = 6
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    feature_fraction: Annotated[float, Field(gt=0, le=1)] = 0.5
    members: Count = 1
    max_trees: Count = 1000
    patience_trees: Count = 50


class Recipe(RunRecipe):
    """All that one forecaster's training depends on.

    ``one_step``: of a forecast by attention, the recipe of a forecaster of one step that is trained, too, and compared,
    fed its own output; a relative path starts at this recipe's own folder.
    ``trees``: None = there are none.
    """

    kind: Literal["forecaster"] = "forecaster"
    data: DataRecipe
    network: ForecasterNetwork
    training: ForecasterTraining = ForecasterTraining()
    trees: TreesRecipe | None = None
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
        if self.data.known_future and self.network.forecast != "fed_back":
            raise ValueError(
                f"data.known_future: what is forecast by {self.network.forecast!r} reads nothing of the future, except "
                "data.cycles; network.forecast = 'fed_back' does"
            )
        if self.trees is not None:
            self._check_trees()
        if self.network.adaptive_rate:
            self._check_adaptive()
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

    def _check_trees(self) -> None:
        if self.network.forecast == "attention":
            raise ValueError("trees: what a decoder feeds back is its own; they are of forecast 'fed_back' or 'direct'")
        if self.training.loss not in ("absolute", "squared", "pinball"):
            raise ValueError(f"trees: are of training.loss absolute, squared or pinball, not {self.training.loss}")
        if self.data.unseen_targets:
            raise ValueError(f"trees: begin from the last value, and {self.data.unseen_targets[0]!r} is no feature")

    def _check_adaptive(self) -> None:
        network = self.network
        if network.forecast != "direct" or self.training.loss != "pinball" or len(network.quantiles) < 3:
            raise ValueError(
                "network.adaptive_rate: is of a forecast 'direct' of three quantiles or more (loss 'pinball')"
            )
        if self.data.unseen_targets:
            raise ValueError(
                f"network.adaptive_rate: misses are seen, and {self.data.unseen_targets[0]!r} is no feature"
            )

    def located(self, folder: Path) -> Self:
        """The recipe with its paths, which start at its own folder, made absolute."""
        recipe = super().located(folder)
        return recipe.model_copy(update={"one_step": self.one_step and folder / self.one_step})

    def portable(self) -> dict[str, Any]:
        """The recipe without where on this machine its data and the other recipe lay."""
        return super().portable() | {"one_step": self.one_step and self.one_step.name}


def _default(section: type[Section], key: str) -> Any:
    return section.model_fields[key].default
