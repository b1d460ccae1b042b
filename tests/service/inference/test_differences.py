from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy.typing import NDArray

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.tensors import Output
from ostinato.service.inference.differences import answer_alike, differences
from tests.service.puppet import MANIFEST

INFINITY, NAN = float("inf"), float("nan")
TWO = Manifest.model_validate(
    {
        **MANIFEST.model_dump(),
        "feedback": {},
        "outputs": [
            Output(name="outputs", dtype="float32", shape=("B", "T", 2), features=("a", "b")).model_dump(),
            Output(name="code", dtype="int64", shape=("B", "T", 1), features=("c",)).model_dump(),
        ],
    }
)


def floats(*rows: list[float]) -> NDArray[np.float32]:
    return np.array(rows, np.float32)


def test_of_each_row_the_largest_is_told() -> None:
    mine = TWO.made.pack([floats([1, 2], [3, 4], [5, 6]), np.array([[1], [1], [1]])])
    theirs = TWO.made.pack([floats([1, 2], [3.5, 4.25], [5, 6]), np.array([[1], [1], [3]])])
    assert differences(TWO, mine, TWO, theirs).tolist() == [0, 0.5, 2]


@pytest.mark.parametrize(
    ("mine", "theirs", "apart"),
    [
        (-INFINITY, -INFINITY, 0),
        (NAN, NAN, 0),
        (NAN, 1, INFINITY),
        (1, NAN, INFINITY),
        (-INFINITY, 1, INFINITY),
        (INFINITY, -INFINITY, INFINITY),
        (3.0e38, -3.0e38, 2 * float(np.float32(3.0e38))),
    ],
)
def test_what_is_not_finite_differs_where_only_one_is(mine: float, theirs: float, apart: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told = differences(MANIFEST, floats([mine]), MANIFEST, floats([theirs]))
    assert told.tolist() == [apart]


def test_outputs_are_alike_by_their_names_and_numbers() -> None:
    assert answer_alike(MANIFEST, MANIFEST)
    assert not answer_alike(MANIFEST, TWO)
