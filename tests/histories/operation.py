"""Operations: what was asked of a session, when, and what came back; pure values that a judge can look at."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

MAX_SHOWN = 3
"""Steps of a chunk."""

Inputs = tuple[tuple[int, ...], ...]
"""A chunk ``[n, F]``."""


class Verb(Enum):
    """What may be asked of one session."""

    OPEN = "open"
    STEP = "step"
    FORECAST = "forecast"
    LOOK = "look"
    RESET = "reset"
    MIGRATE = "migrate"
    GET = "get state"
    PUT = "put state"
    CLOSE = "close"
    CLEAR = "end what is live"
    """A part of a START or END: a session of that model is closed, and one that is not live is left as it is."""
    COPY = "copy"
    """The first half of a fork: the source as it is in its turn. The copy has a life of its own, so it is a second
    operation that opens it, at another moment: a session may be stepped after it was copied and before the copy is
    there."""
    PASTE = "paste"
    """The second half."""
    LISTED = "listed"
    """A row of a list, or the lack of one: at some moment of the list it was so."""


class Way(Enum):
    """How a step travels."""

    ROUTE = "route"
    COLUMNS = "columns"
    ARROW = "arrow"
    FRAME = "frame"
    SEQUENCE = "sequence"
    """A request of the Open Inference Protocol, whose session is named by its model."""

    @property
    def names_model(self) -> bool:
        """Whether the request is to a model, which the session must be of."""
        return self is not Way.ROUTE

    @property
    def is_columnar(self) -> bool:
        """Whether rows of other sessions come with it, which a fault of the message as a whole refuses, too."""
        return self in (Way.COLUMNS, Way.ARROW)


@dataclass(frozen=True)
class StateFile:
    """What a state file says.

    Attributes:
        model: whose it is; a file without metadata tells it by its tensor's name.
        state: the state, for each history another number, see ``Kind.run``.
        steps: None = it does not say.
        last_output: None = it does not say.
        context: what its session is about; empty = it has none.
    """

    model: str
    state: Any
    steps: int | None = None
    last_output: int | None = None
    context: tuple[int, ...] = ()


@dataclass(frozen=True)
class Asked:
    """A request as far as one session is concerned.

    Attributes:
        model, version: of what is opened, or to which a step is sent, or a session is migrated.
        inputs: of a step.
        context: of what is opened; empty = none is given.
        future: of a forecast, what is known of each step ahead; None = nothing is given.
        flaw: the code with which any session refuses it: ``invalid_input`` where the body is not one,
            ``too_large``, ``unsupported_media_type``; empty = there is none.
        source: of a paste, the number of the copy's operation.
        place: of a step, its source, and where its first and its last reading are in it; None = it is not said.
    """

    verb: Verb
    session_id: str
    model: str | None = None
    version: str | None = None
    ttl_seconds: float | None = None
    inputs: Inputs = ()
    seq: int | None = None
    way: Way = Way.ROUTE
    creates: bool = False
    horizon: int = 0
    file: StateFile | None = None
    flaw: str = ""
    source: int | None = None
    context: tuple[int, ...] = ()
    future: Inputs | None = None
    place: tuple[str, int, int] | None = None

    def __str__(self) -> str:
        said: list[str] = [self.verb.value]
        if self.verb in (Verb.OPEN, Verb.CLEAR, Verb.LISTED, Verb.MIGRATE) or self.way.names_model:
            said.append(f"{self.model or '*'}/{self.version or '*'}")
        if self.verb is Verb.STEP:
            said += [_short(self.inputs), f"seq {self.seq}", f"by {self.way.value}"]
        if self.place is not None:
            said.append(f"at {self.place}")
        if self.creates:
            said.append("create_missing")
        if self.context:
            said.append(f"about {self.context}")
        if self.ttl_seconds is not None:
            said.append(f"ttl {self.ttl_seconds:g}")
        if self.verb is Verb.FORECAST:
            said.append(f"{self.horizon} steps" + ("" if self.future is None else f" with {_short(self.future)}"))
        if self.file is not None:
            said.append(f"{self.file.model} {self.file.state} after {self.file.steps} steps")
            said += [f"about {self.file.context}"] if self.file.context else []
        if self.source is not None:
            said.append(f"of #{self.source}")
        if self.flaw:
            said.append(f"({self.flaw})")
        return " ".join(said)


@dataclass(frozen=True)
class Answered:
    """An answer.

    Attributes:
        code: of a refusal, its machine word.
        content: what else it says, by the names of the contract; ``outputs`` a tuple of whole numbers, ``expires_at``
            seconds since the epoch, ``state`` that of a state file.
    """

    status: int
    code: str = ""
    content: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        said = [str(self.status), self.code, *(f"{name}={_short(value)}" for name, value in self.content.items())]
        return " ".join(filter(None, said))


def _short(value: object) -> str:
    """A value as a table shows it: of many steps, the last ones."""
    if not isinstance(value, tuple) or len(value) <= MAX_SHOWN:
        return str(value)
    return f"({len(value)}: ..., {', '.join(map(str, value[-MAX_SHOWN:]))})"


@dataclass(frozen=True, eq=False)
class Operation:
    """A request with its answer.

    Attributes:
        called, returned: seconds since the epoch; it took effect between the two, if it did. ``inf``: there was no
            answer, so it may take effect at any later time, or never.
        answered: None = nobody knows what became of it.
        after: the numbers of operations that cannot take effect later than this one.
        replica: which was asked.
        since: since when the session has had requests under way, of which this is one; None = since this one's call.
    """

    number: int
    asked: Asked
    called: float
    returned: float = math.inf
    answered: Answered | None = None
    after: tuple[int, ...] = ()
    replica: int = 0
    since: float | None = None

    @property
    def is_known(self) -> bool:
        """Whether it was answered."""
        return self.answered is not None


def with_what_was_under_way(operations: Iterable[Operation]) -> Iterator[Operation]:
    """The operations, each with ``since``: a session does not expire while anything of it is under way.

    Looks and lists are not under way in that sense: they wait for no turn.
    """
    spans: dict[str, tuple[float, float]] = {}
    for operation in sorted(operations, key=lambda each: each.called):
        name = operation.asked.session_id
        since, until = spans.get(name, (math.inf, -math.inf))
        if operation.called > until:
            since = operation.called
        yield replace(operation, since=since)
        if operation.asked.verb not in (Verb.LOOK, Verb.LISTED):
            spans[name] = since, max(until, operation.returned)
