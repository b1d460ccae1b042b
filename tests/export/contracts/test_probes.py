from __future__ import annotations

import numpy as np

from ostinato.export.contracts.probes import draw_sequences
from ostinato.service.artifact.tensors import Input


def draw(
    batch_size: int = 40, num_steps: int = 200, **content: object
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    given = {"name": "inputs", "dtype": "float32", "shape": ("B", "T", 2), "features": ("load", "wind")} | content
    return draw_sequences(Input.model_validate(given), np.random.default_rng(0), batch_size, num_steps)


STATISTICS = {"mean": (50.0, 1.0), "std": (10.0, 1.0), "minimum": (30.0, 0.0), "maximum": (90.0, 2.0)}


def test_amounts_lie_where_they_lay_in_training() -> None:
    load = draw(statistics=STATISTICS)[..., 0]
    assert load.dtype == np.float32
    assert abs(load.mean() - 50) < 3
    assert 8 < load.std() < 11
    assert load.min() >= 30
    assert load.max() <= 90


def test_codes_are_codes() -> None:
    wind = draw(categories={"wind": ("NE", "NW", "SE")}, statistics=STATISTICS)[..., 1]
    assert set(np.unique(wind)) == {0.0, 1.0, 2.0}


def test_tokens_span_their_number_and_no_more_than_there_are_words() -> None:
    tokens = draw(dtype="int64", num_codes=9, categories={"wind": ("NE", "NW", "SE")}, statistics=STATISTICS)
    assert set(np.unique(tokens[..., 0])) == set(range(9))
    assert set(np.unique(tokens[..., 1])) == {0, 1, 2}
    assert set(np.unique(draw(dtype="uint8", num_codes=2, categories={"wind": ("NE", "NW", "SE")}))) == {0, 1}


def test_whole_numbers_span_what_the_statistics_say() -> None:
    tokens = draw(dtype="int64", statistics=STATISTICS | {"minimum": (0.0, 0.0), "maximum": (9.0, 2.0)})
    assert tokens.dtype == np.int64
    assert set(np.unique(tokens[..., 0])) == set(range(10))


def test_there_are_holes_of_all_kinds_only_where_there_may_be() -> None:
    assert not np.isnan(draw()).any()
    holes = np.isnan(draw(missing=True))
    assert 0.1 < holes.mean() < 0.7
    assert holes[-1].all()
    assert holes[20].all(axis=0).any()
    assert not holes.all()


def test_what_is_called_a_mask_is_0_or_1_unless_something_else_is_said_of_it() -> None:
    assert set(np.unique(draw(name="observed_mask"))) == {0.0, 1.0}
    assert len(np.unique(draw(name="mask", statistics=STATISTICS))) > 100
