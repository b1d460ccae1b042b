"""Whether a figure has risen."""

from __future__ import annotations

import pytest

from tests.soak.growth import DESCRIPTORS, MEMORY, growth


@pytest.mark.parametrize(
    ("figures", "is_flat"),
    [
        ([50, 200, 201, 199, 200, 202, 200], True),
        ([50, 200, 200, 205, 210, 215, 217], True),
        ([50, 200, 205, 210, 220, 225, 230], False),
        ([300, 200, 200, 200, 500, 200, 200], True),  # one round is no growth
        ([50, 200, 230], False),
    ],
)
def test_memory_that_rises_by_more_than_a_twentieth_grows(figures: list[float], is_flat: bool) -> None:
    assert growth(MEMORY, figures).is_flat == is_flat


@pytest.mark.parametrize(("last", "is_flat"), [(48, True), (49, False)])
def test_descriptors_may_not_grow_by_a_share(last: int, is_flat: bool) -> None:
    assert growth(DESCRIPTORS, [10, 40, 40, last, last]).is_flat == is_flat


def test_what_grows_is_said_with_its_figures() -> None:
    assert str(growth(MEMORY, [1, 100, 100, 300])) == "memory grows: 100.0 MiB at first, 300.0 at last"
    assert str(growth(DESCRIPTORS, [1, 40, 40, 40])) == "descriptors flat: 40.0 at first, 40.0 at last"
