from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ostinato.models.data.pairs import IGNORED, Pairs
from ostinato.models.networks.seq2seq import Seq2Seq, Seq2SeqRecipe
from ostinato.models.training.generation import GenerationTraining, fit_pairs, loss_of
from ostinato.models.training.job import Job
from ostinato.models.training.optimisation import learning_rate
from tests.training import NOBODY

START, STOP = 0, 1
# What is written is what is read, one code after the other.
CODES = [[a, b] for a in range(2, 6) for b in range(2, 6)]
PAIRS = Pairs.of(CODES, CODES, START, STOP)
QUICK = GenerationTraining(batch_size=8, max_epochs=6, learning_rate=2e-2)


def small_network(seed: int = 1) -> Seq2Seq:
    torch.manual_seed(seed)
    return Seq2Seq(nn.Embedding(6, 4), 4, 6, Seq2SeqRecipe(embedding_size=4, encoder_size=6, decoder_size=12))


def validation_loss(network: Seq2Seq) -> float:
    with torch.no_grad():
        return loss_of(network(PAIRS.source, PAIRS.lengths, PAIRS.target_in), PAIRS.target_out).item()


def test_the_loss_is_the_mean_over_true_steps() -> None:
    scores = torch.log(torch.tensor([[[0.5, 0.5], [0.25, 0.75], [0.1, 0.9]]]))
    loss = loss_of(scores, torch.tensor([[0, 1, IGNORED]]))
    assert loss.item() == pytest.approx(-(math.log(0.5) + math.log(0.75)) / 2)


def test_training_lowers_the_loss_and_keeps_the_best_epochs_weights() -> None:
    network = small_network()
    before, seen = validation_loss(network), []

    def validate(network: Seq2Seq) -> float:
        seen.append(validation_loss(network))
        return seen[-1]

    fitted = fit_pairs(network, PAIRS, QUICK, validate, NOBODY, "loss")
    assert fitted.num_epochs == len(seen) == 6
    assert fitted.validation == min(seen) == seen[fitted.best_epoch - 1] < 0.8 * before
    assert validation_loss(network) == pytest.approx(min(seen), abs=1e-6)


def test_training_stops_when_nothing_has_become_better_for_so_long() -> None:
    errors = iter([0.5, 0.4, 0.45, 0.4, 0.3])
    recipe = QUICK.model_copy(update={"patience_epochs": 2})
    fitted = fit_pairs(small_network(), PAIRS, recipe, lambda _network: next(errors), NOBODY, "loss")
    # The best is the second; the third and fourth are no better, and nobody asks for the fifth.
    assert (fitted.num_epochs, fitted.best_epoch, fitted.validation) == (4, 2, 0.4)


def test_the_report_counts_epochs_and_names_the_validation_error() -> None:
    steps: list[tuple[int, int, str]] = []
    fit_pairs(small_network(), PAIRS, QUICK, lambda _network: 0.25, Job(lambda *step: steps.append(step)), "some error")
    # Never better than the first of them: patience is 4.
    assert steps == [(epoch, 6, "some error 0.2500") for epoch in range(1, 6)]


def test_the_learning_rate_rises_and_then_falls_along_a_cosine_to_0() -> None:
    recipe = GenerationTraining(warm_up_epochs=2, max_epochs=10)
    highest = recipe.learning_rate
    assert learning_rate(recipe, 1, ()) == pytest.approx(0.5 * highest)
    assert learning_rate(recipe, 2, ()) == pytest.approx(highest)
    # Half of the 8 epochs that are left.
    assert learning_rate(recipe, 6, ()) == pytest.approx(0.5 * highest)
    assert learning_rate(recipe, 10, ()) == pytest.approx(0.0)
    assert 0 < learning_rate(recipe, 0, ()) < 0.1 * highest


def test_gradients_are_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[float] = []
    clip = nn.utils.clip_grad_norm_

    def noted(parameters: object, max_norm: float) -> torch.Tensor:
        kept = list(parameters)  # type: ignore[call-overload]
        length = clip(kept, max_norm)
        lengths.append(torch.linalg.vector_norm(torch.cat([p.grad.flatten() for p in kept])).item())
        return length

    monkeypatch.setattr(nn.utils, "clip_grad_norm_", noted)
    recipe = QUICK.model_copy(update={"max_gradient_norm": 0.01, "max_epochs": 1})
    fit_pairs(small_network(), PAIRS, recipe, lambda _network: 1.0, NOBODY, "loss")
    # 16 pairs, 8 a batch.
    assert lengths == pytest.approx([0.01, 0.01], rel=1e-3)
