"""Training of an ensemble's members, one after another: the same recipe with seeds that follow each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import nn

from ostinato.models.networks.ensemble import joined
from ostinato.models.recipe import TrainingRecipe
from ostinato.models.training.fitting import Fitted, reproducible
from ostinato.models.training.job import Job

AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)
AnyTraining = TypeVar("AnyTraining", bound=TrainingRecipe)


def train_members(
    recipe: AnyTraining, job: Job, train_one: Callable[[AnyTraining, Job], tuple[AnyNetwork, Fitted]]
) -> tuple[AnyNetwork, Fitted]:
    """Train each member as if it were the only network of its seed, and join them (models/networks/ensemble.py).

    A member that had ended when the training was interrupted is taken from its checkpoint.

    Args:
        train_one: builds a network and trains it.

    Raises:
        TrainingError: as ``train_one``.
    """
    if recipe.members == 1:
        return train_one(recipe, job)
    networks, fitted = [], []
    for number in range(recipe.members):
        own = recipe.model_copy(update={"seed": recipe.seed + number, "members": 1})
        with reproducible(own):
            network, course = train_one(own, job.of_member(number, recipe.members))
        networks.append(network)
        fitted.append(course)
    return joined(networks), Fitted.of_members(fitted)
