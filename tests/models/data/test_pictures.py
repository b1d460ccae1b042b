from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ostinato.models.data.picture_draft import draft_of_pictures
from ostinato.models.data.pictures import PicturesRecipe, load_pictures, shifted, turned
from ostinato.models.errors import DataError, RecipeError
from ostinato.models.kinds.captions import CaptionsRecipe
from ostinato.models.kinds.registry import write_draft

EXAMPLE = Path(__file__).parents[3] / "examples" / "digits" / "captions.toml"


def table(folder: Path, count: int = 30) -> PicturesRecipe:
    """Pictures of 4 x 6 pixels, each its number in the first pixel, and a text."""
    names = [f"p{place}" for place in range(24)]
    lines = [";".join([*names, "text"])]
    lines += [";".join([str(number), *["0"] * 23, f"number {number % 3}"]) for number in range(count)]
    (folder / "t.csv").write_text("\n".join(lines), encoding="utf-8")
    return PicturesRecipe(file=folder / "t.csv", text="text", height=4, width=6)


def files(folder: Path, **keys: object) -> PicturesRecipe:
    """Pictures in files, each of one colour, and a table that lists them."""
    (folder / "pictures").mkdir()
    lines = ["picture,caption"]
    for number in range(20):
        name = f"pictures/{number}.{'png' if number % 2 else 'bmp'}"
        Image.new("RGB", (12, 8), (10 * number, 0, 255)).save(folder / name)
        lines.append(f"{name},a red of {number}")
    (folder / "list.csv").write_text("\n".join(lines), encoding="utf-8")
    return PicturesRecipe.model_validate({"file": folder / "list.csv", "text": "caption", "picture": "picture", **keys})


def test_the_digits_are_there_and_as_they_were_published() -> None:
    recipe = CaptionsRecipe.read(EXAMPLE).data
    data = load_pictures(recipe)
    whole = [data.parts[part] for part in ("training", "validation", "test")]
    assert [len(part.texts) for part in whole] == [1197, 200, 400]
    texts = [text for part in whole for text in part.texts]
    counts = [texts.count(name) for name in recipe.spelled.values()]
    assert counts == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert data.shape == (1, 8, 8)
    assert data.most == 16.0
    assert whole[0].pixels[0, 0, 0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
    assert data.names[:2] == ("pixel_0_0", "pixel_0_1")


def test_pixels_are_in_columns_row_by_row_and_every_picture_is_in_one_part(tmp_path: Path) -> None:
    data = load_pictures(table(tmp_path))
    assert data.shape == (1, 4, 6)
    sizes = {part: len(own.texts) for part, own in data.parts.items()}
    assert sizes == {"training": 22, "validation": 4, "test": 4}
    numbers = [number for own in data.parts.values() for number in own.pixels[:, 0, 0, 0].tolist()]
    assert sorted(numbers) == list(range(30))
    for own in data.parts.values():
        assert own.texts == tuple(f"number {int(number) % 3}" for number in own.pixels[:, 0, 0, 0])


@pytest.mark.parametrize("colour", [False, True])
def test_pictures_are_read_from_files_in_grey_or_colour_and_made_of_one_size(tmp_path: Path, colour: bool) -> None:
    data = load_pictures(files(tmp_path, colour=colour, height=4, width=6))
    assert data.shape == (3 if colour else 1, 4, 6)
    for own in data.parts.values():
        for pixels, text in zip(own.pixels, own.texts, strict=True):
            number = int(text.split()[-1])
            if colour:
                assert {tuple(pixel) for pixel in pixels.reshape(3, -1).T.tolist()} == {(10.0 * number, 0.0, 255.0)}
            else:
                # The brightness of ITU-R 601: 0.299 red and 0.114 blue.
                np.testing.assert_allclose(pixels, 0.299 * 10 * number + 0.114 * 255, atol=1)


def test_without_a_size_it_is_that_of_the_first_file(tmp_path: Path) -> None:
    assert load_pictures(files(tmp_path)).shape == (1, 8, 12)


def test_what_cannot_be_read_is_named_by_its_line(tmp_path: Path) -> None:
    recipe = files(tmp_path)
    (tmp_path / "pictures" / "3.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"line 5: .*3\.png: is no picture"):
        load_pictures(recipe)
    (tmp_path / "pictures" / "3.png").unlink()
    with pytest.raises(DataError, match=r"line 5: .*3\.png: No such file"):
        load_pictures(recipe)
    with pytest.raises(DataError, match=r"has no column 'captions'; did you mean 'caption'\?"):
        load_pictures(recipe.model_copy(update={"text": "captions"}))
    pixels = table(tmp_path)
    with pytest.raises(DataError, match="has 24 columns besides 'text', and a picture 5 x 5 pixels"):
        load_pictures(pixels.model_copy(update={"height": None, "width": None}))
    (tmp_path / "t.csv").write_text((tmp_path / "t.csv").read_text().replace("\n7;", "\nseven;"), encoding="utf-8")
    with pytest.raises(DataError, match=r"line 9, column 'p0': 'seven' is no number"):
        load_pictures(pixels)
    with pytest.raises(DataError, match=r"'number 0' is not among data\.spelled: 0"):
        load_pictures(pixels.model_copy(update={"spelled": {"0": "zero"}}))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("test_from = 1397", "test_from = 1197", "data: validation_from must be smaller than test_from"),
        ("test_from = 1397\n", "", "data: validation_from and test_from: give both, or none of them"),
        ('text = "digit"', 'text = "digit"\nheight = 8', "data: height and width: give both, or none of them"),
    ],
)
def test_a_wrong_recipe_is_refused_with_its_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "captions.toml"
    path.write_text(EXAMPLE.read_text().replace(old, new), encoding="utf-8")
    with pytest.raises(RecipeError, match=message):
        CaptionsRecipe.read(path)


