from __future__ import annotations

from itertools import product
from operator import itemgetter

import numpy as np
import pytest
import torch
from torch import nn

from ostinato.models.data.labelled import LabelledSequence
from ostinato.models.data.series import TrainingStatistics
from ostinato.models.networks.step_encoder import StepFeatures
from ostinato.models.rivals.linear_chain import LinearChain, most_frequent_tags

FEATURES = StepFeatures(
    ("word", "level"), (4, 0), TrainingStatistics((0.0, 1.0), (1.0, 2.0), (0.0, -9.0), (2.0, 9.0), (0.0, 0.0))
)


def drawn(seed: int, num_steps: int) -> LabelledSequence:
    generator = np.random.default_rng(seed)
    x = np.stack([generator.integers(0, 3, num_steps), generator.normal(size=num_steps)], axis=1).astype(np.float32)
    x[0, 0] = np.nan
    return LabelledSequence(str(seed), x, generator.integers(0, 3, num_steps))


@pytest.fixture
def chain() -> LinearChain:
    torch.manual_seed(1)
    chain = LinearChain(FEATURES, 3)
    with torch.no_grad():
        for weight in chain.parameters():
            weight.normal_()
        [table] = (table for table in chain.tables if isinstance(table, nn.Embedding))
        table.weight[-1] = 0.0
    return chain


def score_of(chain: LinearChain, sequence: LabelledSequence, tags: tuple[int, ...]) -> float:
    """By the sum in the module's docstring."""
    [embedding] = (part for part in chain.tables if isinstance(part, nn.Embedding))
    table = embedding.weight.detach().numpy()
    assert chain.linear is not None
    slope, offset = chain.linear.weight.detach().numpy()[:, 0], chain.linear.bias.detach().numpy()
    total = 0.0
    for step, tag in enumerate(tags):
        word, level = sequence.x[step]
        total += 0.0 if np.isnan(word) else table[int(word), tag]
        total += slope[tag] * (level - 1.0) / 2.0 + offset[tag] + chain.bias.detach().numpy()[tag]
        total += chain.transitions.detach().numpy()[tags[step - 1], tag] if step else 0.0
    return float(total)


def test_the_best_tags_and_the_surprise_are_those_of_all_that_there_are(chain: LinearChain) -> None:
    sequences = [drawn(seed, num_steps) for seed, num_steps in ((2, 1), (3, 4), (4, 5))]
    surprise = 0.0
    for sequence in sequences:
        scores = {tags: score_of(chain, sequence, tags) for tags in product(range(3), repeat=len(sequence.x))}
        assert chain.answer(sequence).tolist() == list(max(scores.items(), key=itemgetter(1))[0])
        surprise += np.log(np.exp(list(scores.values())).sum()) - scores[tuple(sequence.answers.tolist())]
    found = chain._surprise(sequences).item()
    assert found == pytest.approx(surprise / 10, rel=1e-4)


def test_what_depends_on_the_tag_before_is_learned() -> None:
    # Each tag is that of the word, but behind tag 2 it is 0 whatever the word.
    def made(seed: int) -> LabelledSequence:
        words = np.random.default_rng(seed).integers(0, 3, 12)
        tags: list[int] = []
        for word in words.tolist():
            tags.append(0 if tags and tags[-1] == 2 else word)
        return LabelledSequence("", np.stack([words, np.zeros(12)], axis=1).astype(np.float32), np.array(tags))

    training, test = [made(seed) for seed in range(60)], [made(seed) for seed in range(100, 120)]
    torch.manual_seed(0)
    chain = LinearChain(FEATURES, 3)
    chain.learn(training)
    truth = np.concatenate([one.answers for one in test])
    right = (np.concatenate([chain.answer(one) for one in test]) == truth).mean()
    by_word = (most_frequent_tags(training, test, FEATURES) == truth).mean()
    assert right > 0.97 > 0.9 > by_word


def test_the_same_chain_is_learned_whatever_was_drawn_before() -> None:
    training = [drawn(seed, 5) for seed in range(40)]
    learned = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        chain = LinearChain(FEATURES, 3)
        chain.learn(training)
        learned.append(torch.cat([weight.detach().flatten() for weight in chain.parameters()]))
    assert torch.equal(*learned)
