"""NVIDIA's client over HTTP: each of its calls, both encodings of tensors, compression, and its other two faces."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio

from ostinato import __version__
from tests.server import ServerProcess
from tests.triton_client.clients import Address, Answer, TritonAsync, refusal, tensors, texts
from tests.triton_client.test_sequences import numbers

pytestmark = pytest.mark.xdist_group("triton")

STEP = numbers(1, 2)


@pytest.fixture
def client(address: Address) -> Iterator[Any]:
    with triton.InferenceServerClient(address.http, concurrency=4) as made:
        yield made


def test_the_server_and_its_models_are_told(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("lstm")
    assert client.is_model_ready("lstm", "1")
    assert not client.is_model_ready("nobody")
    assert not client.is_model_ready("lstm", "9")
    server = client.get_server_metadata()
    assert (server["name"], server["version"]) == ("ostinato", __version__)
    assert {"sequence", "binary_tensor_data"} <= set(server["extensions"])
    told = client.get_model_metadata("lstm")
    assert told["inputs"] == [{"name": "inputs", "datatype": "FP32", "shape": [-1, -1, 3]}]
    assert told["outputs"] == [{"name": "outputs", "datatype": "FP32", "shape": [-1, -1, 1]}]
    assert told["versions"] == ["1"]
    assert client.get_model_metadata("speller")["inputs"][0]["datatype"] == "BYTES"


def test_the_configuration_has_what_a_sequence_needs(client: Any) -> None:
    told = client.get_model_config("lstm", "1")
    assert (told["name"], told["input"][0]["data_type"]) == ("lstm", "TYPE_FP32")
    assert {each["input_name"] for each in told["sequence_batching"]["state"]} == {"h", "c"}
    assert "sequence_batching" not in client.get_model_config("speller")


def test_statistics_count_requests(client: Any) -> None:
    def count() -> int:
        (told,) = client.get_inference_statistics("lstm")["model_stats"]
        assert (told["name"], told["version"]) == ("lstm", "1")
        return int(told["inference_stats"]["success"]["count"])

    # Those of other workers are published from time to time: what earlier tests did may come in meanwhile.
    before = count()
    client.infer("lstm", tensors(triton, STEP))
    assert count() > before
    names = {each["name"] for each in client.get_inference_statistics()["model_stats"]}
    assert {"lstm", "panel", "speller"} <= names


def test_the_index_lists_what_is_served(client: Any) -> None:
    index = client.get_model_repository_index()
    assert {"name": "lstm", "version": "1", "state": "READY"}.items() <= next(
        each for each in index if each["name"] == "lstm"
    ).items()


def test_what_is_not_there_is_404(client: Any) -> None:
    for ask in (
        lambda: client.get_model_metadata("nobody"),
        lambda: client.get_model_metadata("lstm", "9"),
        lambda: client.get_model_config("nobody"),
        lambda: client.get_inference_statistics("nobody"),
        lambda: client.infer("nobody", tensors(triton, STEP)),
        lambda: client.infer("lstm", tensors(triton, STEP), model_version="9"),
        lambda: client.infer("lstm", tensors(triton, STEP), model_version="x"),
    ):
        status, sentence = refusal(ask)
        assert status == "404", sentence
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
        assert status == "400", sentence
        assert len(sentence.split()) > 4


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({}, ["inputs"]),
        ({"wrong": STEP["inputs"]}, ["'wrong'", "'lstm'", "inputs"]),
        ({**STEP, "wrong": STEP["inputs"]}, ["'wrong'"]),
        ({"inputs": STEP["inputs"].astype(np.float64)}, ["'inputs'", "FP64", "FP32"]),
        ({"inputs": texts("a", "b").reshape(1, 2)}, ["'inputs'", "BYTES", "FP32"]),
        ({"inputs": np.zeros((1, 2, 4), np.float32)}, ["'inputs'", "[1, 2, 4]", "3"]),
        ({"inputs": np.full((1, 2, 3), np.nan, np.float32)}, ["inputs[0]"]),
        ({"inputs": np.full((1, 2, 3), np.inf, np.float32)}, ["inputs[0]"]),
        ({"inputs": np.zeros((1, 0, 3), np.float32)}, ["inputs"]),
        ({"inputs": np.zeros((0, 2, 3), np.float32)}, ["inputs"]),
        ({"inputs": np.zeros((1, 101, 3), np.float32)}, ["101", "100"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)
@pytest.mark.parametrize("options", [{}, {"sequence_id": "refused", "sequence_start": True}], ids=["whole", "step"])
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_inputs_that_are_none_are_refused_by_name(
    client: Any, inputs: Any, said: list[str], options: dict[str, Any], binary: bool
) -> None:
    given = tensors(triton, inputs, binary_data=binary)
    status, sentence = refusal(lambda: client.infer("lstm", given, **options))
    assert status == ("413" if "101" in said else "400"), sentence
    for word in said:
        assert word in sentence, sentence


def test_an_output_that_is_none_is_refused(client: Any) -> None:
    for output in (triton.InferRequestedOutput("nothing"), triton.InferRequestedOutput("outputs", class_count=2)):
        status, sentence = refusal(lambda output=output: client.infer("lstm", tensors(triton, STEP), outputs=[output]))  # type: ignore[misc]
        assert status == "400"
        assert "outputs" in sentence


@pytest.mark.parametrize("sequence_id", [-1, 2**64])
def test_a_number_that_is_no_id_is_refused(client: Any, sequence_id: int) -> None:
    options = {"sequence_id": sequence_id, "sequence_start": True}
    status, sentence = refusal(lambda: client.infer("lstm", tensors(triton, STEP), **options))
    assert status == "400"
    assert "sequence_id" in sentence


def test_priority_and_timeout_have_no_meaning(client: Any) -> None:
    plain = client.infer("lstm", tensors(triton, STEP)).as_numpy("outputs")
    made = client.infer("lstm", tensors(triton, STEP), priority=1, timeout=1, request_id="7", headers={"X-Any": "1"})
    assert made.as_numpy("outputs").tobytes() == plain.tobytes()
    assert made.get_response()["id"] == "7"


def test_outputs_come_in_binary_or_json_as_each_is_asked_for(client: Any) -> None:
    given = tensors(
        triton,
        {
            "load": np.ones((1, 2, 2), np.float32),
            "weekday": np.ones((1, 2), np.int64),
            "customer": np.ones((1, 3), np.float32),
            "region": np.ones((1,), np.int64),
        },
    )
    wanted = [
        triton.InferRequestedOutput("kind", binary_data=False),
        triton.InferRequestedOutput("summary", binary_data=True),
        triton.InferRequestedOutput("level", binary_data=False),
    ]
    result = client.infer("panel", given, outputs=wanted)
    outputs = {each["name"]: each for each in result.get_response()["outputs"]}
    assert set(outputs) == {"kind", "summary", "level"}
    assert outputs["kind"]["datatype"] == "INT64"
    assert ["data" in outputs[name] for name in ("kind", "summary", "level")] == [True, False, True]
    whole = client.infer("panel", given)
    for name in outputs:
        assert result.as_numpy(name).tobytes() == whole.as_numpy(name).tobytes()


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_bodies_may_be_compressed_both_ways(client: Any, algorithm: str, binary: bool) -> None:
    given = tensors(triton, numbers(*range(50)), binary_data=binary)
    outputs = [triton.InferRequestedOutput("outputs", binary_data=binary)]
    plain = client.infer("lstm", given, outputs=outputs).as_numpy("outputs")
    for options in (
        {"request_compression_algorithm": algorithm},
        {"response_compression_algorithm": algorithm},
        {"request_compression_algorithm": algorithm, "response_compression_algorithm": algorithm},
    ):
        made = client.infer("lstm", given, outputs=outputs, **options)
        assert made.as_numpy("outputs").tobytes() == plain.tobytes()
        status, _ = refusal(lambda options=options: client.infer("nobody", given, **options))  # type: ignore[misc]
        assert status == "404"


def test_words_are_json_as_the_client_writes_it(client: Any) -> None:
    given = tensors(triton, {"tokens": texts("dry", "snow").reshape(1, 2)}, binary_data=False)
    result = client.infer("weather", given)
    assert result.as_numpy("y").ravel().tolist() == [1, 0, 1]


def test_requests_may_be_under_way_at_once(client: Any) -> None:
    asked = [client.async_infer("lstm", tensors(triton, numbers(number))) for number in range(8)]
    made = [each.get_result().as_numpy("outputs").item() for each in asked]
    assert made == [client.infer("lstm", tensors(triton, numbers(n))).as_numpy("outputs").item() for n in range(8)]
    failed = client.async_infer("nobody", tensors(triton, STEP))
    assert refusal(failed.get_result)[0] == "404"


def test_the_client_for_event_loops_asks_all_there_is(address: Address) -> None:
    async def ask() -> None:
        async with triton_aio.InferenceServerClient(address.http) as client:
            assert await client.is_server_live()
            assert await client.is_model_ready("lstm")
            assert not await client.is_model_ready("nobody")
            assert (await client.get_model_config("lstm"))["name"] == "lstm"
            assert await client.get_model_repository_index()
            plain = Answer.of_http(await client.infer("lstm", tensors(triton, STEP)))
            for algorithm in ("gzip", "deflate"):
                made = await client.infer(
                    "lstm",
                    tensors(triton, STEP),
                    request_compression_algorithm=algorithm,
                    response_compression_algorithm=algorithm,
                )
                assert made.as_numpy("outputs").tobytes() == plain.outputs["outputs"].tobytes()
            with pytest.raises(triton_aio.InferenceServerException) as caught:
                await client.infer("nobody", tensors(triton, STEP), response_compression_algorithm="gzip")
            assert caught.value.status() == "404"

    asyncio.run(ask())


def test_v1_sees_and_ends_what_the_client_has_begun(address: Address, triton_server: ServerProcess) -> None:
    async def begin() -> Answer:
        async with TritonAsync(address, "http") as way:
            return await way.infer("lstm", STEP, sequence_id="seen", start=True)

    begun = asyncio.run(begin())
    with triton_server.client() as http:
        whole = http.post("/v1/models/lstm/predict", json={"sequences": [numbers(1, 2, 3)["inputs"][0].tolist()]})
        step = http.post("/v1/sessions/lstm:s:seen/step", json={"inputs": [[3.0] * 3], "seq": 2}).json()
        made = begun.outputs["outputs"].tobytes() + np.array(step["outputs"], np.float32).tobytes()
        assert made == np.array(whole.json()["outputs"][0], np.float32).tobytes()
        listed = http.get("/v1/sessions?model=lstm&limit=1000").json()["sessions"]
        assert {"session_id": "lstm:s:seen", "steps": 3}.items() <= next(
            each for each in listed if each["session_id"] == "lstm:s:seen"
        ).items()
        assert http.delete("/v1/sessions/lstm:s:seen").status_code == 204
