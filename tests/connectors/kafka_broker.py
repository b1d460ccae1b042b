"""A Kafka broker of one node, in memory, with groups and transactions as Kafka has them: ``python -m`` it with a port.

librdkafka's own mock brokers, by which the other tests of Kafka go, show what a transaction aborted and keep no offsets
that one commits; so what is published once, with kills, is judged over this one, by the same unchanged client.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable

from tests.connectors.kafka_group import Group
from tests.connectors.kafka_log import FENCED, KafkaLog, PartitionLog, Transaction
from tests.connectors.kafka_wire import WireReader, WireWriter

VERSIONS = {
    0: 3,
    1: 4,
    2: 2,
    3: 1,
    8: 2,
    9: 7,
    10: 1,
    11: 2,
    12: 0,
    13: 0,
    14: 0,
    18: 0,
    22: 0,
    24: 0,
    25: 0,
    26: 0,
    28: 3,
}
"""Request -> its one version that is known here, the newest that is told of."""
FLEXIBLE = {9, 28}
UNSUPPORTED, UNSTABLE = 35, 88
HOST, NODE = "127.0.0.1", 1

Handler = Callable[[WireReader, WireWriter], Awaitable[None]]


class KafkaBroker:
    """Answers requests; one at a time of each connection, in their order."""

    def __init__(self, port: int, num_partitions: int = 4) -> None:
        self.port = port
        self.log = KafkaLog(num_partitions)
        self.groups: dict[str, Group] = {}
        self._handlers: dict[int, Handler] = {
            0: self._produce,
            1: self._fetch,
            2: self._list_offsets,
            3: self._metadata,
            8: self._commit_offsets,
            9: self._fetch_offsets,
            10: self._find_coordinator,
            11: self._join,
            12: self._heartbeat,
            13: self._leave,
            14: self._sync,
            22: self._init_producer,
            24: self._add_partitions,
            25: self._add_offsets,
            26: self._end,
            28: self._commit_in_transaction,
        }

    async def serve(self) -> None:
        """Listen until the process ends."""
        server = await asyncio.start_server(self._connection, HOST, self.port)
        async with server:
            while True:
                await asyncio.sleep(0.1)
                self.log.expire()
                for group in self.groups.values():
                    group.expire()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(4), "big")
                answer = await self._answer(await reader.readexactly(size))
                writer.write(len(answer).to_bytes(4, "big") + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, data: bytes) -> bytes:
        request, answer = WireReader(data), WireWriter()
        kind, version, correlation = request.i16(), request.i16(), request.i32()
        request.text()
        answer.put("i", correlation)
        if kind == 18:
            answer.put("h", UNSUPPORTED if version else 0)
            answer.items(VERSIONS.items(), lambda one: answer.put("hhh", one[0], 0, one[1]))
            return answer.bytes()
        assert version == VERSIONS[kind], f"request {kind} of version {version}"
        if kind in FLEXIBLE:
            request.tags()
            answer.tags()
        await self._handlers[kind](request, answer)
        return answer.bytes()

    def group(self, name: str) -> Group:
        """A group, made where it is asked for first."""
        return self.groups.setdefault(name, Group(name))

    def partition(self, topic: str, number: int) -> PartitionLog:
        """A partition of a topic."""
        return self.log.topic(topic)[number]

    async def _metadata(self, request: WireReader, answer: WireWriter) -> None:
        names = [name or "" for name in request.items(request.text)] or list(self.log.topics)
        answer.items([0], lambda _: answer.put("i", NODE).text(HOST).put("i", self.port).text(None)).put("i", NODE)

        def of_topic(name: str) -> None:
            answer.put("h", 0).text(name).put("b", 0)
            answer.items(
                range(len(self.log.topic(name))),
                lambda number: answer.put("hiiiiii", 0, number, NODE, 1, NODE, 1, NODE),
            )

        answer.items(names, of_topic)

    async def _find_coordinator(self, request: WireReader, answer: WireWriter) -> None:
        del request
        answer.put("ih", 0, 0).text(None).put("i", NODE).text(HOST).put("i", self.port)

    async def _produce(self, request: WireReader, answer: WireWriter) -> None:
        name = request.text()
        request.i16(), request.i32()
        topics = request.items(
            lambda: (request.text() or "", request.items(lambda: (request.i32(), request.content())))
        )

        def of_partition(topic: str, number: int, content: bytes) -> None:
            if self.log.is_fenced(name, content):
                answer.put("ihqq", number, FENCED, -1, -1)
            else:
                answer.put("ihqq", number, 0, self.partition(topic, number).append(content), -1)

        answer.items(
            topics,
            lambda one: answer.text(one[0]).items(one[1], lambda part: of_partition(one[0], part[0], part[1])),
        ).put("i", 0)

    async def _fetch(self, request: WireReader, answer: WireWriter) -> None:
        request.i32()
        max_wait = request.i32() / 1000
        request.i32(), request.i32()
        committed = bool(request.i8())
        topics = request.items(
            lambda: (request.text() or "", request.items(lambda: (request.i32(), request.i64(), request.i32())))
        )
        give_up_at = time.monotonic() + max_wait

        def read() -> list[tuple[str, list[tuple[int, int, bytes]]]]:
            return [
                (
                    topic,
                    [
                        (number, *self.partition(topic, number).read(offset, size, committed=committed))
                        for number, offset, size in parts
                    ],
                )
                for topic, parts in topics
            ]

        found = read()
        while not any(content for _, parts in found for *_, content in parts) and time.monotonic() < give_up_at:
            await asyncio.sleep(0.01)
            found = read()
        answer.put("i", 0).items(
            found,
            lambda one: answer.text(one[0]).items(
                one[1],
                lambda part: answer.put("ihqqi", part[0], 0, part[1], part[1], -1).content(part[2]),
            ),
        )

    async def _list_offsets(self, request: WireReader, answer: WireWriter) -> None:
        request.i32()
        committed = bool(request.i8())
        topics = request.items(lambda: (request.text() or "", request.items(lambda: (request.i32(), request.i64()))))

        def of_partition(topic: str, number: int, when: int) -> None:
            end, _ = self.partition(topic, number).read(0, 0, committed=committed)
            answer.put("ihqq", number, 0, -1, 0 if when == -2 else end)

        answer.put("i", 0).items(
            topics,
            lambda one: answer.text(one[0]).items(one[1], lambda part: of_partition(one[0], part[0], part[1])),
        )

    async def _commit_offsets(self, request: WireReader, answer: WireWriter) -> None:
        group, generation, member = self.group(request.text() or ""), request.i32(), request.text() or ""
        request.i64()
        topics = request.items(
            lambda: (request.text() or "", request.items(lambda: (request.i32(), request.i64(), request.text())))
        )
        error = group.fault(member, generation) if group.members else 0
        for topic, parts in topics if not error else []:
            group.offsets |= {(topic, number): (offset, text or "") for number, offset, text in parts}
        answer.items(
            topics, lambda one: answer.text(one[0]).items(one[1], lambda part: answer.put("ih", part[0], error))
        )

    async def _fetch_offsets(self, request: WireReader, answer: WireWriter) -> None:
        group = self.group(request.short_text() or "")

        def asked() -> tuple[str, list[int]]:
            found = (request.short_text() or "", request.short_items(request.i32))
            request.tags()
            return found

        topics = request.short_items(asked)
        is_strict = bool(request.i8())

        def of_partition(topic: str, number: int) -> None:
            offset, text = group.offsets.get((topic, number), (-1, ""))
            unstable = is_strict and self.log.is_unstable(group.name, (topic, number))
            answer.put("iqi", number, -1 if unstable else offset, -1).short_text(text)
            answer.put("h", UNSTABLE if unstable else 0).tags()

        answer.put("i", 0).short_items(
            topics,
            lambda one: (
                answer.short_text(one[0]).short_items(one[1], lambda number: of_partition(one[0], number)).tags()
            ),
        ).put("h", 0).tags()

    async def _join(self, request: WireReader, answer: WireWriter) -> None:
        group = self.group(request.text() or "")
        session, rebalance = request.i32() / 1000, request.i32() / 1000
        name = request.text() or ""
        request.text()
        protocols = request.items(lambda: (request.text() or "", request.content()))
        member = await group.join(name, session, rebalance, protocols)
        members = group.members.values() if member.name == group.leader else ()
        answer.put("ihi", 0, 0, group.generation).text(protocols[0][0]).text(group.leader).text(member.name)
        answer.items(members, lambda one: answer.text(one.name).content(one.protocols[0][1]))

    async def _sync(self, request: WireReader, answer: WireWriter) -> None:
        group, generation, member = self.group(request.text() or ""), request.i32(), request.text() or ""
        assignments = request.items(lambda: (request.text() or "", request.content()))
        error, assignment = await group.sync(member, generation, assignments)
        answer.put("h", error).content(assignment)

    async def _heartbeat(self, request: WireReader, answer: WireWriter) -> None:
        group, generation, member = self.group(request.text() or ""), request.i32(), request.text() or ""
        answer.put("h", group.heartbeat(member, generation))

    async def _leave(self, request: WireReader, answer: WireWriter) -> None:
        self.group(request.text() or "").leave(request.text() or "")
        answer.put("h", 0)

    async def _init_producer(self, request: WireReader, answer: WireWriter) -> None:
        producer, epoch = self.log.begin_producer(request.text(), request.i32() / 1000)
        answer.put("ihqh", 0, 0, producer, epoch)

    def _transaction(self, request: WireReader) -> Transaction | int:
        return self.log.of(request.text() or "", request.i64(), request.i16())

    async def _add_partitions(self, request: WireReader, answer: WireWriter) -> None:
        known = self._transaction(request)
        topics = request.items(lambda: (request.text() or "", request.items(request.i32)))
        error = known if isinstance(known, int) else 0
        if isinstance(known, Transaction):
            known.places |= {(topic, number) for topic, numbers in topics for number in numbers}
        answer.put("i", 0).items(
            topics, lambda one: answer.text(one[0]).items(one[1], lambda number: answer.put("ih", number, error))
        )

    async def _add_offsets(self, request: WireReader, answer: WireWriter) -> None:
        known = self._transaction(request)
        answer.put("ih", 0, known if isinstance(known, int) else 0)

    async def _end(self, request: WireReader, answer: WireWriter) -> None:
        known, is_committed = self._transaction(request), bool(request.i8())
        if isinstance(known, int):
            answer.put("ih", 0, known)
            return
        for (group, place), kept in self.log.end(known, is_committed=is_committed).items():
            self.group(group).offsets[place] = kept
        answer.put("ih", 0, 0)

    async def _commit_in_transaction(self, request: WireReader, answer: WireWriter) -> None:
        name, group = request.short_text() or "", self.group(request.short_text() or "")
        known = self.log.of(name, request.i64(), request.i16())
        generation, member = request.i32(), request.short_text() or ""
        request.short_text()

        def partition() -> tuple[int, int, str]:
            number, offset = request.i32(), request.i64()
            request.i32()
            found = (number, offset, request.short_text() or "")
            request.tags()
            return found

        def of_topic() -> tuple[str, list[tuple[int, int, str]]]:
            found = (request.short_text() or "", request.short_items(partition))
            request.tags()
            return found

        topics = request.short_items(of_topic)
        error = known if isinstance(known, int) else group.fault(member, generation)
        if isinstance(known, Transaction) and not error:
            for topic, parts in topics:
                known.offsets |= {(group.name, (topic, number)): (offset, text) for number, offset, text in parts}
        answer.put("i", 0).short_items(
            topics,
            lambda one: (
                answer.short_text(one[0])
                .short_items(one[1], lambda part: answer.put("ih", part[0], error).tags())
                .tags()
            ),
        ).tags()


if __name__ == "__main__":
    asyncio.run(KafkaBroker(int(sys.argv[1])).serve())
