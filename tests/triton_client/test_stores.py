"""Sequences by NVIDIA's client while servers are killed: over ``lmdb``, and over Redis between two replicas."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from geventhttpclient.response import HTTPParseError

from tests.redis_server import RedisServer
from tests.server import ServerProcess, free_port, running_server
from tests.triton_client.clients import (
    Address,
    Answer,
    InferenceServerException,
    TritonGrpc,
    TritonHttp,
    TritonStream,
    address_of,
    refusal,
)
from tests.triton_client.sequences import WholeSequence
from tests.waiting import PATIENCE_SECONDS, POLL_SECONDS, until

pytestmark = pytest.mark.xdist_group("triton")

KINDS: tuple[Callable[[Address], TritonGrpc | TritonHttp], ...] = (TritonHttp, TritonGrpc, TritonStream)
MODELS = ("lstm", "lstm", "panel", "frames")
NUM_SEQUENCES = 12
AGAIN = ("UNAVAILABLE", "503")
"""Statuses of what was not answered, and may be sent again."""
STREAM_ENDED = "The stream is no longer in valid state"


class Persistent:
    """A client that sends a request with its ``seq`` until it is answered, by any way and to any server.

    Args:
        seed: of which.
    """

    def __init__(self, addresses: Sequence[Address], seed: int) -> None:
        self._addresses, self._random = addresses, random.Random(seed)
        self._exits = contextlib.ExitStack()
        self._ways: dict[tuple[Address, int], TritonGrpc | TritonHttp] = {}
        self._stop = threading.Event()

    def __enter__(self) -> Persistent:
        return self

    def __exit__(self, *_: object) -> None:
        for key in list(self._ways):
            self._leave(key)

    def infer(self, model: str, inputs: Any, **options: Any) -> tuple[Answer, int]:
        """The answer, and how many attempts it took.

        Raises:
            InferenceServerException: a refusal; its ``args`` end with the number of attempts.
        """
        attempts = 0
        while True:
            attempts += 1
            assert attempts * POLL_SECONDS < PATIENCE_SECONDS, "there was no answer"
            key = self._random.choice(self._addresses), self._random.randrange(len(KINDS))
            try:
                if key not in self._ways:
                    self._ways[key] = KINDS[key[1]](key[0])
                return self._ways[key].infer(model, inputs, **options), attempts
            except InferenceServerException as error:
                status = str(error.status() or "").removeprefix("StatusCode.")
                if status not in AGAIN and STREAM_ENDED not in error.message():
                    error.args = (*error.args, attempts)
                    raise
            except (OSError, HTTPParseError):  # of a connection that is refused, or cut within an answer
                pass
            self._leave(key)
            self._stop.wait(POLL_SECONDS)

    def _leave(self, key: tuple[Address, int]) -> None:
        way = self._ways.pop(key, None)
        if way is not None:
            way.__exit__(InferenceServerException, None, None)


class Run:
    """Sequences that are sent at once, each by a thread, while something happens.

    Those with an odd number end with an END, which may be acknowledged by no answer: then it is refused, since the
    sequence is closed.

    Attributes:
        num_answers: how many requests have been answered.
    """

    def __init__(self, addresses: Sequence[Address], repository: Path) -> None:
        self._addresses = addresses
        self.wholes = [WholeSequence(repository, MODELS[n % len(MODELS)], n, 40) for n in range(NUM_SEQUENCES)]
        self.lost_ends: dict[int, int] = {}
        self.num_answers = 0
        self._pool = ThreadPoolExecutor(NUM_SEQUENCES)
        self._sending = [self._pool.submit(self._send, number) for number in range(NUM_SEQUENCES)]

    def is_under_way(self, num_answers: int) -> bool:
        """Whether so many requests were answered; fails if a sequence has."""
        for each in self._sending:
            if each.done():
                each.result()
        return self.num_answers >= num_answers

    @property
    def is_over(self) -> bool:
        """Whether all was sent."""
        return all(each.done() for each in self._sending)

    def finish(self) -> None:
        """Wait for the end of all, and hold each to its offline run."""
        for each in self._sending:
            each.result()
        self._pool.shutdown()
        for number, whole in enumerate(self.wholes):
            lost = {self.lost_ends[number]} if number in self.lost_ends else set()
            whole.check(but=frozenset(lost))

    def _send(self, number: int) -> None:
        whole = self.wholes[number]
        with Persistent(self._addresses, number) as client:
            for piece in whole.pieces():
                options = {"sequence_id": name_of(number), "start": piece.is_first, "seq": piece.seq}
                ends = bool(number % 2) and piece.is_last
                try:
                    answer, _ = client.infer(whole.model, piece.inputs, end=ends, **options)
                except InferenceServerException as error:
                    if not ends or error.args[-1] == 1 or "closed" not in error.message():
                        raise
                    self.lost_ends[number] = piece.seq
                    return
                whole.take(piece, answer)
                self.num_answers += 1


def name_of(number: int) -> int | str:
    """A number or a text."""
    return f"survivor {number}" if number % 3 else 7000 + number


def check_nothing_was_applied_twice(server: ServerProcess, address: Address, run: Run) -> None:
    """The sessions have the steps that were sent; what is sent again is not applied, and what has ended is closed."""
    with server.client() as http, TritonHttp(address) as way:
        live = {each["session_id"]: each["steps"] for each in http.get("/v1/sessions?limit=1000").json()["sessions"]}
        for number, whole in enumerate(run.wholes):
            *_, last = whole.pieces()
            name = name_of(number)
            options: dict[str, Any] = {"sequence_id": name, "seq": last.seq}
            session_id = next((each for each in live if each.endswith(f":{name}")), None)
            if number % 2:
                assert session_id is None
                _, sentence = refusal(partial(way.infer, whole.model, last.inputs, end=True, **options))
                assert "closed" in sentence
                continue
            if isinstance(name, int):
                assert live[f"{whole.model}:{name}"] == whole.num_steps
            whole.take(last, way.infer(whole.model, last.inputs, **options))
            assert way.infer(whole.model, last.inputs, end=True, **options).parameters["steps"] == whole.num_steps


def test_over_lmdb_sequences_outlive_a_kill(
    triton_server: ServerProcess, address: Address, triton_repository: Path
) -> None:
    run = Run([address], triton_repository)
    until(lambda: run.is_under_way(4 * NUM_SEQUENCES), "the answers before the kill")
    triton_server.kill()
    assert not run.is_over
    triton_server.start()
    triton_server.wait_until_ready()
    run.finish()
    check_nothing_was_applied_twice(triton_server, address, run)


@pytest.fixture(scope="module")
def replicas(triton_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ServerProcess]]:
    """Two servers over one Redis."""
    with contextlib.ExitStack() as exits:
        redis = exits.enter_context(RedisServer())
        yield [
            exits.enter_context(
                running_server(
                    triton_repository,
                    tmp_path_factory.mktemp(f"replica-{number}"),
                    state=redis.url,
                    grpc_port=free_port(),
                    max_chunk_steps=100,
                )
            )
            for number in range(2)
        ]


def test_over_redis_sequences_go_on_at_another_replica_when_theirs_is_killed(
    replicas: list[ServerProcess], triton_repository: Path
) -> None:
    first, second = replicas
    addresses = [address_of(each) for each in replicas]
    run = Run(addresses, triton_repository)
    until(lambda: run.is_under_way(4 * NUM_SEQUENCES), "the answers before the kill")
    second.kill()
    assert not run.is_over
    run.finish()
    check_nothing_was_applied_twice(first, addresses[0], run)
