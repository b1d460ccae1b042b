"""Inputs of `ostinato generate`: texts that were typed or piped, and files of numbers or codes."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ostinato.client.generation import Source
from ostinato.errors import InputError
from ostinato.tables.gaps import Gaps
from ostinato.tables.table import Table
from ostinato.tools.input_table import InputTable

STANDARD_INPUT = "-"
TABLES = (".csv", ".xz", ".gz", ".bz2")


def typed_inputs(
    texts: Sequence[str], lines: Iterable[str], *, reads_source: bool, is_piped: bool
) -> list[Source] | None:
    """Texts as they were given; None = from nothing.

    Args:
        texts: the arguments; ``-`` stands for ``lines``.
        lines: of standard input; empty ones are passed over.
        reads_source: whether the model needs an input.
        is_piped: whether standard input is something else than a keyboard.

    Raises:
        InputError: there is none, and the model needs one.
    """
    if not texts and reads_source and is_piped:
        texts = [STANDARD_INPUT]
    inputs: list[Source] = []
    for text in texts:
        inputs += [line for each in lines if (line := each.rstrip("\r\n"))] if text == STANDARD_INPUT else [text]
    if not inputs and (texts or reads_source):
        raise InputError("there is nothing to write from: give texts, '-' for the lines of standard input, or --input")
    return inputs or None


def file_inputs(
    path: Path,
    model_input: Mapping[str, Any] | None,
    *,
    first: str = "",
    limit: int | None = None,
    time: Sequence[str] = (),
    gaps: Gaps | None = None,
    warn: Callable[[str], object] = warnings.warn,
) -> list[Source]:
    """The inputs of a file.

    ``.json``: a list of inputs, each a text, a list of codes, or rows of numbers. ``.npy``: ``[n, F]`` is one input,
    ``[N, n, F]`` are N. A CSV, as it is or compressed: its rows from ``first`` on, at most ``limit``, are one input.

    Args:
        model_input: the input's entry in the manifest, by which a CSV's columns are found; None = there is none.
        time, gaps: of a CSV, as of `InputTable`.
        warn: is told of gaps in time and of words that the model does not know.

    Raises:
        InputError: it cannot be read; names it.
    """
    if path.suffix in TABLES:
        if model_input is None or model_input["dtype"] != "float32":
            raise InputError(f"{path}: this model reads no rows of numbers")
        read = InputTable(path, model_input, time=time, gaps=gaps).read(first=first, limit=limit)
        for warning in read.warnings:
            warn(f"{path}: {warning}")
        return [[row.inputs for row in read.rows]]
    try:
        return _json_inputs(path) if path.suffix == ".json" else _array_inputs(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def check_file(path: Path) -> None:
    """Find what is wrong with a file that can be told without knowing the model, and so before a service is asked.

    Raises:
        InputError: it cannot be read, or holds no inputs; names it.
    """
    if path.suffix in TABLES:
        Table(path)
    else:
        file_inputs(path, None)


def _json_inputs(path: Path) -> list[Source]:
    content = json.loads(path.read_bytes())
    if not isinstance(content, list) or not content or not all(isinstance(each, str | list) for each in content):
        raise ValueError("a list of inputs is wanted, each a text, a list of codes, or a list of rows")
    return content


def _array_inputs(path: Path) -> list[Source]:
    if path.suffix != ".npy":
        raise ValueError("its name should end in .json, .npy, .csv, or .csv.xz, .gz or .bz2")
    with path.open("rb") as file:
        content = np.lib.format.read_array(file, allow_pickle=False)
    if content.ndim not in (2, 3) or content.dtype.kind not in "fiu":
        raise ValueError(f"numbers [n, F] or [N, n, F] are wanted, and these are {content.dtype} {content.shape}")
    return [content] if content.ndim == 2 else list(content)
