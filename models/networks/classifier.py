"""Classifiers of sequences: a class for each step, or one for all of them, in one direction or both.

``x_t`` raw features, ``z_t`` what a step is encoded as (models/networks/step_encoder.py), ``g`` recurrent layers
(models/networks/layers.py), ``p`` probabilities of the classes::

    h_t          = g(z_t, h_{t-1})                          in one direction
    h_t          = [g(z_t, h_{t-1}); g'(z_t, h'_{t+1})]     in both (Schuster and Paliwal, 1997)
    tags         p_t = softmax(W h_t + b)
    labels       p   = softmax(W v + b),   v = h_T (in both directions [h_T; h'_1]),
                                               in both, too, max over t of h_t,
                                               or sum over t of softmax(w . tanh(U h_t)) h_t   (Yang et al., 2016,
                                               "Hierarchical Attention Networks for Document Classification")

In one direction a label is answered after every step, ``v`` of the steps so far.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, TypeGuard

import torch
from pydantic import model_validator
from torch import Tensor, nn

from ostinato.models.networks.attention import masked_softmax
from ostinato.models.networks.encoders import RecurrentEncoder
from ostinato.models.networks.ensemble import first_of
from ostinato.models.networks.layers import Layers, build_layers
from ostinato.models.networks.layers_recipe import LayersRecipe
from ostinato.models.networks.recurrent import fill_last_seen
from ostinato.models.networks.step_encoder import StepEncoder, StepFeatures
from ostinato.models.recipe import Count, NotNegative

Pooling: TypeAlias = Literal["last", "max", "attention"]


class ClassifierRecipe(LayersRecipe):
    """A classifier's layers.

    ``bidirectional``: whether the network reads in both directions. That is more exact, and answers whole sequences
    only; otherwise the network streams.
    ``embedding_size``: numbers that represent a word.
    ``noise``: how many standard deviations of random noise are added to each amount in training.
    """

    bidirectional: bool = True
    embedding_size: Count = 32
    noise: NotNegative = 0.0

    @model_validator(mode="after")
    def _check_directions(self) -> ClassifierRecipe:
        if self.bidirectional and (not isinstance(self.cell, str) or self.cell not in ("lstm", "gru")):
            raise ValueError(
                f"bidirectional: of {self.cell!r} it is not there; cell = 'lstm' or 'gru', or bidirectional = false"
            )
        return self


class LabelNetworkRecipe(ClassifierRecipe):
    """A label's network.

    ``pooling``: what the label is decided by: the ``last`` output of each direction, the ``max`` of each feature over
    all steps, or a weighted mean of all steps (``attention``).
    """

    pooling: Pooling = "last"

    @model_validator(mode="after")
    def _check_pooling(self) -> LabelNetworkRecipe:
        if self.pooling != "last" and not self.bidirectional:
            raise ValueError(f"pooling: {self.pooling} looks at whole sequences: bidirectional = true, or take last")
        return self


class StreamClassifier(nn.Module):
    """A classifier in one direction: it keeps the recurrent contract, and answers at every step.

    Args:
        num_classes: K.
    """

    def __init__(self, features: StepFeatures, recipe: ClassifierRecipe, num_classes: int) -> None:
        super().__init__()
        self.encoder = StepEncoder(features, recipe.embedding_size, recipe.noise)
        self.layers: Layers = build_layers(recipe, self.encoder.encoded_size, self.encoder.amount_names)
        self.dropout = nn.Dropout(recipe.dropout)
        self.head = nn.Linear(self.layers.output_size, num_classes)
        self.state_names = ("last_seen", *self.layers.state_names)

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        """last_seen ``[B, F]``, and the layers' states."""
        return (self.encoder.initial_last_seen(batch_size), *self.layers.initial_state(batch_size))

    def scores(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Log-probabilities up to a constant ``[B, T, K]``, and the states after."""
        filled, seen = fill_last_seen(x, states[0])
        hidden, *after = self.layers(self.encoder(filled, seen), *states[1:])
        return self.head(self.dropout(hidden)), filled[:, -1], *after

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """``x [B, T, F]`` in raw units, NaN where missing, to probabilities ``[B, T, K]``."""
        scores, *after = self.scores(x, *states)
        return torch.softmax(scores, dim=-1), *after


class WholeClassifier(nn.Module):
    """A classifier that reads both ways: ``forward(x, lengths) -> probabilities``.

    Args:
        num_classes: K.
        pooling: None for a class at each step.
    """

    def __init__(
        self, features: StepFeatures, recipe: ClassifierRecipe, num_classes: int, pooling: Pooling | None
    ) -> None:
        super().__init__()
        assert recipe.cell in ("lstm", "gru"), "checked by the recipe"
        self.encoder = StepEncoder(features, recipe.embedding_size, recipe.noise)
        self.layers = RecurrentEncoder(
            recipe.cell,
            self.encoder.encoded_size,
            recipe.hidden_size,
            recipe.num_layers,
            bidirectional=True,
            dropout=recipe.dropout,
        )
        size = self.layers.output_size
        self.pooling = pooling
        if pooling == "attention":
            self.attention = nn.Sequential(nn.Linear(size, size), nn.Tanh(), nn.Linear(size, 1, bias=False))
        self.dropout = nn.Dropout(recipe.dropout)
        self.head = nn.Linear(size, num_classes)

    def scores(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Log-probabilities up to a constant: ``[B, T, K]``, or ``[B, K]`` of a label."""
        filled, seen = fill_last_seen(x, self.encoder.initial_last_seen(x.shape[0]))
        hidden, last = self.layers(self.encoder(filled, seen), lengths)
        if self.pooling is not None:
            hidden = self._pooled(hidden, last, lengths)
        scores: Tensor = self.head(self.dropout(hidden))
        return scores

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """``x [B, T, F]`` in raw units, NaN where missing, to probabilities."""
        return torch.softmax(self.scores(x, lengths), dim=-1)

    def _pooled(self, hidden: Tensor, last: Tensor, lengths: Tensor) -> Tensor:
        if self.pooling == "last":
            return last
        if self.pooling == "attention":
            weights = masked_softmax(self.attention(hidden).transpose(1, 2), lengths)
            return torch.matmul(weights, hidden).squeeze(1)
        beyond = torch.arange(hidden.shape[1], device=hidden.device) >= lengths.unsqueeze(1)
        return hidden.masked_fill(beyond.unsqueeze(-1), torch.finfo(hidden.dtype).min).amax(dim=1)


AnyClassifier: TypeAlias = StreamClassifier | WholeClassifier


def streams(network: AnyClassifier) -> TypeGuard[StreamClassifier]:
    """Whether a network, or an ensemble, answers at every step and carries states."""
    return isinstance(first_of(network), StreamClassifier)


def build_classifier(features: StepFeatures, recipe: ClassifierRecipe, num_classes: int) -> AnyClassifier:
    """The network that a recipe asks for, untrained."""
    if not recipe.bidirectional:
        return StreamClassifier(features, recipe, num_classes)
    pooling = recipe.pooling if isinstance(recipe, LabelNetworkRecipe) else None
    return WholeClassifier(features, recipe, num_classes, pooling)
