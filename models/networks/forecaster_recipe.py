"""A forecaster's recipe: which table is learned from, the network, what it forecasts, and how it is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from ostinato.models.data.series_recipe import DataRecipe, StreamTraining
from ostinato.models.networks.layers_recipe import CellName, LayersRecipe
from ostinato.models.recipe import Count, Fraction, RunRecipe, Section

Quantile: TypeAlias = Annotated[float, Field(gt=0, lt=1)]
ForecastHead: TypeAlias = Literal["linear", "recurrent"]
Loss: TypeAlias = Literal["absolute", "squared", "pinball", "gaussian", "counts"]


class ForecasterNetwork(LayersRecipe):
    """The network.

    ``cell``: the cell of every layer, or a list with the cell of each; it has no default here.
    ``forecast``: how the model looks ahead. ``fed_back`` forecasts the next step, which is fed back to look further.
    ``direct`` forecasts each step up to ``training.horizon_steps`` at once. ``attention`` is a decoder (LSTM or GRU)
    that attends to what was remembered of the last ``memory_steps``, and forecasts as far as it is asked.
    ``head``: of a direct forecast, what answers the steps ahead. ``linear`` has weights of its own for each step.
    ``recurrent`` is a GRU over the steps ahead with one head for all; it is told how far ahead it is, and the codes of
    ``data.cycles`` there. It learns far steps better, and costs more. Whatever the layers are, it has the usual form of
    a GRU: ``activation``, ``initialiser`` and the like are of the layers.
    ``memory_steps``: of a forecast by attention, how many steps are remembered.
    ``memory_size``: of a forecast by attention, how many numbers are remembered of each step.
    ``quantiles``: of the loss ``pinball``, the quantiles that are forecast: rising, as many below the median as above
    it.
    ``adaptive_rate``: of the quantiles of a direct forecast, how fast their distances from the median adapt to a
    session's own misses; 0 keeps them as they were learned.
    """

    cell: CellName | Annotated[tuple[CellName, ...], Field(min_length=1)]
    forecast: Literal["fed_back", "direct", "attention"] = "fed_back"
    head: ForecastHead = "linear"
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
        if self.head == "recurrent" and self.forecast != "direct":
            raise ValueError("head: a recurrent one is of forecast = 'direct', which answers several steps ahead")
        return self


class ForecasterTraining(StreamTraining):
    """How it is trained.

    ``loss``: what is learned: the median (``absolute``), the mean (``squared``), quantiles (``pinball``), mean and
    spread (``gaussian``), or the mean of counts (``counts``).
    ``counts``: the distribution of the counts, where ``loss`` is ``counts``.
    ``horizon_steps``: how many steps ahead are scored; a direct forecast answers so many.
    ``hidden_rate``: of a forecast that is fed back. In this part of the stretches of ``horizon_steps``, training hides
    the features that are not known ahead, as they are hidden in such a forecast.
    ``origin_steps``: of a forecast by attention: in training one is made after every so many steps of a window.
    ``validation_origin_steps``: of a forecast by attention: the same in the validation part.
    """

    loss: Loss = "absolute"
    counts: Literal["poisson", "negative_binomial"] = "negative_binomial"
    horizon_steps: Count = 1
    hidden_rate: Fraction = 0.5
    origin_steps: Count = 8
    validation_origin_steps: Count = 5


class TreesRecipe(Section):
    """Boosted trees. Their forecasts are averaged with the network's, by weights that the validation part chooses.

    ``lags``: how many steps before the last one the trees are given.
    ``num_leaves``: leaves of a tree, at most.
    ``max_depth``: depth of a tree, at most.
    ``learning_rate``: what part of each tree's answer counts.
    ``feature_fraction``: the part of the columns that a tree may look at; these are drawn for each tree.
    ``members``: boosters of each number, with consecutive seeds; their mean counts.
    ``max_trees``: trees of a booster, at most.
    ``patience_trees``: a booster ends after so many trees without a better validation loss.
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
    """A model that forecasts the next steps of one or more series.

    ``one_step``: of a forecast by attention, the recipe of a forecaster of one step. It is trained too, fed its own
    output, and compared. A relative path starts at this recipe's own folder.
    ``trees``: boosted trees next to the network, see below; None = there are none.
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
        if self.network.head == "recurrent" and self.has_closed_form:
            raise ValueError(
                f"network.head: of echo_state and the loss {self.training.loss!r} it is linear, as its weights are "
                "found without a gradient; other losses, or another cell, take a recurrent one"
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

    @property
    def has_closed_form(self) -> bool:
        """Whether its weights are found by least squares, without a gradient: echo states, absolute or squared loss."""
        return set(self.network.cells) == {"echo_state"} and self.training.loss in ("absolute", "squared")

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
