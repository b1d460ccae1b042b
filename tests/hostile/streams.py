"""Attacks on streams: messages in proper frames, and frames that are none."""

from __future__ import annotations

import json
import random
import struct

from tests.hostile import seeds
from tests.hostile.attacks import FAIR, MODEL, SESSION, Attack
from tests.hostile.decoders import arrow_rows
from tests.hostile.mutation import JSON_WORDS, Mutator
from tests.hostile.wire import BINARY, CLOSE, TEXT, Broken, connected, frame

CLOSE_CODES = (1000, 1002, 1003, 1007, 1009)
"""With which a server may close that was sent what is no stream."""


class Streams(Attack):
    """Mutated messages in proper frames, each answered once; and mutated frames, which end the stream or not."""

    name = "streams"
    PAYLOADS = (
        *seeds.FRAMES,
        b'{"session_id": "hostile", "inputs": [[1, 2, 3]], "id": 3}',
        b'{"session_id": "hostile-codes", "inputs": [[1], [2]]}',
    )

    async def strike(self, number: int, generator: random.Random) -> str:
        """See ``Attack``."""
        messages = [self._message(generator) for _ in range(generator.choice((1, 3, 8)))]
        sent = b"".join(frame(opcode, payload) for opcode, payload in messages)
        is_proper = generator.random() < 0.5
        if not is_proper:
            sent = Mutator(generator, [sent]).mutate(sent)
        last = json.dumps({"session_id": SESSION, "inputs": [[1, 2]], "id": f"behind-{number}"}).encode()
        is_text = all(opcode == BINARY or _is_utf8(payload) for opcode, payload in messages)
        answered: list[tuple[int, bytes]] = []
        async with connected(self.target.port) as connection:
            await connection.open_stream(MODEL)
            await connection.send(sent + frame(TEXT, last))
            # What a client has not been answered when it closes, it has given up.
            while is_proper and is_text and len(answered) <= len(messages):
                message = await connection.message()
                if message is None or message[0] == CLOSE:
                    raise Broken(f"{len(answered)} answers to {len(messages) + 1} messages, then {message}", sent)
                answered.append(message)
            await connection.send(frame(CLOSE, struct.pack(">H", 1000)))
            if not is_proper:
                connection.writer.write_eof()
            while (message := await connection.message()) is not None and message[0] != CLOSE:
                answered.append(message)
        code = _judge_messages(answered, message, sent)
        if is_proper and is_text:
            if len(answered) != len(messages) + 1:
                raise Broken(f"{len(answered)} answers to {len(messages) + 1} messages", sent)
            if not any(f"behind-{number}".encode() in payload for _, payload in answered):
                raise Broken("the last message has no answer", sent)
        return f"closed {code}" if code else "cut off"

    def _message(self, generator: random.Random) -> tuple[int, bytes]:
        if generator.random() < 0.3:
            rows = arrow_rows()
            return BINARY, Mutator(generator, rows).mutate(generator.choice(rows))
        payload = generator.choice(self.PAYLOADS)
        if generator.random() < 0.9:
            payload = Mutator(generator, [*self.PAYLOADS, *self._corpus], JSON_WORDS).mutate(payload)
        return TEXT, payload


def _judge_messages(answered: list[tuple[int, bytes]], end: tuple[int, bytes] | None, sent: bytes) -> int:
    """The code with which a stream was closed; 0 = it was cut off.

    Raises:
        Broken: a message, or the code, blames the server.
    """
    for opcode, payload in answered:
        error = json.loads(payload).get("error") if opcode == TEXT else None
        if error and error["status"] >= 500 and error["code"] not in FAIR:
            raise Broken(f"answered with {payload[:300]!r}", sent)
    if end is None:
        return 0
    code = int.from_bytes(end[1][:2], "big")
    if code not in CLOSE_CODES and end[1]:
        raise Broken(f"closed with {code}: {end[1][2:]!r}", sent)
    return code


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