def test_pictures_are_moved_each_its_own_way_and_nothing_comes_in() -> None:
    pixels = torch.zeros(3, 2, 4, 8)
    pixels[:, 1, 0, 7] = 5.0
    moved = shifted(pixels, torch.tensor([[1, -2], [0, 0], [0, 1]]))
    assert moved[0].nonzero().tolist() == [[1, 1, 5]]
    assert moved[1].nonzero().tolist() == [[1, 0, 7]]
    assert moved[2].sum() == 0


def test_pictures_are_turned_anticlockwise_resized_around_their_middle_and_then_moved() -> None:
    pixels = torch.zeros(4, 1, 4, 8)
    # Half a pixel up from the middle and half a pixel to the right of it.
    pixels[:, 0, 1, 4] = 5.0
    moved = turned(
        pixels,
        torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, -2.0], [1.0, -2.0]]),
        torch.tensor([90.0, -90.0, 0.0, 0.0]),
        torch.tensor([1.0, 1.0, 1.0, 3.0]),
    ).round(decimals=4)
    assert [one.nonzero().tolist() for one in moved[:3]] == [[[0, 1, 3]], [[0, 2, 4]], [[0, 2, 2]]]
    # Three times as large: one and a half up and to the right, moved 1 down and 2 to the left.
    assert moved[3, 0, 1].tolist() == pytest.approx([0.0, 5 / 3, 10 / 3, 5.0, 10 / 3, 5 / 3, 0.0, 0.0], abs=1e-3)


def test_a_list_without_a_header_loses_no_picture_and_a_draft_of_it_trains(tmp_path: Path) -> None:
    files(tmp_path)
    rows = (tmp_path / "list.csv").read_text(encoding="utf-8").splitlines()[1:]
    (tmp_path / "list.csv").write_text("\n".join(rows), encoding="utf-8")
    data = draft_of_pictures(tmp_path / "list.csv").tables["data"]
    assert (data["picture"], data["text"]) == ("1", "2")
    parts = load_pictures(PicturesRecipe.model_validate({"file": tmp_path / "list.csv", **data})).parts
    assert sum(len(part.texts) for part in parts.values()) == 20


