"""Outputs from a real server: text, codes and numbers, at once, in events and by BentoML; the same to the bit alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import numpy as np
import pytest

from tests import generation_networks as networks
from tests.conftest import PutNetworks
from tests.server import LIMITS, ServerProcess, running_server
from tests.waiting import until

# One process runs these, since they share what takes long to start.
pytestmark = pytest.mark.xdist_group("generating")


@pytest.fixture(scope="module")
def generating(tmp_path_factory: pytest.TempPathFactory, put_networks: PutNetworks) -> Iterator[ServerProcess]:
    """A server with one model of each kind that generates."""
    repository = tmp_path_factory.mktemp("generating")
    put_networks(
        repository,
        networks.export_attention_speller,
        networks.export_context_speller,
        networks.export_letter_model,
        networks.export_hours_ahead,
        networks.export_captioner,
        networks.export_gazer,
        networks.export_streaming_forecaster,
    )
    with running_server(repository, tmp_path_factory.mktemp("server"), max_output_steps=60) as running:
        yield running


@pytest.fixture
def http(generating: ServerProcess) -> Iterator[httpx2.Client]:
    with generating.client() as client:
        yield client


def generate(http: httpx2.Client, model: str, **body: Any) -> dict[str, Any]:
    answer = http.post(f"/v1/models/{model}/generate", json=body)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def refused(http: httpx2.Client, model: str, **body: Any) -> tuple[int, str, str]:
    content = http.post(f"/v1/models/{model}/generate", json=body).json()
    return content["status"], content["code"], content["detail"]


def lanes(http: httpx2.Client) -> float:
    """The gauge of lanes, over all models."""
    lines = http.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("ostinato_generation_lanes{"))


def events(http: httpx2.Client, model: str, **body: Any) -> list[tuple[str, Any]]:
    with http.stream("POST", f"/v1/models/{model}/generate", json={**body, "stream": True}) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        text = answer.read().decode()
    pairs = [block.split("\n") for block in text.strip().split("\n\n")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in pairs]


def test_text_comes_back_as_text_and_codes_as_codes(http: httpx2.Client) -> None:
    text = generate(http, "speller", inputs=["abc", "Hello"], return_log_probs=True)
    codes = generate(http, "speller", inputs=[[0, 1, 2], [7, 4, 11, 11, 14]])
    symbols = networks.SOUNDS.symbols
    assert [" ".join(symbols[code] for code in output) for output in codes["outputs"]] == text["outputs"]
    assert codes["scores"] == text["scores"]
    assert [sum(each) for each in text["log_probs"]] == pytest.approx(text["scores"])
    assert set(text["finish_reasons"]) <= {"stop", "length"}


@pytest.mark.parametrize("place", [0, 3, 7])
def test_an_unknown_character_is_named_with_its_position(http: httpx2.Client, place: int) -> None:
    word = "abcdefgh"[:place] + "€" + "abcdefgh"[place:]
    status, code, detail = refused(http, "speller", inputs=["abc", word])
    assert (status, code) == (422, "invalid_input")
    assert f"'€' at position {place}" in detail


def test_attention_has_a_row_for_each_symbol_over_the_true_source(http: httpx2.Client) -> None:
    content = generate(http, "speller", inputs=["a", "abcdefghijk"], return_attention=True, max_steps=9)
    for word, output, attention in zip(["a", "abcdefghijk"], content["outputs"], content["attention"], strict=True):
        matrix = np.array(attention)
        assert matrix.shape == (len(output.split()), len(word))
        assert matrix.sum(axis=1) == pytest.approx(np.ones(len(matrix)), abs=1e-5)


WORDS = ["a", "abc", "zebra", "ostinato", "abcdefghijklmnop", "qwertyuiopasdfghjklzxcvbnm", "it's"]
WAYS: list[dict[str, Any]] = [
    {},
    {"method": "beam", "num_beams": 4, "num_return": 3, "length_penalty": 0.6},
    {"method": "sample", "seed": 11, "temperature": 1.3, "top_k": 5, "top_p": 0.9},
    {"return_attention": True, "max_steps": 7},
]


def test_every_output_is_the_same_alone_and_among_63_others(generating: ServerProcess, http: httpx2.Client) -> None:
    jobs = [
        (model, {"inputs": [word], "return_log_probs": True, **way})
        for model in ("speller", "context-speller")
        for word in WORDS
        for way in WAYS
        if model == "speller" or "return_attention" not in way
    ]
    jobs = (jobs * 2)[:64]
    alone = [generate(http, model, **body) for model, body in jobs]

    def ask(job: tuple[str, dict[str, Any]]) -> dict[str, Any]:
        with httpx2.Client(base_url=generating.url, timeout=60, limits=LIMITS) as client:
            return generate(client, job[0], **job[1])

    for _ in range(3):
        with ThreadPoolExecutor(64) as pool:
            assert list(pool.map(ask, jobs)) == alone
    assert lanes(http) == 0


def test_the_same_seed_writes_the_same_and_an_absent_one_is_told(http: httpx2.Client) -> None:
    first = generate(http, "letters", method="sample", max_steps=40)
    assert generate(http, "letters", method="sample", max_steps=40, seed=first["seed"]) == first
    several = generate(http, "letters", inputs=["", "abc"], method="sample", num_return=3, seed=5)
    assert [len(outputs) for outputs in several["outputs"]] == [3, 3]


def test_a_prompt_is_fed_first_and_is_no_part_of_the_output_nor_of_its_score(http: httpx2.Client) -> None:
    body = {"inputs": ["", "abc"], "targets": ["abcdefg", "defg"]}
    whole, rest = http.post("/v1/models/letters/score", json=body).json()["log_probs"]
    # Seven letters and the stop, of which the prompt gives three.
    assert (len(whole), rest) == (8, whole[3:])
    assert generate(http, "letters", method="beam") == generate(http, "letters", inputs=[""], method="beam")


def test_events_arrive_step_by_step_and_end_with_the_whole_answer(http: httpx2.Client) -> None:
    whole = generate(http, "speller", inputs=["ostinato", "abc"])
    *steps, (last, done) = events(http, "speller", inputs=["ostinato", "abc"])
    assert (last, done) == ("done", whole)
    assert {name for name, _ in steps} == {"step"}
    for index, output in enumerate(whole["outputs"]):
        own = [step for _, step in steps if step["index"] == index]
        assert [step["step"] for step in own] == list(range(1, len(own) + 1))
        assert " ".join(step["output"] for step in own if step["output"]) == output
        assert sum(step["log_prob"] for step in own) == pytest.approx(whole["scores"][index])
    assert [name for name, _ in events(http, "speller", inputs=["abc"], method="beam")] == ["done"]


def test_a_stream_that_is_refused_has_a_status_of_its_own(http: httpx2.Client) -> None:
    assert refused(http, "speller", inputs=["a€"], stream=True)[:2] == (422, "invalid_input")
    assert refused(http, "accumulator", inputs=["a"], stream=True)[:2] == (404, "unknown_model")


def test_a_client_that_hangs_up_frees_its_lanes(http: httpx2.Client, generating: ServerProcess) -> None:
    for number in range(30):
        with (
            generating.client() as client,
            client.stream(
                "POST",
                "/v1/models/letters/generate",
                json={
                    "method": "sample",
                    "num_return": 1 + number % 8,
                    "max_steps": 60,
                    "seed": number,
                    "stream": True,
                },
            ) as answer,
        ):
            next(answer.iter_raw())
    until(lambda: lanes(http) == 0, "the end of all lanes")
    assert generate(http, "letters", inputs=["abc"])["outputs"]


def test_a_score_is_that_of_the_output_that_was_found(http: httpx2.Client) -> None:
    found = generate(http, "speller", inputs=["zebra"], method="beam", num_return=3, return_log_probs=True)
    stopped = [index for index, reason in enumerate(found["finish_reasons"][0]) if reason == "stop"]
    assert stopped
    targets = [found["outputs"][0][index] for index in stopped]
    scored = http.post("/v1/models/speller/score", json={"inputs": ["zebra"] * len(targets), "targets": targets}).json()
    assert scored["scores"] == [found["scores"][0][index] for index in stopped]
    assert scored["log_probs"] == [found["log_probs"][0][index] for index in stopped]


def test_numbers_go_in_and_come_out(http: httpx2.Client) -> None:
    rows = np.random.default_rng(0).normal(size=(11, 2)).round(3).tolist()
    content = generate(http, "hours-ahead", inputs=[rows, rows[:3]], max_steps=5)
    assert np.shape(content["outputs"]) == (2, 5, 1)
    assert content["scores"] == [None, None]
    assert refused(http, "hours-ahead", inputs=[[*rows, [1]]])[:2] == (422, "invalid_input")
    assert refused(http, "hours-ahead", inputs=[rows], method="beam")[:2] == (422, "invalid_input")


def test_an_image_is_a_source_of_a_fixed_size(http: httpx2.Client) -> None:
    image = np.random.default_rng(1).uniform(0, 1, (networks.IMAGE_SIZE, networks.IMAGE_SIZE))
    nested = generate(http, "captioner", inputs=[image.tolist()], max_steps=12)
    assert generate(http, "captioner", inputs=[image.ravel().tolist()], max_steps=12) == nested
    assert refused(http, "captioner", inputs=[image[1:].tolist()])[:2] == (422, "invalid_input")


def test_attention_to_the_places_of_an_image_is_told_for_all_of_them(http: httpx2.Client) -> None:
    image = np.random.default_rng(1).uniform(0, 1, (networks.IMAGE_SIZE, networks.IMAGE_SIZE))
    answer = generate(http, "gazer", inputs=[image.tolist()], max_steps=3, return_attention=True)
    attention = np.array(answer["attention"][0])
    assert attention.shape == (3, networks.NUM_PLACES)
    np.testing.assert_allclose(attention.sum(axis=1), 1.0, atol=1e-5)


def test_a_session_forecasts_what_reading_it_all_again_would_to_the_bit(http: httpx2.Client) -> None:
    rows = np.random.default_rng(2).normal(size=(23, 2)).round(4).tolist()
    again = generate(http, "streaming", inputs=[rows], max_steps=6)["outputs"][0]
    opened = http.post("/v1/models/streaming/sessions", json={}).json()["session_id"]
    start = 0
    for size in (1, 4, 1, 9, 8):
        http.post(f"/v1/sessions/{opened}/step", json={"inputs": rows[start : start + size], "seq": start})
        start += size
    for _ in range(2):
        assert http.post(f"/v1/sessions/{opened}/forecast", json={"horizon": 6}).json()["outputs"] == again
    assert http.get(f"/v1/sessions/{opened}").json()["steps"] == 23
    http.delete(f"/v1/sessions/{opened}")


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ({"inputs": []}, 422, "inputs"),
        ({"inputs": [""]}, 422, "inputs[0]"),
        ({"inputs": ["abc"], "num_beams": 3}, 422, "num_beams"),
        ({"inputs": ["abc"], "method": "beam", "temperature": 2}, 422, "temperature"),
        ({"inputs": ["abc"], "method": "beam", "num_beams": 2, "num_return": 3}, 422, "num_return"),
        ({"inputs": ["abc"], "max_steps": 61}, 413, "max_steps"),
        ({"inputs": ["abc"], "method": "beam", "num_beams": 65}, 413, "num_beams"),
        ({"inputs": ["a" * 65]}, 413, "inputs[0]"),
        (
            {"inputs": ["a" * 64] * 69, "method": "sample", "num_return": 64, "return_attention": True},
            413,
            "outputs and beams",
        ),
        ({"inputs": [[99]]}, 422, "inputs[0]"),
        ({"inputs": [[1.5]]}, 422, "inputs[0]"),
        ({"inputs": ["abc", [5]]}, 422, "inputs"),
        ({"inputs": ["abc"], "num_return": 2}, 422, "num_return"),
        ({"inputs": [[10**400]]}, 422, "inputs[0]"),
        ({"inputs": ["abc"], "method": "sample", "top_p": 0}, 422, "top_p"),
        ({"inputs": ["abc"], "metod": "beam"}, 422, "metod"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(
    http: httpx2.Client, body: dict[str, Any], status: int, word: str
) -> None:
    answer = http.post("/v1/models/speller/generate", json=body)
    assert answer.status_code == status, answer.text
    assert word in answer.text


def test_a_model_without_sessions_says_so_and_one_without_decoder_too(http: httpx2.Client) -> None:
    answer = http.post("/v1/models/speller/sessions", json={})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert "generate" in answer.json()["detail"]


def test_bentoml_serves_it_typed_and_in_parts(http: httpx2.Client) -> None:
    whole = generate(http, "speller", inputs=["ostinato"])
    assert http.post("/generate", json={"model": "speller", "inputs": ["ostinato"]}).json() == whole
    text = http.post("/generate_stream", json={"model": "speller", "inputs": ["ostinato"]}).text
    assert json.loads(text.strip().split("data: ")[-1]) == whole
    beams = {"method": "beam", "num_beams": 3, "length_penalty": 2.0, "num_return": 2}
    found = http.post("/generate", json={"model": "speller", "inputs": ["ostinato"], **beams}).json()
    assert found == generate(http, "speller", inputs=["ostinato"], **beams)


def test_bentomls_own_client_generates_at_once_and_in_parts(generating: ServerProcess, http: httpx2.Client) -> None:
    # In a process of its own: BentoML's client leaves a temporary folder to the garbage collector.
    program = (
        f"import bentoml, json\n"
        f"with bentoml.SyncHTTPClient({generating.url!r}) as client:\n"
        f"    print(json.dumps(client.generate('speller', ['ostinato'], method='beam', length_penalty=0.5)))\n"
        f"    print(''.join(client.generate_stream(model='speller', inputs=['ostinato'])).split('data: ')[-1])\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    at_once, in_parts = (json.loads(line) for line in ran.stdout.splitlines() if line)
    assert at_once == generate(http, "speller", inputs=["ostinato"], method="beam", length_penalty=0.5)
    assert in_parts == generate(http, "speller", inputs=["ostinato"])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"model": "speller", "inputs": ["a!"]}, 422),
        ({"model": "speller", "inputs": ["abc"], "method": "guess"}, 422),
        ({"model": "speller", "inputs": ["abc"], "max_steps": 61}, 413),
        ({"model": "unheard-of", "inputs": ["abc"]}, 404),
    ],
)
def test_what_bentoml_cannot_stream_has_its_status(http: httpx2.Client, body: dict[str, Any], status: int) -> None:
    assert http.post("/generate", json=body).status_code == status
    assert http.post("/generate_stream", json=body).status_code == status
