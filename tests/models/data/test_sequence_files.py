from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ostinato.models.data.labelled import Labelled, SequencesRecipe, load_labelled
from ostinato.models.data.sequence_draft import draft_of_sequences
from ostinato.models.errors import DataError
from ostinato.models.kinds.labels import LabelsRecipe
from ostinato.models.kinds.registry import write_draft

# Of a class, sequences begin with its number; all are of lengths that differ.
CLASSES = [place % 3 for place in range(30)]
SEQUENCES = [[label + 0.5, *(step / 4 for step in range(8 + place % 4))] for place, label in enumerate(CLASSES)]
NAMES = ("walk", "run", "sit")


def drafted(file: Path) -> Labelled:
    draft = draft_of_sequences(file, tagged=False)
    beside = {key: file.parent / name for key, name in draft.beside.items()}
    return load_labelled(SequencesRecipe.model_validate({"file": file, **beside, **draft.tables["data"]}), tagged=False)


def check(data: Labelled, classes: tuple[str, ...], *, num: int = 30) -> None:
    """Each sequence is as long and as labelled as it was written."""
    all_of_them = [sequence for part in data.parts.values() for sequence in part]
    assert len(all_of_them) == num
    assert sorted(len(sequence.x) for sequence in all_of_them) == sorted(map(len, SEQUENCES[:num]))
    assert set(data.classes) == set(classes)
    for sequence in all_of_them:
        assert data.classes[sequence.answers[0]] == classes[int(sequence.x[0, 0] - 0.5)]
        assert sequence.x[1:, 0].tolist() == [step / 4 for step in range(len(sequence.x) - 1)]


def padded(length: int) -> list[list[str]]:
    return [[*map(str, own), *["NaN"] * (length - len(own))] for own in SEQUENCES]


@pytest.mark.parametrize(
    ("name", "cut", "label", "classes"),
    [
        ("A_TRAIN.tsv", "\t", lambda own: str(own + 1), ("1", "2", "3")),
        ("A.csv", ",", lambda own: NAMES[own], NAMES),
        ("A_TRAIN.txt", "   ", lambda own: f"  {own + 1:.7e}", ("1", "2", "3")),
        ("A.txt", ",", lambda own: str(own - 1), ("-1", "0", "1")),
    ],
)
def test_a_row_is_a_sequence_behind_its_label(
    tmp_path: Path, name: str, cut: str, label: object, classes: tuple[str, ...]
) -> None:
    assert callable(label)
    rows = [cut.join([label(own), *cells]) for own, cells in zip(CLASSES, padded(12), strict=True)]
    (tmp_path / name).write_text("\n".join(rows) + "\n")
    check(drafted(tmp_path / name), classes)


@pytest.mark.parametrize("header", ["label,{steps}", "{steps},label", "id,{steps},label"])
def test_a_row_is_a_sequence_under_a_header(tmp_path: Path, header: str) -> None:
    rows = []
    for place, (own, cells) in enumerate(zip(CLASSES, padded(12), strict=True)):
        rows.append(header.format(steps=",".join(cells)).replace("label", NAMES[own]).replace("id", str(place)))
    (tmp_path / "a.csv").write_text("\n".join([header.format(steps=",".join(f"t{k}" for k in range(12))), *rows]))
    check(drafted(tmp_path / "a.csv"), NAMES)


def test_the_test_part_beside_a_training_part_is_scored(tmp_path: Path) -> None:
    for name, first in (("Gun_TRAIN.tsv", 0), ("Gun_TEST.tsv", 20)):
        rows = ["\t".join([str(own), *cells]) for own, cells in zip(CLASSES, padded(12), strict=True)]
        (tmp_path / name).write_text("\n".join(rows[first : first + 20]) + "\n")
    write_draft("labels", tmp_path / "Gun_TRAIN.tsv", tmp_path / "recipes" / "gun.toml")
    recipe = LabelsRecipe.read(tmp_path / "recipes" / "gun.toml")
    assert recipe.data.test_file is not None
    assert recipe.data.test_file.resolve() == tmp_path / "Gun_TEST.tsv"
    assert len(load_labelled(recipe.data, tagged=False).parts["test"]) == 10


def test_values_with_time_stamps_and_dimensions_of_unlike_lengths(tmp_path: Path) -> None:
    lines = [
        ":".join(
            [
                ",".join(f"(2020-01-01 00:00:{step:02},{cell})" for step, cell in enumerate(own)),
                ",".join(f"({step},7)" for step in range(3)),
                NAMES[label],
            ]
        )
        for label, own in zip(CLASSES, SEQUENCES, strict=True)
    ]
    (tmp_path / "a.ts").write_text(
        "% about\n@timeStamps True\n@equalLength false\n@classLabel true walk run sit\n@data\n" + "\n".join(lines)
    )
    data = drafted(tmp_path / "a.ts")
    check(data, NAMES)
    assert np.isnan(data.parts["training"][0].x[3:, 1]).all()
    assert (data.parts["training"][0].x[:3, 1] == 7).all()