def test_a_draft_reads_pictures_in_colour_where_one_has_some(tmp_path: Path) -> None:
    recipe = files(tmp_path)
    for number in range(20):
        grey = Image.new("RGB", (12, 8), (10 * number,) * 3)
        grey.save(tmp_path / f"pictures/{number}.{'png' if number % 2 else 'bmp'}")
    assert draft_of_pictures(recipe.file).tables["data"]["colour"] is False
    Image.new("RGB", (12, 8), (9, 0, 0)).save(tmp_path / "pictures/7.png")
    assert draft_of_pictures(recipe.file).tables["data"]["colour"] is True


@pytest.mark.parametrize("listed", ["metadata.jsonl", "captions.json", "captions.tsv", "token.txt"])
def test_a_folder_is_read_by_the_list_in_it(tmp_path: Path, listed: str) -> None:
    files(tmp_path)
    rows = [line.split(",") for line in (tmp_path / "list.csv").read_text(encoding="utf-8").splitlines()[1:]]
    (tmp_path / "list.csv").unlink()
    (tmp_path / "about.txt").write_text("twenty pictures\n")
    text = {
        "metadata.jsonl": "".join(json.dumps({"file_name": name, "text": said}) + "\n" for name, said in rows),
        "captions.json": json.dumps(dict(rows)),
        "captions.tsv": "".join(f"{name}\t{said}\n" for name, said in rows),
        "token.txt": "".join(f"{name}#{number}\t{said}\n" for name, said in rows for number in range(2)),
    }[listed]
    (tmp_path / listed).write_text(text)
    write_draft("captions", tmp_path, tmp_path / "recipes" / "own.toml")
    recipe = CaptionsRecipe.read(tmp_path / "recipes" / "own.toml").data
    assert recipe.file.resolve() == tmp_path / listed
    parts = load_pictures(recipe).parts.values()
    assert sorted(text for part in parts for text in part.texts) == sorted(
        said for _, said in rows for _ in range(2 if listed == "token.txt" else 1)
    )


@pytest.mark.parametrize("form", ["{digit},{pixels}", "{pixels},{digit}"])
def test_pixels_without_a_header_lose_no_picture(tmp_path: Path, form: str) -> None:
    pixels = [[0, *((place * step) % 251 for step in range(1, 15)), 0] for place in range(30)]
    rows = [form.format(digit=place % 3, pixels=",".join(map(str, own))) for place, own in enumerate(pixels)]
    (tmp_path / "a.csv").write_text("\n".join(rows) + "\n")
    data = draft_of_pictures(tmp_path / "a.csv").tables["data"]
    parts = load_pictures(PicturesRecipe.model_validate({"file": tmp_path / "a.csv", **data}))
    texts = [text for part in parts.parts.values() for text in part.texts]
    assert (sorted(texts), parts.shape) == (sorted("012" * 10), (1, 4, 4))


def test_columns_that_are_no_pixels_are_left_out_and_sides_follow_from_how_many_there_are(tmp_path: Path) -> None:
    header = ["id", *(f"p{place}" for place in range(24)), "label"]
    rows = [[str(place), *map(str, range(24)), "xyz"[place % 3]] for place in range(30)]
    (tmp_path / "a.csv").write_text("\n".join(",".join(row) for row in [header, *rows]))
    data = draft_of_pictures(tmp_path / "a.csv").tables["data"]
    assert (data["text"], data["left_out"], data["height"], data["width"]) == ("label", ["id"], 4, 6)
    assert load_pictures(PicturesRecipe.model_validate({"file": tmp_path / "a.csv", **data})).shape == (1, 4, 6)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.csv",
            "id,caption\nim0,a dot\n",
            r"no column names pictures \(\.png, .*\), and 'id' holds no pixels but 'im0'",
        ),
        ("a.txt", "im0.jpg a dot\nim1.jpg a box\n", "0 columns besides .* are too few pixels; cells are cut by commas"),
        ("a.npz", "", "holds arrays; pictures with texts are a table"),
    ],
)
def test_what_lists_no_pictures_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        draft_of_pictures(tmp_path / name)
    with pytest.raises(DataError, match="has no table that lists pictures: write one"):
        draft_of_pictures(tmp_path)
