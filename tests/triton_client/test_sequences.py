"""Sequences by NVIDIA's client: each answers what one offline run answers, to the bit, whichever way it came."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from tests.server import ServerProcess
from tests.triton_client.clients import (
    WAYS,
    Address,
    Answer,
    TritonAsync,
    TritonGrpc,
    TritonHttp,
    TritonStream,
    refusal,
)
from tests.triton_client.sequences import MODELS, Piece, WholeSequence, play

pytestmark = pytest.mark.xdist_group("triton")

NUM_AT_ONCE = 64
NUM_THREADS = 8
OPTIONS: tuple[dict[str, Any], ...] = ({"start": True}, {"end": True}, {})


def numbers(*steps: float) -> dict[str, np.ndarray[Any, Any]]:
    """Steps of ``lstm``, each three times the number."""
    return {"inputs": np.repeat(np.array(steps, np.float32), 3).reshape(1, -1, 3)}


@pytest.mark.parametrize("model", MODELS)
def test_a_sequence_equals_one_offline_run(model: str, way: TritonHttp | TritonGrpc, triton_repository: Path) -> None:
    whole = WholeSequence(triton_repository, model, 1)
    play(way, whole, f"{type(way).__name__}, über 128 Zeichen: {'x' * 128}")
    whole.check()


def test_a_sequence_may_go_on_by_another_way(address: Address, triton_repository: Path) -> None:
    whole = WholeSequence(triton_repository, "lstm", 2, 40)
    ways = [kind(address) for kind in WAYS.values()]
    for piece in whole.pieces():
        with WAYS[list(WAYS)[piece.seq % len(WAYS)]](address) as way:
            options: dict[str, Any] = {"sequence_id": 17, "start": piece.is_first, "end": piece.is_last}
            whole.take(piece, way.infer("lstm", piece.inputs, **options))
    for way in ways:
        way.__exit__(None, None, None)
    whole.check()


def _ids(wholes: Sequence[WholeSequence], place: str) -> dict[int | str, WholeSequence]:
    """Numbers and texts, by turns; texts of digits among them."""
    offset = 1000 * (1 + sum(place.encode()))
    return {(offset + n if n % 2 else str(offset + n - 1)): whole for n, whole in enumerate(wholes)}


def _step_v1(server: ServerProcess, whole: WholeSequence) -> None:
    """The same sequence by the routes under ``/v1``."""
    with server.client() as http:
        answer = http.post("/v1/models/lstm/sessions", json={})
        name = answer.json()["session_id"]
        for piece in whole.pieces():
            body = {"inputs": piece.inputs["inputs"][0].tolist(), "seq": piece.seq}
            made = http.post(f"/v1/sessions/{name}/step", json=body).json()
            outputs = {"outputs": np.array([made["outputs"]], np.float32)}
            whole.take(piece, Answer(outputs, {"seq": made["seq"], "steps": made["steps"]}, "lstm", "1", ""))


def _by_threads(kind: Any, address: Address, wholes: dict[int | str, WholeSequence]) -> None:
    """Each of some clients has its share of the sequences under way, a request of one after one of another."""
    shares = [list(wholes.items())[first::NUM_THREADS] for first in range(NUM_THREADS)]

    def run(share: list[tuple[int | str, WholeSequence]]) -> None:
        with kind(address) as way:
            pieces = {name: whole.pieces() for name, whole in share}
            while pieces:
                for name, whole in share:
                    piece = next(pieces.get(name, iter(())), None)
                    if piece is None:
                        pieces.pop(name, None)
                        continue
                    options = {"sequence_id": name, "start": piece.is_first, "end": piece.is_last}
                    whole.take(piece, way.infer(whole.model, piece.inputs, **options))

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        list(pool.map(run, shares))


def _by_loop(over: str, address: Address, wholes: dict[int | str, WholeSequence]) -> None:
    async def run() -> None:
        async with TritonAsync(address, over) as way, asyncio.TaskGroup() as group:
            for name, whole in wholes.items():
                group.create_task(send(way, name, whole))

    async def send(way: TritonAsync, name: int | str, whole: WholeSequence) -> None:
        for piece in whole.pieces():
            options: dict[str, Any] = {"sequence_id": name, "start": piece.is_first, "end": piece.is_last}
            whole.take(piece, await way.infer(whole.model, piece.inputs, **options))

    asyncio.run(run())


def _in_stream(address: Address, wholes: dict[int | str, WholeSequence]) -> None:
    """All requests are sent before an answer is read: those of a sequence are answered in their order."""
    with TritonStream(address) as stream:
        waiting: list[tuple[WholeSequence, Piece, Future[Answer]]] = []
        pieces = {name: list(whole.pieces()) for name, whole in wholes.items()}
        for turn in range(max(map(len, pieces.values()))):
            for name, whole in wholes.items():
                for piece in pieces[name][turn : turn + 1]:
                    options: dict[str, Any] = {"sequence_id": name, "start": piece.is_first, "end": piece.is_last}
                    waiting.append((whole, piece, stream.send(whole.model, piece.inputs, **options)))
        for whole, piece, future in waiting:
            whole.take(piece, future.result(100))


ALL_AT_ONCE: dict[str, Any] = {
    "http-threads": lambda address, wholes: _by_threads(TritonHttp, address, wholes),
    "grpc-threads": lambda address, wholes: _by_threads(TritonGrpc, address, wholes),
    "http-loop": lambda address, wholes: _by_loop("http", address, wholes),
    "grpc-loop": lambda address, wholes: _by_loop("grpc", address, wholes),
    "stream": _in_stream,
}


@pytest.mark.parametrize("how", ALL_AT_ONCE)
def test_64_sequences_at_once_among_sessions_of_v1_equal_their_offline_runs(
    how: str, address: Address, triton_server: ServerProcess, triton_repository: Path
) -> None:
    models = ["lstm"] * 6 + ["panel", "frames"]
    wholes = [WholeSequence(triton_repository, models[n % 8], n) for n in range(NUM_AT_ONCE)]
    others = [WholeSequence(triton_repository, "lstm", n, 20) for n in range(4)]
    with ThreadPoolExecutor(len(others)) as pool:
        stepping = [pool.submit(_step_v1, triton_server, whole) for whole in others]
        ALL_AT_ONCE[how](address, _ids(wholes, how))
        for each in stepping:
            each.result()
    for whole in [*wholes, *others]:
        whole.check()


def test_numbers_and_texts_and_models_have_sequences_of_their_own(
    way: TritonHttp | TritonGrpc, triton_server: ServerProcess, triton_repository: Path
) -> None:
    keys: list[tuple[str, int | str]] = [("lstm", 5), ("lstm", "5"), ("frames", 5), ("frames", "5")]
    wholes = {(model, name): WholeSequence(triton_repository, model, n) for n, (model, name) in enumerate(keys, 40)}
    pieces = {key: list(whole.pieces()) for key, whole in wholes.items()}
    for turn in range(max(map(len, pieces.values()))):
        for (model, name), whole in wholes.items():
            for piece in pieces[model, name][turn : turn + 1]:
                whole.take(piece, way.infer(model, piece.inputs, sequence_id=name, start=piece.is_first))
    for whole in wholes.values():
        whole.check()
    with triton_server.client() as http:
        for model in ("lstm", "frames"):
            for name in (f"{model}:5", f"{model}:s:5"):
                looked = http.get(f"/v1/sessions/{name}").json()
                assert (looked["model"], looked["steps"]) == (model, 12)
                assert http.delete(f"/v1/sessions/{name}").status_code == 204


def test_the_largest_number_is_an_id(address: Address, triton_repository: Path) -> None:
    with TritonHttp(address) as way:
        whole = WholeSequence(triton_repository, "lstm", 50)
        play(way, whole, 2**64 - 1)
        whole.check()


def test_one_step_may_come_with_fewer_axes(way: TritonHttp | TritonGrpc) -> None:
    inputs = numbers(1, 2, 3)["inputs"]
    golden = way.infer("lstm", {"inputs": inputs}, sequence_id="axes", start=True).outputs["outputs"]
    first = way.infer("lstm", {"inputs": inputs[0, 0]}, sequence_id="axes", start=True).outputs["outputs"]
    rest = way.infer("lstm", {"inputs": inputs[0, 1:]}, sequence_id="axes", end=True).outputs["outputs"]
    assert (golden.shape, first.shape, rest.shape) == ((1, 3, 1), (1,), (2, 1))
    assert golden.tobytes() == first.tobytes() + rest.tobytes()


def test_start_on_a_live_sequence_begins_anew(way: TritonHttp | TritonGrpc) -> None:
    begun = way.infer("lstm", numbers(1, 2), sequence_id="anew", start=True)
    way.infer("lstm", numbers(3), sequence_id="anew")
    anew = way.infer("lstm", numbers(1, 2), sequence_id="anew", start=True)
    assert anew.outputs["outputs"].tobytes() == begun.outputs["outputs"].tobytes()
    assert (anew.parameters["seq"], anew.parameters["steps"]) == (0, 2)


def test_a_start_that_is_refused_leaves_the_sequence_as_it_was(way: TritonHttp | TritonGrpc) -> None:
    whole = way.infer("lstm", numbers(1, 2, 3), sequence_id="left", start=True).outputs["outputs"]
    way.infer("lstm", numbers(1, 2), sequence_id="left", start=True)
    wrong = {"inputs": np.zeros((1, 1, 3), np.float64)}
    for options in OPTIONS:
        _, sentence = refusal(partial(way.infer, "lstm", wrong, sequence_id="left", **options))
        assert all(word in sentence for word in ("inputs", "FP64", "FP32")), sentence
    after = way.infer("lstm", numbers(3), sequence_id="left", end=True)
    assert after.outputs["outputs"].tobytes() == whole[:, 2:].tobytes()
    assert after.parameters["steps"] == 3


def not_started(way: TritonHttp | TritonGrpc, **options: Any) -> str:
    """The sentence with which a step of ``lstm`` is refused that has no sequence."""
    status, sentence = refusal(lambda: way.infer("lstm", numbers(1), **options))
    assert status in ("400", "FAILED_PRECONDITION") or isinstance(way, TritonStream)
    assert "must specify the START flag on the first request of the sequence" in sentence
    return sentence


def test_a_step_of_a_sequence_that_did_not_start_is_refused(way: TritonHttp | TritonGrpc) -> None:
    assert "'nobody'" in not_started(way, sequence_id="nobody")
    assert "99" in not_started(way, sequence_id=99, end=True)


def test_end_closes_behind_the_step(way: TritonHttp | TritonGrpc, triton_server: ServerProcess) -> None:
    way.infer("lstm", numbers(1), sequence_id=70, start=True)
    assert way.infer("lstm", numbers(2), sequence_id=70, end=True).parameters["steps"] == 2
    assert "closed" in not_started(way, sequence_id=70)
    assert "closed" in not_started(way, sequence_id=70, end=True)
    assert triton_server.get("/v1/sessions/lstm:70").status_code == 410
    both = way.infer("lstm", numbers(1), sequence_id=70, start=True, end=True)
    assert both.parameters["steps"] == 1
    assert triton_server.get("/v1/sessions/lstm:70").status_code == 410


def test_an_end_without_steps_only_closes(way: TritonHttp | TritonGrpc, triton_server: ServerProcess) -> None:
    way.infer("lstm", numbers(1), sequence_id="bare", start=True)
    answer = way.infer("lstm", {"inputs": np.zeros((1, 0, 3), np.float32)}, sequence_id="bare", end=True)
    assert answer.outputs["outputs"].shape == (1, 0, 1)
    assert triton_server.get("/v1/sessions/lstm:s:bare").status_code == 410


def test_with_seq_a_step_may_be_sent_again_and_no_other_is_applied(way: TritonHttp | TritonGrpc) -> None:
    way.infer("lstm", numbers(1), sequence_id="again", start=True, seq=0)
    first = way.infer("lstm", numbers(2, 3), sequence_id="again", seq=1)
    again = way.infer("lstm", numbers(2, 3), sequence_id="again", seq=1)
    assert again.outputs["outputs"].tobytes() == first.outputs["outputs"].tobytes()
    assert again.parameters == first.parameters
    for seq, inputs in ((1, numbers(9, 9)), (0, numbers(1)), (4, numbers(4))):
        status, sentence = refusal(partial(way.infer, "lstm", inputs, sequence_id="again", seq=seq))
        assert status in ("409", "ABORTED") or isinstance(way, TritonStream)
        assert "3" in sentence
    assert way.infer("lstm", numbers(4), sequence_id="again", end=True, seq=3).parameters["steps"] == 4


def test_its_time_to_live_is_the_session_s(way: TritonHttp | TritonGrpc, triton_server: ServerProcess) -> None:
    way.infer("lstm", numbers(1), sequence_id="lives", start=True, ttl_seconds=0)
    assert triton_server.get("/v1/sessions/lstm:s:lives").json()["expires_at"] is None
    way.infer("lstm", numbers(1), sequence_id="lives", start=True, ttl_seconds=5000)
    assert triton_server.get("/v1/sessions/lstm:s:lives").json()["expires_at"] is not None
    _, sentence = refusal(lambda: way.infer("lstm", numbers(1), sequence_id="lives", ttl_seconds=1))
    assert "ttl_seconds" in sentence


def test_a_session_of_another_model_is_not_touched(way: TritonHttp | TritonGrpc, triton_server: ServerProcess) -> None:
    http: httpx2.Client
    with triton_server.client() as http:
        http.post("/v1/models/frames/sessions", json={"session_id": "lstm:s:theirs"})
        for options in OPTIONS:
            status, sentence = refusal(partial(way.infer, "lstm", numbers(1), sequence_id="theirs", **options))
            assert status in ("409", "ABORTED", "ALREADY_EXISTS") or isinstance(way, TritonStream)
            assert "frames" in sentence
        assert http.get("/v1/sessions/lstm:s:theirs").json()["steps"] == 0
        assert http.delete("/v1/sessions/lstm:s:theirs").status_code == 204
