"""Files of whole sequences, read for a model and written with what it answered."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import InputError
from ostinato.tables.gaps import Gaps
from ostinato.tools.input_table import InputTable

ARRAYS = (".npy", ".npz", ".safetensors")
WRITTEN = (".csv", ".json", *ARRAYS)
COMPRESSED = (".xz", ".gz", ".bz2")


@dataclass(frozen=True)
class SequenceFile:
    """What a file holds.

    Attributes:
        sequences: each as rows of numbers, None or NaN where one is missing; their lengths may differ.
        names: of the sequences, where the file names them: what is written has the same names.
        is_one: whether the file holds one sequence and no list of them.
        labels: of one sequence's steps, where the file has a column of times.
        warnings: sentences on what was read otherwise than it stands there.
    """

    sequences: list[list[list[float | None]]]
    names: tuple[str, ...] = ()
    is_one: bool = False
    labels: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def read_sequences(
    path: Path,
    model_input: Mapping[str, Any],
    *,
    renamed: Mapping[str, str] | None = None,
    time: Sequence[str] = (),
    gaps: Gaps | None = None,
    first: str = "",
    limit: int | None = None,
) -> SequenceFile:
    """Read a file by the end of its name: .npy, .npz, .safetensors, .json; anything else is a table.

    Args:
        model_input: the input's entry in the manifest.
        renamed, time, gaps, first, limit: of a table, see ``InputTable``.

    Raises:
        InputError: it cannot be read, or holds no sequences. TableError: a cell cannot be read.
    """
    kind = path.suffix.lower()
    if kind not in (*ARRAYS, ".json"):
        read = InputTable(path, model_input, renamed, time=time, gaps=gaps).read(first=first, limit=limit)
        labels = tuple(row.label for row in read.rows)
        return SequenceFile([[row.inputs for row in read.rows]], (), True, labels, tuple(read.warnings))
    if renamed or time or gaps or first or limit:
        raise InputError(f"{path}: --column, --time, --gaps, --from and --limit are for tables")
    try:
        if kind == ".json":
            return _from_json(path, json.loads(path.read_bytes()))
        return _from_arrays(path, read_arrays(path, kind))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: it cannot be read: {error}") from error


def write_outputs(path: Path, given: SequenceFile, outputs: Sequence[NDArray[Any]], output: Mapping[str, Any]) -> None:
    """Write outputs ``[n, O]``, one array for each sequence, by the end of the file's name; every number to the bit.

    Args:
        given: what the sequences were read from.
        output: the output's entry in the manifest.

    Raises:
        InputError: the file cannot be written, or cannot hold them.
    """
    kind = path.suffix.lower()
    if kind not in WRITTEN:
        raise InputError(f"{path}: what is written ends in one of {', '.join(WRITTEN)}")
    try:
        if kind in (".csv", ".json"):
            with path.open("w", encoding="utf-8", newline="") as file:
                (print_csv if kind == ".csv" else print_json)(file, given, outputs, output)
            return
        save_arrays(path, _named_outputs(given, outputs, str(output["name"])))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays by the end of the file's name: .npy, .npz or .safetensors.

    Raises:
        InputError: .npy cannot hold so many. OSError: the file cannot be written.
    """
    kind = path.suffix.lower()
    if kind == ".npy":
        if len(arrays) > 1:
            raise InputError(f"{path}: .npy holds one array, and these are {len(arrays)}; write .npz")
        np.save(path, next(iter(arrays.values())))
    elif kind == ".npz":
        np.savez(path, allow_pickle=False, **arrays)
    else:
        from safetensors.numpy import save_file

        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)


def print_csv(file: TextIO, given: SequenceFile, outputs: Sequence[NDArray[Any]], output: Mapping[str, Any]) -> None:
    """A row a step: the sequence, where there are several, the step's time or number, and its numbers.

    float32 stands with as few digits as give the same bits back.
    """
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*([] if given.is_one else ["sequence"]), "step", *output["features"]])
    for index, made in enumerate(outputs):
        name = [] if given.is_one else [given.names[index] if given.names else str(index)]
        # One answer for many steps is that of the last.
        first = len(given.sequences[index]) - len(made)
        for step, numbers in enumerate(made, start=first):
            label = given.labels[step] if given.labels else str(step + 1)
            writer.writerow([*name, label, *(digits(number) for number in numbers)])


