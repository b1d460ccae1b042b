"""The driver: keeps many sessions stepping, each in its own way, whatever happens to the service meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from types import MappingProxyType, TracebackType

import numpy as np

from tests.faults.chunk import Answer, Chunk, NotAnswered, Refused, Steps
from tests.faults.http_sender import HttpSender
from tests.faults.judge import (
    Fault,
    Finding,
    judge_again,
    judge_answer,
    judge_outputs,
    judge_refusal,
    judge_steps,
)
from tests.faults.ledger import Ledger
from tests.faults.retries import GaveUp, Retries
from tests.faults.script import CHUNK_STEPS, Script
from tests.faults.sequence_sender import SequenceSender, sequence_name
from tests.faults.stream_sender import StreamSender

Way = Callable[[Ledger, Chunk], Awaitable[Answer]]
"""How a session's chunks are sent and sent again until one is answered; raises Refused or GaveUp."""

MAX_THINK_SECONDS, QUICK_THINK_SECONDS = 0.05, 0.2
"""Between two chunks of a session. In a short run processes that start are waited for most of the time, and would be
kept from it.
"""
DOUBLED_SHARE = 0.1
FLOW_SECONDS = 90.0


class Driver:
    """Sessions of one model that are stepped until ``stop``. A context manager.

    Of eight sessions one goes over a WebSocket stream, one in messages of one step for each of many sessions, one has
    two writers that both send every chunk until it is answered, two are sequences of the Open Inference Protocol, one
    of them over gRPC, and three are plain; of their chunks some are sent twice at once.

    Args:
        urls: the replicas; each request goes to a random one.
        grpc_addresses: where each of them speaks gRPC; empty = none does, and HTTP takes its place.
        seed: of what is sent.
        attempt_seconds: how long an answer may take before the request is sent again.
        think_seconds: how long a session waits between two chunks, at most.
    """

    def __init__(
        self,
        urls: Sequence[str],
        model: str,
        num_features: int,
        num_sessions: int,
        seed: int,
        *,
        attempt_seconds: float,
        think_seconds: float = MAX_THINK_SECONDS,
        grpc_addresses: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._random = random.Random(seed)
        self._think_seconds = think_seconds
        self._retries = Retries(urls, self._random, attempt_seconds=attempt_seconds)
        names = [f"fault-{seed}-{number}" for number in range(num_sessions)]
        sequences = self._send_as_sequence, self._send_by_grpc if grpc_addresses else self._send_as_sequence
        self._ways: list[Way | None] = [self._send_in_stream, None, self._send_by_two_writers, *sequences]
        self._ways += [self._send] * 3
        self._ledgers = [
            Ledger(sequence_name(model, name) if self._ways[number % len(self._ways)] in sequences else name)
            for number, name in enumerate(names)
        ]
        self._sequences = SequenceSender(model, self._random, grpc_addresses)
        self._seed, self._num_features = seed, num_features
        self._http, self._streams = HttpSender(model, self._random), StreamSender(model)
        self._exits = AsyncExitStack()
        self._players: list[asyncio.Task[None]] = []
        self._second_sends: set[asyncio.Task[None]] = set()
        self._is_stopping = False
        self.findings: list[Finding] = []

    def __repr__(self) -> str:
        return f"<Driver of {len(self._ledgers)} sessions, {self.num_steps} steps acknowledged>"

    async def __aenter__(self) -> Driver:
        await self._exits.enter_async_context(self._http)
        await self._exits.enter_async_context(self._streams)
        await self._exits.enter_async_context(self._sequences)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in [*self._players, *self._second_sends]:
            task.cancel()
        await asyncio.gather(*self._players, *self._second_sends, return_exceptions=True)
        await self._exits.aclose()

    @property
    def session_ids(self) -> list[str]:
        """Of the sessions that were opened."""
        return [ledger.session_id for ledger in self._ledgers if ledger.is_open]

    @property
    def num_chunks(self) -> int:
        """Acknowledged chunks."""
        return sum(ledger.num_chunks for ledger in self._ledgers)

    @property
    def num_steps(self) -> int:
        """Acknowledged steps."""
        return sum(ledger.steps for ledger in self._ledgers)

    @property
    def num_retries(self) -> int:
        """Requests that were sent again because they had not been answered."""
        return self._retries.num_retries

    @property
    def num_answers_again(self) -> int:
        """Answers to chunks that had been answered before."""
        return sum(ledger.num_answers_again for ledger in self._ledgers)

    def start(self) -> None:
        """Open the sessions and begin to step them."""
        together: list[tuple[Ledger, Script]] = []
        for number, ledger in enumerate(self._ledgers):
            way = self._ways[number % len(self._ways)]
            if way is None:
                together.append((ledger, self._script(number, chunk_steps=(1,))))
            else:
                self._players.append(asyncio.create_task(self._play(ledger, self._script(number), way)))
        if together:
            self._players.append(asyncio.create_task(self._play_together(together)))

    async def flow(self, num_chunks: int) -> bool:
        """Wait until so many further chunks have been acknowledged; False = no session is stepped any longer."""
        target = self.num_chunks + num_chunks
        async with asyncio.timeout(FLOW_SECONDS):
            while self.num_chunks < target:
                if all(player.done() for player in self._players):
                    return False
                await asyncio.sleep(0.005)
        return True

    async def stop(self) -> None:
        """Send no new chunks, and wait until those under way are answered."""
        self._is_stopping = True
        await asyncio.gather(*self._players)
        await asyncio.gather(*self._second_sends)

    async def check(self, offline: Callable[[Steps], Steps]) -> None:
        """Ask every replica for each session's steps, step it once more through each, and compare with offline runs."""
        suspects = {finding.session_id for finding in self.findings}
        sound = [ledger for ledger in self._ledgers if ledger.is_open and ledger.session_id not in suspects]
        await asyncio.gather(*map(self._check_steps, sound))
        for ledger in self._ledgers:
            self.findings += judge_outputs(ledger, offline)

    async def _check_steps(self, ledger: Ledger) -> None:
        nothing = ledger.next(np.empty((0, self._num_features), np.float32))
        for url in self._retries.urls:
            look = partial(self._http.steps, session_id=ledger.session_id)
            try:
                steps = await self._retries.until_answered(look, url)
            except (Refused, GaveUp) as error:
                self._take_failure(nothing, error)
                return
            if found := list(judge_steps(ledger, steps, "a look at the session")):
                self.findings += found
                return
        script = self._script(len(self._ledgers) + self._ledgers.index(ledger))
        for url in self._retries.urls:
            if not await self._step(ledger, script.next_chunk(), partial(self._send_to, url)):
                return

    def _script(self, number: int, chunk_steps: tuple[int, ...] = CHUNK_STEPS) -> Script:
        return Script(self._seed, number, self._num_features, chunk_steps)

    async def _play(self, ledger: Ledger, script: Script, way: Way) -> None:
        """Step a session until ``stop``, or until a fault is found."""
        goes_on = await self._open(ledger)
        while goes_on and not self._is_stopping:
            goes_on = await self._step(ledger, script.next_chunk(), way)
            await self._think()

    async def _play_together(self, members: list[tuple[Ledger, Script]]) -> None:
        """Step many sessions in messages of one step for each."""
        members = [member for member in members if await self._open(member[0])]
        while members and not self._is_stopping:
            chunks = [ledger.next(script.next_chunk()) for ledger, script in members]
            try:
                answers = await self._retries.until_answered(partial(self._send_together, chunks=chunks))
            except Refused as refused:
                self._take_failure(chunks[refused.row], refused)
                members.pop(refused.row)
                members = await self._step_alone(members, chunks[: refused.row] + chunks[refused.row + 1 :])
                continue
            except GaveUp as error:
                for chunk in chunks:
                    self._take_failure(chunk, error)
                return
            members = [
                member
                for member, chunk, answer in zip(members, chunks, answers, strict=True)
                if self._take(member[0], chunk, answer)
            ]
            await self._think()

    async def _step_alone(
        self, members: list[tuple[Ledger, Script]], chunks: list[Chunk]
    ) -> list[tuple[Ledger, Script]]:
        """Bring the rest of a message to its end, whose one row was refused; returns those that go on."""
        pairs = zip(members, chunks, strict=True)
        return [member for member, chunk in pairs if await self._step(member[0], chunk.inputs, self._send)]

    async def _open(self, ledger: Ledger) -> bool:
        try:
            await self._retries.until_answered(partial(self._http.open, session_id=ledger.session_id))
        except (Refused, GaveUp) as error:
            self.findings.append(Finding(Fault.FAILED, ledger.session_id, 0, f"it could not be opened: {error}"))
            return False
        ledger.is_open = True
        return True

    async def _think(self) -> None:
        await asyncio.sleep(self._random.uniform(0, self._think_seconds))

    async def _step(self, ledger: Ledger, inputs: Steps, way: Way) -> bool:
        """Send a session's next chunk until it is answered; False = a fault was found, and the session is left."""
        chunk = ledger.next(inputs)
        try:
            answer = await way(ledger, chunk)
        except (Refused, GaveUp) as error:
            self._take_failure(chunk, error)
            return False
        return self._take(ledger, chunk, answer)

    def _take(self, ledger: Ledger, chunk: Chunk, answer: Answer) -> bool:
        found = list(judge_answer(chunk, answer))
        self.findings += found
        if not found:
            ledger.acknowledge(chunk, answer)
        return not found

    def _take_failure(self, chunk: Chunk, error: Refused | GaveUp) -> None:
        if isinstance(error, Refused):
            self.findings.append(judge_refusal(chunk, error))
        else:
            self.findings.append(Finding(Fault.FAILED, chunk.session_id, chunk.seq, str(error)))

    async def _send_to(self, url: str, _: Ledger, chunk: Chunk) -> Answer:
        return await self._retries.until_answered(partial(self._http.step, chunk=chunk), url)

    async def _send_in_stream(self, _: Ledger, chunk: Chunk) -> Answer:
        return await self._retries.until_answered(partial(self._streams.step, chunk=chunk))

    async def _send_as_sequence(self, _: Ledger, chunk: Chunk) -> Answer:
        return await self._retries.until_answered(partial(self._sequences.step, chunk=chunk))

    async def _send_by_grpc(self, _: Ledger, chunk: Chunk) -> Answer:
        return await self._retries.until_answered(partial(self._sequences.step_by_grpc, chunk=chunk))

    async def _send_together(self, url: str, chunks: list[Chunk]) -> list[Answer]:
        return await self._http.step_many(url, chunks, in_arrow=self._random.random() < 0.5)

    async def _send_by_two_writers(self, ledger: Ledger, chunk: Chunk) -> Answer:
        """By two who know nothing of each other; both have to be answered, and alike."""
        step = partial(self._http.step, chunk=chunk)
        writers = [self._retries.until_answered(step) for _ in range(2)]
        first, second = await asyncio.gather(*writers, return_exceptions=True)
        if isinstance(first, BaseException):
            raise first
        if isinstance(second, BaseException):
            raise second
        self._take_again(ledger, chunk, first, second)
        return first

    async def _send(self, ledger: Ledger, chunk: Chunk) -> Answer:
        """Over HTTP; now and then twice at once, and the session goes on with whichever answer was waited for."""
        step = partial(self._http.step, chunk=chunk)
        if self._random.random() >= DOUBLED_SHARE:
            return await self._retries.until_answered(step)
        first: asyncio.Future[Answer] = asyncio.ensure_future(self._retries.until_answered(step))
        second = asyncio.create_task(self._send_again(ledger, chunk, first))
        self._second_sends.add(second)
        second.add_done_callback(self._second_sends.discard)
        return await first

    async def _send_again(self, ledger: Ledger, chunk: Chunk, first: asyncio.Future[Answer]) -> None:
        try:
            answer = await self._retries.once(partial(self._http.step, chunk=chunk))
        except NotAnswered:
            return
        except Refused as refused:
            # It may arrive when the session has gone on; then it is a conflict, and nothing else.
            if refused.code != "seq_conflict":
                self._take_failure(chunk, refused)
            return
        await asyncio.wait([first])
        if not first.cancelled() and first.exception() is None:
            self._take_again(ledger, chunk, first.result(), answer)

    def _take_again(self, ledger: Ledger, chunk: Chunk, first: Answer, again: Answer) -> None:
        ledger.num_answers_again += 1
        self.findings += judge_again(chunk, first, again)
