"""A multi-horizon forecaster's recipe: what to train, on which columns of which CSV, and how."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from ostinato.models.data.series_recipe import DataRecipe, NetworkRecipe, Recipe, StreamTraining
from ostinato.models.recipe import Count

Quantile: TypeAlias = Annotated[float, Field(gt=0, lt=1)]


class MultiHorizonData(DataRecipe):
    """The data.

    ``cycles``: those categorical features whose code counts on by one each step and begins anew after the last, like
    the hour of the day: their future is known, and a forecast moves them on by itself.
    ``least``: what the target cannot fall below, 0 for a concentration; no forecast does.
    """

    cycles: tuple[str, ...] = ()
    least: float | None = None

    @model_validator(mode="after")
    def _check_cycles(self) -> MultiHorizonData:
        if unknown := set(self.cycles) - set(self.categorical):
            raise ValueError(f"cycles: {sorted(unknown)} are not among the categorical {list(self.categorical)}")
        return self


class MultiHorizonNetwork(NetworkRecipe):
    """The network; ``dropout`` stands between layers and before the heads.

    ``memory_steps``: how many of the last steps the decoder attends to.
    ``memory_size``: how many numbers are remembered of each.
    ``quantiles``: rising, as many below the median as above it.
    """

    memory_steps: Count = 168
    memory_size: Count = 32
    quantiles: Annotated[tuple[Quantile, ...], Field(min_length=1)] = (0.1, 0.5, 0.9)

    @model_validator(mode="after")
    def _check_quantiles(self) -> MultiHorizonNetwork:
        if list(self.quantiles) != sorted(set(self.quantiles)):
            raise ValueError(f"quantiles: {list(self.quantiles)} do not rise")
        if self.quantiles[len(self.quantiles) // 2] != 0.5 or len(self.quantiles) % 2 == 0:
            raise ValueError(f"quantiles: 0.5 must stand in the middle of {list(self.quantiles)}")
        return self


class MultiHorizonTraining(StreamTraining):
    """How it is trained.

    ``horizon_steps``: how far ahead it learns to forecast, and is scored.
    ``origin_steps``: in training a forecast is made after every so many steps of a window.
    ``validation_origin_steps``: the same in the validation part.
    """

    horizon_steps: Count = 24
    origin_steps: Count = 8
    validation_origin_steps: Count = 5


class MultiHorizonRecipe(Recipe):
    """All that one training run depends on.

    ``one_step``: the recipe of a one-step forecaster that is trained, too, and compared, fed its own output; a
    relative path starts at this recipe's own folder.
    """

    kind: Literal["multi_horizon"]  # type: ignore[assignment]
    data: MultiHorizonData
    network: MultiHorizonNetwork
    training: MultiHorizonTraining = MultiHorizonTraining()
    one_step: Path | None = None

    def located(self, folder: Path) -> Self:
        """The recipe with its paths, which start at its own folder, made absolute."""
        recipe = super().located(folder)
        return recipe.model_copy(update={"one_step": self.one_step and folder / self.one_step})

    def portable(self) -> dict[str, Any]:
        """The recipe without where on this machine its data and the other recipe lay."""
        return super().portable() | {"one_step": self.one_step and self.one_step.name}
