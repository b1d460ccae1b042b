"""Feeds: each partition's way from messages to what is applied of them, from its last commit on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from ostinato.connectors.arrivals import START, Messages, Refusal, Released, SourcePosition, no_inputs
from ostinato.connectors.chunks import KeyChunks, to_chunks
from ostinato.connectors.ends import Kept
from ostinato.connectors.late import KeyArrivals, LateGate, LateRule
from ostinato.connectors.mapping import Mapping as ReadingMapping
from ostinato.connectors.repeats import ReadingRepeats
from ostinato.connectors.service_line import Reached
from ostinato.connectors.settings import MAX_BATCH


@dataclass(slots=True)
class Batch:
    """What is answered for together: a stretch of each of some partitions.

    Attributes:
        released: of each partition, what is applied.
        chunks: the same by keys; None = nothing is.
        positions, before: of the partitions, when it is committed and now.
        times: partition -> key -> time, of those that changed.
        num_read: messages.
        arrivals: of each of ``released``, what came of its keys, where the late rule is ``replay``.
    """

    released: list[Released] = field(default_factory=list)
    chunks: KeyChunks | None = None
    positions: dict[str, SourcePosition] = field(default_factory=dict)
    before: dict[str, SourcePosition] = field(default_factory=dict)
    times: dict[str, dict[str, int]] = field(default_factory=dict)
    num_read: int = 0
    arrivals: list[list[KeyArrivals]] = field(default_factory=list)

    def refusals(self) -> list[Refusal]:
        """Of all partitions."""
        return [refusal for part in self.released for refusal in part.refusals]


class Feed:
    """One partition.

    A feed that begins may find readings that were applied before a kill and not answered for: those of one batch at
    most, which began at its position. It is *recovering* until it has read as many messages as a batch may have, or to
    the end; then ``PartitionFeeds`` looks which of their sessions have an offset of this partition, and cuts the first
    batch behind the last of these: each key's chunk is then the one that was applied, and is answered again.
    """

    def __init__(self, partition: str, kept: Kept, late: LateRule, *, is_replayable: bool) -> None:
        self.backlog = Messages(partition)
        self.is_recovering = is_replayable
        self.cut: int | None = None
        self.committed = kept.position or START
        self.gate = LateGate(self.committed, kept.times, late.window, tells_arrivals=late.replays)

    def add(self, messages: Messages) -> None:
        """More of the partition."""
        self.backlog.offsets += messages.offsets
        self.backlog.keys += messages.keys
        self.backlog.values += messages.values

    @property
    def num_new(self) -> int:
        """Messages in the backlog that were not answered for."""
        return sum(offset >= self.committed.done for offset in self.backlog.offsets)

    def take(self, count: int) -> Messages:
        """The next of the backlog, which are not in it any more."""
        if self.cut is not None:
            count = sum(offset <= self.cut for offset in self.backlog.offsets)
            self.cut = None
        taken = self.backlog.first(count)
        self.backlog = self.backlog.rest(count)
        return taken


class PartitionFeeds:
    """All partitions of a connector.

    Args:
        reached: how far sessions have come, asked of the service.
        session_id: of a key's session that has each reading once.
        repeats: knows readings that came twice, where messages count themselves.
    """

    def __init__(
        self,
        mapping: ReadingMapping,
        reached: Callable[[Iterable[str]], Mapping[str, Reached]],
        batch_readings: int,
        late: LateRule,
        session_id: Callable[[str], str],
        *,
        is_replayable: bool,
        repeats: ReadingRepeats | None = None,
    ) -> None:
        self._mapping = mapping
        self._reached = reached
        self._batch_readings = batch_readings
        self._late = late
        self._session_id = session_id
        self._is_replayable = is_replayable
        self._repeats = repeats
        self._feeds: dict[str, Feed] = {}
        self.num_late = self.num_repeated = 0

    def begin(self, kept: Mapping[str, Kept]) -> None:
        """Begin, or begin anew, with these partitions, each where its last commit left it."""
        self._feeds = {
            name: Feed(name, one, self._late, is_replayable=self._is_replayable) for name, one in kept.items()
        }

    def positions(self) -> dict[str, SourcePosition]:
        """How far each partition is committed."""
        return {name: feed.committed for name, feed in self._feeds.items()}

    def add(self, messages: Messages) -> None:
        """More of a partition; dropped where it is none of these."""
        if (feed := self._feeds.get(messages.partition)) is not None:
            feed.add(messages)

    def room(self) -> int:
        """How many messages may be read: what waits is bounded."""
        if any(feed.is_recovering for feed in self._feeds.values()):
            return MAX_BATCH
        return max(0, self._batch_readings - sum(len(feed.backlog) for feed in self._feeds.values()))

    def recover(self, at_end: set[str]) -> None:
        """See which recovering feeds have read enough, and where their first batch ends."""
        for name, feed in self._feeds.items():
            if feed.is_recovering and (name in at_end or feed.num_new >= MAX_BATCH):
                keys = self._mapping.keys_of(feed.backlog)
                reached = self._reached(sorted(map(self._session_id, keys)))
                ahead = [one.offset for one in reached.values() if one.source == name]
                feed.cut = max((offset for offset in ahead if offset >= feed.committed.done), default=None)
                feed.is_recovering = False

    def next_batches(self) -> list[Batch]:
        """What was read as the next batch, none where that is nothing; as two where some of it came twice."""
        batch, room = Batch(), self._batch_readings
        for name, feed in self._feeds.items():
            if feed.is_recovering or not len(feed.backlog) or (room <= 0 and feed.cut is None):
                continue
            messages = feed.take(room)
            if not len(messages):
                continue
            room -= len(messages)
            batch.num_read += len(messages)
            readings, refusals = self._mapping.read(messages)
            batch.before[name] = feed.gate.position
            self._put(batch, name, feed, feed.gate.pass_on(readings, messages.offsets[-1] + 1, refusals))
        return self._chunked(batch)

    def last_batch(self) -> list[Batch]:
        """What is still held, as no message will come any more; none where that is nothing."""
        batch = Batch()
        width, dtype = len(self._mapping.features.names), self._mapping.features.dtype
        for name, feed in self._feeds.items():
            if feed.gate.num_held:
                batch.before[name] = feed.gate.position
                self._put(batch, name, feed, feed.gate.flush(name, no_inputs(width, dtype)))
        return self._chunked(batch)

    def committed(self, batch: Batch) -> None:
        """A batch is published, and its positions are kept."""
        for name, position in batch.positions.items():
            if name in self._feeds:
                self._feeds[name].committed = position

    @property
    def num_held(self) -> int:
        """Readings that wait for older ones."""
        return sum(feed.gate.num_held for feed in self._feeds.values())

    def _put(self, batch: Batch, name: str, feed: Feed, released: Released) -> None:
        batch.released.append(released)
        batch.positions[name] = feed.gate.position
        batch.times[name] = feed.gate.take_changed()
        batch.arrivals.append(feed.gate.take_arrivals())
        self.num_late, feed.gate.num_late = self.num_late + feed.gate.num_late, 0
        self.num_repeated, feed.gate.num_repeated = self.num_repeated + feed.gate.num_repeated, 0

    def _chunked(self, batch: Batch) -> list[Batch]:
        """A batch with its chunks, behind one of what came twice."""
        batches = []
        if self._repeats is not None:
            for place, part in enumerate(batch.released):
                again, batch.released[place] = self._repeats.split(part)
                self.num_repeated += self._repeats.take_dropped()
                if len(again):
                    batches.append(Batch([again]))
        if batch.released:
            batches.append(batch)
        for one in batches:
            if any(len(part) for part in one.released):
                one.chunks = to_chunks(one.released, self._session_id)
        return batches
