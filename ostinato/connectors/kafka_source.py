"""Kafka as a source: a member of a consumer group, which reads from positions that the group keeps with metadata."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from ostinato.connectors.arrivals import NEVER, Messages, SourcePosition
from ostinato.connectors.end_settings import KafkaSourceSettings
from ostinato.connectors.ends import BatchCommit, EndUnreachable, Kept, PositionKeeper, ReadingSource, ReportLine

SECONDS = 20.0
"""For what is asked of a broker."""
PARTITION_EOF, UNKNOWN_PARTITION, FENCED, NO_START = -191, -190, -144, -1001
"""Codes of librdkafka, whose names are private there; and the offset for where the settings begin."""


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Have librdkafka's errors be ``EndUnreachable``."""
    try:
        yield
    except KafkaException as error:
        told = error.args[0] if error.args else error
        raise EndUnreachable(f"Kafka: {told.str() if isinstance(told, KafkaError) else told}") from error


def name_of(place: Any) -> str:
    """A partition's name, ``TOPIC/PARTITION``."""
    return f"{place.topic}/{place.partition}"


def place_of(name: str, offset: int = -1, metadata: str = "") -> TopicPartition:
    """The partition of this name."""
    topic, _, partition = name.rpartition("/")
    return TopicPartition(topic, int(partition), offset, metadata)


class KafkaSource(ReadingSource, PositionKeeper):
    """A topic."""

    def __init__(self, settings: KafkaSourceSettings, report: ReportLine) -> None:
        self._settings = settings
        self._report = report
        self._ends: set[str] = set()
        self._assigned: list[str] = []
        self._starts: dict[str, SourcePosition | None] = {}
        self.consumer = self._new_consumer()
        self.keeper = self

    def _new_consumer(self) -> Any:
        return Consumer(
            {
                "fetch.wait.max.ms": 50,
                "log_level": 2,
                **self._settings.options,
                "bootstrap.servers": self._settings.brokers,
                "group.id": self._settings.group,
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "auto.offset.reset": self._settings.start,
                "partition.assignment.strategy": "range",
                "error_cb": self._hear,
            }
        )

    def _hear(self, error: KafkaError) -> None:
        self._report(f"Kafka: {error.str()}")

    def open(self, on_given: Callable[[list[str]], None], on_taken: Callable[[list[str]], None]) -> None:
        """See ``ReadingSource``."""
        self._ends.clear()

        def give(consumer: Any, places: list[TopicPartition]) -> None:
            del consumer
            self._assigned = [name_of(place) for place in places]
            on_given(self._assigned)

        def take(consumer: Any, places: list[TopicPartition]) -> None:
            taken = [name_of(place) for place in places]
            on_taken(taken)
            self._assigned = [name for name in self._assigned if name not in taken]
            consumer.unassign()

        with translated():
            self.consumer.subscribe([self._settings.topic], on_assign=give, on_revoke=take, on_lost=take)

    def partitions(self) -> list[str]:
        """See ``ReadingSource``."""
        return list(self._assigned)

    def kept(self, partitions: Iterable[str]) -> dict[str, Kept]:
        """See ``PositionKeeper``: what the group committed."""
        with translated():
            committed = self.consumer.committed([place_of(name) for name in partitions], SECONDS)
        found = {}
        for place in committed:
            if place.error:
                raise EndUnreachable(f"Kafka: {place.error.str()}")
            found[name_of(place)] = Kept(_position_of(place), {})
        return found

    def start_at(self, positions: Mapping[str, SourcePosition | None]) -> None:
        """See ``ReadingSource``."""
        self._ends -= set(positions)
        if self._settings.start == "latest":
            positions = self._pinned(positions)
        places = [
            place_of(name) if position is None else place_of(name, position.offset)
            for name, position in positions.items()
        ]
        for place in places:
            if place.offset == -1:
                place.offset = NO_START
        with translated():
            self.consumer.assign(places)

    def _pinned(self, positions: Mapping[str, SourcePosition | None]) -> dict[str, SourcePosition | None]:
        """Positions where the end of a partition that has none is its own, kept before anything is read: else what came
        between a start and its first commit would be behind the end of the next.
        """
        with translated():
            ends = {
                name: SourcePosition(end, end)
                for name, position in positions.items()
                if position is None
                for _, end in [self.consumer.get_watermark_offsets(place_of(name), SECONDS)]
            }
            if ends:
                self.consumer.commit(offsets=kept_places(ends), asynchronous=False)
        return {**positions, **ends}

    def poll(self, max_messages: int, seconds: float) -> list[Messages]:
        """See ``ReadingSource``."""
        with translated():
            got = self.consumer.consume(max_messages, seconds)
        found: dict[tuple[str, int], Messages] = {}
        for message in got:
            if (error := message.error()) is not None:
                self._fail(message, error)
                continue
            place = (message.topic(), message.partition())
            if (part := found.get(place)) is None:
                part = found[place] = Messages(f"{place[0]}/{place[1]}")
                self._ends.discard(part.partition)
            part.offsets.append(message.offset())
            part.keys.append(message.key())
            part.values.append(message.value())
        return [part for part in found.values() if part.partition in self._assigned]

    def _fail(self, message: Any, error: KafkaError) -> None:
        if error.code() == PARTITION_EOF:
            self._ends.add(name_of_message(message))
        elif error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            self._report(f"Kafka: there is no topic {self._settings.topic!r} yet")
        elif error.fatal():
            raise EndUnreachable(f"Kafka: {error.str()}")
        else:
            self._report(f"Kafka: {error.str()}")

    def at_end(self) -> set[str]:
        """See ``ReadingSource``."""
        return set(self._ends)

    def idle(self, seconds: float) -> None:
        """See ``ReadingSource``."""
        with translated():
            places = self.consumer.assignment()
            self.consumer.pause(places)
            self.consumer.poll(seconds)
            still = self.consumer.assignment()
            self.consumer.resume([place for place in places if place in still])

    def lags(self, positions: Mapping[str, SourcePosition]) -> dict[str, int]:
        """See ``ReadingSource``."""
        found = {}
        for name, position in positions.items():
            with contextlib.suppress(KafkaException):
                _, high = self.consumer.get_watermark_offsets(place_of(name), cached=True)
                found[name] = max(0, high - position.done)
        return found

    def answered(self, commit: BatchCommit) -> None:
        """See ``ReadingSource``."""
        with translated():
            self.consumer.commit(offsets=kept_places(commit.positions), asynchronous=False)

    def close(self) -> None:
        """See ``ReadingSource``."""
        with contextlib.suppress(KafkaException, RuntimeError):
            self.consumer.close()


def name_of_message(message: Any) -> str:
    """The name of a message's partition."""
    return f"{message.topic()}/{message.partition()}"


def kept_places(positions: Mapping[str, SourcePosition]) -> list[TopicPartition]:
    """Positions as a group commits them: where to read on, and all else as metadata."""
    return [place_of(name, position.offset, position.text()) for name, position in positions.items()]


def _position_of(place: TopicPartition) -> SourcePosition | None:
    if place.offset < 0:
        return None
    try:
        position = SourcePosition.read(place.metadata or "")
    except ValueError:
        position = None
    # Somebody set the group's offset by a tool, which has no such metadata or another offset than it tells.
    if position is None or position.offset != place.offset:
        return SourcePosition(place.offset, place.offset, NEVER)
    return position
