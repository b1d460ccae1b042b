"""Traits of a setting: what is said of it wherever it is listed, and how it is written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Any, Literal, TypeAlias, get_args, get_origin

from pydantic import ByteSize, Field
from pydantic.fields import FieldInfo

from ostinato.service.config.places import absolute_path

PREFIX = "OSTINATO_"
_TOPIC, _LEFT_OUT, _SECRET, _ABSOLUTE = "topic", "left_out", "secret", "absolute"

Absolute: TypeAlias = Callable[[str, Path], str]
"""What makes of a value, and the folder that it is written from, the same value from any working folder."""


class Topic(Enum):
    """A part of the list of settings, in the order in which they are shown."""

    MODELS = "Models"
    SESSIONS = "Sessions"
    ADDRESSES = "Addresses"
    ACCESS = "Access"
    LIMITS = "Limits"
    TIMES = "Times"
    LOGS = "Logs"


def setting(
    default: Any,
    text: str,
    topic: Topic,
    *,
    left_out: str = "",
    secret: bool = False,
    absolute: Absolute | None = None,
) -> Any:
    """The whole of a setting but its name and its type, which has its bounds.

    Args:
        default: what it is where nobody says otherwise.
        text: what it is, in sentences. The first one is the help of its flag; the others are in the reference.
        topic: where it is listed.
        left_out: what its default means, where that is None or an empty string, in a few words.
        secret: whether it may hold a password: then nothing shows it, and a file may hold it
            (``OSTINATO_<NAME>_FILE``).
        absolute: of words with a path in them; a setting of the type ``Path`` needs none.
    """
    extra: dict[str, Any] = {_TOPIC: topic.value, _LEFT_OUT: left_out, _SECRET: secret, _ABSOLUTE: absolute}
    return Field(default, description=text, repr=not secret, json_schema_extra=extra)


@dataclass(frozen=True)
class Traits:
    """What is said of a setting.

    Attributes:
        name: as code and files write it.
        kind: its type, without that it may be left out: ``str``, ``int``, ``float``, ``bool``, ``ByteSize``, ``Path``.
        text: what it is, in sentences.
        default: as one would write it, or what it means where it is left out.
        bounds: what it may be, in words; empty = anything of its kind.
        absolute: None = there is no path in it.
    """

    name: str
    kind: type
    topic: Topic
    text: str
    default: str
    is_left_out: bool
    bounds: str
    is_secret: bool
    may_be_empty: bool
    absolute: Absolute | None

    @property
    def flag(self) -> str:
        """``--max-batch-size``."""
        return flag_of(self.name)

    @property
    def variable(self) -> str:
        """``OSTINATO_MAX_BATCH_SIZE``."""
        return variable_of(self.name)

    @property
    def summary(self) -> str:
        """The first sentence."""
        return re.split(r"(?<=\.)\s", self.text, maxsplit=1)[0]


def flag_of(name: str) -> str:
    """The flag of ``ostinato serve`` for a setting."""
    return f"--{name.replace('_', '-')}"


def variable_of(name: str) -> str:
    """The environment variable for a setting."""
    return f"{PREFIX}{name.upper()}"


def traits_of(fields: Mapping[str, FieldInfo]) -> dict[str, Traits]:
    """The traits of a model's fields, each made by ``setting``, by their names and in the order of topics."""
    found = []
    for name, field in fields.items():
        said = field.json_schema_extra
        assert isinstance(said, dict), f"{name} is to be made by setting()"
        assert field.description, f"{name} needs a text"
        is_left_out = field.default in (None, "")
        kind = _kind(field.annotation)
        found.append(
            Traits(
                name=name,
                kind=kind,
                topic=Topic(said[_TOPIC]),
                text=field.description,
                default=str(said[_LEFT_OUT]) if is_left_out else written(field.default),
                is_left_out=is_left_out,
                bounds=_bounds(field),
                is_secret=bool(said[_SECRET]),
                may_be_empty=field.default == "",
                absolute=absolute_path if kind is Path else said[_ABSOLUTE],  # type: ignore[arg-type]
            )
        )
    topics = list(Topic)
    return {each.name: each for each in sorted(found, key=lambda each: topics.index(each.topic))}


def written(value: object) -> str:
    """A value as a flag, a variable or a file may have it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, ByteSize):
        return _size(value)
    return _number(value) if isinstance(value, float) else str(value)


def _number(value: float) -> str:
    short = f"{value:g}"
    return short.replace("e+0", "e") if float(short) == value else repr(value)


def _size(size: int) -> str:
    """In the largest unit of which it is a whole number: ``512MiB``."""
    for exponent, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if size and size % 1024**exponent == 0:
            return f"{size // 1024**exponent}{unit}"
    return str(size)


def _kind(annotation: Any) -> type:
    """The type of a field, whatever it is annotated with, and whether it may be None."""
    if isinstance(annotation, type):
        return annotation
    if get_origin(annotation) is Literal:
        return str
    inner = [each for each in get_args(annotation) if each is not NoneType]
    return _kind(inner[0])


def _bounds(field: FieldInfo) -> str:
    if choices := _choices(field.annotation):
        return " or ".join(choices)
    limits = {
        sign: _number(limit)
        for each in _constraints(field.annotation, field.metadata)
        for sign in ("ge", "gt", "le", "lt")
        if (limit := getattr(each, sign, None)) is not None
    }
    low = limits.get("ge") or ("gt" in limits and f"more than {limits['gt']}")
    high = limits.get("le") or ("lt" in limits and f"less than {limits['lt']}")
    if low and high:
        return f"{low} to {high}"
    return f"at least {low}" if low else f"at most {high}" if high else ""


def _choices(annotation: Any) -> list[str]:
    if get_origin(annotation) is Literal:
        return [str(choice) for choice in get_args(annotation)]
    return [choice for inner in get_args(annotation) for choice in _choices(inner)]


def _constraints(annotation: Any, metadata: Any) -> Iterator[object]:
    """What a type is annotated with, at its top and within it."""
    for each in metadata:
        yield from each.metadata if isinstance(each, FieldInfo) else [each]
    for inner in get_args(annotation):
        yield from _constraints(inner, getattr(inner, "__metadata__", ()))
