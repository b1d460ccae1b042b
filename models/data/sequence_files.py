"""Sequences each in a row, a line, an array or a file: tables with a step a column (UCR), ARFF, NumPy, folders."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import InputError
from ostinato.models.data.files import read_text_lines
from ostinato.models.data.frame_files import read_arrays
from ostinato.models.data.sequences import WrittenSequence, WrittenSequences, of_dimensions
from ostinato.models.errors import DataError
from ostinato.models.recipe import meant
from ostinato.tables.cells import MISSING_WORDS
from ostinato.tables.openings import is_data
from ostinato.tables.table import Table

_NUMBERED = re.compile(r"(.*?)_?(\d+)")
_ARRAYS = ("x", "data", "sequences", "series", "features", "inputs", "arr_0")
_LABELS = ("y", "labels", "label", "classes", "targets", "target", "arr_1")
_ATTRIBUTE = re.compile(r"@attribute\s+('[^']*'|\"[^\"]*\"|\S+)\s+(.*)", re.IGNORECASE)


def wide_rows(path: Path) -> tuple[tuple[str, ...], list[tuple[int, list[str]]]]:
    """The names of the columns and the rows of a table, with the line of each; cut at spaces where nothing else cuts.

    A first row with numbers that are not whole, or that do not count on, is a row; columns are then ``1``, ``2``, ...

    Raises:
        DataError: it cannot be read, or rows have not one number of cells.
    """
    try:
        table = Table(path, as_written=True)
        rows = [(row.line, row.cells) for row in table.rows()] if len(table.header) > 1 else []
    except InputError as error:
        raise DataError(str(error)) from error
    header, line = list(table.header), 1
    if not rows:
        lines = [(number, text.split()) for number, text in enumerate(read_text_lines(path), start=1) if text.split()]
        if not lines or len(lines[0][1]) < 2:
            raise DataError(f"{path}: has no row of several cells; they are cut by commas, semicolons, tabs or spaces")
        (line, header), *rows = lines
    for number, cells in rows:
        if len(cells) != len(header):
            raise DataError(f"{path}: line {number}: {len(cells)} cells, the first row has {len(header)}")
    if _are_values(header):
        return tuple(str(place + 1) for place in range(len(header))), [(line, header), *rows]
    return tuple(header), rows


def _are_values(header: Sequence[str]) -> bool:
    numbers = [cell for cell in header if is_data(cell) or cell in MISSING_WORDS]
    if len(numbers) < len(header) - 2:
        return False
    return any(not cell.isdecimal() for cell in numbers) or len(set(numbers)) < len(numbers)


def are_steps(names: Sequence[str]) -> bool:
    """Whether columns are called by one word, or none, and numbers that count on: they are the steps of a sequence."""
    found = [_NUMBERED.fullmatch(name) for name in names]
    if not names or not all(found) or len({own[1] for own in found if own}) > 1:
        return False
    numbers = [int(own[2]) for own in found if own]
    return numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def read_wide(path: Path, answer: str, name: str = "") -> WrittenSequences:
    """Read a table in whose rows a sequence stands from left to right, and its label in one column.

    Missing cells at the end are none: sequences are shorter there.

    Args:
        answer: the column of the label. ``name``: one with the sequence's id, which may be absent.

    Raises:
        DataError: a column is absent, or a row has no step.
    """
    header, rows = wide_rows(path)
    for column in filter(None, (answer, name)):
        if column not in header:
            raise DataError(f"{path}: has no column {column!r}{meant(column, header)}; it has {', '.join(header[:12])}")
    places = {column: header.index(column) for column in filter(None, (answer, name))}
    labels = _plain([cells[places[answer]] for _, cells in rows])
    sequences: list[WrittenSequence] = []
    for (line, cells), label in zip(rows, labels, strict=True):
        if label in MISSING_WORDS:
            raise DataError(f"{path}: line {line}, column {answer!r}: the sequence has no label")
        steps = [cell for place, cell in enumerate(cells) if place not in places.values()]
        while steps and steps[-1] in MISSING_WORDS:
            steps.pop()
        if not steps:
            raise DataError(f"{path}: line {line}: the sequence has no value")
        own = cells[places[name]] if name else str(len(sequences))
        sequences.append(WrittenSequence(own, f"{path}: line {line}", tuple((cell,) for cell in steps), (label,)))
    return WrittenSequences(("value",), tuple(sequences))


def _plain(labels: Sequence[str]) -> list[str]:
    """Labels that are whole numbers, written as such: 1.0000000e+00 is 1."""
    try:
        numbers = [float(label) for label in labels]
    except ValueError:
        return list(labels)
    if all(number.is_integer() for number in numbers):
        return [str(int(number)) for number in numbers]
    return list(labels)


def read_arff(path: Path) -> WrittenSequences:
    r"""Read an ARFF file (Weka, UEA): a value a column, or all dimensions in a cell, cut by ``\n``; the class is last.

    Raises:
        DataError: it is none, or a line is not of that form.
    """
    names: list[str] = []
    is_relational, in_relation, in_data = False, False, False
    sequences: list[WrittenSequence] = []
    for number, line in enumerate(read_text_lines(path), start=1):
        text = line.strip()
        if not text or text.startswith("%"):
            continue
        if not in_data:
            lower = text.lower()
            in_data = lower.startswith("@data")
            if lower.startswith("@end"):
                in_relation = False
            elif (found := _ATTRIBUTE.fullmatch(text)) and not in_relation:
                names.append(found[1].strip("'\""))
                in_relation = found[2].strip().lower().startswith("relational")
                is_relational = is_relational or in_relation
            continue
        cells = [cell.strip() for cell in next(csv.reader([text], quotechar="'", skipinitialspace=True))]
        if len(cells) != len(names) or len(cells) < 2:
            raise DataError(f"{path}: line {number}: {len(cells)} cells, and {len(names)} attributes come before @data")
        *values, label = cells
        dimensions = [part.split(",") for part in values[0].split("\\n")] if is_relational else [values]
        sequences.append(of_dimensions(str(len(sequences)), f"{path}: line {number}", dimensions, label.strip("'\"")))
    if not sequences:
        raise DataError(f"{path}: has no line below @data; is it an .arff file?")
    num = max(len(one.rows[0]) for one in sequences)
    return WrittenSequences(
        ("value",) if not is_relational else tuple(f"dimension_{k}" for k in range(num)), tuple(sequences)
    )


def read_numpy(
    path: Path, answer: str = "", channels: str | None = None, *, test: bool = False
) -> WrittenSequences | None:
    """Read arrays: sequences ``[N, T]``, ``[N, T, F]`` or ``[N, F, T]``, and labels ``[N]``, or ``[N, C]`` with one 1.

    Of an ``.npy`` file, the labels lie beside it, ``y.npy`` beside ``X.npy``.

    Args:
        answer: the array of the labels; empty = it is told by its name.
        channels: whether features are the ``first`` axis of a sequence or the ``last``; None = the shorter one.
        test: those of the test part, where one file has both (``X_test``); None = it has not.

    Raises:
        DataError: the arrays are not of that form.
    """
    try:
        arrays = read_arrays(path)
    except DataError as error:
        if "Object arrays" not in str(error):
            raise
        raise DataError(
            f"{path}: holds Python objects, which are not read; sequences of unlike lengths are padded with NaN at "
            "their ends, or are .npy files in a folder for each label"
        ) from error
    if path.suffix.lower() == ".npy":
        beside = _labels_beside(path)
        arrays = {"x": arrays["frames"], "y": read_arrays(beside)["frames"]}
    lower = {name.lower(): name for name in arrays}
    ends = ("_test", "test") if test else ("", "_train", "train")
    x = next((lower[name + end] for end in ends for name in _ARRAYS if name + end in lower), "")
    y = answer if answer and not test else next((lower[k + e] for e in ends for k in _LABELS if k + e in lower), "")
    if test and not (x and y):
        return None
    told = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
    if x not in arrays or y not in arrays:
        raise DataError(
            f"{path}: which array has the sequences, and which the labels? Call them X and y; there are: {told}"
        )
    sequences, labels = arrays[x], _labels(path, arrays[y])
    if sequences.ndim not in (2, 3) or len(labels) != len(sequences) or sequences.dtype.kind not in "biuf":
        raise DataError(
            f"{path}: {x} is [N, T], [N, T, F] or [N, F, T], and {y} has a label for each of N; there are: {told}"
        )
    if sequences.ndim == 2:
        sequences = sequences[..., None]
    elif channels == "first" or (channels is None and sequences.shape[1] < sequences.shape[2]):
        sequences = sequences.swapaxes(1, 2)
    names = ("value",) if sequences.shape[2] == 1 else tuple(f"feature_{k}" for k in range(sequences.shape[2]))
    made = (
        WrittenSequence(str(k), f"{path}: {x}[{k}]", _rows(own), (label,))
        for k, (own, label) in enumerate(zip(sequences, labels, strict=True))
    )
    return WrittenSequences(names, tuple(made))


def _labels_beside(path: Path) -> Path:
    for name, label in (("x", "y"), ("X", "y"), ("X", "Y"), ("data", "labels"), ("features", "labels")):
        beside = path.with_name(re.sub(rf"^{name}", label, path.name))
        if beside != path and beside.exists():
            return beside
    raise DataError(
        f"{path}: its labels are looked for next to it, y.npy next to X.npy; or write both into one .npz file"
    )


def _labels(path: Path, labels: NDArray[Any]) -> list[str]:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and (labels.sum(axis=1) == 1).all():
        labels = labels.argmax(axis=1)
    if labels.ndim != 1:
        raise DataError(f"{path}: labels of the shape {list(labels.shape)}; there is one for each sequence")
    return _plain([label.decode() if isinstance(label, bytes) else str(label) for label in labels.tolist()])


def _rows(sequence: NDArray[Any]) -> tuple[tuple[str, ...], ...]:
    """Steps ``[T, F]`` as cells, without those at the end that are missing."""
    if sequence.dtype.kind == "f":
        present = np.flatnonzero(~np.isnan(sequence).all(axis=1))
        sequence = sequence[: present[-1] + 1 if len(present) else 0]
    cells = sequence.astype(str)
    return tuple(tuple(row) for row in cells.tolist())


def read_folders(path: Path, features: tuple[str, ...]) -> WrittenSequences:
    """Read a folder that has a folder for each label, and in it a table or array for each sequence; or a list of these.

    Args:
        features: of the tables' columns; all of the first table where it is empty.

    Raises:
        DataError: there are no such folders, or a table cannot be read.
    """
    sequences: list[WrittenSequence] = []
    for label, file in _labelled_files(path):
        name = f"{label}/{file.name}"
        if file.suffix.lower() == ".npy":
            array = read_arrays(file)["frames"]
            array = array[:, None] if array.ndim == 1 else array
            if array.ndim != 2 or array.dtype.kind not in "biuf":
                raise DataError(f"{file}: has the shape {list(array.shape)}; a sequence is [T] or [T, F] numbers")
            features = features or tuple(f"feature_{k}" for k in range(array.shape[1]))
            if array.shape[1] != len(features):
                raise DataError(f"{file}: has {array.shape[1]} features a step, and there are {len(features)}")
            sequences.append(WrittenSequence(name, str(file), _rows(array), (label,)))
            continue
        try:
            table = Table(file)
            features = features or table.header
            columns = table.columns(features)
        except InputError as error:
            raise DataError(str(error)) from error
        rows = tuple(zip(*(columns.cells[feature] for feature in features), strict=True))
        sequences.append(WrittenSequence(name, str(file), rows, (label,)))
    return WrittenSequences(features, tuple(sequences))


def _labelled_files(path: Path) -> list[tuple[str, Path]]:
    folders = [folder for folder in _children(path) if folder.is_dir()]
    files = [(folder.name, file) for folder in folders for file in _children(folder)]
    if any(file.is_dir() for _, file in files):
        names = ", ".join(folder.name for folder in folders[:4])
        raise DataError(
            f"{path}: its folders ({names}) have folders in them; give the one whose folders are the labels, and "
            "another as data.test_file"
        )
    if files:
        return files
    beside = _children(path)
    for listed in beside:
        if listed.suffix.lower() in (".csv", ".tsv", ".txt") and (found := _listed(path, listed)):
            return found
    told = next((file.name for file in beside if re.search(r"_train\b", file.stem, re.IGNORECASE)), "")
    raise DataError(
        f"{path}: has no folders with files in them: one for each label, a table for each sequence; and no table that "
        "names files and labels" + (f". Give {path / told} in place of the folder" if told else "")
    )


def _listed(folder: Path, listed: Path) -> list[tuple[str, Path]]:
    """The label and the file of each row of a table that names files beside it; none where it names none."""
    try:
        table = Table(listed, as_written=True)
        rows = list(table.rows())
    except InputError:
        return []
    named = (place for place in range(len(table.header)) if rows and (folder / rows[0].cells[place]).is_file())
    files = next((place for place in named if rows[0].cells[place]), None)
    if files is None or len(table.header) < 2:
        return []
    label = next(place for place in range(len(table.header)) if place != files)
    for row in rows:
        if not (folder / row.cells[files]).is_file():
            raise DataError(f"{listed}: line {row.line}: there is no file {row.cells[files]!r}")
    return [(row.cells[label], folder / row.cells[files]) for row in rows]


def _children(path: Path) -> list[Path]:
    return sorted(child for child in path.iterdir() if not child.name.startswith("."))
