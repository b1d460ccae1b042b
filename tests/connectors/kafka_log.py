"""Topics and transactions of the test's broker: batches as they came, and which of them are committed."""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass, field

FENCED, INVALID_TXN = 47, 48
TRANSACTIONAL = 0x10
Place = tuple[str, int]


@dataclass
class RecordBatch:
    """Records that came together. ``producer``: id and epoch of the transaction's; None = they are in none."""

    offset: int
    count: int
    content: bytes
    producer: tuple[int, int] | None
    is_open: bool = False
    is_aborted: bool = False


@dataclass
class PartitionLog:
    """A partition."""

    batches: list[RecordBatch] = field(default_factory=list)
    end: int = 0
    seen: dict[tuple[int, int, int], int] = field(default_factory=dict)

    def append(self, content: bytes) -> int:
        """Add batches of the wire; the offset of the first. One that comes again is in there once."""
        first = -1
        while content:
            (length,) = struct.unpack_from(">i", content, 8)
            batch, content = content[: 12 + length], content[12 + length :]
            offset = self._append(batch)
            first = offset if first < 0 else first
        return first

    def _append(self, batch: bytes) -> int:
        (attributes,) = struct.unpack_from(">h", batch, 21)
        producer, epoch, sequence, count = struct.unpack_from(">qhii", batch, 43)
        if producer >= 0 and (known := self.seen.get((producer, epoch, sequence))) is not None:
            return known
        offset, self.end = self.end, self.end + count
        self.seen[producer, epoch, sequence] = offset
        is_open = bool(attributes & TRANSACTIONAL)
        self.batches.append(
            RecordBatch(
                offset,
                count,
                struct.pack(">q", offset) + batch[8:],
                (producer, epoch) if is_open else None,
                is_open,
            )
        )
        return offset

    def read(self, offset: int, max_bytes: int, *, committed: bool) -> tuple[int, bytes]:
        """Batches from an offset on, and where the partition ends for whoever reads so."""
        end, found, size = 0, [], 0
        for batch in self.batches:
            if committed and batch.is_open:
                break
            if committed and batch.is_aborted:
                continue
            end = batch.offset + batch.count
            if end > offset and size < max_bytes:
                found.append(batch.content)
                size += len(batch.content)
        return (end if committed else self.end), b"".join(found)


@dataclass
class Transaction:
    """A transactional id. ``begun_at``: None = no transaction is open."""

    producer: int
    epoch: int
    timeout_seconds: float
    begun_at: float | None = None
    places: set[Place] = field(default_factory=set)
    offsets: dict[tuple[str, Place], tuple[int, str]] = field(default_factory=dict)


class KafkaLog:
    """All topics and transactions."""

    def __init__(self, num_partitions: int) -> None:
        self.num_partitions = num_partitions
        self.topics: dict[str, list[PartitionLog]] = {}
        self.transactions: dict[str, Transaction] = {}
        self.num_producers = 0

    def topic(self, name: str) -> list[PartitionLog]:
        """A topic, made where it is asked for first."""
        if name not in self.topics:
            self.topics[name] = [PartitionLog() for _ in range(self.num_partitions)]
        return self.topics[name]

    def begin_producer(self, name: str | None, timeout_seconds: float) -> tuple[int, int]:
        """A producer's id and epoch; who had the transactional id before is shut out, its transaction aborted."""
        self.num_producers += 1
        if name is None:
            return self.num_producers, 0
        known = self.transactions.get(name)
        if known is None:
            known = self.transactions[name] = Transaction(self.num_producers, 0, timeout_seconds)
        else:
            self.end(known, is_committed=False)
            known.epoch += 1
            known.timeout_seconds = timeout_seconds
        return known.producer, known.epoch

    def of(self, name: str, producer: int, epoch: int) -> Transaction | int:
        """The open transaction of a producer, or the error."""
        known = self.transactions.get(name)
        if known is None or (known.producer, known.epoch) != (producer, epoch):
            return FENCED
        if known.begun_at is None:
            known.begun_at = time.monotonic()
        return known

    def is_fenced(self, name: str | None, batch: bytes) -> bool:
        """Whether a batch's producer was shut out."""
        if name is None:
            return False
        producer, epoch = struct.unpack_from(">qh", batch, 43)
        return not isinstance(self.of(name, producer, epoch), Transaction)

    def end(self, known: Transaction, *, is_committed: bool) -> dict[tuple[str, Place], tuple[int, str]]:
        """End a transaction; the offsets of groups that it commits."""
        for topic, partition in known.places:
            for batch in self.topic(topic)[partition].batches:
                if batch.is_open and batch.producer == (known.producer, known.epoch):
                    batch.is_open, batch.is_aborted = False, not is_committed
        offsets = known.offsets if is_committed else {}
        known.begun_at, known.places, known.offsets = None, set(), {}
        return offsets

    def expire(self) -> None:
        """Abort transactions that take too long, and shut their producers out."""
        for known in self.transactions.values():
            if known.begun_at is not None and time.monotonic() - known.begun_at > known.timeout_seconds:
                self.end(known, is_committed=False)
                known.epoch += 1

    def is_unstable(self, group: str, place: Place) -> bool:
        """Whether an open transaction may still move a group's offset."""
        return any((group, place) in known.offsets for known in self.transactions.values())
