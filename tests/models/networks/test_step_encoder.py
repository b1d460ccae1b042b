from __future__ import annotations

import pytest
import torch

from ostinato.models.data.series import TrainingStatistics
from ostinato.models.errors import RecipeError
from ostinato.models.networks.step_encoder import StepEncoder, StepFeatures

# An amount with the mean 2 and the spread 4, and a word of three.
FEATURES = StepFeatures(
    ("level", "word"),
    (0, 3),
    TrainingStatistics((2.0, 0.0), (4.0, 1.0), (-90.0, 0.0), (90.0, 2.0), (0.0, 0.0)),
)


def encoded(noise: float, training: bool) -> torch.Tensor:
    """What 20,000 steps are encoded as, whose amount is 10: the amount in its spread, whether it was seen, the word."""
    torch.manual_seed(3)
    encoder = StepEncoder(FEATURES, 8, noise).train(training)
    steps = torch.tensor([10.0, 1.0]).expand(2, 10_000, 2)
    amounts: torch.Tensor = encoder(steps, torch.ones(2, 10_000, 2, dtype=torch.bool))
    return amounts


def test_noise_is_added_to_each_amount_anew_in_training_alone() -> None:
    assert set(encoded(0.0, training=True)[..., 0].flatten().tolist()) == {2.0}
    assert set(encoded(0.5, training=False)[..., 0].flatten().tolist()) == {2.0}
    noisy = encoded(0.5, training=True)
    amounts, seen = noisy[..., 0], noisy[..., 1]
    assert abs(amounts.mean().item() - 2.0) < 0.02
    assert abs(amounts.std().item() - 0.5) < 0.02
    assert len(set(amounts.flatten().tolist())) > 15_000
    assert bool((seen == 1.0).all())


def test_noise_leaves_words_as_they_are() -> None:
    # The word, or now and then the unknown one, whatever the noise.
    assert len(set(map(tuple, encoded(0.5, training=True)[..., 2:].flatten(0, 1).tolist()))) == 2


def test_noise_without_an_amount_is_refused() -> None:
    statistics = TrainingStatistics((1.0,), (1.0,), (0.0,), (2.0,), (0.0,))
    with pytest.raises(RecipeError, match=r"network\.noise: is added to amounts, and all features are words"):
        StepEncoder(StepFeatures(("word",), (3,), statistics), 8, 0.5)
