"""Reading of a stream of outputs from its server-sent events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ostinato.client.answers import read
from ostinato.client.arrays import from_json
from ostinato.client.events import EventParser
from ostinato.client.exchange import accepted, unexpected
from ostinato.client.generation import GeneratedStep, Generation, WrittenReader
from ostinato.client.retry import ServiceAnswer
from ostinato.errors import ServiceUnreachable, UnexpectedAnswer


class StreamReader:
    """Reads a stream of outputs from the bytes that arrive. It knows no network.

    Attributes:
        whole: the whole answer, when it has come.
    """

    def __init__(self, where: str, reader: WrittenReader) -> None:
        self._where = where
        self._reader = reader
        self._parser = EventParser()
        self._num_steps = 0
        self.whole: ServiceAnswer | None = None

    def feed(self, piece: bytes) -> Iterator[GeneratedStep | Generation]:
        """The steps that have come with this piece, and the whole answer when it is there.

        Raises:
            ServiceError: the service failed on the way; in its words. UnexpectedAnswer: it is not what was asked for.
        """
        for event in self._parser.feed(piece):
            if event.name not in ("step", "done", "error"):
                continue
            told = self._told(event.data)
            if event.name == "error":
                status = (told.members or {}).get("status")
                accepted(replace(told, status=status if type(status) is int and status >= 400 else 500))
            elif event.name == "step":
                step = read(told, self._reader.step)
                self._num_steps += 1
                yield step
            else:
                made = read(told, self._reader.generation)
                self.whole = told
                yield made

    def broken_off(self, reason: object = "") -> ServiceUnreachable:
        """What to raise where the stream ended before the answer."""
        return ServiceUnreachable(
            f"{self._where}: the stream broke off after {self._num_steps} steps"
            + (f" ({reason})" if str(reason) else "")
            + "; it is not retried, since outputs could then come twice"
        )

    def _told(self, data: str) -> ServiceAnswer:
        try:
            members = from_json(data)
        except ValueError:
            members = None
        return ServiceAnswer(200, members if isinstance(members, dict) else None, where=self._where)


def no_stream(answer: ServiceAnswer) -> UnexpectedAnswer:
    """What to raise where a stream was asked for, and something else came."""
    return unexpected(answer, "it is no stream of events")
