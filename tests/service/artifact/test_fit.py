from __future__ import annotations

from typing import Any

import pytest

from ostinato.service.artifact.fit import misfit
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.tensors import FeatureRange
from tests.service.puppet import MANIFEST

DAYS = ("mon", "tue", "wed")


def of(**changes: Any) -> Manifest:
    """A model of one feature, whose input is so."""
    return MANIFEST.model_copy(update={"inputs": (MANIFEST.inputs[0].model_copy(update=changes),)})


def words(*named: str, unknown: str | None = None) -> Manifest:
    [feature] = MANIFEST.inputs[0].features
    return of(categories={feature: named}, unknown={} if unknown is None else {feature: unknown})


def within(least: float, most: float, *, whole: bool = True) -> Manifest:
    [feature] = MANIFEST.inputs[0].features
    return of(ranges={feature: FeatureRange(least=least, most=most, whole=whole)})


@pytest.mark.parametrize(
    ("former", "other", "why"),
    [
        (of(), of(), None),
        (of(missing=False), of(missing=True), None),
        (of(missing=True), of(missing=False), "takes no missing values"),
        (of(), of(features=("other",)), "names, sizes, features or dtypes differ"),
        (of(), of(dtype="float64"), "names, sizes, features or dtypes differ"),
        (of(num_codes=5), of(num_codes=7), None),
        (of(num_codes=5), of(), None),
        (of(num_codes=7), of(num_codes=5), "has the codes 0 to 4, and had 0 to 6"),
        (of(), of(num_codes=5), "has the codes 0 to 4, and had any"),
        (words(*DAYS), words(*DAYS), None),
        (words(*DAYS), words(*DAYS, "thu"), None),
        (words(*DAYS), words(*DAYS, unknown="mon"), None),
        (words(*DAYS), words("tue", "mon", "wed"), "other categories"),
        (words(*DAYS), words("mon", "tue"), "other categories"),
        (words(*DAYS, unknown="mon"), words(*DAYS, unknown="mon"), None),
        (words(*DAYS, unknown="mon"), words(*DAYS, unknown="tue"), "other categories"),
        (words(*DAYS, unknown="mon"), words(*DAYS), "other categories"),
        (words(*DAYS, unknown="mon"), words(*DAYS, "thu", unknown="mon"), "other categories"),
        (words(*DAYS), of(), "in one of the two"),
        (of(), words(*DAYS), "in one of the two"),
        (within(0, 4), within(0, 4), None),
        (within(0, 4), within(-1, 5), None),
        (within(0, 4), of(), None),
        (within(0, 4), within(0, 4, whole=False), None),
        (within(0, 4, whole=False), within(0, 4), "within other limits"),
        (within(0, 5), within(0, 4), "within other limits"),
        (within(-1, 4), within(0, 4), "within other limits"),
        (of(), within(0, 4), "within other limits"),
    ],
)
def test_a_version_fits_that_takes_each_step_by_the_same_numbers(
    former: Manifest, other: Manifest, why: str | None
) -> None:
    found = misfit(former, other)
    assert (found is None) if why is None else why in str(found)


def test_contexts_are_held_against_each_other_too() -> None:
    [feature] = MANIFEST.inputs[0].features
    context = MANIFEST.inputs[0].model_copy(update={"name": "who", "shape": ("B", 1)})
    one, two = (
        MANIFEST.model_copy(update={"context": (context.model_copy(update={"categories": {feature: days}}),)})
        for days in (DAYS, DAYS[::-1])
    )
    assert misfit(one, one) is None
    assert "other context: 'who'" in str(misfit(one, two))
