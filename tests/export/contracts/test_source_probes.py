from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import ArrayLike

from ostinato.export.contracts.source_probes import (
    EXACT_LENGTHS,
    PADDED_LENGTHS,
    SourceProbes,
    Sources,
    check_examples,
    draw_fed_codes,
    draw_padding,
    draw_source,
)
from ostinato.export.errors import ExportError
from ostinato.service.artifact.tensors import Input
from tests.export.writers import LETTERS, NUM_LETTERS, PAIRS, PATCH


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def test_sources_are_cut_and_padded_by_their_lengths() -> None:
    sources = Sources(np.array([[1, 2, 3], [4, 5, 6]]), np.array([3, 1]))
    assert len(sources) == 2
    assert sources.without_padding(1).source.tolist() == [[4]]
    padded = sources.padded_by(np.zeros((2, 4), np.int64))
    assert padded.source.tolist() == [[1, 2, 3, 0], [4, 0, 0, 0]]
    assert sources.rows(slice(1, 2)).source.tolist() == [[4, 5, 6]]


def test_sources_of_a_fixed_size_have_no_padding() -> None:
    sources = Sources(np.ones((2, 3)), None)
    assert sources.padded_by(np.zeros((2, 3))) is sources
    assert sources.without_padding(1).source.shape == (1, 3)


def test_sources_are_drawn_in_the_input_s_axes() -> None:
    letters = draw_source(LETTERS, generator(), 20, 9)
    assert letters.shape == (20, 9)
    assert letters.dtype == np.int64
    assert set(letters.flat) == set(range(NUM_LETTERS))
    assert draw_source(PAIRS, generator(), 2, 9).shape == (2, 9, 2)
    assert draw_source(PATCH, generator(), 2, 9).shape == (2, 2, 2)


def test_padding_has_no_holes() -> None:
    holes = PAIRS.model_copy(update={"missing": True})
    assert np.isnan(draw_source(holes, generator(), 8, 9)).any()
    assert not np.isnan(draw_padding(holes, generator(), 8, 9)).any()


def test_mixed_lengths_reach_from_one_step_to_all() -> None:
    sources = SourceProbes(LETTERS).draw_mixed(generator(), 64, 16)
    assert sources.lengths is not None
    assert sources.source.shape == (64, 16)
    assert sources.lengths[:2].tolist() == [16, 1]
    assert (sources.lengths.min(), sources.lengths.max()) == (1, 16)
    assert SourceProbes(LETTERS).draw_mixed(generator(), 1, 16).lengths == [16]
    assert SourceProbes(PATCH).draw_mixed(generator(), 3, 16).lengths is None


def test_without_a_limit_every_length_is_tried() -> None:
    probes = SourceProbes(LETTERS)
    assert probes.longest == 128
    assert (probes.exact_lengths(), probes.padded_lengths()) == (EXACT_LENGTHS, PADDED_LENGTHS)


@pytest.mark.parametrize(
    ("max_steps", "exact", "padded"),
    # What a source is padded to is the first length that holds it, 16 at least.
    [(1, (1,), (16,)), (16, (1, 2, 5), (16,)), (17, (1, 2, 5), (16, 32)), (64, EXACT_LENGTHS, (16, 32, 64))],
)
def test_no_longer_source_is_tried_than_the_model_is_for(
    max_steps: int, exact: tuple[int, ...], padded: tuple[int, ...]
) -> None:
    probes = SourceProbes(LETTERS, (), max_steps)
    assert (probes.longest, probes.exact_lengths(), probes.padded_lengths()) == (max_steps, exact, padded)
    sources = probes.draw_mixed(generator(), 64, padded[-1])
    assert sources.lengths is not None
    assert sources.lengths.max() == max_steps


def test_examples_are_what_sources_begin_with() -> None:
    examples = check_examples(LETTERS, [[0, 1, 2, 3, 4], [4, 3, 2]])
    probes = SourceProbes(LETTERS, examples)
    assert probes.longest == 5
    drawn = {tuple(row) for row in probes.draw(generator(), 50, 3).tolist()}
    assert drawn == {(0, 1, 2), (4, 3, 2)}
    assert probes.draw(generator(), 9, 4).tolist() == [[0, 1, 2, 3]] * 9  # only one is so long
    sources = probes.draw_padded(generator(), np.array([2, 5]), 8)
    assert sources.source[1, :5].tolist() == [0, 1, 2, 3, 4]
    assert sources.source.shape == (2, 8)


def test_examples_of_a_fixed_size_are_drawn_whole() -> None:
    examples = check_examples(PATCH, [[[1, 2], [3, 4]]])
    assert SourceProbes(PATCH, examples).draw(generator(), 2, 1).tolist() == [[[1, 2], [3, 4]]] * 2


@pytest.mark.parametrize(
    ("source", "example", "message"),
    [
        (LETTERS, [], r"an example has shape \[0\]; the source has \['B', 'S'\]"),
        (LETTERS, [[1, 2]], r"an example has shape \[1, 2\]"),
        (LETTERS, [0, NUM_LETTERS], r"an example has codes 0 to 5; the source has 5"),
        (LETTERS, [-1, 2], r"an example has codes -1 to 2"),
        (PAIRS, [[1.0], [2.0]], r"an example has shape \[2, 1\]; the source has \['B', 'S', 2\]"),
        (PATCH, [1.0, 2.0], r"an example has shape \[2\]; the source has \['B', 2, 2\]"),
    ],
)
def test_an_example_that_is_no_source_is_refused(source: Input, example: ArrayLike, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        check_examples(source, [example])


def test_codes_that_are_fed_begin_with_the_start() -> None:
    codes = draw_fed_codes(4, 2, generator(), 30, 5)
    assert codes.shape == (30, 5)
    assert set(codes[:, 0]) == {2}
    assert set(codes[:, 1:].flat) == {0, 1, 2, 3}
