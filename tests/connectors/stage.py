"""A stage for connectors: brokers and connectors as processes, readings of keys, and what they have to come to."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition
from numpy.typing import NDArray

from tests import networks
from tests.redis_server import Started
from tests.server import CHECKOUT, free_port
from tests.waiting import PATIENCE_SECONDS

MODEL = "lstm"
FEATURES = ("x0", "x1", "x2")
PARTITION_EOF = -191
QUIET = {"log_level": 0, "broker.address.family": "v4"}


class Child(Started):
    """A process of this checkout, with what it says in a file."""

    def __init__(self, arguments: list[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        self._arguments = [sys.executable, *arguments]
        self._environment = {**os.environ, **(environment or {})}
        self.log_path = log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self._arguments, cwd=CHECKOUT, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """Kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def terminate(self) -> int:
        """Ask it to end; its status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)

    def wait(self) -> int:
        """Wait for its end; its status."""
        assert self.process is not None
        return self.process.wait(PATIENCE_SECONDS)

    def stop(self) -> None:
        if self.is_running():
            self.kill()

    def log(self) -> str:
        """What it said."""
        return self.log_path.read_text(errors="replace")


class ConnectorProcess(Child):
    """``ostinato connect`` of a file."""

    def __init__(self, config: Path) -> None:
        super().__init__(["-m", "ostinato.cli", "connect", str(config)], config.with_suffix(".log"))

    def wait_until(self, is_so: Any, what: str) -> None:
        """Wait for an event while it runs."""
        wait_until(is_so, what, lambda: f"{what}; the connector said:\n{self.log()}")


class KafkaProcess(Child):
    """The test's broker, on a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.brokers = f"127.0.0.1:{self.port}"
        super().__init__(["-m", "tests.connectors.kafka_broker", str(self.port)], folder / "kafka.log")

    def start(self) -> None:
        super().start()
        wait_until(lambda: listens(self.port), "Kafka")

    def produce(self, topic: str, messages: Iterable[tuple[str | None, bytes]]) -> None:
        """Put messages (key, value) into a topic, by their keys."""
        producer = Producer({**QUIET, "bootstrap.servers": self.brokers, "linger.ms": 5})
        for key, value in messages:
            producer.produce(topic, value, key)
        assert producer.flush(PATIENCE_SECONDS) == 0

    def read(self, topic: str) -> list[Any]:
        """All messages of a topic that are committed, partition by partition."""
        reader = Consumer(
            {
                **QUIET,
                "bootstrap.servers": self.brokers,
                "group.id": "judge",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "enable.auto.commit": False,
            }
        )
        with contextlib.closing(reader):
            numbers = reader.list_topics(topic, PATIENCE_SECONDS).topics[topic].partitions
            reader.assign([TopicPartition(topic, number, 0) for number in numbers])
            found, num_ends = [], 0
            while num_ends < len(numbers):
                for message in reader.consume(1000, 1.0):
                    error = message.error()
                    if error is None:
                        found.append(message)
                    else:
                        assert error.code() == PARTITION_EOF, error
                        num_ends += 1
        return sorted(found, key=lambda message: (message.partition(), message.offset()))

    def committed(self, group: str, topic: str) -> dict[int, tuple[int, str]]:
        """The offsets of a group with their metadata."""
        reader = Consumer({**QUIET, "bootstrap.servers": self.brokers, "group.id": group})
        with contextlib.closing(reader):
            numbers = reader.list_topics(topic, PATIENCE_SECONDS).topics[topic].partitions
            places = reader.committed([TopicPartition(topic, number) for number in numbers], PATIENCE_SECONDS)
        return {place.partition: (place.offset, place.metadata or "") for place in places}

    def ends(self, topic: str) -> dict[int, int]:
        """Where the partitions of a topic end."""
        reader = Consumer({**QUIET, "bootstrap.servers": self.brokers, "group.id": "judge"})
        with contextlib.closing(reader):
            numbers = reader.list_topics(topic, PATIENCE_SECONDS).topics[topic].partitions
            return {
                number: reader.get_watermark_offsets(TopicPartition(topic, number), PATIENCE_SECONDS)[1]
                for number in numbers
            }

    def is_done(self, group: str, topic: str) -> bool:
        """Whether a group has answered for everything in a topic."""
        ends, committed = self.ends(topic), self.committed(group, topic)
        done = {number: int(text.split(",")[1]) if text else 0 for number, (_, text) in committed.items()}
        return all(done[number] >= end for number, end in ends.items())


@dataclass(frozen=True)
class Answer:
    """An answer that was published."""

    key: str
    source: str
    offset: int
    outputs: tuple[float, ...]
    time: float | None = None
    correction: int | None = None


def answers_of(values: Iterable[bytes]) -> list[Answer]:
    """The answers in what was published."""
    told = [json.loads(value) for value in values]
    return [
        Answer(
            one["key"],
            one["source"],
            one["offset"],
            tuple(one["outputs"].values()),
            one.get("time"),
            one.get("correction"),
        )
        for one in told
    ]


def reading(key: str | None, row: Iterable[float], **more: Any) -> bytes:
    """A message with a reading."""
    content = {} if key is None else {"key": key}
    return json.dumps({**content, **dict(zip(FEATURES, map(float, row), strict=True)), **more}).encode()


def write_repository(folder: Path) -> Path:
    """The repository of one model, an LSTM of three features; returns its version's directory."""
    drawn = np.random.default_rng(0).normal(size=(3, 20, 3)).astype(np.float32)
    return networks.lstm(hidden_size=16).named(MODEL).write(folder, drawn)


def check(directory: Path, rows: Mapping[str, list[tuple[str, int, NDArray[Any]]]], answers: Iterable[Answer]) -> None:
    """Hold answers to the offline run of each key's rows (source, offset, row), to the bit, each once and in order."""
    got: dict[str, list[Answer]] = {}
    for answer in answers:
        got.setdefault(answer.key, []).append(answer)
    assert got.keys() == rows.keys()
    for key, expected in rows.items():
        places = [(one.source, one.offset) for one in got[key]]
        assert places == [(source, offset) for source, offset, _ in expected], key
        offline = networks.offline(directory, np.array([row for *_, row in expected], np.float32))
        assert np.array_equal(np.array([one.outputs for one in got[key]], np.float32), offline), key


def wait_until(is_so: Any, what: str, explain: Any = None) -> None:
    """Wait for an event."""
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < give_up_at, explain() if explain else what
        time.sleep(0.02)


def listens(port: int) -> bool:
    """Whether somebody listens on a port."""
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0
