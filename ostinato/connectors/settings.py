"""Settings of a connector, as its file (TOML) has them: what is not known there is refused with the nearest name."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from ostinato.connectors.bounds import check_bounds, nearest, one_of, port, seconds, within
from ostinato.connectors.end_settings import (
    SINKS,
    SOURCES,
    FileSourceSettings,
    KafkaSinkSettings,
    KafkaSourceSettings,
    MqttSourceSettings,
    StdinSettings,
)
from ostinato.connectors.session_ids import MAX_ID, session_id_of
from ostinato.connectors.webhook_settings import WebhookSettings, check_webhook
from ostinato.errors import InputError

RULES = ("apply", "drop", "hold", "replay")
WITH_WINDOW = ("hold", "replay")
UNITS = {"s": 1_000_000, "ms": 1000, "us": 1}
MAX_BATCH = 8192
"""Readings that a batch has at most. A connector that begins looks at so many behind its position for readings that
were applied and not yet answered for, so it is no setting."""
MAX_WINDOW_SECONDS = 100 * 366 * 86_400.0

Section = TypeVar("Section")


@dataclass(frozen=True)
class ServiceSettings:
    """``[service]``: where the model is. ``key`` may as well be in the environment (OSTINATO_KEY)."""

    model: str
    url: str = "http://127.0.0.1:3000"
    key: str = field(default="", repr=False)
    timeout_seconds: float = seconds(60.0)


@dataclass(frozen=True)
class MappingSettings:
    """``[mapping]``: which member of a message is the key, the time, and each of the model's features.

    ``key``: empty = the message's own (Kafka's key, MQTT's topic). ``columns``: of CSV, in their order. ``layout``: of
    binary messages, a name and a type for each member, as ``device:S8 at:<i8 x:<f4``.
    """

    format: str = one_of("json", "json", "csv", "binary")
    key: str = ""
    time: str = ""
    time_unit: str = one_of("s", *UNITS)
    inputs: Mapping[str, str] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    layout: str = ""
    prefix: str = ""


@dataclass(frozen=True)
class LateSettings:
    """``[late]``: what becomes of readings that are older than one that was applied.

    ``rule``: empty = ``drop`` where there is a time, else ``apply``. ``topic``: of Kafka, where the times of the keys'
    last readings are kept; empty = the sink's topic with ``-times`` behind.
    """

    rule: str = one_of("", "", *RULES)
    window_seconds: float = within(0.0, 0.0, MAX_WINDOW_SECONDS)
    topic: str = ""


@dataclass(frozen=True)
class DeadLetterSettings:
    """``[dead_letter]``: the topic, stream or file for what cannot be applied; empty = it is told in the log alone."""

    to: str = ""


@dataclass(frozen=True)
class BatchSettings:
    """``[batch]``: at most so many readings, and for how long the first waits for more."""

    readings: int = within(4096, 1, MAX_BATCH)
    wait_seconds: float = within(0.02, 0.0, 60.0)


@dataclass(frozen=True)
class MetricsSettings:
    """``[metrics]``: where Prometheus asks; port 0 = nowhere."""

    port: int = port(0, 0)
    host: str = "127.0.0.1"


@dataclass(frozen=True)
class ConnectorSettings:
    """The whole file."""

    service: ServiceSettings
    source: Any
    sink: Any
    mapping: MappingSettings = MappingSettings()
    late: LateSettings = LateSettings()
    dead_letter: DeadLetterSettings = DeadLetterSettings()
    batch: BatchSettings = BatchSettings()
    metrics: MetricsSettings = MetricsSettings()
    webhook: WebhookSettings | None = None


def read_settings(path: Path) -> ConnectorSettings:
    """The settings of a file.

    Raises:
        InputError: it cannot be read, or something in it is not known, absent, or not possible.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        way_out = "" if path.exists() else f"; begin one: ostinato connect --init kafka > {path}"
        raise InputError(f"{path}: {error.strerror}{way_out}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: not TOML: {error}") from error
    try:
        return settings_of(content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def settings_of(content: Mapping[str, Any]) -> ConnectorSettings:
    """The settings of what a file holds; ``InputError`` as ``read_settings``."""
    _check_names(content, [part.name for part in fields(ConnectorSettings)], "the file has no section")
    for name, part in content.items():
        if not isinstance(part, dict):
            raise InputError(f"{name} is a section: write [{name}]")
    for name in ("service", "source", "sink"):
        if name not in content:
            raise InputError(f"section [{name}] is absent")
    settings = ConnectorSettings(
        _section("service", ServiceSettings, content),
        _of_kind("source", SOURCES, content),
        _of_kind("sink", SINKS, content),
        _section("mapping", MappingSettings, content),
        _section("late", LateSettings, content),
        _section("dead_letter", DeadLetterSettings, content),
        _section("batch", BatchSettings, content),
        _section("metrics", MetricsSettings, content),
        _section("webhook", WebhookSettings, content) if "webhook" in content else None,
    )
    _check(settings)
    return settings


def _of_kind(name: str, kinds: Mapping[str, type[Any]], content: Mapping[str, Any]) -> Any:
    kind = content[name].get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise InputError(f"[{name}] kind: {kind!r} is none; {nearest(str(kind), list(kinds))}")
    rest = {member: value for member, value in content[name].items() if member != "kind"}
    return _section(name, kinds[kind], {name: rest})


def _section(name: str, kind: type[Section], content: Mapping[str, Any]) -> Section:
    given = content.get(name, {})
    parts: dict[str, Field[Any]] = {part.name: part for part in fields(kind)}  # type: ignore[arg-type]
    _check_names(given, list(parts), f"[{name}] has no member")
    for part in parts.values():
        if part.name not in given and part.default is MISSING and part.default_factory is MISSING:
            raise InputError(f"[{name}] {part.name} is absent")
    return kind(**{member: _value(f"[{name}] {member}", value, parts[member]) for member, value in given.items()})


def _value(place: str, value: Any, part: Field[Any]) -> Any:
    """A member's value, of the type that its field has."""
    kind = str(part.type)
    if kind == "float" and type(value) is int:
        value = float(value)
    if kind.startswith("tuple") and isinstance(value, list) and all(isinstance(one, str) for one in value):
        return tuple(value)
    wanted = {"str": str, "int": int, "float": float, "bool": bool}.get(kind, dict)
    if type(value) is not wanted:
        words = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false"}
        raise InputError(f"{place}: not {words.get(kind, 'a list or table as it has to be')}: {value!r}")
    check_bounds(place, value, part)
    return value


def _check_names(given: Mapping[str, Any], names: list[str], sentence: str) -> None:
    for name in given:
        if name not in names:
            raise InputError(f"{sentence} {name!r}; {nearest(name, names)}")


def _check(settings: ConnectorSettings) -> None:
    """What no single member tells."""
    mapping, late = settings.mapping, settings.late
    if late.rule not in ("", "apply") and not mapping.time:
        raise InputError(f"[late] rule {late.rule!r} needs a time: [mapping] time names the member that tells it")
    if (late.rule in WITH_WINDOW) != (late.window_seconds > 0):
        raise InputError("[late] window_seconds is for rules 'hold' and 'replay', which need it: above 0")
    if late.rule == "replay" and isinstance(settings.source, MqttSourceSettings | StdinSettings):
        raise InputError("[late] rule 'replay' needs a source that can be read again: kafka, redis or file")
    if mapping.format == "binary" and not mapping.layout:
        raise InputError("[mapping] layout is absent: names and types of a binary message, as 'device:S8 x:<f4'")
    if mapping.format == "binary" and isinstance(settings.source, FileSourceSettings | StdinSettings):
        raise InputError("[mapping] format 'binary' is for messages; lines end where a record may have any byte")
    if settings.webhook is not None:
        check_webhook(settings.webhook)
    if late.rule == "hold" and isinstance(settings.source, MqttSourceSettings) and settings.source.offset:
        # What lets a held reading go is another key's message, whose count says nothing of this one's.
        raise InputError("[late] rule 'hold' and [source] offset of MQTT do not go together: use 'drop', or no offset")
    if isinstance(settings.sink, KafkaSinkSettings) and not (
        settings.sink.brokers or isinstance(settings.source, KafkaSourceSettings)
    ):
        raise InputError("[sink] brokers is absent")
    if mapping.prefix and session_id_of(mapping.prefix.replace(":", "")) != mapping.prefix.replace(":", ""):
        raise InputError(f"[mapping] prefix: letters, digits, '.', '_', ':' and '-', {MAX_ID} at most with the key")
