from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ostinato.models.data.labelled import UNKNOWN, SequencesRecipe, load_labelled
from ostinato.models.errors import DataError


def table(folder: Path, num_sequences: int = 40, change: tuple[str, str] = ("", "")) -> SequencesRecipe:
    """Sequences 1, 2, ... of two to five steps; those of even number go up."""
    lines = ["id,level,wind,label"]
    for number in range(num_sequences):
        up = number % 2 == 0
        for step in range(2 + number % 4):
            level = step if up else -step
            lines.append(f"s{number},{level if step else ''},{'NE' if up else 'SW'},{'up' if up else 'down'}")
    (folder / "t.csv").write_text(
        "\n".join(lines).replace(*change) if change[0] else "\n".join(lines), encoding="utf-8"
    )
    return SequencesRecipe(
        file=folder / "t.csv", id="id", features=("level", "wind"), categorical=("wind",), answer="label"
    )


def test_sequences_are_numbers_words_codes_and_holes(tmp_path: Path) -> None:
    data = load_labelled(table(tmp_path), tagged=False)
    assert data.classes == ("down", "up")
    assert set(data.categories["wind"]) == {"NE", "SW", UNKNOWN}
    sizes = {part: len(own) for part, own in data.parts.items()}
    assert sum(sizes.values()) == 40
    # 15 % of 40 are six.
    assert 5 <= sizes["validation"] <= 6 == sizes["test"]
    for sequence in (one for own in data.parts.values() for one in own):
        number = int(sequence.name[1:])
        up = number % 2 == 0
        assert sequence.answers.tolist() == [int(up)]
        assert len(sequence.x) == 2 + number % 4
        assert np.isnan(sequence.x[0, 0])
        assert sequence.x[1, 0] == (1 if up else -1)
        assert {data.categories["wind"][int(code)] for code in sequence.x[:, 1]} == {"NE" if up else "SW"}
    assert 0.2 < data.statistics.missing_fraction[0] < 0.5


def test_every_class_has_its_share_of_every_part_and_who_is_where_follows_from_the_name(tmp_path: Path) -> None:
    first = load_labelled(table(tmp_path), tagged=False)
    for own in first.parts.values():
        counts = np.bincount([int(one.answers[0]) for one in own])
        assert abs(counts[0] - counts[1]) <= 2
    # Nor does it depend on the folder.
    (tmp_path / "elsewhere").mkdir()
    again = load_labelled(table(tmp_path / "elsewhere"), tagged=False)
    for part, own in first.parts.items():
        assert [one.name for one in own] == [one.name for one in again.parts[part]]


def test_tags_are_one_a_step(tmp_path: Path) -> None:
    recipe = table(tmp_path).model_copy(update={"answer": "wind", "features": ("level",), "categorical": ()})
    data = load_labelled(recipe, tagged=True)
    assert all(len(one.answers) == len(one.x) for one in data.parts["test"])
    lines = [f"w{number % 7}\t{'EVEN' if number % 2 else 'ODD'}\n" + "\n" * (number % 3 == 0) for number in range(120)]
    (tmp_path / "w.conll").write_text("".join(lines), encoding="utf-8")
    words = load_labelled(SequencesRecipe(file=tmp_path / "w.conll"), tagged=True)
    assert words.features == ("word",)
    assert words.classes == ("EVEN", "ODD")
    assert set(words.categories["word"]) == {*(f"w{number}" for number in range(7)), UNKNOWN}


def test_words_that_are_rare_or_not_in_the_training_part_are_unknown(tmp_path: Path) -> None:
    (tmp_path / "train.conll").write_text("a\tX\nb\tY\na\tX\n\n" * 20 + "rare\tX\n", encoding="utf-8")
    (tmp_path / "test.conll").write_text("a\tX\nrare\tX\nnew\tY\n", encoding="utf-8")
    recipe = SequencesRecipe(file=tmp_path / "train.conll", test_file=tmp_path / "test.conll", min_count=2)
    data = load_labelled(recipe, tagged=True)
    assert data.categories["word"] == ("a", "b", UNKNOWN)
    [test] = data.parts["test"]
    assert test.x[:, 0].tolist() == [0, 2, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("s6,3,NE,up", "s6,three,NE,up"), "line .*, id 's6', step 3, 'level': .*three"),
        (("s6,3,NE,up", "s6,3,NE,down"), "id 's6': has the labels 'down', 'up'; a sequence has one label"),
        (("down", "up"), "the training part has the one class 'up'"),
    ],
)
def test_what_cannot_be_learned_from_is_refused_by_its_place(
    change: tuple[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        load_labelled(table(tmp_path, 16, change), tagged=False)


def test_too_few_sequences_are_refused_with_what_to_change(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has 3 sequences, of which none falls into the validation part"):
        load_labelled(table(tmp_path, num_sequences=3), tagged=False)
