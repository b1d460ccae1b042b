"""The search: whether some order of a history's operations, each at a moment between its call and its return, explains
every answer.

After Wing and Gong, "Testing and verifying concurrent objects" (1993), with the memory of Lowe's "Testing for
linearizability" (2017): what has been taken in and what is the case then were tried before, or not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tests.histories.operation import Answered, Operation, Verb, with_what_was_under_way
from tests.histories.reference import CLOCK_SECONDS, LONG_SECONDS, Absent, Live, Outcome, Reference, Session

NOT_NOW = {
    (429, "overloaded"),
    (503, "starting"),
    (503, "draining"),
    (503, "state_store_unavailable"),
}
"""Refusals that are always possible and say that nothing was applied. A 503 that says otherwise is no answer at all:
whoever carries requests out leaves it open.
"""

READS = (Verb.LOOK, Verb.GET, Verb.FORECAST, Verb.LISTED)

MOST_UNKNOWN = 2
"""Of operations without an answer that take effect one right after the other, where that is enough."""

MAX_TRIED = 300_000


class TooManyOrders(Exception):
    """The search was given up."""


class World(NamedTuple):
    """What is the case between two operations.

    Attributes:
        sessions: by their ids; an id that is not there is absent.
        copies: by the number of the operation that copied, what it copied, until it is pasted.
    """

    sessions: tuple[tuple[str, Session], ...] = ()
    copies: tuple[tuple[int, Live], ...] = ()

    def session(self, session_id: str) -> Session:
        """What a session is."""
        return next((session for name, session in self.sessions if name == session_id), Absent())

    def put(self, session_id: str, session: Session) -> World:
        """The same with a session as given."""
        others = [each for each in self.sessions if each[0] != session_id]
        if not isinstance(session, Absent):
            others.append((session_id, session))
        return self._replace(sessions=tuple(sorted(others, key=lambda each: each[0])))


class Explained(NamedTuple):
    """An order that explains all: the numbers of the operations that took effect, and what is the case at its end."""

    order: tuple[int, ...]
    world: World


def explain(operations: Sequence[Operation], reference: Reference, world: World = World()) -> Explained | None:  # noqa: B008
    """An order of operations on sessions that have to do with each other; None = there is none.

    Operations without an answer take effect at any moment after their call, or never.

    Raises:
        TooManyOrders: it would take too long to say.
    """
    searching = _Search(operations, reference)
    # What was not answered and took effect is mostly few and far between: that is looked at first, and soon done.
    return searching.run(world, most_unknown=MOST_UNKNOWN) or searching.run(world, most_unknown=len(operations))


class _Node(NamedTuple):
    taken: int
    world: World
    order: tuple[int, ...]
    num_unknown: int = 0
    """How many were last in a row whose answer is not known."""


class _Search:
    def __init__(self, operations: Sequence[Operation], reference: Reference) -> None:
        self._operations = list(with_what_was_under_way(operations))
        self._reference = reference
        places = enumerate(self._operations)
        place_of = {operation.number: place for place, operation in places if _is_ordered(operation)}
        # Whatever was sent before in one stream has taken effect before, or never does.
        self._before = [
            sum(1 << place_of[number] for number in operation.after if number in place_of)
            if _is_ordered(operation)
            else 0
            for operation in self._operations
        ]
        self._known = sum(1 << place for place, each in enumerate(self._operations) if each.is_known)
        self._open = [place for place, each in enumerate(self._operations) if not each.is_known]

    def run(self, world: World, *, most_unknown: int) -> Explained | None:
        """An order in which at most so many in a row have no known answer."""
        seen: set[tuple[int, World, int]] = set()
        counts = most_unknown < len(self._open)
        nodes = [_Node(0, world, ())]
        while nodes:
            node = self._take_what_changes_nothing(nodes.pop())
            if node.taken & self._known == self._known:
                return Explained(node.order, node.world)
            key = node.taken, node.world, node.num_unknown if counts else 0
            if key in seen:
                continue
            seen.add(key)
            if len(seen) > MAX_TRIED:
                raise TooManyOrders(f"{len(self._operations)} operations, {MAX_TRIED} states tried")
            # What was answered first is tried first.
            nodes += reversed([each for each in self._next(node) if each.num_unknown <= most_unknown])
        return None

    def _take_what_changes_nothing(self, node: _Node) -> _Node:
        """Take in at once what can be at this moment and never changes anything: no later moment would be better."""
        taken, world, order, num_unknown = node
        while True:
            for place in self._enabled(taken):
                operation = self._operations[place]
                if not _may_change(operation) and world in follow(operation, world, self._reference):
                    taken, order = self._with(taken, place), (*order, operation.number)
                    break
            else:
                return _Node(taken, world, order, num_unknown)

    def _next(self, node: _Node) -> Iterator[_Node]:
        for place in self._enabled(node.taken):
            operation = self._operations[place]
            num_unknown = 0 if operation.is_known else node.num_unknown + 1
            for world in follow(operation, node.world, self._reference):
                yield _Node(self._with(node.taken, place), world, (*node.order, operation.number), num_unknown)

    def _with(self, taken: int, place: int) -> int:
        unanswered_before = self._before[place] & ~self._known
        return taken | 1 << place | unanswered_before

    def _enabled(self, taken: int) -> list[int]:
        """The places of the operations that may be next: none that is left had returned before they were called."""
        left: list[int] = []
        first_return = float("inf")
        # Known operations are sorted by their calls, so the scan ends soon after the first that is left.
        for place in self._from_first_left(taken):
            operation = self._operations[place]
            if operation.called > first_return:
                break
            left.append(place)
            first_return = min(first_return, operation.returned)
        left = [place for place in left if self._operations[place].called <= first_return]
        for place in self._open:
            if not taken >> place & 1 and self._operations[place].called <= first_return:
                left.append(place)
        return [place for place in left if not self._before[place] & self._known & ~taken]

    def _from_first_left(self, taken: int) -> Iterator[int]:
        known_left = self._known & ~taken
        while known_left:
            lowest = known_left & -known_left
            yield lowest.bit_length() - 1
            known_left ^= lowest


def _is_ordered(operation: Operation) -> bool:
    """Whether its place among others of its stream counts: what was refused may have been so at once."""
    return operation.answered is None or operation.answered.status < 400


def _may_change(operation: Operation) -> bool:
    """Whether there is a world that it changes."""
    return _is_ordered(operation) and operation.asked.verb not in READS


def follow(operation: Operation, world: World, reference: Reference) -> list[World]:
    """What may be the case after an operation that takes effect now, its answer being what it is; none = it cannot.

    Without an answer only what changes the world is an effect.
    """
    asked, answered = operation.asked, operation.answered
    session = world.session(asked.session_id)
    if answered is not None and (answered.status, answered.code) in NOT_NOW:
        return [world]
    copied = None
    if asked.verb is Verb.PASTE:
        copied = next((copy for number, copy in world.copies if number == asked.source), None)
    found: list[World] = []
    for outcome in reference.outcomes(operation, session, copied):
        if answered is None and outcome.status >= 400:
            continue
        after = outcome.session if answered is None else _as_answered(outcome, answered)
        if after is None:
            continue
        made = world.put(asked.session_id, after)
        if asked.verb is Verb.COPY and isinstance(after, Live) and outcome.status == 201:
            made = made._replace(copies=(*made.copies, (operation.number, after)))
        elif asked.verb is Verb.PASTE:
            made = made._replace(copies=tuple(copy for copy in made.copies if copy[0] != asked.source))
        if made not in found and (answered is not None or made != world):
            found.append(made)
    return found


def _as_answered(outcome: Outcome, answered: Answered) -> Session | None:
    """The session after an outcome, if that is what was answered; its end is then known as far as it was told."""
    if outcome.status != answered.status or (outcome.code and outcome.code != answered.code):
        return None
    if _differences(outcome.content, answered.content):
        return None
    session = outcome.session
    if outcome.expires is None or not isinstance(session, Live):
        return session
    told = answered.content.get("expires_at", float("nan"))
    earliest, latest = outcome.expires
    if told == earliest == float("inf"):
        return session
    if not earliest - CLOCK_SECONDS <= told <= latest + CLOCK_SECONDS:
        return None
    if session.ttl_seconds >= LONG_SECONDS:
        return session  # it will not expire in our time, and worlds that differ in nothing else stay the same
    return session._replace(earliest=told, latest=told)


def _differences(expected: Mapping[str, object], said: Mapping[str, object]) -> list[str]:
    return [name for name, value in expected.items() if said.get(name) != value]


def answers_that_fit(operation: Operation, world: World, reference: Reference) -> list[str]:
    """What an operation might be answered where this is the case, for those who read of another answer."""
    copied = next((copy for number, copy in world.copies if number == operation.asked.source), None)
    outcomes = reference.outcomes(operation, world.session(operation.asked.session_id), copied)
    return [str(Answered(outcome.status, outcome.code, dict(outcome.content))) for outcome in outcomes]
