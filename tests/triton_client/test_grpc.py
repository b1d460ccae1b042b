"""NVIDIA's client over gRPC: each of its calls, its stream, and the client for event loops."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio

from ostinato import __version__
from tests.triton_client.clients import Address, Answer, InferenceServerException, refusal, tensors, texts
from tests.triton_client.test_sequences import numbers
from tests.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.xdist_group("triton")

STEP = numbers(1, 2)


@pytest.fixture
def client(address: Address) -> Iterator[Any]:
    with triton.InferenceServerClient(address.grpc) as made:
        yield made


def test_the_server_and_its_models_are_told(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("lstm")
    assert client.is_model_ready("lstm", "1")
    assert not client.is_model_ready("nobody")
    assert not client.is_model_ready("lstm", "9")
    server = client.get_server_metadata()
    assert (server.name, server.version) == ("ostinato", __version__)
    assert {"sequence", "binary_tensor_data"} <= set(server.extensions)
    told = client.get_model_metadata("lstm")
    assert [(each.name, each.datatype, list(each.shape)) for each in told.inputs] == [("inputs", "FP32", [-1, -1, 3])]
    assert client.get_model_metadata("speller", as_json=True)["inputs"][0]["datatype"] == "BYTES"


def test_the_configuration_has_what_a_sequence_needs(client: Any) -> None:
    told = client.get_model_config("lstm", as_json=True)["config"]
    assert (told["name"], told["input"][0]["data_type"], told["input"][0]["dims"]) == ("lstm", "TYPE_FP32", ["-1", "3"])
    assert {each["input_name"] for each in told["sequence_batching"]["state"]} == {"h", "c"}
    assert not client.get_model_config("speller").config.HasField("sequence_batching")


def test_statistics_count_requests(client: Any) -> None:
    def count() -> int:
        (told,) = client.get_inference_statistics("lstm").model_stats
        assert (told.name, told.version) == ("lstm", "1")
        return int(told.inference_stats.success.count)

    before = count()
    client.infer("lstm", tensors(triton, STEP))
    assert count() == before + 1
    assert {"lstm", "panel", "speller"} <= {each.name for each in client.get_inference_statistics().model_stats}


def test_the_index_lists_what_is_served(client: Any) -> None:
    assert ("lstm", "1", "READY") in {
        (each.name, each.version, each.state) for each in client.get_model_repository_index().models
    }


def test_what_is_not_there_is_not_found(client: Any) -> None:
    for ask in (
        lambda: client.get_model_metadata("nobody"),
        lambda: client.get_model_metadata("lstm", "9"),
        lambda: client.get_model_config("nobody"),
        lambda: client.get_inference_statistics("nobody"),
        lambda: client.infer("nobody", tensors(triton, STEP)),
        lambda: client.infer("lstm", tensors(triton, STEP), model_version="9"),
    ):
        status, sentence = refusal(ask)
        assert status == "NOT_FOUND", sentence
        assert "nobody" in sentence or "lstm" in sentence


def test_what_is_not_offered_is_refused_in_a_sentence(client: Any) -> None:
    for ask in (
        lambda: client.load_model("lstm"),
        lambda: client.unload_model("lstm"),
        lambda: client.get_system_shared_memory_status(),
        lambda: client.register_system_shared_memory("region", "/region", 8),
        lambda: client.unregister_system_shared_memory(),
        lambda: client.get_cuda_shared_memory_status(),
        lambda: client.get_trace_settings(),
        lambda: client.update_trace_settings(None, {"trace_level": ["OFF"]}),
        lambda: client.get_log_settings(),
        lambda: client.update_log_settings({"log_verbose_level": 1}),
    ):
        status, sentence = refusal(ask)
        assert status == "UNIMPLEMENTED", sentence
        assert len(sentence.split()) > 4


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({}, ["inputs"]),
        ({"wrong": STEP["inputs"]}, ["'wrong'", "'lstm'", "inputs"]),
        ({"inputs": STEP["inputs"].astype(np.float64)}, ["'inputs'", "FP64", "FP32"]),
        ({"inputs": texts("a", "b").reshape(1, 2)}, ["'inputs'", "BYTES", "FP32"]),
        ({"inputs": np.zeros((1, 2, 4), np.float32)}, ["'inputs'", "[1, 2, 4]", "3"]),
        ({"inputs": np.full((1, 2, 3), np.nan, np.float32)}, ["inputs["]),
        ({"inputs": np.zeros((1, 0, 3), np.float32)}, ["inputs"]),
        ({"inputs": np.zeros((1, 101, 3), np.float32)}, ["101", "100"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)
@pytest.mark.parametrize("options", [{}, {"sequence_id": "refused", "sequence_start": True}], ids=["whole", "step"])
def test_inputs_that_are_none_are_refused_by_name(
    client: Any, inputs: Any, said: list[str], options: dict[str, Any]
) -> None:
    status, sentence = refusal(lambda: client.infer("lstm", tensors(triton, inputs), **options))
    assert status == ("RESOURCE_EXHAUSTED" if "101" in said else "INVALID_ARGUMENT"), sentence
    for word in said:
        assert word in sentence, sentence


def test_what_comes_with_a_request_has_no_other_effect(client: Any) -> None:
    plain = client.infer("lstm", tensors(triton, STEP)).as_numpy("outputs")
    for options in (
        {"priority": 1, "timeout": 1, "request_id": "7", "headers": {"x-any": "1"}},
        {"compression_algorithm": "gzip"},
        {"compression_algorithm": "deflate"},
        {"client_timeout": PATIENCE_SECONDS},
    ):
        made = client.infer("lstm", tensors(triton, STEP), **options)
        assert made.as_numpy("outputs").tobytes() == plain.tobytes()
        assert made.get_response().id == options.get("request_id", "")
    asked = client.infer("lstm", tensors(triton, STEP), outputs=[triton.InferRequestedOutput("outputs")])
    assert asked.as_numpy("outputs").tobytes() == plain.tobytes()


@pytest.mark.parametrize("sequence_id", [-1, -(2**63)])
def test_a_number_that_is_no_id_is_refused(client: Any, sequence_id: int) -> None:
    options = {"sequence_id": sequence_id, "sequence_start": True}
    status, sentence = refusal(lambda: client.infer("lstm", tensors(triton, STEP), **options))
    assert status == "INVALID_ARGUMENT"
    assert "sequence_id" in sentence


def test_requests_may_be_under_way_at_once(client: Any) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()

    def take(result: Any, error: Any) -> None:
        answers.put((result, error))

    for number in range(8):
        client.async_infer("lstm", tensors(triton, numbers(number)), take, request_id=str(number))
    made = [Answer.of_grpc(answers.get(timeout=PATIENCE_SECONDS)[0]) for _ in range(8)]
    for answer in made:
        alone = client.infer("lstm", tensors(triton, numbers(int(answer.id))))
        assert answer.outputs["outputs"].tobytes() == alone.as_numpy("outputs").tobytes()
    client.async_infer("nobody", tensors(triton, STEP), take)
    _, error = answers.get(timeout=PATIENCE_SECONDS)
    assert error.status() == "StatusCode.NOT_FOUND"


class Streaming:
    """A stream whose results and errors are taken one after the other. A context manager."""

    def __init__(self, client: Any, **options: Any) -> None:
        self._client, self._options = client, options
        self._taken: queue.Queue[tuple[Any, InferenceServerException | None]] = queue.Queue()

    def __enter__(self) -> Streaming:
        self._client.start_stream(lambda result, error: self._taken.put((result, error)), **self._options)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.stop_stream()

    def send(self, model: str, inputs: Any, **options: Any) -> None:
        """Put a request into it."""
        self._client.async_stream_infer(model, tensors(triton, inputs), **options)

    def next(self) -> tuple[Answer | None, InferenceServerException | None]:
        """The next result or error."""
        result, error = self._taken.get(timeout=PATIENCE_SECONDS)
        return None if result is None else Answer.of_grpc(result), error


@pytest.mark.parametrize("options", [{}, {"compression_algorithm": "gzip"}], ids=["plain", "gzip"])
def test_a_stream_goes_on_behind_what_it_refused(client: Any, options: dict[str, Any]) -> None:
    wrong = {"inputs": np.zeros((1, 1, 3), np.float64)}
    with Streaming(client, **options) as stream:
        for model, inputs, given in (
            ("nobody", STEP, {}),
            ("lstm", STEP, {"sequence_id": "not started"}),
            ("lstm", wrong, {"sequence_id": "wrong", "sequence_start": True}),
            ("lstm", STEP, {"model_version": "9"}),
        ):
            stream.send(model, inputs, request_id="refused", **given)
            answer, error = stream.next()
            assert answer is None
            assert error is not None
            assert len(error.message().split()) > 3
            assert error.status() is None  # it is of the request, and not of the stream
        stream.send("lstm", STEP, request_id="goes on")
        answer, error = stream.next()
        assert error is None
        assert answer is not None
        assert (answer.id, answer.parameters["triton_final_response"]) == ("goes on", True)


def test_the_last_answers_come_when_a_client_has_said_all(client: Any) -> None:
    taken: list[Any] = []
    client.start_stream(lambda result, error: taken.append((result, error)))
    for number in range(32):
        client.async_stream_infer(
            "lstm",
            tensors(triton, numbers(number)),
            request_id=str(number),
            sequence_id="last words",
            sequence_start=not number,
            sequence_end=number == 31,
        )
    client.stop_stream()
    answers = [Answer.of_grpc(result) for result, error in taken if error is None]
    assert [answer.id for answer in answers] == [str(number) for number in range(32)]
    assert [answer.parameters["steps"] for answer in answers] == list(range(1, 33))
    whole = client.infer("lstm", tensors(triton, numbers(*range(32)))).as_numpy("outputs")
    assert b"".join(answer.outputs["outputs"].tobytes() for answer in answers) == whole.tobytes()


def test_a_step_of_a_stream_that_was_cancelled_may_be_sent_again(client: Any) -> None:
    stream = Streaming(client)
    with stream:
        stream.send("lstm", numbers(1), sequence_id="cut", sequence_start=True)
        assert stream.next()[1] is None
        stream.send("lstm", numbers(2), sequence_id="cut", parameters={"seq": 1})
        client.stop_stream(cancel_requests=True)
    whole = client.infer("lstm", tensors(triton, numbers(1, 2))).as_numpy("outputs")
    given = tensors(triton, numbers(2))
    answer = Answer.of_grpc(client.infer("lstm", given, sequence_id="cut", sequence_end=True, parameters={"seq": 1}))
    assert answer.parameters["steps"] == 2
    assert answer.outputs["outputs"].tobytes() == whole[:, 1:].tobytes()


def test_a_stream_has_a_deadline_of_its_own(client: Any) -> None:
    with Streaming(client, stream_timeout=0.2) as stream:
        answer, error = stream.next()
        assert answer is None
        assert error is not None
        assert error.status() == "StatusCode.DEADLINE_EXCEEDED"


def test_the_client_for_event_loops_asks_and_streams(address: Address) -> None:
    async def requests() -> AsyncIterator[dict[str, Any]]:
        for number in range(8):
            yield {
                "model_name": "nobody" if number == 4 else "lstm",
                "inputs": tensors(triton, numbers(number)),
                "request_id": str(number),
                "sequence_id": 801,
                "sequence_start": not number,
                "sequence_end": number == 7,
            }

    async def ask() -> None:
        async with triton_aio.InferenceServerClient(address.grpc) as client:
            assert await client.is_server_ready()
            assert await client.is_model_ready("lstm")
            assert (await client.get_model_config("lstm", as_json=True))["config"]["name"] == "lstm"
            taken = [each async for each in client.stream_infer(requests())]
            answers = [Answer.of_grpc(result) for result, error in taken if error is None]
            errors = [error for _, error in taken if error is not None]
            assert [each.id for each in answers] == list("0123567")
            assert len(errors) == 1
            whole = await client.infer("lstm", tensors(triton, numbers(0, 1, 2, 3, 5, 6, 7)))
            made = b"".join(each.outputs["outputs"].tobytes() for each in answers)
            assert made == whole.as_numpy("outputs").tobytes()
            with pytest.raises(InferenceServerException) as caught:
                await client.infer("nobody", tensors(triton, STEP))
            assert caught.value.status() == "StatusCode.NOT_FOUND"

    asyncio.run(ask())
