"""Protocols of sequences: what a measurement must know to step the sequences of a server."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from numpy.typing import NDArray

from ostinato.errors import CommandError
from ostinato.tools.connection import HostPort, PlainAnswer, PlainConnection
from ostinato.tools.load import Load, Script, closed_loop, open_loop
from ostinato.tools.sequences.course import Course
from ostinato.tools.sequences.drawn import DrawnSequence, SteppedModel

Ask: TypeAlias = Callable[[bytes], PlainAnswer]


class ReadAnswer(NamedTuple):
    """What a server answered to steps.

    Attributes:
        outputs: by name, as they lie behind each other.
        steps: how many the sequence has by the server's count; None = it does not say.
    """

    outputs: dict[str, NDArray[Any]]
    steps: int | None = None


class SequenceProtocol(ABC):
    """The sequences of one model of a server.

    Attributes:
        address: of the server.
        host: its name, as requests say it.
        model: the model.
        title: what is said, for people.
        has_steps: whether a request may have several steps.
    """

    title: str
    has_steps = True

    def __init__(self, url: str) -> None:
        self.address, self.host = address_of(url)
        self.model: SteppedModel
        # Ids that nobody else has: to begin a sequence may end somebody's.
        self._first_id = secrets.randbelow(2**61) + 2**60

    @abstractmethod
    def script(self, number: int, sequence: DrawnSequence, course: Course) -> Script:
        """The requests of sequence ``number`` of this measurement."""

    @abstractmethod
    def end(self, number: int, sequence: DrawnSequence) -> bytes:
        """The request that ends it before its course does."""

    def load(self, scripts: Sequence[Script], seconds: float, rate: float, keep: int) -> Load:
        """Follow the scripts for some seconds, ``rate`` requests a second, or where that is 0 each when the one before
        is answered; see ``closed_loop`` and ``open_loop``.
        """
        if rate:
            return open_loop(self.address, scripts, rate, seconds, keep=keep)
        return closed_loop(self.address, scripts, seconds, keep=keep)

    @contextmanager
    def asking(self) -> Iterator[Ask]:
        """A connection that sends one request after the other, and waits for each answer."""
        connection = PlainConnection(self.address)
        with closing(connection.socket):
            yield connection.ask

    @abstractmethod
    def read(self, answer: PlainAnswer) -> ReadAnswer:
        """What an answer 2xx to steps says.

        Raises:
            WrongAnswer: it says nothing that can be read.
        """

    @abstractmethod
    def refusal(self, answer: PlainAnswer) -> str:
        """The words of an answer that is none."""


def address_of(url: str) -> tuple[HostPort, str]:
    """Where to connect to, and the name of the host for the requests.

    Raises:
        CommandError: it is not an address that plain HTTP is spoken at.
    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port or 80
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme != "http" or not parts.hostname or not port or parts.path.strip("/"):
        raise CommandError(f"{url!r}: bench speaks plain HTTP to a service's own address, as http://127.0.0.1:3000")
    return (parts.hostname, port), parts.netloc
