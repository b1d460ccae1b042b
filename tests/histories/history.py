"""A history: what was asked and answered of many sessions, and its verdict, session by session."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tests.faults.judge import Fault, Finding
from tests.histories.operation import Answered, Asked, Operation, Verb
from tests.histories.reference import Reference
from tests.histories.search import READS, TooManyOrders, World, answers_that_fit, explain

MAX_BESIDE = 6
MAX_LINES = 30
"""Of the table of a session; what was long before is left out."""


@dataclass(frozen=True)
class Walk:
    """A list of the live sessions, page by page: the rows that were seen, each after its session's id.

    A session that was closed and opened again meanwhile may be there twice.
    """

    called: float
    returned: float
    model: str | None
    rows: Sequence[tuple[str, Mapping[str, Any]]]
    replica: int


class History:
    """The operations of many sessions, as they are called and answered."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.walks: list[Walk] = []
        self.findings: list[Finding] = []
        self._numbers = itertools.count()
        # Of the wall, which the services' times are; and never backwards, which the order needs.
        self._offset = time.time() - time.monotonic()

    def __repr__(self) -> str:
        return f"<History of {len(self.operations)} operations>"

    @property
    def num_steps(self) -> int:
        """Acknowledged steps."""
        steps = (each for each in self.operations if each.asked.verb is Verb.STEP)
        return sum(len(each.asked.inputs) for each in steps if each.answered and each.answered.status == 200)

    @property
    def num_unknown(self) -> int:
        """Operations whose outcome nobody knows."""
        return sum(not each.is_known for each in self.operations)

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.monotonic() + self._offset

    def call(self, asked: Asked, replica: int, after: Sequence[int] = ()) -> Operation:
        """An operation that begins now."""
        return Operation(next(self._numbers), asked, self.now(), after=tuple(after), replica=replica)

    def close(self, operation: Operation, answered: Answered | None) -> Operation:
        """Keep an operation that ends now; None = its answer never came."""
        returned = math.inf if answered is None else self.now()
        operation = replace(operation, returned=returned, answered=answered)
        self.operations.append(operation)
        return operation

    def found(self, session_id: str, detail: str) -> None:
        """Keep what is wrong in itself, whatever the order of things."""
        self.findings.append(Finding(Fault.IMPOSSIBLE, session_id, 0, detail))

    def judge(self, reference: Reference) -> list[Finding]:
        """All that is wrong."""
        return self.findings + [
            finding for group in groups(self.operations, self.walks) for finding in judge(group, reference)
        ]


def groups(operations: Sequence[Operation], walks: Sequence[Walk] = ()) -> list[list[Operation]]:
    """The operations of each session; sessions that were copied into each other are looked at together."""
    head: dict[str, str] = {}

    def find(name: str) -> str:
        while head.setdefault(name, name) != name:
            name = head[name]
        return name

    source_of = {each.number: each.asked.session_id for each in operations if each.asked.verb is Verb.COPY}
    for operation in operations:
        root = find(operation.asked.session_id)
        if operation.asked.source is not None:
            head[root] = find(source_of[operation.asked.source])
    found: dict[str, list[Operation]] = {}
    for operation in operations:
        found.setdefault(find(operation.asked.session_id), []).append(operation)
    numbers = itertools.count(max((each.number for each in operations), default=0) + 1)
    for walk in walks:
        for session_id in list(head):
            asked = Asked(Verb.LISTED, session_id, model=walk.model)
            rows = [Answered(200, content=dict(row)) for name, row in walk.rows if name == session_id]
            for answered in rows or [Answered(404)]:
                listed = Operation(next(numbers), asked, walk.called, walk.returned, answered, replica=walk.replica)
                found[find(session_id)].append(listed)
    return [found[name] for name in sorted(found)]


def judge(group: Sequence[Operation], reference: Reference) -> Iterator[Finding]:
    """Whether some order explains the answers of sessions that have to do with each other."""
    name = group[0].asked.session_id
    try:
        if explain(group, reference) is not None:
            return
        accused, rest = shrink(group, reference)
    except TooManyOrders as error:
        yield Finding(Fault.UNDECIDED, name, 0, str(error))
        return
    unanswered = replace(accused, returned=math.inf, answered=None)
    explained = explain([*rest, *([] if accused.asked.verb in READS else [unanswered])], reference)
    assert explained is not None, "what was answered before can be explained"
    last_change = max((each.called for each in rest), default=0.0)
    beside = [each for each in group if last_change < each.called < accused.returned and each not in (accused, *rest)]
    fitting = answers_that_fit(accused, explained.world, reference)
    lines = [
        "no order of the requests explains the answer to the last of these",
        *table([*rest, *beside[-MAX_BESIDE:], accused], beside),
        f"    without that answer: {', '.join(f'#{number}' for number in explained.order[-MAX_LINES:])} in this order; "
        f"then {told(explained.world)}",
        f"    and #{accused.number} might be answered: {' or '.join(fitting) or 'nothing'}",
    ]
    yield Finding(Fault.IMPOSSIBLE, accused.asked.session_id, 0, "\n".join(lines))


def shrink(group: Sequence[Operation], reference: Reference) -> tuple[Operation, list[Operation]]:
    """The first answer that no order explains, and what is needed of the rest for that to be so."""
    returns = sorted(each.returned for each in group if each.is_known)
    lowest, highest = 0, len(returns) - 1
    while lowest < highest:
        middle = (lowest + highest) // 2
        if explain(until(group, returns[middle]), reference) is None:
            highest = middle
        else:
            lowest = middle + 1
    kept = until(group, returns[lowest])
    accused = max((each for each in kept if each.is_known), key=lambda each: (each.returned, each.number))
    alone = [each for each in kept if each.asked.session_id == accused.asked.session_id]
    if all(each.asked.verb is not Verb.PASTE for each in alone) and explain(alone, reference) is None:
        kept = alone
    for operation in [*kept]:
        changes_nothing = operation.asked.verb in READS or (operation.answered and operation.answered.status >= 400)
        if operation is not accused and changes_nothing:
            fewer = [each for each in kept if each is not operation]
            with contextlib.suppress(TooManyOrders):
                if explain(fewer, reference) is None:
                    kept = fewer
    return accused, [each for each in kept if each is not accused]


def until(group: Sequence[Operation], moment: float) -> list[Operation]:
    """What was known at a moment: what had not returned by then may yet take effect."""
    return [
        each if each.returned <= moment else replace(each, returned=math.inf, answered=None)
        for each in group
        if each.called <= moment and (each.returned <= moment or each.asked.verb not in READS)
    ]


def table(operations: Sequence[Operation], beside: Sequence[Operation] = ()) -> Iterator[str]:
    """A line for each operation, in the order of their calls; times in milliseconds from the first.

    ``beside``: those that prove nothing and may tell how it came about; they are in brackets.
    """
    ordered = sorted(operations, key=lambda each: each.called)
    first, shown = ordered[0].called, ordered[-MAX_LINES:]
    if len(shown) < len(ordered):
        yield f"    ({len(ordered) - len(shown)} before)"
    for each in shown:
        start, end = (f"{1000 * (moment - first):.1f}" for moment in (each.called, each.returned))
        said = "no answer" if each.answered is None else str(each.answered)
        line = f"#{each.number} {start}-{end} replica {each.replica} {each.asked.session_id}: {each.asked} -> {said}"
        yield f"    ({line})" if each in beside else f"    {line}"


def told(world: World) -> str:
    """What is the case, in words."""
    return "; ".join(f"{name} is {session}" for name, session in world.sessions) or "no session is there"
