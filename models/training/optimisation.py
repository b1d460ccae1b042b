"""Optimisation: how weights follow a loss, as a recipe says.

The learning rate is a function of how far training is and of the validation errors so far, and of nothing else: what
is resumed goes on as if it had never been interrupted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ostinato.models.recipe import TrainingRecipe

# The first batch learns too.
_LEAST_OF_WARM_UP = 0.01


def build_optimizer(network: nn.Module, recipe: TrainingRecipe) -> Optimizer:
    """The optimiser that a recipe asks for, over all weights that take a gradient."""
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    rate, decay, momentum = recipe.learning_rate, recipe.weight_decay, recipe.momentum
    match recipe.optimizer:
        case "adamw":
            return torch.optim.AdamW(weights, lr=rate, weight_decay=decay)
        case "adam":
            return torch.optim.Adam(weights, lr=rate, weight_decay=decay)
        case "nadam":
            return torch.optim.NAdam(weights, lr=rate, weight_decay=decay)
        case "rmsprop":
            return torch.optim.RMSprop(weights, lr=rate, weight_decay=decay, momentum=momentum)
        case "adagrad":
            return torch.optim.Adagrad(weights, lr=rate, weight_decay=decay)
        case "sgd":
            return torch.optim.SGD(weights, lr=rate, weight_decay=decay, momentum=momentum, nesterov=momentum > 0)


def learning_rate(recipe: TrainingRecipe, epochs: float, validations: Sequence[float]) -> float:
    """The learning rate after so many epochs, parts of one counted.

    Args:
        validations: the validation error of each epoch that has ended.
    """
    if epochs < recipe.warm_up_epochs:
        return recipe.learning_rate * max(_LEAST_OF_WARM_UP, epochs / recipe.warm_up_epochs)
    return recipe.learning_rate * _fallen_to(recipe, epochs - recipe.warm_up_epochs, validations)


def _fallen_to(recipe: TrainingRecipe, epochs: float, validations: Sequence[float]) -> float:
    """The part of the highest learning rate that is left so many epochs after the warm-up."""
    progress = min(1.0, epochs / max(recipe.max_epochs - recipe.warm_up_epochs, 1e-9))
    match recipe.schedule:
        case "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * progress))
        case "linear":
            return 1.0 - progress
        case "constant":
            return 1.0
        case "step":
            return float(recipe.decay_factor ** (epochs // recipe.decay_epochs))
        case "exponential":
            return float(recipe.decay_factor ** (epochs / recipe.decay_epochs))
        case "plateau":
            return float(recipe.decay_factor ** num_plateaus(validations, recipe.decay_epochs))


def num_plateaus(validations: Sequence[float], epochs: int) -> int:
    """How many times in a row of validation errors so many epochs passed without a better one."""
    best, waited, found = math.inf, 0, 0
    for validation in validations:
        if validation < best:
            best, waited = validation, 0
            continue
        waited += 1
        if waited == epochs:
            waited, found = 0, found + 1
    return found


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """For the next update of all weights."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def penalty(network: nn.Module, recipe: TrainingRecipe) -> Tensor | float:
    """What ``l1`` and ``l2`` add to the loss: of matrices and filters, not of biases."""
    if not recipe.l1 and not recipe.l2:
        return 0.0
    weights = [weight for weight in network.parameters() if weight.requires_grad and weight.dim() > 1]
    return sum(
        (recipe.l1 * weight.abs().sum() + recipe.l2 * weight.square().sum() for weight in weights), torch.zeros(())
    )


def clip_gradients(network: nn.Module, recipe: TrainingRecipe) -> float:
    """Clip by value and then by norm, where the recipe asks for it.

    Returns:
        the gradient's norm before it was shortened.
    """
    weights = [weight for weight in network.parameters() if weight.grad is not None]
    if recipe.max_gradient_value is not None:
        nn.utils.clip_grad_value_(weights, recipe.max_gradient_value)
    limit = math.inf if recipe.max_gradient_norm is None else recipe.max_gradient_norm
    return float(nn.utils.clip_grad_norm_(weights, limit))
