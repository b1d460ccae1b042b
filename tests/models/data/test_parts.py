from __future__ import annotations

import pytest

from ostinato.models.data.parts import LEAST_NAMES, PARTS, part_of, split_by_name


@pytest.mark.parametrize(("part", "word"), [("training", "abacus"), ("validation", "headless"), ("test", "topknot")])
def test_a_names_part_depends_on_nothing_but_the_name(part: str, word: str) -> None:
    assert part_of(word, 0.05, 0.05) == part


def test_parts_are_near_their_fractions() -> None:
    parts = [part for parts in split_by_name(map(str, range(5_000)), 0.2, 0.1).values() for part in parts]
    assert [parts.count(part) / 5_000 for part in PARTS] == pytest.approx([0.7, 0.2, 0.1], abs=0.02)


@pytest.mark.parametrize("number", [LEAST_NAMES, 21, 40])
def test_few_names_leave_no_part_empty(number: int) -> None:
    parts = [part for parts in split_by_name(map(str, range(number)), 0.05, 0.05).values() for part in parts]
    assert len(parts) == number
    assert set(parts) == set(PARTS)


def test_too_few_names_are_in_every_part() -> None:
    assert split_by_name(["a", "b"], 0.05, 0.05) == {"a": PARTS, "b": PARTS}
    assert set(split_by_name(map(str, range(LEAST_NAMES - 1)), 0.3, 0.3).values()) == {PARTS}
