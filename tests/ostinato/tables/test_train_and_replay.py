"""The promise of the one reader: training and replay of the same table give a network the same numbers."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ostinato.errors import TableError
from ostinato.export.run_content import series_input
from ostinato.models.data.series import Dataset, load_dataset
from ostinato.models.data.series_recipe import DataRecipe
from ostinato.models.errors import DataError
from ostinato.models.networks.features import Features
from ostinato.service.inputs.sequences import to_sequence
from ostinato.tools.input_table import InputTable

FEATURES = ("load", "wind", "hour, local")
CATEGORICAL = ("wind", "hour, local")
WRITERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".xz": lzma.compress,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
}

numbers = st.one_of(
    st.floats(width=32, allow_nan=False, allow_infinity=False).map(repr),
    st.floats(-1e6, 1e6).map(lambda number: f"{number:.3e}"),
    st.integers(-999, 999).map(str),
    st.sampled_from(["07", "+7", "7.", ".5", "-0", "1e-46", "3.4028235e38", "-999", "-999.0", "NA", "", "?", "n/a"]),
)
winds = st.sampled_from(["N", "NE", "NA", "na", "", "n, by e", 'the "wind"', "two\nlines", "-999"])
hours = st.sampled_from(["7", "07", "7.0", "8", "008", "08.00", "9", "10", "NA", "", "1e1", "late"])


@st.composite
def tables(draw: st.DrawFn) -> tuple[bytes, str, list[str] | None, int]:
    """The bytes of a table, its compression, the recipe's words for what is missing, and how many steps it has.

    No words = the usual ones. Of some steps there is no row.
    """
    delimiter = draw(st.sampled_from([",", ";", "\t", "|"]))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    padding = draw(st.sampled_from(["", " "]))
    trailing = draw(st.sampled_from(["", delimiter]))
    quotes_all = draw(st.booleans())

    def line(cells: Sequence[str]) -> str:
        written = [
            '"' + cell.replace('"', '""') + '"' if quotes_all or any(mark in cell for mark in ',;\t|"\n') else cell
            for cell in cells
        ]
        return (delimiter + padding).join(written) + trailing + end

    rows = draw(st.lists(st.tuples(numbers, winds, hours), min_size=8, max_size=14))
    # Each part has a number that can be scored, and the training a word of each kind.
    rows[0] = ("1.5", "N", "07")
    rows[len(rows) - 2] = rows[len(rows) - 4] = ("2", "NE", "8")
    text = line(["time", *FEATURES, "other"])
    # Rows of the first two steps, and of those that the parts need, are there; of any others perhaps not.
    kept = {0, 1, len(rows) - 4, len(rows) - 2, len(rows) - 1}
    dropped = draw(st.sets(st.sampled_from(sorted(set(range(len(rows))) - kept))))
    for number, row in enumerate(rows):
        if number in dropped:
            continue
        text += draw(st.sampled_from(["", "", end, f"  {end}"]))
        text += line([f"2024-01-01T00:{number:02}:00", *row, "x"])
    mark = draw(st.sampled_from(["", "\ufeff"]))
    compression = draw(st.sampled_from(list(WRITERS)))
    missing = draw(st.sampled_from([None, ["", "NA", "?", "n/a", "-999"]]))
    text += draw(st.sampled_from(["", line([""] * 5)]))
    return WRITERS[compression]((mark + text).encode()), compression, missing, len(rows)


def recipe_of(path: Path, num_rows: int, missing: list[str] | None) -> DataRecipe:
    content: dict[str, Any] = {
        "file": path,
        "target": "load",
        "features": FEATURES,
        "categorical": CATEGORICAL,
        "time": ["time"],
        "validation_from": f"2024-01-01T00:{num_rows - 4:02}:00",
        "test_from": f"2024-01-01T00:{num_rows - 2:02}:00",
    }
    return DataRecipe.model_validate(content if missing is None else content | {"missing": missing})


def sent_by_replay(path: Path, dataset: Dataset, recipe: DataRecipe) -> NDArray[Any]:
    """What the service makes of the rows that a replay sends, [n, F]."""
    features = Features(dataset.features, (0, 0, 0), dataset.statistics)
    content = {
        "categories": dataset.categories,
        "data": dataset.parts(),
        "recipe": {"data": recipe.model_dump(mode="json")},
    }
    part = series_input(features, content)
    model_input = json.loads(part.model_dump_json())
    rows = json.loads(json.dumps([row.inputs for row in InputTable(path, model_input).read().rows], allow_nan=False))
    return to_sequence(rows, part, "inputs")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=tables())
def test_training_and_replay_of_one_table_give_the_network_the_same_numbers(
    table: tuple[bytes, str, list[str] | None, int], tmp_path: Path
) -> None:
    content, compression, missing, num_steps = table
    path = tmp_path / f"table.csv{compression}"
    path.write_bytes(content)
    recipe = recipe_of(path, num_steps, missing)
    dataset = load_dataset(recipe)
    assert len(dataset.only.values) == num_steps
    assert sent_by_replay(path, dataset, recipe).tobytes() == dataset.only.values.tobytes()


@pytest.mark.parametrize("cell", ["1,5,2", "1 00", "inf", "1e39", "high", "None"])
def test_what_one_refuses_the_other_refuses_for_the_same_reason(cell: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    rows = [f"2024-01-01T00:0{number}:00;{number};N;7" for number in range(8)]
    path.write_text("\n".join(["time;load;wind;hour, local", *rows]))
    recipe = recipe_of(path, 8, None)
    dataset = load_dataset(recipe)
    path.write_text("\n".join(["time;load;wind;hour, local", *rows, "", f"2024-01-02;{cell};N;7"]))
    with pytest.raises(DataError) as trained:
        load_dataset(recipe)
    with pytest.raises(Exception, match="line 11, column 'load'") as replayed:
        sent_by_replay(path, dataset, recipe)
    assert str(trained.value).startswith(str(replayed.value))


def test_known_cells_become_known_numbers(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    lines = [
        "time;load;wind;hour, local;",
        "2024-01-01T00:00:00;07;N;07;",
        "",
        "2024-01-01T00:01:00;?;;8;",
        "2024-01-01T00:02:00;1e2;NE;7.0;",
        "2024-01-01T00:03:00;.5;N;08;",
        "2024-01-01T00:04:00;1;S;9;",
        "2024-01-01T00:05:00;2;NE;8;",
        "2024-01-01T00:06:00;3;N;7;",
    ]
    path.write_text("\r\n".join(lines))
    recipe = recipe_of(path, 7, None)
    dataset = load_dataset(recipe)
    assert dataset.categories == {"wind": ("N", "NE"), "hour, local": ("07", "8")}
    hole = np.nan
    known = [[7, 0, 0], [hole, hole, 1], [100, 1, 0], [0.5, 0, 1], [1, hole, hole], [2, 1, 1], [3, 0, 0]]
    np.testing.assert_array_equal(dataset.only.values, np.array(known, np.float32))
    np.testing.assert_array_equal(sent_by_replay(path, dataset, recipe), np.array(known, np.float32))


NUM_HOURS = 72


def calendar_rows(dropped: Sequence[int] = ()) -> str:
    """Three days of hours, a leap day among them; of some hours no row."""
    lines = ["year,month,day,hour,load,wind"]
    for hour in range(NUM_HOURS):
        day = ["02,28", "02,29", "03,01"][hour // 24]
        if hour not in dropped:
            lines.append(f"2024,{day},{hour % 24:02},{hour % 7},{'NE'[hour % 2]}")
    return "\n".join(lines) + "\n"


def calendar_recipe(path: Path, **changes: Any) -> DataRecipe:
    content: dict[str, Any] = {
        "file": path,
        "target": "load",
        "features": ["load", "wind", "hour"],
        "categorical": ["wind", "hour"],
        "time": ["year", "month", "day", "hour"],
        "validation_from": "2024-02-29T12:00",
        "test_from": "2024-03-01",
    }
    return DataRecipe.model_validate(content | changes)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(dropped=st.sets(st.integers(1, NUM_HOURS - 2), max_size=24))
def test_rows_that_were_dropped_come_back_with_all_that_the_calendar_tells(dropped: set[int], tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(calendar_rows())
    full = load_dataset(calendar_recipe(path))
    path.write_text(calendar_rows(sorted(dropped)))
    recipe = calendar_recipe(path, step="1 hour")
    filled = load_dataset(recipe)
    # Words keep their codes: each is there in many hours of the training part.
    assert filled.categories["hour"] == full.categories["hour"] or len(filled.categories["hour"]) < 24
    expected = full.only.values.copy()
    expected[sorted(dropped), :2] = np.nan
    np.testing.assert_array_equal(filled.only.values[:, :2], expected[:, :2])
    hours = [filled.categories["hour"][int(code)] for code in filled.only.values[:, 2] if not np.isnan(code)]
    known = [f"{hour % 24:02}" for hour in range(NUM_HOURS) if f"{hour % 24:02}" in filled.categories["hour"]]
    assert hours == known
    assert (filled.only.times == full.only.times).all()
    assert filled.num_filled == len(dropped)
    assert sent_by_replay(path, filled, recipe).tobytes() == filled.only.values.tobytes()


def test_a_replay_does_about_gaps_what_the_training_did(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(calendar_rows([5, 6]))
    ignoring = calendar_recipe(path, gaps="ignore")
    dataset = load_dataset(ignoring)
    assert len(dataset.only.values) == NUM_HOURS - 2
    assert sent_by_replay(path, dataset, ignoring).tobytes() == dataset.only.values.tobytes()
    refusing = calendar_recipe(path, gaps="refuse")
    with pytest.raises(DataError, match=r'2 of 72 steps of 1 hour have no row, .*data\.gaps = "fill" puts them in'):
        load_dataset(refusing)
    with pytest.raises(TableError, match=r"2 of 72 steps of 1 hour have no row, .*--gaps fill puts them in"):
        sent_by_replay(path, dataset, refusing)
