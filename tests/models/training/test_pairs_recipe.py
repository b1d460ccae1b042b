"""What the recipe says of a training run reaches the network and its loss."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ostinato.models.networks.seq2seq import Seq2Seq
from tests.training import train_run

RECIPE = """
kind = "pairs"
name = "small"
[data]
file = "small.dict"
form = "cmudict"
[network]
embedding_size = 4
encoder_size = 4
decoder_size = 8
[training]
batch_size = 32
max_epochs = 5
patience_epochs = 5
sampling_rate = {sampling_rate}
label_smoothing = {label_smoothing}
"""
SOUNDS = {"a": "AE1", "b": "B", "k": "K", "m": "M", "o": "OW0", "t": "T"}


def train(folder: Path, sampling_rate: float = 0.0, label_smoothing: float = 0.0) -> None:
    """Five epochs over words of three letters, each spoken as it is spelled."""
    words = [first + second + third for first in SOUNDS for second in SOUNDS for third in SOUNDS]
    lines = [f"{word} {' '.join(SOUNDS[letter] for letter in word)}" for word in words]
    (folder / "small.dict").write_text("\n".join(lines) + "\n", encoding="utf-8")
    recipe = RECIPE.format(sampling_rate=sampling_rate, label_smoothing=label_smoothing)
    (folder / "recipe.toml").write_text(recipe, encoding="utf-8")
    train_run(folder / "recipe.toml", folder / "run")


@pytest.fixture
def sampling_rates(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How often the network wrote after its own code, at each batch that it learned from."""
    seen: list[float] = []
    forward = Seq2Seq.forward

    def noted(
        network: Seq2Seq, source: Tensor, lengths: Tensor, target_in: Tensor, sampling_rate: float = 0.0
    ) -> Tensor:
        if network.training:
            seen.append(sampling_rate)
        return forward(network, source, lengths, target_in, sampling_rate)

    monkeypatch.setattr(Seq2Seq, "forward", noted)
    return seen


@pytest.mark.parametrize(("rate", "expected"), [(0.4, [0.0, 0.1, 0.2, 0.3, 0.4]), (0.0, [0.0])])
def test_scheduled_sampling_rises_from_0_in_the_first_epoch_to_its_rate_in_the_last(
    rate: float, expected: list[float], sampling_rates: list[float], tmp_path: Path
) -> None:
    train(tmp_path, sampling_rate=rate)
    # The rate times (epoch - 1) / 4; all batches of an epoch have the same.
    assert [each for each, _ in groupby(sampling_rates)] == pytest.approx(expected)
    assert len(sampling_rates) % 5 == 0


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_that_is_learned_from_is_smoothed_as_the_recipe_says(
    smoothing: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[float] = []
    cross_entropy = nn.functional.cross_entropy

    def noted(scores: Tensor, target: Tensor, **options: Any) -> Tensor:
        if scores.requires_grad:
            seen.append(options.get("label_smoothing", 0.0))
        return cross_entropy(scores, target, **options)

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", noted)
    train(tmp_path, label_smoothing=smoothing)
    assert set(seen) == {smoothing}