@pytest.mark.parametrize("is_relational", [False, True])
def test_arff(tmp_path: Path, is_relational: bool) -> None:
    attributes = [f"@attribute att{step} numeric" for step in range(12)]
    if is_relational:
        attributes = ["@ATTRIBUTE rel relational", *attributes, "@end rel"]
    cells = [",".join(own).replace("NaN", "?") for own in padded(12)]
    cells = [f"'{own}\\n{own}'" if is_relational else own for own in cells]
    rows = [f"{own},{NAMES[label]}" for own, label in zip(cells, CLASSES, strict=True)]
    text = ["% about", "@relation a", *attributes, "@attribute target {walk,run,sit}", "@data", *rows]
    (tmp_path / "a.arff").write_text("\n".join(text))
    data = drafted(tmp_path / "a.arff")
    check(data, NAMES)
    assert data.features == (("dimension_0", "dimension_1") if is_relational else ("value",))


@pytest.mark.parametrize("shape", ["NT", "NTF", "NFT", "one hot", "words", "parts", "beside"])
def test_arrays(tmp_path: Path, shape: str) -> None:
    x = np.array([[float(cell) for cell in own] for own in padded(12)])
    y = np.array(CLASSES)
    classes, num, file = ("0", "1", "2"), 30, tmp_path / "a.npz"
    many = np.stack([x, x], axis=-1)
    match shape:
        case "NTF":
            np.savez(file, X=many, y=y)
        case "NFT":
            np.savez(file, X=many.swapaxes(1, 2), y=y)
        case "one hot":
            np.savez(file, data=x, labels=np.eye(3)[y])
        case "words":
            classes = NAMES
            np.savez(file, x=x, y=np.array(NAMES)[y])
        case "parts":
            np.savez(file, x_train=x[:20], y_train=y[:20], x_test=x[20:], y_test=y[20:])
        case "beside":
            file = tmp_path / "X.npy"
            np.save(file, x)
            np.save(tmp_path / "y.npy", y)
        case _:
            np.savez(file, X=x, y=y)
    data = drafted(file)
    check(data, classes, num=num)
    assert len(data.features) == (2 if "F" in shape else 1)
    assert len(data.parts["test"]) == (10 if shape == "parts" else 4)


@pytest.mark.parametrize("form", ["npy", "csv", "listed"])
def test_a_file_for_each_sequence(tmp_path: Path, form: str) -> None:
    listed = ["file,label"]
    for place, (label, own) in enumerate(zip(CLASSES, SEQUENCES, strict=True)):
        folder = tmp_path if form == "listed" else tmp_path / NAMES[label]
        folder.mkdir(exist_ok=True)
        if form == "npy":
            np.save(folder / f"{place}.npy", np.array(own))
        else:
            rows = [f"{step},{cell}" for step, cell in enumerate(own)]
            (folder / f"{place}.dat").write_text("\n".join(["time,x", *rows]) + "\n")
        listed.append(f"{place}.dat,{NAMES[label]}")
    if form == "listed":
        (tmp_path / "labels.csv").write_text("\n".join(listed))
    check(drafted(tmp_path), NAMES)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.zeros((9, 8)), "y": np.arange(9)}, "which array has the sequences"),
        ({"X": np.zeros((9, 8)), "y": np.arange(8)}, "y has a label for each of N"),
        (
            {"X": np.array([[1], [1, 2]], object), "y": np.arange(2)},
            "holds Python objects, which are not read; sequences",
        ),
    ],
)
def test_arrays_that_are_none_are_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=message):
        draft_of_sequences(tmp_path / "a.npz", tagged=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label," + ",".join(f"t{k}" for k in range(9)) + "\nwalk,1,2\n", "line 2: 3 cells, the header has 10"),
        (
            "label," + ",".join(f"t{k}" for k in range(9)) + "\nwalk" + ",NaN" * 9 + "\nrun" + ",1" * 9,
            "line 2: the sequence",
        ),
    ],
)
def test_rows_that_are_no_sequences_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    recipe = SequencesRecipe(file=tmp_path / "a.csv", row="sequence", answer="label")
    with pytest.raises(DataError, match=message):
        load_labelled(recipe, tagged=False)


def test_folders_of_folders_and_of_parts_say_what_to_give(tmp_path: Path) -> None:
    (tmp_path / "train" / "walk").mkdir(parents=True)
    with pytest.raises(DataError, match=r"its folders \(train\) have folders in them; give the one whose folders are"):
        draft_of_sequences(tmp_path, tagged=False)
    (tmp_path / "train" / "walk").rmdir()
    (tmp_path / "train" / "Gun_TRAIN.ts").write_text("@data\n")
    with pytest.raises(DataError, match=r"Give .*Gun_TRAIN\.ts in place of the folder"):
        draft_of_sequences(tmp_path / "train", tagged=False)
