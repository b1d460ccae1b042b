"""A first look at a table: which columns tell the time, the series, what could be forecast; a recipe of it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import numpy as np

from ostinato.errors import InputError
from ostinato.models.data.column_look import (
    AMOUNT,
    CALENDAR,
    ColumnLook,
    find_series,
    find_time,
    look_at,
    numbers_rows,
)
from ostinato.models.data.columns import breaks_of_cycle
from ostinato.models.data.files import read_series
from ostinato.models.data.series import Dataset, load_dataset
from ostinato.models.data.series_recipe import DataRecipe
from ostinato.models.draft import Draft
from ostinato.models.errors import DataError
from ostinato.tables.cells import MISSING_WORDS, CellReader
from ostinato.tables.stamps import MAX_COUNT, SECOND, to_moment
from ostinato.tables.steps import TimeStep
from ostinato.tables.table import Table

_TARGET_NAMES = ("target", "y", "value", "label", "sales", "demand", "load", "count", "quantity", "price")
_TRAINING, _VALIDATION = 0.7, 0.15
# How many a season is of a step; of the first that the file has some of.
_SEASONS: Mapping[str, Sequence[int]] = {
    "1 minute": (1440, 60),
    "5 minutes": (288, 12),
    "10 minutes": (144, 6),
    "15 minutes": (96, 4),
    "20 minutes": (72, 3),
    "30 minutes": (48, 2),
    "1 hour": (24,),
    "2 hours": (12,),
    "3 hours": (8,),
    "4 hours": (6,),
    "6 hours": (4,),
    "8 hours": (3,),
    "12 hours": (14, 2),
    "1 day": (7,),
    "1 working day": (5,),
    "7 days": (52,),
    "1 month": (12,),
    "3 months": (4,),
}
# Columns that could be a table with a series in each; and how unlike in size they may then be.
_LEAST_WIDE, _ALIKE = 3, 5.0
_WINDOW_STEPS, _BATCH_SIZE, _UPDATES = 48, 32, 20
_COLUMN = re.compile(r"column '(.+?)'")


@dataclass
class _Look:
    """What was found, and what is said of it."""

    file: Path
    time: tuple[str, ...]
    series: tuple[str, ...]
    target: tuple[str, ...]
    features: list[str]
    static: list[str]
    categorical: list[str]
    missing: tuple[str, ...]
    left_out: dict[str, str] = field(default_factory=dict)
    gaps: str = "fill"
    cycles: list[str] = field(default_factory=list)

    def recipe(self, validation_from: datetime, test_from: datetime) -> DataRecipe:
        """The table ``data`` of the recipe."""
        content: dict[str, Any] = {
            "file": self.file,
            "target": self.target,
            "features": tuple(self.features),
            "series": self.series or None,
            "static": tuple(self.static),
            "categorical": tuple(self.categorical),
            "cycles": tuple(self.cycles),
            "time": self.time,
            "gaps": self.gaps,
            "missing": self.missing,
            "validation_from": validation_from,
            "test_from": test_from,
        }
        return DataRecipe.model_validate(content)

    def leave_out(self, name: str, reason: str) -> None:
        """A column that a network can do nothing with."""
        for names in (self.features, self.static, self.categorical):
            if name in names:
                names.remove(name)
        self.left_out[name] = reason


def begin_series(file: Path) -> Draft:
    """A recipe for a table that trains as it stands.

    Raises:
        DataError: the file is no table, or nothing in it can be forecast.
    """
    try:
        table = Table(file)
        names = [name for name in table.header if name and table.header.count(name) == 1]
        cells = table.columns(names).cells
    except InputError as error:
        raise DataError(str(error)) from error
    found = _looked(table, {name: look_at(name, column) for name, column in cells.items()}, cells)
    dataset, validation_from, test_from = _split(found)
    found.cycles = [name for name in found.categorical if name in dataset.features and _is_cycle(dataset, name)]
    return _draft(found, dataset, validation_from, test_from)


def _looked(table: Table, looks: Mapping[str, ColumnLook], cells: Mapping[str, list[str]]) -> _Look:
    time = find_time(table, looks, cells)
    series = find_series(table, time, looks, cells)
    own = {name: look for name, look in looks.items() if name not in (*time, *series) or name.lower() in CALENDAR}
    own = {name: look for name, look in own.items() if name not in series}
    # Of a calendar's columns those are features that come again: the year only grows.
    left_out = {name: "the time tells it" for name in time if len(time) == 1 or not _comes_again(name)}
    left_out |= {name: "occurs twice in the header" for name in table.header if name and name not in cells}
    left_out |= {name: "numbers the rows" for name in own if name not in time and numbers_rows(name, cells[name])}
    own = {name: look for name, look in own.items() if name not in left_out}
    static = []
    if series:
        ids = list(zip(*(cells[name] for name in series), strict=True))
        whole = {name for name, look in own.items() if not look.useless_static}
        static = [name for name in own if name in whole and _is_static(ids, own[name].known(cells[name]))]
    left_out |= {name: reason for name, look in own.items() if name not in static and (reason := look.useless)}
    features = [name for name in own if name not in static and name not in left_out]
    amounts = [name for name in features if own[name].kind == AMOUNT]
    if not amounts:
        raise DataError(
            f"{table.path}: no column of amounts that change is left to forecast: its columns are "
            f"{', '.join(map(repr, table.header))}" + (_said(left_out) and f" ({_said(left_out)})")
        )
    words = [name for name in (*features, *static) if own[name].kind != AMOUNT]
    odd = sorted({word for name in amounts for word in own[name].odd})
    return _Look(
        table.path,
        time,
        series,
        _targets(amounts, words, cells),
        features,
        static,
        words,
        (*MISSING_WORDS, *odd),
        left_out,
    )


def _targets(amounts: Sequence[str], words: Sequence[str], cells: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The column that is called as a target is; all, where each is a series of one kind; else the last."""
    hinted = [name for name in amounts if name.lower() in _TARGET_NAMES]
    if hinted:
        return (min(hinted, key=lambda name: _TARGET_NAMES.index(name.lower())),)
    if len(amounts) >= _LEAST_WIDE and not words and _are_alike(amounts, cells):
        return tuple(amounts)
    return (amounts[-1],)


