"""Redis Streams as source and sink: entries in, and answers out with the position in one MULTI.

A position belongs to the connector's *group*: it is a hash ``ostinato:GROUP:positions`` with a field for each
partition, and ``ostinato:GROUP:times:PARTITION`` has the times of its keys. A commit watches the positions that it
begins at, so one of two connectors that read the same stream loses, and publishes nothing.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import redis

from ostinato.connectors.arrivals import Messages, SourcePosition, bytes_of
from ostinato.connectors.end_settings import RedisSinkSettings, RedisSourceSettings
from ostinato.connectors.ends import (
    AnswerSink,
    BatchCommit,
    EndUnreachable,
    Kept,
    PositionKeeper,
    ReadingSource,
    refusal_json,
)
from ostinato.connectors.waiting import idle_for
from ostinato.errors import CommandError

SECONDS = 20.0
SEQUENCE_BITS = 20
"""Of an offset, for the entries of one millisecond; the id's milliseconds are above them."""
MILLISECONDS_BITS = 43
"""Which leads to the year 2248, within the 63 bits of an offset."""


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (redis.RedisError, OSError) as error:
        raise EndUnreachable(f"Redis: {error}") from error


def offset_of(entry_id: bytes) -> int:
    """An entry's id ``MILLISECONDS-SEQUENCE`` as one number, in the same order.

    Raises:
        CommandError: somebody chose an id by hand that has no number in that order.
    """
    milliseconds, sequence = map(int, entry_id.split(b"-"))
    if sequence >> SEQUENCE_BITS or milliseconds >> MILLISECONDS_BITS:
        raise CommandError(
            f"entry {entry_id.decode()}: a connector counts by ids that Redis gave (XADD with *): less than "
            f"2^{SEQUENCE_BITS} entries in a millisecond, and less than 2^{MILLISECONDS_BITS} milliseconds"
        )
    return milliseconds << SEQUENCE_BITS | sequence


def id_before(offset: int) -> str:
    """The id behind which the entries from an offset on are."""
    last = max(0, offset - 1)
    return f"{last >> SEQUENCE_BITS}-{last & ((1 << SEQUENCE_BITS) - 1)}"


class RedisKeeper(PositionKeeper):
    """Positions in Redis, committed together with whatever else is put into a pipeline."""

    def __init__(self, client: Any, group: str) -> None:
        self._client = client
        self._positions = f"ostinato:{group}:positions"
        self._times = f"ostinato:{group}:times:"

    def kept(self, partitions: Iterable[str]) -> dict[str, Kept]:
        """See ``PositionKeeper``."""
        found = {}
        with _translated():
            for name in partitions:
                text = self._client.hget(self._positions, name)
                times = self._client.hgetall(self._times + name)
                position = None if text is None else SourcePosition.read(text.decode())
                found[name] = Kept(
                    position, {key.decode("utf-8", "surrogateescape"): int(time) for key, time in times.items()}
                )
        return found

    def commit(self, commit: BatchCommit, entries: Sequence[tuple[str, dict[str, Any], int]]) -> None:
        """Add entries (stream, fields, about how many to keep or 0) and move the positions, or do nothing.

        Raises:
            EndUnreachable: Redis does not answer, or another connector moved a position.
        """
        with _translated(), self._client.pipeline() as pipeline:
            pipeline.watch(self._positions)
            for name, before in commit.before.items():
                text = pipeline.hget(self._positions, name)
                if text is not None and SourcePosition.read(text.decode()) != before:
                    raise EndUnreachable(f"another connector moves the position of {name}, too")
            pipeline.multi()
            for stream, fields, num_kept in entries:
                pipeline.xadd(stream, fields, maxlen=num_kept or None, approximate=True)
            if commit.positions:
                texts = {name: position.text() for name, position in commit.positions.items()}
                pipeline.hset(self._positions, mapping=texts)
            for name, times in commit.times.items():
                if times:
                    of_keys: dict[Any, Any] = {bytes_of(key): time for key, time in times.items()}
                    pipeline.hset(self._times + name, mapping=of_keys)
            pipeline.execute()


class RedisSource(ReadingSource):
    """A stream, read from a position on; its one partition is ``STREAM/0``."""

    def __init__(self, settings: RedisSourceSettings) -> None:
        self._settings = settings
        self._field = settings.field.encode()
        self._partition = f"{settings.stream}/0"
        self._client = new_client(settings.url)
        self._last = "0-0"
        self._is_at_end = False
        self._keeper = RedisKeeper(self._client, settings.group)
        self.keeper = self._keeper

    def partitions(self) -> list[str]:
        """See ``ReadingSource``."""
        return [self._partition]

    def start_at(self, positions: Mapping[str, SourcePosition | None]) -> None:
        """See ``ReadingSource``."""
        position = positions[self._partition]
        self._last = "0-0" if position is None else id_before(position.offset)
        self._is_at_end = False

    def poll(self, max_messages: int, seconds: float) -> list[Messages]:
        """See ``ReadingSource``."""
        block = max(1, int(seconds * 1000)) if seconds else None
        with _translated():
            found = self._client.xread({self._settings.stream: self._last}, max_messages, block)
        # Of protocol 2 a list of pairs, of 3 a dictionary with lists of lists.
        pages = found.values() if isinstance(found, dict) else [entries for _, entries in found or ()]
        entries = [entry for page in pages for entry in (page[0] if page and isinstance(page[0], list) else page)]
        self._is_at_end = len(entries) < max_messages
        if not entries:
            return []
        messages = Messages(self._partition)
        for entry_id, fields in entries:
            messages.offsets.append(offset_of(entry_id))
            messages.keys.append(fields.get(b"key"))
            messages.values.append(fields.get(self._field))
        self._last = entries[-1][0].decode()
        return [messages]

    def at_end(self) -> set[str]:
        """See ``ReadingSource``."""
        return {self._partition} if self._is_at_end else set()

    def idle(self, seconds: float) -> None:
        """See ``ReadingSource``."""
        idle_for(seconds)

    def answered(self, commit: BatchCommit) -> None:
        """See ``ReadingSource``."""
        self._keeper.commit(commit, ())

    def close(self) -> None:
        """See ``ReadingSource``."""
        self._client.close()


class RedisSink(AnswerSink):
    """A stream, whose Redis keeps the positions."""

    def __init__(self, settings: RedisSinkSettings, group: str, dead_letters: str) -> None:
        self._settings = settings
        self._dead_letters = dead_letters
        self._client = new_client(settings.url)
        self._keeper = RedisKeeper(self._client, group)
        self.keeper = self._keeper

    def commit(self, commit: BatchCommit) -> None:
        """See ``AnswerSink``."""
        stream, num_kept = self._settings.stream, self._settings.max_entries
        entries: list[tuple[str, dict[str, Any], int]] = [
            (stream, {"id": bytes_of(one.id), "key": bytes_of(one.key), "value": one.value}, num_kept)
            for one in commit.answers
        ]
        if self._dead_letters:
            entries += [
                (self._dead_letters, {"value": json.dumps(refusal_json(refusal))}, 0) for refusal in commit.refusals
            ]
        self._keeper.commit(commit, entries)

    def close(self) -> None:
        """See ``AnswerSink``."""
        self._client.close()


def new_client(url: str) -> Any:
    """A client of bytes, which waits as long as a broker may take."""
    return redis.Redis.from_url(
        url, socket_timeout=SECONDS, socket_connect_timeout=SECONDS, encoding_errors="surrogateescape"
    )
