"""Files of whole sequences for models of several inputs, nested ones, or with a context; and of what they answered."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import InputError
from ostinato.tools.input_table import InputTable
from ostinato.tools.merged_input import merged_input, split_steps
from ostinato.tools.sequence_files import ARRAYS, WRITTEN, digits, read_arrays, save_arrays

if TYPE_CHECKING:
    from ostinato.service.artifact.rows import RowLayout
    from ostinato.service.artifact.tensors import Output


@dataclass(frozen=True)
class TensorFile:
    """What a file holds.

    Attributes:
        sequences: each as ``predict`` takes it: steps, or an object of them by name.
        contexts: of each sequence, by name; None where the file has none.
        is_one: whether it holds one sequence and no list of them.
        labels: of one sequence's steps, where the file has a column of times.
        warnings: sentences on what was read otherwise than it stands there.
    """

    sequences: list[Any]
    contexts: list[Any]
    is_one: bool = False
    labels: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def read_tensor_file(
    path: Path,
    inputs: Sequence[Mapping[str, Any]],
    context: Sequence[Mapping[str, Any]],
    given_context: Any = None,
    **table: Any,
) -> TensorFile:
    """Read a file by the end of its name, as ``read_sequences`` does. Arrays are found by the names of the inputs and
    contexts, with or without an axis for the sequences; a table has the columns of all inputs.

    Args:
        given_context: one context for all sequences, or a list of one for each, in place of what the file has.
        table: ``renamed``, ``time``, ``gaps``, ``first``, ``limit``: of a table, see ``InputTable``.

    Raises:
        InputError: it cannot be read, or does not hold what the model takes. TableError: a cell cannot be read.
    """
    kind = path.suffix.lower()
    if kind not in (*ARRAYS, ".json"):
        choice = {name: table[name] for name in ("time", "gaps") if name in table}
        read = InputTable(path, merged_input(inputs), table.get("renamed"), **choice).read(
            first=table.get("first", ""), limit=table.get("limit")
        )
        sequence = split_steps(inputs, [row.inputs for row in read.rows])
        labels = tuple(row.label for row in read.rows)
        return TensorFile([sequence], _for_each(path, given_context, 1), True, labels, tuple(read.warnings))
    if any(table.values()):
        raise InputError(f"{path}: --column, --time, --gaps, --from and --limit are for tables")
    try:
        if kind == ".json":
            sequences, own, is_one = _from_json(path, json.loads(path.read_bytes()), inputs)
        else:
            sequences, own, is_one = _from_arrays(path, read_arrays(path, kind), inputs, context)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: it cannot be read: {error}") from error
    return TensorFile(
        sequences, _for_each(path, own if given_context is None else given_context, len(sequences)), is_one
    )


def read_context(text: str) -> Any:
    """``--context``: JSON, or the name of a file that holds it; None where it is empty.

    Raises:
        InputError: it is neither.
    """
    if not text:
        return None
    try:
        return json.loads(text if text.lstrip()[:1] in ("{", "[") else Path(text).read_bytes())
    except OSError as error:
        raise InputError(f"--context {text}: {error.strerror}; give an object of JSON, or a file of it") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"--context: it is not JSON: {error}") from error


def plain_context(context: Any) -> Any:
    """A context without arrays, as JSON has it."""
    if not isinstance(context, Mapping):
        return context
    return {
        name: value.tolist() if isinstance(value, np.ndarray | np.generic) else value for name, value in context.items()
    }


def write_tensor_file(path: Path, given: TensorFile, outputs: Sequence[NDArray[Any]], made: RowLayout[Output]) -> None:
    """Write outputs, rows ``[n, width]`` of each sequence, by the end of the file's name; every number to the bit.

    Raises:
        InputError: the file cannot be written, or cannot hold them.
    """
    kind = path.suffix.lower()
    if kind not in WRITTEN:
        raise InputError(f"{path}: what is written ends in one of {', '.join(WRITTEN)}")
    try:
        if kind in (".csv", ".json"):
            with path.open("w", encoding="utf-8", newline="") as file:
                print_tensors(file, given, outputs, made, as_json=kind == ".json")
            return
        arrays: dict[str, NDArray[Any]] = {}
        for part in made.shown:
            tensors = [_of_part(rows, part, made) for rows in outputs]
            if given.is_one:
                arrays[part.name] = tensors[0]
            elif len({tensor.shape for tensor in tensors}) == 1:
                arrays[part.name] = np.stack(tensors)
            else:
                arrays |= {f"{part.name}_{index}": tensor for index, tensor in enumerate(tensors)}
        save_arrays(path, arrays)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error


def print_tensors(
    file: TextIO, given: TensorFile, outputs: Sequence[NDArray[Any]], made: RowLayout[Output], *, as_json: bool
) -> None:
    """JSON as ``predict`` answers it; or a table with a row for each step that has an answer (or more than one,
    where it has several), and a column for each number of each output.
    """
    all_steps = [
        _steps_of(rows, made, count_steps(sequence)) for rows, sequence in zip(outputs, given.sequences, strict=True)
    ]
    if as_json:
        words = ", ".join(_json(made.words(rows)) for rows in outputs)
        of_frames = ""
        if made.framing:
            told = [next(iter(steps.values())) if made.is_single else steps for steps in all_steps]
            of_frames = ', "output_steps": [' + ", ".join(map(_json, told)) + "]"
        file.write('{"outputs": [' + words + "]" + of_frames + "}\n")
        return
    writer = csv.writer(file, lineterminator="\n")
    features = [name for part in made.shown for name in part.features]
    if len(set(features)) != len(features):
        features = [f"{part.name}.{name}" for part in made.shown for name in part.features]
    writer.writerow([*([] if given.is_one else ["sequence"]), "step", *features])
    for index, (rows, steps) in enumerate(zip(outputs, all_steps, strict=True)):
        columns = [_by_step(_of_part(rows, part, made), steps[part.name]) for part in made.shown]
        for step in sorted(set().union(*columns)):
            label = given.labels[step - 1] if given.labels else str(step)
            blanks = [[""] * part.num_features for part in made.shown]
            # Of a frame with more rows than steps, several are of one step.
            for lines in zip_longest(*(column.get(step, []) for column in columns)):
                cells = [cell for line, blank in zip(lines, blanks, strict=True) for cell in line or blank]
                writer.writerow([*([] if given.is_one else [str(index)]), label, *cells])


def _by_step(rows: NDArray[Any], steps: NDArray[Any]) -> dict[int, list[list[str]]]:
    """Step -> the cells of each row of an output that is of it, in their order."""
    found: dict[int, list[list[str]]] = {}
    for step, row in zip(steps.tolist(), rows, strict=True):
        found.setdefault(step, []).append([digits(number) for number in row.ravel()])
    return found


def _steps_of(rows: NDArray[Any], made: RowLayout[Output], num_steps: int) -> dict[str, NDArray[Any]]:
    """The step, counted from 1, that each row of each output is of, when a sequence has ``num_steps``."""
    if made.framing:
        steps = made.steps_of(made.ends_of(num_steps, len(rows)))
        return steps if isinstance(steps, dict) else {made.shown[0].name: steps}
    # One answer for many steps is that of the last.
    lengths = {part.name: len(_of_part(rows, part, made)) for part in made.shown}
    return {name: np.arange(num_steps - length + 1, num_steps + 1) for name, length in lengths.items()}


def shown_tensors(given: TensorFile, outputs: Sequence[NDArray[Any]], made: RowLayout[Output], *, as_json: bool) -> str:
    """What ``print_tensors`` writes, as a text."""
    text = io.StringIO()
    print_tensors(text, given, outputs, made, as_json=as_json)
    return text.getvalue()


def _of_part(rows: NDArray[Any], part: Output, made: RowLayout[Output]) -> NDArray[Any]:
    words = made.words(rows)
    tensor: NDArray[Any] = words[part.name] if isinstance(words, dict) else words
    return tensor.reshape(len(tensor), *part.row_shape)


def _json(words: Any) -> str:
    if isinstance(words, dict):
        return "{" + ", ".join(f"{json.dumps(name)}: {_json(each)}" for name, each in words.items()) + "}"
    if np.ndim(words):
        return "[" + ", ".join(map(_json, words)) + "]"
    if words.dtype.kind == "b":
        return "true" if words else "false"
    return digits(words) if words.dtype.kind != "f" or np.isfinite(words) else "null"


def count_steps(sequence: Any) -> int:
    """How many steps a sequence has."""
    return len(next(iter(sequence.values()))) if isinstance(sequence, Mapping) else len(sequence)


def cut_steps(sequence: Any, num_steps: int) -> Any:
    """The first steps of a sequence."""
    if isinstance(sequence, Mapping):
        return {name: rows[:num_steps] for name, rows in sequence.items()}
    return sequence[:num_steps]


def _for_each(path: Path, context: Any, num_sequences: int) -> list[Any]:
    """One context for each sequence."""
    if not isinstance(context, list):
        return [context] * num_sequences
    if len(context) != num_sequences:
        raise InputError(f"{path}: {len(context)} contexts for {num_sequences} sequences")
    return context


def _rank(part: Mapping[str, Any]) -> int:
    return sum(isinstance(axis, int) for axis in part["shape"])


def _from_json(path: Path, content: Any, inputs: Sequence[Mapping[str, Any]]) -> tuple[list[Any], Any, bool]:
    """The body of predict, a list of sequences, or one sequence."""
    if isinstance(content, dict) and "sequences" in content:
        return _listed(path, content["sequences"]), content.get("context"), False
    if isinstance(content, dict):
        return [content], None, True
    depth, inner = 0, content
    while isinstance(inner, list) and inner:
        inner, depth = inner[0], depth + 1
    if len(inputs) == 1 and depth <= max(2, 1 + _rank(inputs[0])) and not isinstance(inner, dict):
        return [_listed(path, content)], None, True
    return _listed(path, content), None, False


def _listed(path: Path, content: Any) -> list[Any]:
    if not isinstance(content, list) or not content:
        raise InputError(f"{path}: it holds no list of sequences")
    return content


def _from_arrays(
    path: Path,
    arrays: Mapping[str, NDArray[Any]],
    inputs: Sequence[Mapping[str, Any]],
    context: Sequence[Mapping[str, Any]],
) -> tuple[list[Any], Any, bool]:
    """Arrays by the names of inputs and contexts; of a model with one input, an array alone may have any name."""
    names = [part["name"] for part in (*inputs, *context)]
    if len(inputs) == 1 and len(arrays) == 1 and not set(arrays) & set(names):
        arrays = {names[0]: next(iter(arrays.values()))}
    if unknown := sorted(set(arrays) - set(names)):
        raise InputError(f"{path}: the model has no input {unknown[0]!r}; it takes {', '.join(names)}")
    if absent := [part["name"] for part in inputs if part["name"] not in arrays]:
        raise InputError(f"{path}: input {absent[0]!r} is absent; arrays are found by the names {', '.join(names)}")
    extra = {part["name"]: arrays[part["name"]].ndim - 1 - _rank(part) for part in inputs}
    if len(set(extra.values())) != 1 or (axes := extra[names[0]]) not in (0, 1):
        shapes = ", ".join(f"{part['name']} {list(arrays[part['name']].shape)}" for part in inputs)
        wanted = ", ".join(f"{part['name']} {_wanted(part)}" for part in inputs)
        raise InputError(f"{path}: the shapes are {shapes}; a sequence has {wanted}, several one axis more in front")
    if axes == 1 and len(inputs) == 1 and not _rank(inputs[0]) and arrays[names[0]].shape[1] == 1:
        # Steps of one number, each in a row of its own: one sequence, as a table's column is.
        arrays, axes = {**arrays, names[0]: arrays[names[0]][:, 0]}, 0
    if axes == 0:
        arrays = {name: array[None] for name, array in arrays.items()}
    lengths = {len(arrays[part["name"]]) for part in inputs}
    if len(lengths) != 1:
        raise InputError(f"{path}: the inputs differ in their number of sequences: {sorted(lengths)}")
    count = lengths.pop()
    sequences = [
        {part["name"]: arrays[part["name"]][index] for part in inputs} if len(inputs) > 1 else arrays[names[0]][index]
        for index in range(count)
    ]
    known = {
        part["name"]: _contexts(path, arrays[part["name"]], part, count) for part in context if part["name"] in arrays
    }
    contexts = [{name: rows[index] for name, rows in known.items()} for index in range(count)] if known else None
    return sequences, contexts, axes == 0


def _contexts(path: Path, array: NDArray[Any], part: Mapping[str, Any], count: int) -> NDArray[Any]:
    rank = _rank(part)
    if array.ndim == rank:
        return np.broadcast_to(array, (count, *array.shape))
    if array.ndim != rank + 1 or len(array) not in (1, count):
        raise InputError(
            f"{path}: context {part['name']!r} has shape {list(array.shape)}; it is {_wanted(part)}, or one such for "
            f"each of {count} sequences"
        )
    return np.broadcast_to(array, (count, *array.shape[1:]))


def _wanted(part: Mapping[str, Any]) -> str:
    return "[" + ", ".join(str(axis) for axis in part["shape"] if axis != "B") + "]"
