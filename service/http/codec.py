"""JSON in, arrays out: a request's body becomes valid input of a model, or an error that names the place."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidInput, UnsupportedMediaType
from service.http.message import JSON, Request
from service.manifest import Input, Manifest

# A number beyond its dtype becomes infinite, and is refused below by its place; numpy need not warn of it, too.
np.seterr(over="ignore")

BodyType = TypeVar("BodyType", bound=msgspec.Struct)


def decode_body(request: Request, decoder: msgspec.json.Decoder[BodyType]) -> BodyType:
    """The body as the type that ``decoder`` reads; an absent body as an empty object.

    Raises:
        UnsupportedMediaType: it is not JSON by its content type.
        InvalidInput: it is not JSON, or not of that type; names the member.
    """
    if request.media_type not in (JSON, "") and not request.media_type.endswith("+json"):
        raise UnsupportedMediaType(f"this route reads {JSON}, not {request.media_type}")
    try:
        return decoder.decode(request.body or b"{}")
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$")
        raise InvalidInput(message, field=place.strip("`").removeprefix(".") or None) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if (at := _non_finite_place(request.body)) is not None:
            raise InvalidInput("NaN and infinity are not JSON; a missing value is null", field=at) from error
        raise InvalidInput(f"the body is not JSON: {error}") from error


def decode_sequence(rows: Sequence[Sequence[float | None]], part: Input, field: str) -> NDArray[Any]:
    """A sequence ``[n, F]`` in the dtype of the model's input, NaN where a value is missing.

    Raises:
        InvalidInput: it is empty, has a wrong number of features, a missing value that the model does not take, a
            number that its dtype cannot hold, or a code of no category; names the place.
    """
    if not rows:
        raise InvalidInput("there is no step in it; send at least one", field=field)
    try:
        array: NDArray[Any] | None = np.array(rows, np.float64 if part.dtype != "float32" else np.float32)
    except ValueError:
        array = None
    if array is None or array.ndim != 2 or array.shape[1] != len(part.features):
        raise _wrong_width(rows, part, field)
    # The sum of squares is finite only where every number is, and one call tells; where it says no, look closely.
    if not math.isfinite(np.vdot(array, array)):
        _check_values(rows, array, part, field)
    if part.dtype != "float32":
        array = _cast(array, part, field)
    if part.categories:
        _check_categories(array, part, field)
    return array


def decode_states(given: Mapping[str, Any], manifest: Manifest, field: str) -> list[NDArray[Any]]:
    """States by name, each the nested list of one row, as arrays in the manifest's order.

    Raises:
        InvalidInput: a state is absent, unknown or of a wrong shape.
    """
    if unknown := sorted(set(given) - {state.name for state in manifest.states}):
        raise InvalidInput(f"the model has no state {unknown[0]!r}", field=f"{field}.{unknown[0]}")
    states = []
    for state in manifest.states:
        if state.name not in given:
            raise InvalidInput(f"state {state.name!r} is absent", field=field)
        try:
            array = np.array(given[state.name], state.dtype)
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"not an array of {state.dtype}: {error}", field=f"{field}.{state.name}") from error
        if array.shape != state.row_shape:
            raise InvalidInput(
                f"shape {list(array.shape)} where the state has {list(state.row_shape)}", field=f"{field}.{state.name}"
            )
        states.append(array)
    return states


def known_future(
    given: Mapping[str, Sequence[float | None]] | Sequence[Sequence[float | None]] | None, features: Sequence[str]
) -> Mapping[str, Sequence[float | None]]:
    """``known_future`` by feature, whichever of its two forms it came in; ``features`` names the columns of rows.

    Raises:
        InvalidInput: a row has not one value for each feature.
    """
    if given is None:
        return {}
    if isinstance(given, Mapping):
        return given
    for step, row in enumerate(given):
        if len(row) != len(features):
            raise InvalidInput(
                f"{len(row)} values; a row has {len(features)}: {', '.join(features)}", field=f"known_future[{step}]"
            )
    return {name: [row[column] for row in given] for column, name in enumerate(features)}


def _wrong_width(rows: Sequence[Sequence[float | None]], part: Input, field: str) -> InvalidInput:
    step = next(step for step, row in enumerate(rows) if len(row) != part.num_features)
    names = ", ".join(part.features[:8]) + (", ..." if part.num_features > 8 else "")
    return InvalidInput(
        f"{len(rows[step])} features; a step has {part.num_features}: {names}", field=f"{field}[{step}]"
    )


def _check_values(rows: Sequence[Sequence[float | None]], array: NDArray[Any], part: Input, field: str) -> None:
    for step, feature in np.argwhere(~np.isfinite(array)):
        place = f"{field}[{step}][{feature}]"
        if rows[step][feature] is not None:
            raise InvalidInput(f"{rows[step][feature]} does not fit {part.dtype}", field=place)
        if not part.missing:
            raise InvalidInput("a value is missing (null), and this model takes no missing values", field=place)


def _cast(array: NDArray[Any], part: Input, field: str) -> NDArray[Any]:
    with np.errstate(all="ignore"):
        cast = array.astype(part.dtype)
    lost = cast != array if np.dtype(part.dtype).kind in "iub" else np.isinf(cast)
    if lost.any():
        step, feature = np.argwhere(lost)[0]
        raise InvalidInput(f"{array[step, feature]:g} does not fit {part.dtype}", field=f"{field}[{step}][{feature}]")
    return cast


def _check_categories(array: NDArray[Any], part: Input, field: str) -> None:
    for name, words in part.categories.items():
        feature = part.features.index(name)
        codes = array[:, feature]
        wrong = ~(np.isnan(codes) | (np.isin(codes, np.arange(len(words)))))
        if wrong.any():
            step = int(np.argmax(wrong))
            raise InvalidInput(
                f"{codes[step]:g} is no code of {name!r}; codes are "
                + ", ".join(f"{code} {word}" for code, word in enumerate(words)),
                field=f"{field}[{step}][{feature}]",
            )


def _non_finite_place(body: bytes) -> str | None:
    """Where a body that is JSON but for ``NaN`` and ``Infinity`` has the first of them; None where it is not that."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return None

    def find(value: object, place: str) -> str | None:
        if isinstance(value, float):
            return None if math.isfinite(value) else place
        if isinstance(value, dict):
            inner = ((item, f"{place}.{key}".removeprefix(".")) for key, item in value.items())
        elif isinstance(value, list):
            inner = ((item, f"{place}[{index}]") for index, item in enumerate(value))
        else:
            return None
        return next((found for item, at in inner if (found := find(item, at)) is not None), None)

    return find(content, "")