def _are_alike(names: Sequence[str], cells: Mapping[str, Sequence[str]]) -> bool:
    """Whether columns are called by one word and a number, or by numbers, or are of one size and spread."""
    if len({re.sub(r"\d+", "", name) for name in names}) == 1 and all(re.search(r"\d", name) for name in names):
        return True
    reader = CellReader()
    sizes = []
    for name in names:
        numbers = []
        for cell in cells[name]:
            with contextlib.suppress(ValueError):
                numbers.append(reader.number(cell))
        known = [float(number) for number in numbers if number is not None]
        sizes.append((float(np.mean(np.abs(known))), float(np.std(known))))
    return all(max(own) <= _ALIKE * min(own) for own in zip(*sizes, strict=True))


def _said(left_out: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in list(left_out.items())[:8])


def _comes_again(name: str) -> bool:
    return name.lower() in CALENDAR and name.lower() != "year"


def _is_static(ids: Sequence[tuple[str, ...]], cells: Sequence[str | None]) -> bool:
    """Whether a column says one thing of each series."""
    said: dict[tuple[str, ...], str] = {}
    return all(cell is None or said.setdefault(name, cell) == cell for name, cell in zip(ids, cells, strict=True))


def _split(found: _Look) -> tuple[Dataset, datetime, datetime]:
    """The data as a recipe reads it, and where its parts begin; columns that cannot be used are left out.

    Raises:
        DataError: what is left cannot be used.
    """
    far = datetime(9000, 1, 1)
    early: datetime = datetime(1, 1, 1)
    for _ in range(len(found.features) + len(found.static) + 3):
        try:
            times = _times_of(found, far)
            early = times[min(int(len(times) * _TRAINING), len(times) - 1)]
            late = times[min(int(len(times) * (_TRAINING + _VALIDATION)), len(times) - 1)]
            dataset = load_dataset(found.recipe(early, late))
            absent = {
                wrong[1] for note in dataset.notes if "has no value in" in note and (wrong := _COLUMN.search(note))
            }
            if not absent & {*found.features} - {*found.target}:
                return dataset, early, late
            for name in absent - {*found.target}:
                found.leave_out(name, "has no value that the training part knows later on")
        except DataError as error:
            wrong = _COLUMN.search(str(error))
            name = wrong[1] if wrong else ""
            if name in (*found.features, *found.static) and name not in found.target:
                found.leave_out(
                    name, str(error).partition(f"column {name!r} ")[2].partition(":")[0] or "cannot be read"
                )
            elif found.gaps == "fill" and "gaps" in str(error):
                found.gaps = "ignore"
            else:
                raise
    raise AssertionError("a column less in each round")


