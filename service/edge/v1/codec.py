"""Decoding of requests: a body in JSON or a query becomes a typed object, or an error that names the place."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import parse_qs

import msgspec

from ostinato.service.edge.message import JSON, Request
from ostinato.service.errors import InvalidInput, UnsupportedMediaType

MAX_SEARCHED_BYTES = 65_536
"""A body that is not JSON is searched for NaN and infinity up to this size; the search reads it a second time."""

MAX_PARAMETERS = 100
"""Of a query."""

BodyType = TypeVar("BodyType", bound=msgspec.Struct)

_ANY_KEY = "[...]"
"""What msgspec says for the key of an object whose members are of one type."""
_MEMBER = re.compile(r"Object (?:contains unknown|missing required) field `(.*)`", re.DOTALL)
_MAX_SHOWN = 60
"""Characters of a member's name that an error shows."""


def decode_body(request: Request, decoder: msgspec.json.Decoder[BodyType], *, reads_query: bool = False) -> BodyType:
    """The body as the type that ``decoder`` reads; an absent body as an empty object.

    Args:
        reads_query: the route has options in the query, too, and looks at them itself.

    Raises:
        UnsupportedMediaType: it is not JSON by its content type.
        InvalidInput: it is not JSON, or not of that type; names the member. Or there is a query, which nobody reads.
    """
    check_json(request, reads_query=reads_query)
    return decode_json(request.body or b"{}", decoder, "the body")


def check_json(request: Request, *, reads_query: bool) -> None:
    """What ``decode_body`` raises before it looks at the body."""
    if request.query_string and not reads_query:
        raise InvalidInput("of a body in JSON the options are members; there may be no query")
    if request.media_type not in (JSON, "") and not request.media_type.endswith("+json"):
        raise UnsupportedMediaType(f"this route reads {JSON}, not {request.media_type}")


def decode_json(text: bytes, decoder: msgspec.json.Decoder[BodyType], what: str) -> BodyType:
    """JSON as the type that ``decoder`` reads; ``what`` names it in errors.

    Raises:
        InvalidInput: it is not JSON, or not of that type; names the member.
    """
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        raise misfit(error, decoder.type, text) from error
    except RecursionError as error:
        raise InvalidInput(f"{what} is nested too deeply") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if (at := _non_finite_place(text)) is not None:
            raise InvalidInput("NaN and infinity are not JSON; a missing value is null", field=at) from error
        raise InvalidInput(f"{what} is not JSON: {error}") from error


def decode_query(query_string: bytes, query_type: type[BodyType]) -> BodyType:
    """A query's parameters, the last of each name.

    Raises:
        InvalidInput: one of them is unknown, or has no such value; names it.
    """
    if not query_string:
        with suppress(TypeError):  # of one with a parameter that is needed, which is told below
            return query_type()
    try:
        given = parse_qs(query_string.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
    except ValueError as error:
        raise InvalidInput(f"a query of more than {MAX_PARAMETERS} parameters") from error
    try:
        return msgspec.convert({name: values[-1] for name, values in given.items()}, query_type, strict=False)
    except msgspec.ValidationError as error:
        raise misfit(error, query_type) from error


def known_future(
    given: Mapping[str, Sequence[float | str | None]] | Sequence[Sequence[float | str | None]] | None,
    features: Sequence[str],
) -> Mapping[str, Sequence[float | str | None]]:
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


def misfit(error: msgspec.ValidationError, kind: Any, text: bytes = b"") -> InvalidInput:
    """What msgspec says of a value that is not of type ``kind``, with its place; ``text``: the JSON it was."""
    message, _, place = str(error).replace("int | float", "float").partition(" - at `$")
    place = place.removesuffix("`").removeprefix(".")
    if found := _MEMBER.fullmatch(message):
        name = found[1][:_MAX_SHOWN]
        if name == "context" and "unknown" in message:
            message += "; a session's context is given when it is opened, and stays"
        place = f"{place}.{name}".removeprefix(".")
    elif _ANY_KEY in place:
        place = _with_key(place, kind, text)
    return InvalidInput(message, field=place or None)


def _with_key(place: str, kind: Any, text: bytes) -> str:
    """A place in an object whose members are of one type, with the name of the first that does not fit; as it is where
    that cannot be found: what comes behind it has not been read, and may be anything.
    """
    head, _, rest = place.partition(_ANY_KEY)
    kinds: dict[str, Any] = {"": kind}
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        kinds = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = msgspec.json.decode(text)
        members = value.get(head) if head and isinstance(value, dict) else value
        for name, each in members.items() if isinstance(members, dict) and head in kinds else ():
            try:
                msgspec.convert({name: each}, kinds[head])
            except msgspec.ValidationError:
                return f"{head}.{name[:_MAX_SHOWN]}{rest}".removeprefix(".")
    return place


def _non_finite_place(body: bytes) -> str | None:
    """Where a body that is JSON except for ``NaN`` and ``Infinity`` has the first of them; None where it is not."""
    if len(body) > MAX_SEARCHED_BYTES:
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

    try:
        return find(json.loads(body), "")
    except (ValueError, RecursionError):
        return None
