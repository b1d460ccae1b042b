"""Reset, fork, and the state out and in, over the puppet's engine; the file itself in ``test_session_file.py``."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from ostinato.service.edge.asgi import Edge
from ostinato.service.errors import StateStoreUnavailable
from tests.service.edge.test_asgi import Connection, edge_over
from tests.service.puppet import House, column

A = "/v1/sessions/a"


async def ask(edge: Edge, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any]:
    return await Connection(method, path, body, **headers).through(edge)


async def step(edge: Edge, *values: float, name: str = "a") -> list[float]:
    body = json.dumps({"inputs": [[value] for value in values]}).encode()
    status, content = await ask(edge, "POST", f"/v1/sessions/{name}/step", body)
    assert status == 200, content
    return [total for [total] in content["outputs"]]


def state(total: float, **metadata: str) -> bytes:
    return save({"total": np.array([total], np.float32)}, metadata or None)


def metadata_of(file: bytes) -> dict[str, str]:
    length = int.from_bytes(file[:8], "little")
    found: dict[str, str] = json.loads(file[8 : 8 + length])["__metadata__"]
    return found


async def content_of(edge: Edge, name: str) -> tuple[Any, ...]:
    """All that can be seen of a session."""
    _, facts = await ask(edge, "GET", f"/v1/sessions/{name}")
    _, file = await ask(edge, "GET", f"/v1/sessions/{name}/state")
    return facts, load(file)["total"].tobytes(), metadata_of(file)


async def house_with_a(**settings: Any) -> House:
    """A house with session ``a``, which has added up 1 and 2."""
    house = House(**settings)
    await house.ledger.step(await house.sessions.open("sum", session_id="a", ttl_seconds=50), column(1, 2))
    return house


@pytest.mark.parametrize("body", [b"", b"{}"])
async def test_a_reset_session_is_as_a_new_one(body: bytes) -> None:
    house = await house_with_a()
    async with edge_over(house) as edge:
        status, content = await ask(edge, "POST", f"{A}/reset", body)
        assert (status, content["session_id"], content["steps"]) == (200, "a", 0)
        assert content == (await ask(edge, "GET", A))[1]
        assert (await ask(edge, "POST", f"{A}/forecast", b'{"horizon": 1}'))[0] == 422
        assert await step(edge, 4) == [4.0]


async def test_a_chunk_from_before_a_reset_is_not_taken_for_one_sent_again() -> None:
    house = await house_with_a()
    chunk = b'{"inputs": [[5]], "seq": 2}'
    async with edge_over(house) as edge:
        assert (await ask(edge, "POST", f"{A}/step", chunk))[0] == 200
        await ask(edge, "POST", f"{A}/reset")
        status, content = await ask(edge, "POST", f"{A}/step", chunk)
    assert (status, content["code"], content["expected_seq"]) == (409, "seq_conflict", 0)


async def test_a_fork_goes_its_own_way_from_where_it_began() -> None:
    house = await house_with_a()
    async with edge_over(house) as edge:
        connection = Connection("POST", f"{A}/fork", b'{"session_id": "b"}')
        status, content = await connection.through(edge)
        assert (status, content["session_id"], content["steps"], content["model"]) == (201, "b", 2, "sum")
        assert (b"location", b"/v1/sessions/b") in connection.sent[0]["headers"]
        assert await step(edge, 10) == [13.0]
        assert await step(edge, 20, name="b") == [23.0]
        assert await step(edge, 1) == [14.0]


async def test_a_fork_answers_the_chunk_applied_last_again() -> None:
    house = await house_with_a()
    async with edge_over(house) as edge:
        await ask(edge, "POST", f"{A}/fork", b'{"session_id": "b"}')
        again = b'{"inputs": [[1], [2]], "seq": 0}'
        assert (await ask(edge, "POST", "/v1/sessions/b/step", again))[1]["outputs"] == [[1.0], [3.0]]


@pytest.mark.parametrize(("ttl", "lives_seconds"), [("", 50), (', "ttl_seconds": 7', 7), (', "ttl_seconds": 0', None)])
async def test_a_fork_lives_as_long_as_its_source_unless_told(ttl: str, lives_seconds: float | None) -> None:
    house = await house_with_a()
    async with edge_over(house) as edge:
        _, content = await ask(edge, "POST", f"{A}/fork", f'{{"session_id": "b"{ttl}}}'.encode())
        assert (content["expires_at"] is None) == (lives_seconds is None)
        house.clock.now += (lives_seconds or 1e6) - 0.5
        assert (await ask(edge, "GET", "/v1/sessions/b"))[0] == 200
        house.clock.now += 1
        assert (await ask(edge, "GET", "/v1/sessions/b"))[0] == (200 if lives_seconds is None else 410)


async def test_a_fork_of_a_session_that_never_expires_never_does() -> None:
    house = House()
    await house.sessions.open("sum", session_id="a", ttl_seconds=0)
    async with edge_over(house) as edge:
        _, content = await ask(edge, "POST", f"{A}/fork")
        assert content["expires_at"] is None
        assert len(content["session_id"]) > 20  # the server's own, random


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/sessions/a/fork", b'{"session_id": "a"}', 409, "session_exists"),
        ("/v1/sessions/a/fork", b'{"session_id": "a/b"}', 422, "invalid_input"),
        ("/v1/sessions/a/fork", b'{"ttl_seconds": -1}', 422, "invalid_input"),
        ("/v1/sessions/a/fork", b'{"version": "2"}', 422, "invalid_input"),
        ("/v1/sessions/b/fork", b"", 404, "unknown_session"),
        ("/v1/sessions/a/reset", b'{"steps": 3}', 422, "invalid_input"),
        ("/v1/sessions/a/reset", b"[", 422, "invalid_input"),
        ("/v1/sessions/b/reset", b"", 404, "unknown_session"),
    ],
)
async def test_a_bad_fork_or_reset_is_refused(path: str, body: bytes, status: int, code: str) -> None:
    house = await house_with_a()
    async with edge_over(house) as edge:
        found, content = await ask(edge, "POST", path, body)
        assert (found, content["code"]) == (status, code)
        assert await step(edge, 4) == [7.0]
        assert len((await ask(edge, "GET", "/v1/sessions"))[1]["sessions"]) == 1


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", f"{A}/reset", b"OPTIONS, POST"),
        ("PUT", f"{A}/fork", b"OPTIONS, POST"),
        ("POST", f"{A}/state", b"GET, HEAD, OPTIONS, PUT"),
    ],
)
async def test_other_methods_are_refused(method: str, path: str, allowed: bytes) -> None:
    async with edge_over(await house_with_a()) as edge:
        connection = Connection(method, path)
        assert (await connection.through(edge))[0] == 405
        assert (b"allow", allowed) in connection.sent[0]["headers"]


async def test_a_state_tells_all_that_another_session_needs() -> None:
    house = await house_with_a()
    async with edge_over(house) as edge:
        connection = Connection("GET", f"{A}/state")
        status, file = await connection.through(edge)
        assert status == 200
        assert (b"content-type", b"application/octet-stream") in connection.sent[0]["headers"]
        assert metadata_of(file) == {
            "format": "ostinato-session",
            "schema": "1",
            "session_id": "a",
            "model": "sum",
            "version": "1",
            "steps": "2",
            "last_output": "[3.0]",
            "ttl_seconds": "50.0",
        }
        assert {name: array.tolist() for name, array in load(file).items()} == {"total": [3.0]}
        assert load(file)["total"].dtype == np.float32


async def test_a_state_put_elsewhere_goes_on_as_its_source() -> None:
    house = await house_with_a()
    await house.sessions.open("sum", session_id="b")
    async with edge_over(house) as edge:
        _, file = await ask(edge, "GET", f"{A}/state")
        status, content = await ask(edge, "PUT", "/v1/sessions/b/state", file)
        assert (status, content["session_id"], content["steps"]) == (200, "b", 2)
        forecast = [(await ask(edge, "POST", f"/v1/sessions/{name}/forecast", b'{"horizon": 3}'))[1] for name in "ab"]
        assert [each["outputs"] for each in forecast] == [[[3.0], [6.0], [12.0]]] * 2
        assert await step(edge, 4) == await step(edge, 4, name="b") == [7.0]


async def test_a_state_of_a_device_says_so_and_goes_on_elsewhere_with_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    house = await house_with_a()
    await house.sessions.open("sum", session_id="b")
    async with edge_over(house) as edge:
        of_cpu = (await ask(edge, "GET", f"{A}/state"))[1]
        assert "bits_may_differ" not in (await ask(edge, "PUT", "/v1/sessions/b/state", of_cpu))[1]
        monkeypatch.setattr(house.engine, "made_on", "cuda NVIDIA H200, 4096 x 1")
        of_gpu = (await ask(edge, "GET", f"{A}/state"))[1]
        assert metadata_of(of_gpu)["made_on"] == "cuda NVIDIA H200, 4096 x 1"
        assert "bits_may_differ" not in (await ask(edge, "PUT", "/v1/sessions/b/state", of_gpu))[1]
        for file, made_on in ((of_cpu, "the CPU"), (state(3, made_on="x" * 999), "x" * 100 + ",")):
            told = (await ask(edge, "PUT", "/v1/sessions/b/state", file))[1]["bits_may_differ"]
            assert told.startswith(f"made on {made_on}")
            assert "run from here by cuda NVIDIA H200, 4096 x 1:" in told
        monkeypatch.undo()
        told = (await ask(edge, "PUT", "/v1/sessions/b/state", of_gpu))[1]
        assert told["bits_may_differ"].startswith("made on cuda NVIDIA H200, 4096 x 1, and run from here by the CPU:")
        assert await step(edge, 4, name="b") == [7.0]


async def test_a_state_of_a_session_that_has_not_begun_has_no_last_output() -> None:
    house = House()
    await house.sessions.open("sum", session_id="a")
    async with edge_over(house) as edge:
        _, file = await ask(edge, "GET", f"{A}/state")
        assert metadata_of(file)["steps"] == "0"
        assert "last_output" not in metadata_of(file)
        assert (await ask(edge, "PUT", f"{A}/state", file))[1]["steps"] == 0


async def test_a_plain_file_sets_the_state_alone_and_a_forecast_waits_for_a_step() -> None:
    house = await house_with_a()
    async with edge_over(house) as edge:
        assert (await ask(edge, "PUT", f"{A}/state", state(100)))[1]["steps"] == 2
        status, content = await ask(edge, "POST", f"{A}/forecast", b'{"horizon": 2}')
        assert (status, content["code"]) == (422, "invalid_input")
        assert "apply a step first" in content["detail"]
        _, file = await ask(edge, "GET", f"{A}/state")
        assert "last_output" not in metadata_of(file)
        assert await step(edge, 1) == [101.0]
        assert (await ask(edge, "POST", f"{A}/forecast", b'{"horizon": 1}'))[1]["outputs"] == [[101.0]]
    assert house.engine.arena.num_used == 1


async def test_what_the_metadata_has_is_put() -> None:
    house = await house_with_a()
    async with edge_over(house) as edge:
        assert (await ask(edge, "PUT", f"{A}/state", state(8, steps="40")))[1]["steps"] == 40
        assert (await ask(edge, "PUT", f"{A}/state", state(8, last_output="[8]")))[1]["steps"] == 40
        assert (await ask(edge, "POST", f"{A}/forecast", b'{"horizon": 1}'))[1]["outputs"] == [[8.0]]
        _, content = await ask(edge, "POST", f"{A}/step", b'{"inputs": [[1]], "seq": 40}')
        assert (content["steps"], content["outputs"]) == (41, [[9.0]])


@pytest.mark.parametrize(
    ("file", "field"),
    [
        (b"", None),
        (b"no file of that kind", None),
        (state(1)[:-1], None),
        (save({"other": np.zeros(1, np.float32)}), "other"),
        (save({}), "total"),
        (save({"total": np.zeros(1, np.float64)}), "total"),
        (save({"total": np.zeros(2, np.float32)}), "total"),
        (state(np.inf), "total[0]"),
        (state(np.nan), "total[0]"),
        (state(1, model="product"), "__metadata__.model"),
        (state(1, steps="-1"), "__metadata__.steps"),
        (state(1, last_output="[1, 2]"), "__metadata__.last_output"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_put_that_is_refused_leaves_the_session_as_it_was(file: bytes, field: str | None) -> None:
    house = await house_with_a()
    async with edge_over(house) as edge:
        before = await content_of(edge, "a")
        status, content = await ask(edge, "PUT", f"{A}/state", file)
        assert (status, content["code"], content.get("field")) == (422, "invalid_input", field)
        assert await content_of(edge, "a") == before
        # Not even the memory of the chunk applied last is lost.
        again = await ask(edge, "POST", f"{A}/step", b'{"inputs": [[1], [2]], "seq": 0}')
        assert again[1]["outputs"] == [[1.0], [3.0]]


async def test_a_put_without_a_body_is_refused_whether_or_not_there_is_the_session() -> None:
    async with edge_over(await house_with_a()) as edge:
        for session in (A, "/v1/sessions/never"):
            status, content = await ask(edge, "PUT", f"{session}/state", b"")
            assert (status, content["code"]) == (422, "invalid_input")


@pytest.mark.parametrize("media_type", ["application/json", "application/json; charset=utf-8", "application/ld+json"])
async def test_json_is_no_state(media_type: str) -> None:
    async with edge_over(await house_with_a()) as edge:
        status, content = await ask(edge, "PUT", f"{A}/state", state(5), content_type=media_type)
        assert (status, content["code"]) == (415, "unsupported_media_type")
        assert await step(edge, 4) == [7.0]


@pytest.mark.parametrize("media_type", ["application/octet-stream", "application/x-safetensors", "text/plain"])
async def test_any_other_media_type_is_taken(media_type: str) -> None:
    async with edge_over(await house_with_a()) as edge:
        assert (await ask(edge, "PUT", f"{A}/state", state(5), content_type=media_type))[0] == 200
        assert await step(edge, 4) == [9.0]


async def test_a_state_over_the_limit_is_refused() -> None:
    async with edge_over(await house_with_a(max_body_bytes=60)) as edge:
        assert len(state(5)) > 60
        assert (await ask(edge, "PUT", f"{A}/state", state(5)))[1]["code"] == "too_large"


@pytest.mark.parametrize("path", [f"{A}/state", "/v1/sessions/nobody/state"])
async def test_a_session_that_is_not_there_has_no_state(path: str) -> None:
    house = await house_with_a()
    await house.sessions.close("a")
    expected = 410 if path.startswith(A) else 404
    async with edge_over(house) as edge:
        assert (await ask(edge, "GET", path))[0] == expected
        assert (await ask(edge, "PUT", path, state(5)))[0] == expected


async def test_life_waits_for_the_chunks_before_it_and_chunks_behind_wait_for_it() -> None:
    house = await house_with_a(in_thread=True)
    session = await house.sessions.find("a")
    async with edge_over(house) as edge:
        house.runner.gate.clear()
        waiting: list[Any] = [asyncio.ensure_future(house.ledger.step(session, column(10)))]
        for path, body in ((f"{A}/fork", b'{"session_id": "b"}'), (f"{A}/reset", b"")):
            waiting.append(asyncio.ensure_future(ask(edge, "POST", path, body)))
            await house.until_waiting(len(waiting) - 1)
            waiting.append(asyncio.ensure_future(house.ledger.step(session, column(1))))
        waiting.append(asyncio.ensure_future(ask(edge, "GET", f"{A}/state")))
        await house.until_waiting(5)
        waiting.append(asyncio.ensure_future(ask(edge, "PUT", f"{A}/state", state(50))))
        await house.until_waiting(6)
        waiting.append(asyncio.ensure_future(house.ledger.step(session, column(1))))
        await house.until_waiting(7)
        assert not any(each.done() for each in waiting)
        house.runner.gate.set()
        first, fork, second, reset, third, got, put, fourth = await asyncio.gather(*waiting)
        assert [each.outputs.tolist() for each in (first, second, third, fourth)] == [[[13]], [[14]], [[1]], [[51]]]
        assert (fork[1]["steps"], reset[1]["steps"], put[1]["steps"], fourth.steps) == (3, 0, 1, 2)
        assert (metadata_of(got[1])["steps"], load(got[1])["total"].tolist()) == ("1", [1.0])
        assert await step(edge, 1, name="b") == [14.0]


async def test_closing_refuses_what_of_a_life_waits_behind_it() -> None:
    house = await house_with_a(in_thread=True)
    session = await house.sessions.find("a")
    async with edge_over(house) as edge:
        house.runner.gate.clear()
        chunk = asyncio.ensure_future(house.ledger.step(session, column(10)))
        closing = asyncio.ensure_future(ask(edge, "DELETE", A))
        await house.until_waiting(1)
        behind = [
            asyncio.ensure_future(ask(edge, *request))
            for request in (
                ("POST", f"{A}/fork"),
                ("POST", f"{A}/reset"),
                ("GET", f"{A}/state"),
                ("PUT", f"{A}/state", state(5)),
            )
        ]
        await house.until_waiting(5)
        house.runner.gate.set()
        assert (await chunk).outputs.tolist() == [[13]]
        assert (await closing)[0] == 204
        assert [content["code"] for _, content in await asyncio.gather(*behind)] == ["session_closed"] * 4
        assert house.engine.arena.num_used == 0


async def test_a_store_that_fails_leaves_the_session_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    house = await house_with_a()

    async def failing(*_: Any) -> None:
        raise StateStoreUnavailable("told to fail")

    async with edge_over(house) as edge:
        with monkeypatch.context() as patched:
            patched.setattr(house.store, "replace", failing)
            assert (await ask(edge, "POST", f"{A}/reset"))[0] == 503
            assert (await ask(edge, "PUT", f"{A}/state", state(5)))[0] == 503
        assert await step(edge, 4) == [7.0]


async def test_a_server_that_drains_gives_states_out_and_changes_no_session() -> None:
    house = await house_with_a()
    house.engine.drain()
    async with edge_over(house) as edge:
        for method, path, body in (
            ("POST", f"{A}/reset", b""),
            ("POST", f"{A}/fork", b""),
            ("PUT", f"{A}/state", state(5)),
        ):
            assert (await ask(edge, method, path, body))[1]["code"] == "draining"
        assert load((await ask(edge, "GET", f"{A}/state"))[1])["total"].tolist() == [3.0]


@pytest.mark.parametrize("ttl", ["NaN", "Infinity", "1e300", "1e9999", "-1", "-0.001", "true", '"5"', "[5]", "1e-9"])
@pytest.mark.parametrize("path", ["/v1/models/sum/sessions", f"{A}/fork"])
async def test_a_time_to_live_that_is_none_is_refused(path: str, ttl: str) -> None:
    async with edge_over(await house_with_a()) as edge:
        status, content = await ask(edge, "POST", path, f'{{"ttl_seconds": {ttl}}}'.encode())
        assert (status, content["code"]) == (422, "invalid_input"), content
        assert len((await ask(edge, "GET", "/v1/sessions"))[1]["sessions"]) == 1


@pytest.mark.parametrize(
    "steps", ["1e30", "-1", "1.0", " 1", "0x1", "\u0663", "9" * 5000, str(2**53), str(2**64), "", "one"]
)
async def test_steps_that_are_no_count_are_refused(steps: str) -> None:
    async with edge_over(await house_with_a()) as edge:
        status, content = await ask(edge, "PUT", f"{A}/state", state(5, steps=steps))
        assert (status, content["code"], content["field"]) == (422, "invalid_input", "__metadata__.steps")
        assert (await ask(edge, "GET", A))[1]["steps"] == 2


async def test_the_most_steps_are_counted_on_from_exactly() -> None:
    most = 2**52
    async with edge_over(await house_with_a()) as edge:
        assert (await ask(edge, "PUT", f"{A}/state", state(5, steps=str(most))))[1]["steps"] == most
        for seq in (most, most + 1):
            status, content = await ask(edge, "POST", f"{A}/step", b'{"inputs": [[0]], "seq": %d}' % seq)
            assert (status, content["seq"], content["steps"]) == (200, seq, seq + 1)
        _, file = await ask(edge, "GET", f"{A}/state")
        assert metadata_of(file)["steps"] == str(most + 2)
