"""Exchange of a request for its outcome, as a plan: it says what to send and how long to wait, and is told what came
of it. It knows no network, so a client that blocks and one that does not carry out the same plan.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from ostinato.client.addresses import shown
from ostinato.client.keys import FILE_VARIABLE, VARIABLE
from ostinato.client.retry import Lost, Outcome, RetryPolicy, ServiceAnswer, Verdict, judge
from ostinato.errors import SeqConflict, ServiceError, ServiceUnreachable, TimeConflict, UnexpectedAnswer

Result = TypeVar("Result")


@dataclass(frozen=True)
class ClientRequest:
    """What is asked of the service.

    Attributes:
        method: of HTTP; or ``CONNECT`` for a stream's handshake and ``FRAME`` for a frame of it.
        path: with its query; none in a frame.
        body: as bytes.
        media_type: of the body.
        may_repeat: whether retrying it is harmless where it was applied.
    """

    method: str
    path: str
    body: bytes = field(default=b"", repr=False)
    media_type: str = "application/json"
    may_repeat: bool = True


@dataclass(frozen=True)
class Send:
    """Send a request to a base URL, once; its outcome is the reply."""

    request: ClientRequest
    url: str


@dataclass(frozen=True)
class Pause:
    """Wait; there is no reply."""

    seconds: float


CONNECT = "CONNECT"
FRAME = "FRAME"
UNAUTHENTICATED = 401

Effect = Send | Pause
Plan = Generator[Effect, Outcome | None, Result]
"""What to do next, until there is a result."""


@dataclass(frozen=True)
class Settled:
    """The answer that stands; ``may_be_a_repeat``: an earlier attempt may have been applied before this one."""

    answer: ServiceAnswer
    may_be_a_repeat: bool


class Exchanges:
    """Makes plans.

    Args:
        urls: of replicas that share a store; each attempt goes to the next.
        choose: picks the URL of an attempt, in place of that.
        clock: seconds that only grow.
        chance: a number from [0, 1).
    """

    def __init__(
        self,
        urls: Sequence[str],
        policy: RetryPolicy,
        *,
        choose: Callable[[Sequence[str]], str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._urls = tuple(urls)
        self._policy = policy
        turns = itertools.cycle(self._urls)
        self._choose = choose or (lambda _: next(turns))
        self._clock = clock
        self._chance = chance
        self._was_reached = False

    def pinned(self, url: str) -> Exchanges:
        """The same with one URL."""
        return Exchanges((url,), self._policy, clock=self._clock, chance=self._chance)

    def settle(self, request: ClientRequest) -> Plan[Settled]:
        """Send a request until it has its final answer, which may be a refusal.

        Raises:
            ServiceUnreachable: there was no answer, and retrying it is not safe or did not help.
        """
        began_at = self._clock()
        may_be_a_repeat = False
        num_attempts = 0
        while True:
            outcome = yield Send(request, self._choose(self._urls))
            assert outcome is not None
            num_attempts += 1
            self._was_reached |= not (isinstance(outcome, Lost) and outcome.nobody_listens)
            pause_seconds = self._policy.pause_seconds(
                outcome,
                may_repeat=request.may_repeat,
                may_be_there=self._was_reached or num_attempts < len(self._urls),
                num_attempts=num_attempts,
                elapsed_seconds=self._clock() - began_at,
                chance=self._chance(),
            )
            if pause_seconds is None and isinstance(outcome, Lost):
                raise ServiceUnreachable(
                    f"no service answers at {shown(outcome.where)} ({outcome.reason}); 'ostinato serve' starts one"
                )
            if pause_seconds is None:
                assert isinstance(outcome, ServiceAnswer)
                return Settled(outcome, may_be_a_repeat)
            may_be_a_repeat |= judge(outcome) is Verdict.UNKNOWN
            yield Pause(pause_seconds)

    def ask(self, request: ClientRequest) -> Plan[ServiceAnswer]:
        """Send a request until it has its final answer.

        Raises:
            ServiceError: the service refused it.
            ServiceUnreachable.
        """
        settled = yield from self.settle(request)
        return accepted(settled.answer)


def accepted(answer: ServiceAnswer) -> ServiceAnswer:
    """An answer that is no refusal.

    Raises:
        ServiceError: it is one; SeqConflict where it says how many steps the session has, TimeConflict where it
            says when its last was; UnexpectedAnswer where it is not in the service's words.
    """
    if answer.is_success:
        return answer
    problem = answer.members or {}
    if "detail" not in problem or not answer.code:
        raise unexpected(answer, "it is a refusal without a reason")
    place = f" (at {problem['field']})" if "field" in problem else ""
    hint = "" if answer.status != UNAUTHENTICATED else f"; a client takes it from {VARIABLE} or {FILE_VARIABLE}"
    detail = f"{problem['detail']}{place}{hint} [{answer.status} {answer.code}]"
    request_id = str(problem.get("request_id", ""))
    if isinstance(expected_seq := problem.get("expected_seq"), int):
        stands = map(problem.get, ("source", "offset", "last_seq"))
        raise SeqConflict(detail, answer.status, answer.code, expected_seq, request_id, *stands)
    if answer.code == "time_conflict":
        last_at, expected_at = problem.get("last_at"), problem.get("expected_at")
        raise TimeConflict(detail, answer.status, answer.code, last_at, expected_at, request_id)
    raise ServiceError(detail, answer.status, answer.code, request_id)


def unexpected(answer: ServiceAnswer, why: str) -> UnexpectedAnswer:
    """What to raise where an answer is none to what was asked; its connection is not asked again, for the next answer
    there may be another's as well.
    """
    if answer.hang_up is not None:
        answer.hang_up()
    where = f"{shown(answer.where)}: " if answer.where else ""
    detail = f"{where}an answer ({answer.status}) that is none to what was asked: {why}; is this the service?"
    return UnexpectedAnswer(detail, answer.status)


class CarryOut(Protocol):
    """Carries a plan out."""

    def __call__(self, plan: Plan[Result], /) -> Result:  # noqa: D102
        ...


class CarryOutAsync(Protocol):
    """Carries a plan out while others work."""

    async def __call__(self, plan: Plan[Result], /) -> Result:  # noqa: D102
        ...


def carry_out(plan: Plan[Result], send: Callable[[Send], Outcome], sleep: Callable[[float], object]) -> Result:
    """Do what a plan says, and wait for it."""
    reply: Outcome | None = None
    while True:
        try:
            effect = plan.send(reply)
        except StopIteration as end:
            result: Result = end.value
            return result
        reply = None
        if isinstance(effect, Pause):
            sleep(effect.seconds)
        else:
            reply = send(effect)


async def carry_out_async(
    plan: Plan[Result], send: Callable[[Send], Awaitable[Outcome]], sleep: Callable[[float], Awaitable[Any]]
) -> Result:
    """Do what a plan says, and let others work meanwhile."""
    reply: Outcome | None = None
    while True:
        try:
            effect = plan.send(reply)
        except StopIteration as end:
            result: Result = end.value
            return result
        reply = None
        if isinstance(effect, Pause):
            await sleep(effect.seconds)
        else:
            reply = await send(effect)