def print_json(file: TextIO, given: SequenceFile, outputs: Sequence[NDArray[Any]], output: Mapping[str, Any]) -> None:
    """``{"outputs": [...]}`` as ``predict`` answers it: a list for each sequence; null where a number is not finite."""
    del given, output
    rows = ("[" + ", ".join(_json_row(numbers) for numbers in made) + "]" for made in outputs)
    file.write('{"outputs": [' + ", ".join(rows) + "]}\n")


def shown(
    write: Callable[..., None], given: SequenceFile, outputs: Sequence[NDArray[Any]], output: Mapping[str, Any]
) -> str:
    """What ``print_csv`` or ``print_json`` writes, as a text."""
    text = io.StringIO()
    write(text, given, outputs, output)
    return text.getvalue()


def digits(number: Any) -> str:
    """The number in the fewest digits that give it back."""
    return str(number.item()) if number.dtype.kind != "f" else str(number)


def _json_row(numbers: NDArray[Any]) -> str:
    cells = (digits(number) if number.dtype.kind != "f" or np.isfinite(number) else "null" for number in numbers)
    return "[" + ", ".join(cells) + "]"


def read_arrays(path: Path, kind: str) -> dict[str, NDArray[Any]]:
    """The arrays of a file by their names; that of .npy has none.

    Raises:
        OSError, ValueError: it cannot be read.
    """
    if kind == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(error) from error
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return {"": loaded}
    with loaded:
        return {name: loaded[name] for name in loaded.files}


def _from_arrays(path: Path, arrays: dict[str, NDArray[Any]]) -> SequenceFile:
    """An array alone is one sequence ``[T, F]`` or several ``[B, T, F]``; of several, each is one."""
    if not arrays:
        raise InputError(f"{path}: there is no array in it")
    if len(arrays) == 1:
        (array,) = arrays.values()
        if array.ndim == 3:
            return SequenceFile(array.tolist())
    for name, array in arrays.items():
        if array.ndim != 2 or array.dtype.kind not in "fiub":
            what = f"array {name!r}" if name else "the array"
            raise InputError(
                f"{path}: {what} has shape {list(array.shape)} and dtype {array.dtype}; a sequence is numbers [T, F]"
                + (", several of one length are [B, T, F]" if len(arrays) == 1 else "")
            )
    is_one = len(arrays) == 1
    return SequenceFile([array.tolist() for array in arrays.values()], () if is_one else tuple(arrays), is_one)


def _from_json(path: Path, content: Any) -> SequenceFile:
    """``{"sequences": [...]}`` as ``predict`` takes it, a list of sequences, or one sequence."""
    if isinstance(content, dict):
        if "sequences" not in content:
            raise InputError(f"{path}: an object needs the member 'sequences', as the body of predict has it")
        return SequenceFile(_checked(path, content["sequences"], 3))
    if _depth(content) == 2:
        return SequenceFile(_checked(path, [content], 3), is_one=True)
    return SequenceFile(_checked(path, content, 3))


def _checked(path: Path, value: Any, depth: int, place: str = "") -> Any:
    """Nested lists of ``depth`` levels with numbers or null in them."""
    if depth == 0:
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise InputError(f"{path}: {place} is {value!r}, and neither a number nor null")
        return value
    if not isinstance(value, list) or not value:
        raise InputError(
            f"{path}: {place or 'the whole'} is not a list of {('numbers', 'steps', 'sequences')[depth - 1]}"
        )
    return [_checked(path, each, depth - 1, f"{place}[{index}]") for index, each in enumerate(value)]


def _depth(value: Any) -> int:
    depth = 0
    while isinstance(value, list) and value:
        value, depth = value[0], depth + 1
    return depth


def _named_outputs(given: SequenceFile, outputs: Sequence[NDArray[Any]], name: str) -> dict[str, NDArray[Any]]:
    """One array where the sequences came as one, or of one length; else one for each, by the sequence's name."""
    if given.is_one:
        return {name: outputs[0]}
    if given.names:
        return dict(zip(given.names, outputs, strict=True))
    if len({made.shape for made in outputs}) == 1:
        return {name: np.stack(outputs)}
    return {f"{name}_{index}": made for index, made in enumerate(outputs)}
