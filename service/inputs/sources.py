"""Sources that a model generates from: text, codes or numbers become arrays, or an error that names the place."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.tensors import Input
from ostinato.service.artifact.vocabulary import Vocabulary
from ostinato.service.errors import InvalidInput, TooLarge
from ostinato.service.inputs.rows import with_codes
from ostinato.service.inputs.sequences import to_sequence


def to_source(given: Any, manifest: Manifest, place: str, most: int) -> NDArray[Any]:
    """One input as the encoder takes it: ``[n, ...]``, or ``[...]`` where the source has no steps.

    Args:
        given: text, a list of codes, or nested lists of numbers, and of words where the source has some for codes.
        most: steps that it may have.

    Raises:
        InvalidInput: it does not fit the model's source; names the place, and the character of a text.
        TooLarge: it has more steps.
    """
    part = manifest.inputs[0]
    if isinstance(given, str):
        vocabulary = manifest.vocabularies.get("source")
        if vocabulary is None:
            raise InvalidInput("this model reads numbers, not text", field=place)
        given = _spelled(given, vocabulary, place, most)
        if given and part.num_codes == len(vocabulary.symbols) and math.prod(shape := part.row_shape) == 1:
            # What a vocabulary gives needs no look at each number.
            text: NDArray[Any] = np.array(given, part.dtype)
            return text.reshape(len(given), *shape) if shape else text
    if not isinstance(given, list):
        raise InvalidInput("give a text or a list", field=place)
    if part.source_axis is None and part.time_axis is None:
        row = _flat(given, part, place)
        source: NDArray[Any] = to_sequence([row], part, place)[0].reshape(part.row_shape)
        return source
    if not given:
        raise InvalidInput("an empty input", field=place)
    check_length(len(given), place, most)
    rows = [row if isinstance(row, list) else [row] for row in given] if part.num_features == 1 else given
    rows = with_codes(rows, part, place)
    for step, row in enumerate(rows):
        if not isinstance(row, list):
            raise InvalidInput(f"a step has {part.num_features} features, in a list", field=f"{place}[{step}]")
        _check_numbers(row, f"{place}[{step}]")
    return to_sequence(rows, part, place).reshape(len(rows), *part.row_shape)


def to_codes(given: Any, vocabulary: Vocabulary | None, num_codes: int, place: str, most: int) -> list[int]:
    """A prompt or a target as codes, ``most`` of them at most.

    Raises:
        InvalidInput: it is text and the model has no vocabulary, or holds what is no code; names the place.
        TooLarge: it has more.
    """
    if isinstance(given, str):
        if vocabulary is None:
            raise InvalidInput("this model has no vocabulary: give codes", field=place)
        return _spelled(given, vocabulary, place, most)
    if not isinstance(given, list):
        raise InvalidInput("give a text or a list of codes", field=place)
    check_length(len(given), place, most)
    codes: list[Any] = [int(code) if isinstance(code, float) and code.is_integer() else code for code in given]
    for index, code in enumerate(codes):
        if not isinstance(code, int) or isinstance(code, bool) or not 0 <= code < num_codes:
            raise InvalidInput(f"{code!r} is no code; codes are 0 to {num_codes - 1}", field=f"{place}[{index}]")
    return codes


def check_length(num_steps: int, place: str, most: int) -> None:
    """Refuse what is too long.

    Raises:
        TooLarge: it has more than ``most`` steps.
    """
    if num_steps > most:
        raise TooLarge(f"{place} has {num_steps} steps; the most is {most}")


def _spelled(text: str, vocabulary: Vocabulary, place: str, most: int) -> list[int]:
    """The codes of a text; what is far too long is not read to its end."""
    if vocabulary.is_of_characters:
        check_length(len(text), place, most)
    codes = vocabulary.encode(text, place, most)
    if len(codes) > most:
        raise TooLarge(f"{place} has over {most} steps, the most that it may have")
    return codes


def _flat(given: list[Any], part: Input, place: str) -> list[Any]:
    """The numbers of one row that came nested as its shape is, or flat."""
    try:
        shape = np.shape(given)
    except ValueError:
        shape = ()
    if shape not in (part.row_shape, (part.num_features,)):
        raise InvalidInput(f"give {part.num_features} numbers, as {list(part.row_shape)} has", field=place)
    flat: list[Any] = with_codes([np.array(given, object).ravel().tolist()], part, place)[0]
    _check_numbers(flat, place)
    return flat


def _check_numbers(row: list[Any], place: str) -> None:
    for index, value in enumerate(row):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise InvalidInput("a number, or null where it is missing", field=f"{place}[{index}]")
