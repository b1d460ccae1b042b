"""Kafka as a sink: answers, dead letters, the source's position and the keys' times, in one transaction."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from ostinato.connectors.arrivals import NEVER, Refusal, SourcePosition, bytes_of
from ostinato.connectors.end_settings import KafkaSinkSettings, KafkaSourceSettings
from ostinato.connectors.ends import AnswerSink, BatchCommit, EndUnreachable, Kept, PositionKeeper, ReportLine
from ostinato.connectors.kafka_source import (
    FENCED,
    PARTITION_EOF,
    SECONDS,
    UNKNOWN_PARTITION,
    KafkaSource,
    kept_places,
    place_of,
    translated,
)
from ostinato.connectors.settings import ConnectorSettings
from ostinato.errors import CommandError

CUT_BYTES = 65_536
"""Left of a dead letter that is too large with its reason."""
MAX_REASON = 1000
NO_KEY = b""
"""In the topic of the times: how far a partition was done. No reading has such a key."""


class KafkaSink(AnswerSink, PositionKeeper):
    """A topic.

    With Kafka as the source, too, ``keeper`` is the sink: the group's position is committed in the transaction.
    Else the transaction makes answers and dead letters one, and the source keeps the position after it.

    Args:
        source: the source where that is Kafka.
        keeps_times: whether the times of keys are kept in a topic of their own.
    """

    def __init__(
        self, settings: ConnectorSettings, source: KafkaSource | None, report: ReportLine, *, keeps_times: bool
    ) -> None:
        assert isinstance(settings.sink, KafkaSinkSettings)
        own = settings.source
        of_source = own if isinstance(own, KafkaSourceSettings) else None
        self._settings = settings.sink
        self._source = source
        self._dead_letters = settings.dead_letter.to
        self._times = (settings.late.topic or f"{self._settings.topic}-times") if keeps_times else ""
        self._report = report
        self._brokers = self._settings.brokers or (of_source.brokers if of_source else "")
        self._options = {**(of_source.options if of_source else {}), **self._settings.options}
        group = of_source.group if of_source else "ostinato"
        self._id = self._settings.transactional_id or f"{group}-{socket.gethostname()}"
        self._producer: Any = None
        self._in_transaction = False
        self.keeper: PositionKeeper | None = self if source else None

    def open(self) -> None:
        """See ``AnswerSink``: whatever had this transactional id before is shut out, and what it left aborted."""
        if self._producer is not None:
            return
        producer = Producer(
            {
                "linger.ms": 2,
                "log_level": 2,
                "compression.type": "lz4",
                **self._options,
                "bootstrap.servers": self._brokers,
                "transactional.id": self._id,
                "transaction.timeout.ms": int(self._settings.transaction_seconds * 1000),
                "queue.buffering.max.messages": 1_000_000,
                "error_cb": lambda error: self._report(f"Kafka: {error.str()}"),
            }
        )
        with translated():
            producer.init_transactions(SECONDS)
        self._producer = producer

    def commit(self, commit: BatchCommit) -> None:
        """See ``AnswerSink``."""
        self.open()
        producer = self._producer
        try:
            producer.begin_transaction()
            self._in_transaction = True
            self._produce(
                self._settings.topic, [{"key": bytes_of(one.key), "value": one.value} for one in commit.answers]
            )
            for refusal in commit.refusals:
                self._refuse(refusal)
            if self._times:
                self._keep_times(commit)
            if self._source is not None:
                group = self._source.consumer.consumer_group_metadata()
                producer.send_offsets_to_transaction(kept_places(commit.positions), group, SECONDS)
            producer.commit_transaction(SECONDS)
            self._in_transaction = False
        except (KafkaException, BufferError) as error:
            self._fail(error)

    def _produce(self, topic: str, messages: list[dict[str, Any]]) -> None:
        """Give messages to the producer, whose queue has room for a batch of any size."""
        for start in range(0, len(messages), 10_000):
            part = messages[start : start + 10_000]
            if self._producer.produce_batch(topic, part) != len(part):
                raise BufferError("the producer's queue is full")
        self._producer.poll(0)

    def _refuse(self, refusal: Refusal) -> None:
        if not self._dead_letters:
            return
        headers = {
            "reason": refusal.reason[:MAX_REASON],
            "source": refusal.partition,
            "offset": str(refusal.offset),
        }
        try:
            self._producer.produce(self._dead_letters, refusal.value, refusal.key, headers=headers)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.MSG_SIZE_TOO_LARGE:
                raise
            # As large as a message may be, and the headers come on top: the start of it has to do.
            value, key = refusal.value or b"", refusal.key
            headers["bytes"] = str(len(value))
            self._producer.produce(
                self._dead_letters, value[:CUT_BYTES], None if key is None else key[:CUT_BYTES], headers=headers
            )

    def _keep_times(self, commit: BatchCommit) -> None:
        for partition, position in commit.positions.items():
            times = commit.times.get(partition, {})
            messages = [{"key": bytes_of(key), "value": str(time)} for key, time in times.items()]
            messages.append({"key": NO_KEY, "value": str(position.done)})
            self._producer.produce_batch(self._times, messages, partition=place_of(partition).partition)

    def _fail(self, error: Exception) -> None:
        told = error.args[0] if error.args else error
        if isinstance(told, KafkaError) and told.code() in (FENCED, KafkaError.INVALID_PRODUCER_EPOCH):
            raise CommandError(
                f"another connector has begun with the transactional id {self._id!r}: give each its own "
                "([sink] transactional_id)"
            ) from error
        raise EndUnreachable(f"Kafka: {told.str() if isinstance(told, KafkaError) else told}") from error

    def abandon(self) -> None:
        """See ``AnswerSink``: the transaction is aborted; a producer that cannot is made anew with the next one."""
        if not self._in_transaction:
            return
        self._in_transaction = False
        try:
            self._producer.abort_transaction(SECONDS)
        except KafkaException:
            self._producer = None

    def kept(self, partitions: Iterable[str]) -> dict[str, Kept]:
        """See ``PositionKeeper``: the group's positions, and times from their topic."""
        assert self._source is not None
        found = self._source.kept(partitions)
        if not self._times:
            return found
        return {name: Kept(kept.position, self._times_at(name, kept.position)) for name, kept in found.items()}

    def _times_at(self, partition: str, position: SourcePosition | None) -> dict[str, int]:
        """The times that were committed with a position.

        Raises:
            EndUnreachable: a broker shows the position, and another the times of the transaction before it: that of
                another connector ends at each by itself.
        """
        times = self._times_of(partition)
        done = times.pop(NO_KEY.decode(), None)
        if position is not None and position.newest != NEVER and done is not None and done < position.done:
            raise EndUnreachable(f"Kafka: topic {self._times!r} does not show what was committed of {partition} yet")
        return times

    def _times_of(self, partition: str) -> dict[str, int]:
        """The times of a partition's keys: the last of each in the partition of the same number; and as that of no key
        how far the partition was done with them.
        """
        reader = Consumer(
            {
                "log_level": 2,
                **self._options,
                "bootstrap.servers": self._brokers,
                "group.id": f"{self._id}-times",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
            }
        )
        times: dict[str, int] = {}
        try:
            with translated():
                reader.assign([TopicPartition(self._times, place_of(partition).partition, 0)])
                while True:
                    got = reader.consume(10_000, 1.0)
                    for message in got:
                        if (error := message.error()) is None:
                            times[(message.key() or b"").decode("utf-8", "surrogateescape")] = int(message.value() or 0)
                        elif error.code() in (PARTITION_EOF, KafkaError.UNKNOWN_TOPIC_OR_PART):
                            return times
                        elif error.code() == UNKNOWN_PARTITION:
                            raise EndUnreachable(f"Kafka: topic {self._times!r} has fewer partitions than the source's")
                        elif error.fatal():
                            raise KafkaException(error)
        finally:
            with contextlib.suppress(KafkaException):
                reader.close()

    def close(self) -> None:
        """See ``AnswerSink``."""
        self.abandon()
