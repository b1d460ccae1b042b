from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ostinato.models.data.written_pairs import PairsData, load_pairs
from ostinato.models.scores.pairs import distances, edit_distance, error_rates, nearest_targets


@pytest.mark.parametrize(
    ("given", "true", "expected"),
    [
        ("K AE T", "K AE T", 0),
        ("K AE", "K AE T", 1),
        ("K AE T S", "K AE T", 1),
        ("K AH T", "K AE T", 1),
        ("", "K AE T", 3),
        ("T AE K", "K AE T", 2),
        ("S K AE T", "K AE T S", 2),
    ],
)
def test_the_edit_distance_counts_insertions_deletions_and_changes(given: str, true: str, expected: int) -> None:
    assert edit_distance(tuple(given.split()), tuple(true.split())) == expected


def test_any_target_is_right_and_the_nearest_counts() -> None:
    entries = {"a": (("AH", "B", "D"), ("B", "D")), "b": (("B", "AH", "B"),), "c": (("D",), ("B",))}
    rates = error_rates([("B", "B"), ("B", "AH", "B"), ("B",)], entries)
    # One of three outputs is wrong: one change of the nearer target's 2 symbols, next to 3 and 1 that are right.
    assert rates.wrong == 1 / 3
    assert rates.symbol_error == 1 / 6


def test_distances_to_many_at_once_are_those_one_by_one() -> None:
    generator = np.random.default_rng(0)
    known = [generator.integers(0, 3, generator.integers(1, 7)).tolist() for _ in range(50)]
    table = np.full((6, 50), -1, np.int32)
    for column, codes in enumerate(known):
        table[: len(codes), column] = codes
    asked = [2, 0, 1, 1, 0]
    wanted = [edit_distance(tuple(map(str, asked)), tuple(map(str, codes))) for codes in known]
    assert distances(asked, table, np.array(list(map(len, known)))).tolist() == wanted


def test_the_nearest_source_gives_its_target(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("source,target\n" + "".join(f"{n * 'a'}b,{n}\n" for n in range(1, 60)))
    data = load_pairs(PairsData(file=tmp_path / "pairs.csv"))
    near = [int("".join(target)) for target in nearest_targets(data)]
    asked = [source.count("a") for source in data.parts["test"]]
    known = [source.count("a") for source in data.parts["training"]]
    for own, found in zip(asked, near, strict=True):
        assert abs(own - found) == min(abs(own - other) for other in known)
