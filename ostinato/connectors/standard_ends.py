"""Standard input as a source and standard output as a sink, a line each: nothing is kept of how far they came."""

from __future__ import annotations

import json
import os
import secrets
import select
import sys
from collections.abc import Mapping
from pathlib import Path

from ostinato.connectors.arrivals import Messages, SourcePosition
from ostinato.connectors.ends import AnswerSink, BatchCommit, EndUnreachable, ReadingSource, refusal_json

READ_BYTES = 1 << 16


class StandardInput(ReadingSource):
    """Lines that come once. The name of its one partition has this run in it, of which its offsets count the lines: a
    chunk is safe to retry, but not after a kill.
    """

    is_replayable = False

    def __init__(self, descriptor: int = 0) -> None:
        self._descriptor = descriptor
        self._partition = f"stdin/{secrets.token_hex(4)}"
        self._rest = b""
        self._lines: list[bytes] = []
        self._num_given = 0

    def partitions(self) -> list[str]:
        """See ``ReadingSource``."""
        return [self._partition]

    def start_at(self, positions: Mapping[str, SourcePosition | None]) -> None:
        """See ``ReadingSource``: what was given is not given again."""

    def poll(self, max_messages: int, seconds: float) -> list[Messages]:
        """See ``ReadingSource``."""
        while len(self._lines) < max_messages and not self.is_over:
            ready, _, _ = select.select([self._descriptor], [], [], 0.0 if self._lines else seconds)
            if not ready:
                break
            data = os.read(self._descriptor, READ_BYTES)
            if not data:
                self.is_over = True
                data = b"\n" if self._rest else b""
            *lines, self._rest = (self._rest + data).split(b"\n")
            self._lines += [line.rstrip(b"\r") for line in lines if line.strip()]
        given, self._lines = self._lines[:max_messages], self._lines[max_messages:]
        if not given:
            return []
        start = self._num_given
        self._num_given += len(given)
        return [Messages(self._partition, list(range(start, self._num_given)), [None] * len(given), list(given))]

    def at_end(self) -> set[str]:
        """See ``ReadingSource``."""
        return {self._partition}


class StandardOutput(AnswerSink):
    """An answer a line; dead letters go to a file, or to standard error."""

    def __init__(self, dead_letters: str) -> None:
        self._dead_letters = Path(dead_letters) if dead_letters else None

    def commit(self, commit: BatchCommit) -> None:
        """See ``AnswerSink``."""
        lines = [json.dumps(refusal_json(refusal)) for refusal in commit.refusals]
        try:
            sys.stdout.buffer.write(b"".join(one.value + b"\n" for one in commit.answers))
            sys.stdout.buffer.flush()
            if lines and self._dead_letters is not None:
                with self._dead_letters.open("a", encoding="utf-8") as file:
                    file.write("".join(f"{line}\n" for line in lines))
        except OSError as error:
            raise EndUnreachable(f"standard output: {error.strerror}") from error
