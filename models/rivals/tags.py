"""The rivals of what gives each step a class: a linear chain, and the most frequent tag of each word."""

from __future__ import annotations

import numpy as np

from ostinato.models.data.labelled import Labelled
from ostinato.models.networks.step_encoder import StepFeatures
from ostinato.models.rivals.linear_chain import LinearChain, most_frequent_tags
from ostinato.models.rivals.rival import Rival
from ostinato.models.rivals.sequences import Codes


def linear_chain(data: Labelled) -> Codes:
    """The most probable tags of a conditional random field, of all test sequences behind each other, ``[N]``."""
    chain = LinearChain(StepFeatures.of(data), len(data.classes))
    chain.learn(data.parts["training"])
    return np.concatenate([chain.answer(sequence) for sequence in data.parts["test"]])


def most_frequent(data: Labelled) -> Codes:
    """The tag that each step's word has most often in the training part, likewise."""
    return most_frequent_tags(data.parts["training"], data.parts["test"], StepFeatures.of(data))


RIVALS: tuple[Rival[Labelled, Codes], ...] = (
    Rival("linear chain", linear_chain),
    Rival("most frequent", most_frequent),
)
