"""Attacks over the wire: what is sent to a real server, and what it must answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec

from ostinato.service.edge.v1 import schemas
from ostinato.service.state.cursor import write_cursor
from tests.faults.http_sender import ARROW
from tests.hostile import seeds
from tests.hostile.breach import kept
from tests.hostile.decoders import arrow_rows, arrow_sequences
from tests.hostile.mutation import BOUNDARIES, HEAD_WORDS, JSON_WORDS, Mutator
from tests.hostile.wire import (
    Answer,
    Broken,
    Connection,
    connected,
    read_answer,
    request,
)

MODEL, CODES = "lstm", "tokens"
SESSION, CODE_SESSION = "hostile", "hostile-codes"
"""Sessions that are only attacked: nobody looks at their numbers."""

QUIET_SECONDS = 0.25
"""A connection on which nothing came for so long waits for more of a request."""

FAIR = ("run_failed", "too_many_connections")
"""Codes of a 5xx that blames nobody: numbers became more than the graph's dtype holds; there is no room for another
connection.
"""


@dataclass(frozen=True)
class Target:
    """What is attacked: a port, and the store behind it."""

    port: int
    store: str


class Attack(ABC):
    """One way to be hostile.

    Attributes:
        at_once: how many strikes run beside each other.
    """

    name = ""
    at_once = 4

    def __init__(self, target: Target) -> None:
        self.target = target
        self._corpus = kept(self.name)

    @abstractmethod
    async def strike(self, number: int, generator: random.Random) -> str:
        """Send one case; returns what was answered, in a word.

        Raises:
            Broken: the server did what it must not.
        """


def judge(answer: Answer | None, sent: bytes) -> str:
    """The word for an answer to what a client made wrong.

    Raises:
        Broken: there is none, or it blames the server, or has no proper content.
    """
    if answer is None:
        raise Broken("the connection was ended without an answer", sent)
    if answer.status >= 500 and answer.code not in FAIR:
        raise Broken(f"answered with {answer.status}: {answer.body[:300]!r}", sent)
    if answer.headers.get("content-type", "").endswith("json"):
        try:
            json.loads(answer.body)
        except ValueError as error:
            raise Broken(f"the answer is no JSON: {answer.body[:300]!r}", sent) from error
    return str(answer.status)


@dataclass(frozen=True)
class Way:
    """A route with bodies that it takes."""

    method: str
    target: str
    bodies: Sequence[bytes]
    media_type: str = "application/json"


_STEPS = [b'{"inputs": [[1, 2, 3]]}', b'{"inputs": [[0.1, -2, 3e-4], [4, 5, 6]], "seq": 7, "return_sequences": false}']
_NAMED = f'{{"session_id": "{SESSION}", '.encode()
_PREDICT = b'{"sequences": [[[1, 2, 3]], [[4, 5, 6], [7, 8, 9.5]]], "return_state": true}'

WAYS = (
    Way("POST", f"/v1/sessions/{SESSION}/step", _STEPS),
    Way("POST", f"/v1/sessions/{CODE_SESSION}/step", [b'{"inputs": [[1], [6]]}']),
    Way("POST", f"/v1/sessions/{SESSION}/forecast", [seeds.FORECAST]),
    Way("POST", f"/v1/sessions/{SESSION}/reset", [b"{}"]),
    Way("POST", f"/v1/sessions/{SESSION}/fork", [b'{"ttl_seconds": 1}']),
    Way("POST", f"/v1/models/{MODEL}/sessions", [b'{"session_id": "a.b:c-d_1", "ttl_seconds": 1, "version": "1"}']),
    Way("POST", f"/v1/models/{MODEL}/predict", [_PREDICT]),
    Way("POST", f"/v1/models/{CODES}/predict", [b'{"sequences": [[[1], [6]]]}']),
    Way("POST", f"/v1/models/{MODEL}/predict", arrow_sequences(), ARROW),
    Way(
        *("POST", f"/v1/models/{MODEL}/step"),
        [f'{{"session_ids": ["{SESSION}", "b"], "inputs": [[1, 2, 3], [4, 5, 6]], "seq": [null, 0]}}'.encode()],
    ),
    Way("POST", f"/v1/models/{MODEL}/step?create_missing=true", arrow_rows(), ARROW),
    Way("POST", f"/v1/models/{MODEL}/generate", [seeds.GENERATE]),
    Way("POST", f"/v1/models/{MODEL}/score", seeds.BODIES[schemas.ScoreBody]),
    Way("POST", "/step", [_NAMED + step[1:] for step in _STEPS]),
    Way("POST", "/forecast", [_NAMED + b'"horizon": 2}']),
    Way("POST", "/predict", [_PREDICT[:-1] + b', "model": "lstm"}']),
    Way("POST", "/generate", seeds.BODIES[schemas.GenerateInput]),
    Way("POST", "/generate_stream", seeds.BODIES[schemas.GenerateStreamInput]),
)


class Bodies(Attack):
    """Mutated bodies of every route, each in a proper request, with a plain request right behind it on the connection:
    there are two answers, and the second one is the second request's.
    """

    name = "bodies"

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._ways = list(WAYS)

    async def begin(self) -> None:
        """Look what a session's state is, to put mutated ones there."""
        async with connected(self.target.port) as connection:
            await connection.send(request("GET", f"/v1/sessions/{SESSION}/state"))
            state = await connection.answer()
            assert state is not None
            self._ways += [Way("PUT", f"/v1/sessions/{SESSION}/state", [state.body], "application/octet-stream")] * 2

    async def strike(self, number: int, generator: random.Random) -> str:
        """See ``Attack``."""
        if len(self._ways) == len(WAYS):
            await self.begin()
        way = generator.choice(self._ways)
        words = JSON_WORDS if way.media_type != ARROW else ()
        body = generator.choice(way.bodies)
        if generator.random() < 0.95:
            body = Mutator(generator, [*way.bodies, *self._corpus], words).mutate(body)
        sent = request(way.method, way.target, body, way.media_type)
        if generator.random() < 0.1:
            sent = _in_chunks(way, body)
        async with connected(self.target.port) as connection:
            await connection.send(sent + request("GET", f"/v1/sessions/behind-{number}"))
            answer = await connection.answer()
            said = f"{way.target.split('?')[0].rsplit('/', 1)[1]} {judge(answer, sent)}"
            behind = await connection.answer()
            if behind is None and answer is not None and answer.ends_connection:
                return said
            if behind is None or f"behind-{number}".encode() not in behind.body or behind.status != 404:
                raise Broken(f"behind it, a request for a session was answered with {behind}", sent)
        return said