def _times_of(found: _Look, far: datetime) -> list[datetime]:
    """All moments of the table, in order; a table of three parts is not yet asked for."""
    _, rows = read_series(found.recipe(datetime(8000, 1, 1), far))
    walls = np.unique([step.wall for one in rows for step in one.axis.steps if step.row is not None])
    if len(walls) < 10:
        raise DataError(f"{found.file}: {len(walls)} moments are too few to train, to stop and to test on")
    step = rows[0].axis.step
    if step is not None and not step.rows and (step.is_of_calendar or step.microseconds >= 60 * SECOND):
        # Stamps that are some seconds late say nothing of where to split.
        walls = np.unique(walls // (60 * SECOND) * (60 * SECOND))
    return [cast(datetime, wall.item()) for wall in walls.astype("datetime64[us]")]


def _is_cycle(dataset: Dataset, name: str) -> bool:
    """Whether a column's codes count on by one at each step."""
    place, num_codes = dataset.features.index(name), len(dataset.categories[name])
    parts = [one.values[: one.validation_start, place] for one in dataset.series]
    return 1 < num_codes < max(map(len, parts)) and not any(len(breaks_of_cycle(part, num_codes)) for part in parts)


def _draft(found: _Look, dataset: Dataset, validation_from: datetime, test_from: datetime) -> Draft:
    num_steps = dataset.num_steps("training")
    batch_size = max(1, min(_BATCH_SIZE, num_steps // (_WINDOW_STEPS * _UPDATES)))
    window_steps = max(2, min(_WINDOW_STEPS, (num_steps - len(dataset.series)) // (2 * batch_size) - 1))
    target = found.target if len(found.target) > 1 else found.target[0]
    data: dict[str, Any] = {"target": target, "features": found.features, "time": found.time}
    for key in ("series", "static", "categorical", "cycles"):
        if value := getattr(found, key):
            data[key] = value[0] if key == "series" and len(value) == 1 else value
    data |= {"gaps": found.gaps} if found.gaps != "fill" else {}
    data |= {"missing": found.missing} if found.missing != MISSING_WORDS else {}
    data |= {"validation_from": _border(validation_from), "test_from": _border(test_from)}
    data["season_steps"] = _season(dataset)
    others = [name for name in found.features if name not in found.target and name not in found.categorical]
    left_out = _said(found.left_out)
    words = {
        "data.target": "what is forecast; several: a list"
        + (f", as of {', '.join(map(repr, others[:6]))}" if others else ""),
        "data.features": "what a client sends at each step, in this order"
        + (f" (left out: {left_out})" if left_out else ""),
        "data.time": "when each row was" if found.time else "no column tells it: rows are steps, counted from 0",
        "data.series": f"{len(dataset.series)} series, each with sessions of its own",
        "data.static": "one value for each series; a session is opened with them",
        "data.categorical": "words, or numbers that stand for something",
        "data.cycles": "the network counts these on by itself",
        "data.gaps": "no step fits its times: rows are taken as steps",
        "data.validation_from": f"training ends here: {num_steps:,} steps"
        + (f" of {dataset.step}" if dataset.step else ""),
        "data.test_from": f"scored from here on: {dataset.num_steps('test'):,} steps",
        "data.season_steps": "of the seasonal naive forecast, a rival",
        "network.cell": "any of docs/models.md, or a list of one for each layer",
        "network.forecast": '"direct": all of training.horizon_steps at once',
        "training.loss": "squared, pinball (network.quantiles), gaussian, counts",
        "training.horizon_steps": "how far ahead it is scored",
    }
    return Draft(
        f"Forecasts of {_some(found.target)} of {found.file.name}",
        {
            "data": data,
            "network": {"cell": "gru", "hidden_size": 32, "forecast": "fed_back"},
            "training": {
                "loss": "absolute",
                "horizon_steps": 1,
                "batch_size": batch_size,
                "window_steps": window_steps,
                "max_epochs": 30,
                "patience_epochs": 6,
                "learning_rate": 5e-3,
            },
        },
        words,
    )


def _border(moment: datetime) -> datetime | int:
    """Where a part begins, as a recipe has it: of numbered rows, the number."""
    number = to_moment(moment)
    return number if 0 <= number < MAX_COUNT else moment


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _season(dataset: Dataset) -> int:
    """In steps; 1 where nothing is known of one, or there is none before the test part to look back to."""
    history = max(series.test_start for series in dataset.series)
    step = dataset.step or ""
    with contextlib.suppress(ValueError):
        step = str(TimeStep.parse(step))
    return next((season for season in _SEASONS.get(step, ()) if 2 * season <= history), 1)
