"""Settings of ends: ``[source]`` and ``[sink]`` of a connector's file, by their kinds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ostinato.connectors.bounds import one_of, port, within


@dataclass(frozen=True)
class KafkaSourceSettings:
    """``[source]`` of kind ``kafka``. ``options``: of librdkafka, as ``{"security.protocol" = "SSL"}``."""

    brokers: str
    topic: str
    group: str = "ostinato"
    start: str = one_of("earliest", "earliest", "latest")
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class RedisSourceSettings:
    """``[source]`` of kind ``redis``: a stream. ``field``: of an entry, the one that holds the message."""

    stream: str
    url: str = field(default="redis://127.0.0.1:6379/0", repr=False)
    field: str = "value"
    group: str = "ostinato"


@dataclass(frozen=True)
class MqttSourceSettings:
    """``[source]`` of kind ``mqtt``. ``offset``: the member of a message that counts up, as a sequence number."""

    topic: str
    host: str = "127.0.0.1"
    port: int = port(1883)
    qos: int = within(1, 0, 2)
    client_id: str = "ostinato"
    username: str = ""
    password: str = field(default="", repr=False)
    tls: bool = False
    offset: str = ""


@dataclass(frozen=True)
class FileSourceSettings:
    """``[source]`` of kind ``file``: a message a line. ``follow``: wait for more at its end."""

    path: str
    follow: bool = False
    position: str = ""


@dataclass(frozen=True)
class StdinSettings:
    """``[source]`` of kind ``stdin``: a message a line."""


@dataclass(frozen=True)
class KafkaSinkSettings:
    """``[sink]`` of kind ``kafka``. ``transactional_id``: of this connector alone; empty = by group and host."""

    topic: str
    brokers: str = ""
    transactional_id: str = ""
    transaction_seconds: float = within(15.0, 0.1, 900.0)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class RedisSinkSettings:
    """``[sink]`` of kind ``redis``: a stream. ``max_entries``: cut it to about so many; 0 = never."""

    stream: str
    url: str = field(default="redis://127.0.0.1:6379/0", repr=False)
    max_entries: int = within(0, 0, 2**53)


@dataclass(frozen=True)
class MqttSinkSettings:
    """``[sink]`` of kind ``mqtt``. ``{key}`` in ``topic`` is the reading's key."""

    topic: str
    host: str = "127.0.0.1"
    port: int = port(1883)
    qos: int = within(1, 0, 2)
    client_id: str = "ostinato-answers"
    username: str = ""
    password: str = field(default="", repr=False)
    tls: bool = False


@dataclass(frozen=True)
class FileSinkSettings:
    """``[sink]`` of kind ``file``: an answer a line."""

    path: str


@dataclass(frozen=True)
class StdoutSettings:
    """``[sink]`` of kind ``stdout``: an answer a line."""


SOURCES: dict[str, type[Any]] = {
    "kafka": KafkaSourceSettings,
    "mqtt": MqttSourceSettings,
    "redis": RedisSourceSettings,
    "file": FileSourceSettings,
    "stdin": StdinSettings,
}
SINKS: dict[str, type[Any]] = {
    "kafka": KafkaSinkSettings,
    "mqtt": MqttSinkSettings,
    "redis": RedisSinkSettings,
    "file": FileSinkSettings,
    "stdout": StdoutSettings,
}