def _in_chunks(way: Way, body: bytes) -> bytes:
    head = f"{way.method} {way.target} HTTP/1.1\r\nhost: x\r\ncontent-type: {way.media_type}\r\n"
    parts = [body[at : at + 50] for at in range(0, len(body), 50)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return head.encode() + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


class Heads(Attack):
    """Mutated heads: whatever the server makes of them, it answers in HTTP, never blames itself, and lets go."""

    name = "heads"
    at_once = 16
    SEEDS = (
        b"GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        b"GET /v1/sessions?model=lstm&limit=3 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        b"POST /v1/sessions/hostile/step HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 23\r\n\r\n"
        b'{"inputs": [[1, 2, 3]]}',
        b"POST /v1/sessions/hostile/step HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
        b'17\r\n{"inputs": [[1, 2, 3]]}\r\n0\r\n\r\n',
        b"POST /predict HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\nconnection: close\r\ncontent-length: 2\r\n\r\n"
        b"{}",
        b"DELETE /v1/sessions/nobody HTTP/1.1\r\nhost: x\r\n\r\n"
        b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        b"GET /v1/models/lstm/stream HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        b"GET /docs.json HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        b"POST /schema.json HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=b\r\n"
        b"connection: close\r\ncontent-length: 16\r\n\r\n--b\r\n\r\na\r\n--b--\r\n",
    )

    async def strike(self, number: int, generator: random.Random) -> str:
        """See ``Attack``."""
        known = self._corpus
        sources = [*self.SEEDS, *known]
        sent = known[number] if number < len(known) else generator.choice(sources)
        if number >= len(known) and generator.random() < 0.97:
            sent = Mutator(generator, sources, HEAD_WORDS).mutate(sent)
        async with connected(self.target.port) as connection:
            await connection.send(sent)
            content = await _until_quiet(connection)
        answers = await _split(content, sent)
        for answer in answers:
            judge(answer, sent)
        # A part of a method may have become another; each request has a blank line, or ends with junk that is refused.
        if len(answers) > sent.count(b"\n\n") + sent.count(b"\n\r\n") + sent.count(b"\r\r") + 1:
            raise Broken(f"{len(answers)} answers", sent)
        return " ".join(str(answer.status) for answer in answers[:1]) or "let go"


async def _until_quiet(connection: Connection) -> bytes:
    """All that comes until the connection ends, or waits for more."""
    parts: list[bytes] = []
    with contextlib.suppress(TimeoutError, ConnectionError):
        while True:
            async with asyncio.timeout(QUIET_SECONDS if parts else 4 * QUIET_SECONDS):
                part = await connection.reader.read(1 << 16)
            if not part:
                break
            parts.append(part)
    return b"".join(parts)


async def _split(content: bytes, sent: bytes) -> list[Answer]:
    """Answers that came one behind another; of one to a ``HEAD`` nothing is said, since its body is left out."""
    if b"HEAD" in sent:
        return []
    reader = asyncio.StreamReader()
    reader.feed_data(content)
    reader.feed_eof()
    answers: list[Answer] = []
    try:
        while (answer := await read_answer(reader)) is not None:
            answers.append(answer)
            if answer.status == 101:  # frames follow
                break
    except Broken as broken:
        raise Broken(str(broken), sent) from broken
    return answers


class Cursors(Attack):
    """Cursors that nobody gave, with a checksum that is right, and queries beside them."""

    name = "cursors-sent"

    async def strike(self, number: int, generator: random.Random) -> str:  # noqa: ARG002
        """See ``Attack``."""
        store = generator.choice((self.target.store, self.target.store, "memory", "lmdb", "redis"))
        word = write_cursor(store, msgspec.Raw(self._position(generator)))
        if generator.random() < 0.2:
            word = Mutator(generator, [word.encode()]).mutate(word.encode()).decode("latin-1")
        number_of = generator.choice(
            ("", "&limit=1", "&limit=1000", "&limit=0", "&model=lstm", "&model=%00", "&limit=1e3")
        )
        sent = request("GET", f"/v1/sessions?cursor={quote(word, errors='replace')}{number_of}")
        async with connected(self.target.port) as connection:
            await connection.send(sent)
            return judge(await connection.answer(), sent)

    @staticmethod
    def _position(generator: random.Random) -> bytes:
        first, second = (generator.choice(BOUNDARIES) * generator.choice((1, 1, -1)) for _ in range(2))
        texts = ["", "a", "\x00", "hostile", "x" * 600, "\ud83d\ude00" * 200, "é"]
        positions: list[Any] = [
            *(
                [first, second],
                [first, second, []],
                [0, second, generator.choices(texts, k=3)],
                [first, 0, ["a"] * 2000],
            ),
            *(generator.choice(texts), generator.choice(texts), first, None),
        ]
        content = json.dumps(generator.choice(positions)).encode()
        return Mutator(generator, [content], JSON_WORDS).mutate(content) if generator.random() < 0.3 else content
