"""Terms of a request over real sockets, past ASGI and through it, where both answer alike."""

from __future__ import annotations

import gzip
import json
import logging
import re
import zlib
from collections.abc import Callable
from typing import Any

import pytest
import zstandard

from ostinato.service.config import Settings
from ostinato.service.edge.cross_origin import Origins
from ostinato.service.edge.message import Response
from ostinato.service.edge.terms import Terms
from tests.service.edge.test_guarded_connection import FRAME, HANDSHAKE, both_ways
from tests.service.edge.test_http_connection import STEP, Client, house_with_a, serving
from tests.service.puppet import House
from tests.service.puppet_generator import puppet_engine

JSON_TYPE = "content-type: application/json"
UNPACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "zstd": zstandard.decompress,
}
MANY = json.dumps({"inputs": [[step] for step in range(400)]}).encode()
VERY_MANY = json.dumps({"inputs": [[step / 7] for step in range(2_000)]}).encode()
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def request(method: str, path: str, *lines: str, body: bytes = b"") -> bytes:
    head = [f"{method} {path} HTTP/1.1", "host: x", *lines]
    head += [f"content-length: {len(body)}"] if body else []
    return "\r\n".join([*head, "", ""]).encode() + body


class Asked:
    """One answer: its status, its headers by name, and its body as it came."""

    def __init__(self, status: int, headers: list[tuple[str, str]], body: Any) -> None:
        self.status, self.headers, self.body = status, {name.lower(): value for name, value in headers}, body

    @property
    def content(self) -> Any:
        coding = self.headers.get("content-encoding")
        return json.loads(UNPACK[coding](self.body)) if coding else self.body


async def ask(client: Client, *of_request: str, body: bytes = b"") -> Asked:
    await client.send(request(*of_request, body=body))
    return Asked(*await client.answer())


@both_ways
@pytest.mark.parametrize(("coding", "body"), [*((coding, MANY) for coding in UNPACK), ("gzip", VERY_MANY)])
async def test_an_answer_is_packed_where_that_is_asked_for(direct: bool, coding: str, body: bytes) -> None:
    house = await house_with_a(max_chunk_steps=10_000)
    async with serving(house, direct=direct) as server, Client.to(server) as client:
        plain = await ask(client, "POST", STEP, JSON_TYPE, body=body)
        packed = await ask(client, "POST", STEP, JSON_TYPE, f"accept-encoding: {coding}", body=body)
        num_steps = len(json.loads(body)["inputs"])
        assert "content-encoding" not in plain.headers
        assert (packed.headers["content-encoding"], packed.headers["vary"]) == (coding, "Accept-Encoding")
        assert len(packed.body) < len(json.dumps(plain.content)) / 2
        assert packed.content["steps"] == plain.content["steps"] + num_steps == 2 * num_steps
        few = await ask(client, "POST", STEP, JSON_TYPE, f"accept-encoding: {coding}", body=b'{"inputs": [[1]]}')
        assert few.content["steps"] == 2 * num_steps + 1
        assert not {"content-encoding", "vary"} & set(few.headers)
        unlike = await ask(client, "POST", STEP, JSON_TYPE, "accept-encoding: br", body=body)
        assert ("content-encoding" in unlike.headers, unlike.headers["vary"]) == (False, "Accept-Encoding")


@both_ways
@pytest.mark.parametrize("coding", UNPACK)
async def test_a_body_may_come_packed(direct: bool, coding: str) -> None:
    house = await house_with_a(max_body_bytes=10_000)
    packs: dict[str, Callable[[bytes], bytes]]
    packs = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstandard.compress}
    pack = packs[coding]
    async with serving(house, direct=direct) as server, Client.to(server) as client:

        async def step(body: bytes, path: str = STEP) -> Asked:
            return await ask(client, "POST", path, JSON_TYPE, f"content-encoding: {coding}", body=body)

        assert (await step(pack(MANY))).content["steps"] == 400
        typed = json.dumps({"session_id": "a", "inputs": [[1]]}).encode()
        assert (await step(pack(typed), "/step")).content["steps"] == 401
        too_large = await step(pack(b" " * 10_001))
        assert (too_large.status, too_large.content["code"]) == (413, "too_large")
        damaged = await step(pack(MANY)[:-2])
        assert (damaged.status, damaged.content["code"]) == (400, "malformed_request")
        assert f"no {coding}" in damaged.content["detail"]
        assert (await ask(client, "POST", STEP, JSON_TYPE, body=b'{"inputs": [[1]]}')).content["steps"] == 402


@both_ways
@pytest.mark.parametrize("line", ["content-encoding: br", "content-encoding: gzip, gzip"])
async def test_a_body_in_another_coding_is_refused_with_those_that_are_read(direct: bool, line: str) -> None:
    async with serving(await house_with_a(), direct=direct) as server, Client.to(server) as client:
        refused = await ask(client, "POST", STEP, JSON_TYPE, line, body=MANY)
        assert (refused.status, refused.headers["accept-encoding"]) == (415, "zstd, gzip, deflate")


async def test_metrics_are_packed_for_whoever_asks_and_caches_are_told() -> None:
    async with serving(await house_with_a()) as server, Client.to(server) as client:
        plain = await ask(client, "GET", "/metrics")
        packed = await ask(client, "GET", "/metrics", "accept-encoding: gzip")
        assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"
        text = gzip.decompress(packed.body)
        assert text.startswith(b"# HELP ")
        assert len(text) > 2 * len(packed.body)
        small = await ask(client, "GET", "/livez", "accept-encoding: gzip")
        assert small.content == {"status": "alive"}
        small = await ask(client, "GET", "/livez", "accept-encoding: gzip, identity;q=0")
        assert small.content == {"status": "alive"}
        assert small.headers["content-encoding"] == "gzip"


@both_ways
async def test_events_leave_as_they_are_and_have_the_rest_of_the_terms(direct: bool) -> None:
    house = House(allow_origin="https://a.example")
    house.catalogue.add(puppet_engine())
    lines = ("accept-encoding: gzip", "x-request-id: r-1", "origin: https://a.example", JSON_TYPE)
    async with serving(house, direct=direct) as server, Client.to(server) as client:
        await client.send(
            request("POST", "/v1/models/puppet/generate", *lines, body=b'{"inputs": [[3]], "stream": true}')
        )
        head = (await client.reader.readuntil(b"\r\n\r\n")).decode().lower()
    assert "x-request-id: r-1\r\n" in head
    assert "access-control-allow-origin: https://a.example\r\n" in head
    assert "content-encoding" not in head


@both_ways
@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["x-request-id: 7f3a-b"], "7f3a-b"),
        (["x-request-id: " + "a" * 128], "a" * 128),
        (["x-request-id: " + "a" * 129], None),
        (["x-request-id: two words"], None),
        (["x-request-id: \xe9"], None),
        (["x-request-id: "], None),
        ([], None),
    ],
)
async def test_an_id_of_a_request_is_told_again_where_it_can_be(
    direct: bool, lines: list[str], told: str | None
) -> None:
    ids = []
    async with serving(await house_with_a(), direct=direct) as server, Client.to(server) as client:
        for method, path, status, body in (
            ("POST", STEP, 200, b'{"inputs": [[1]]}'),
            ("POST", STEP, 422, b"{}"),
            ("POST", STEP, 415, b"{}"),
            ("POST", "/v1/nowhere", 404, b"{}"),
            ("GET", STEP, 405, b""),
            ("GET", "/readyz", 200, b""),
            ("OPTIONS", "/v1/models", 204, b""),
        ):
            coded = ["content-encoding: br"] if status == 415 else []
            await client.send(request(method, path, *lines, *coded, body=body).replace(b"\xc3\xa9", b"\xe9"))
            answer = Asked(*await client.answer())
            assert answer.status == status
            ids.append(answer.headers["x-request-id"])
            if status >= 400:
                assert answer.content["request_id"] == ids[-1]
        await client.send(request("GET", "/elsewhere", *lines))  # of BentoML's
        head = (await client.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        ids += re.findall(r"x-request-id: (\S+)\r\n", head)
    assert len(ids) == 8
    if told is not None:
        assert ids == [told] * 8
    else:
        assert len(set(ids)) == 8
        assert all(re.fullmatch(r"[0-9a-f]{12}-[0-9a-f]+", each) for each in ids)


async def test_a_handshake_and_a_broken_head_are_told_their_ids() -> None:
    async with serving(await house_with_a()) as server:
        for line, status in ((b"", 101), (b"origin: http://evil.example\r\n", 403)):
            async with Client.to(server) as client:
                await client.send(HANDSHAKE[:-2] + b"x-request-id: shake\r\n" + line + b"\r\n")
                answer = Asked(*await client.answer())
                assert (answer.status, answer.headers["x-request-id"]) == (status, "shake")
        async with Client.to(server) as client:
            await client.send(request("POST", STEP, "x-request-id: broken", "transfer-encoding: gzip", body=FRAME))
            answer = Asked(*await client.answer())
            assert (answer.status, answer.headers["x-request-id"]) == (400, "broken")


@both_ways
async def test_the_log_names_the_request_and_the_trace_of_what_failed(
    direct: bool, caplog: pytest.LogCaptureFixture
) -> None:
    house = await house_with_a()
    house.runner.fails = lambda _: True
    async with serving(house, direct=direct) as server, Client.to(server) as client:
        lines = ("x-request-id: r-9", f"traceparent: {TRACE}", JSON_TYPE)
        failed = await ask(client, "POST", STEP, *lines, body=b'{"inputs": [[1]]}')
    assert failed.status == 500
    wanted = f"POST {STEP} (request id r-9, trace 4bf92f3577b34da6a3ce929d0e0e4736) failed"
    assert wanted in [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


async def test_an_answer_that_is_given_again_stays_as_it_is() -> None:
    document = Response(200, b"a" * 4000, headers=((b"cache-control", b"no-cache"),))
    terms = Terms([(b"accept-encoding", b"gzip"), (b"x-request-id", b"r")], Origins(""))
    first, second = await terms.apply(document), terms.apply_at_once(document)
    assert first == second != document
    assert (document.body, document.headers) == (b"a" * 4000, ((b"cache-control", b"no-cache"),))


def cors(answer: Asked) -> dict[str, str]:
    """What an answer tells a browser of other sites."""
    return {name.removeprefix("access-control-"): value for name, value in answer.headers.items() if "control" in name}


EXPOSED = "Allow, Inference-Header-Content-Length, Location, Retry-After, X-Request-ID"


@both_ways
@pytest.mark.parametrize(
    ("setting", "origin", "allowed", "vary"),
    [
        ("", "https://a.example", None, None),
        ("https://a.example", "https://a.example", "https://a.example", "Origin"),
        ("https://a.example", "https://A.example:443", "https://A.example:443", "Origin"),
        ("https://b.example, https://A.example:443/", "https://a.example", "https://a.example", "Origin"),
        ("https://a.example", "http://a.example", None, "Origin"),
        ("https://a.example", "https://a.example:8443", None, "Origin"),
        ("https://a.example", "https://a.example.evil.example", None, "Origin"),
        ("https://a.example", "null", None, "Origin"),
        ("*", "https://a.example", "*", None),
        ("*", "null", "*", None),
    ],
)
async def test_pages_of_other_sites_read_answers_where_they_may(
    direct: bool, setting: str, origin: str, allowed: str | None, vary: str | None
) -> None:
    house = await house_with_a(allow_origin=setting)
    wanted = {"allow-origin": allowed, "expose-headers": EXPOSED} if allowed else {}
    async with serving(house, direct=direct) as server, Client.to(server) as client:
        for method, path, status, body in (
            ("POST", STEP, 200, b'{"inputs": [[1]]}'),
            ("POST", STEP, 422, b"{}"),
            ("POST", "/v1/nowhere", 404, b"{}"),
            ("GET", "/v1/sessions", 200, b""),
            ("GET", "/metrics", 200, b""),
        ):
            answer = await ask(client, method, path, f"origin: {origin}", JSON_TYPE, body=body)
            assert (answer.status, cors(answer)) == (status, wanted)
            varies = answer.headers.get("vary", "").replace("Accept-Encoding", "").strip(", ")
            assert varies == (vary or "")
            assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    ("setting", "origin", "path", "methods"),
    [
        ("https://a.example", "https://a.example", STEP, "OPTIONS, POST"),
        ("*", "https://a.example", "/v1/sessions/a", "DELETE, GET, HEAD, OPTIONS"),
        ("*", "https://a.example", "/predict", "OPTIONS, POST"),
        ("*", "https://a.example", "/readyz", "GET, HEAD, OPTIONS"),
        ("https://a.example", "https://b.example", STEP, None),
        ("", "https://a.example", STEP, None),
    ],
)
async def test_a_browser_is_told_beforehand_what_a_page_may_send(
    setting: str, origin: str, path: str, methods: str | None
) -> None:
    asked = ("access-control-request-method: POST", "access-control-request-headers: content-type,x-request-id")
    async with serving(await house_with_a(allow_origin=setting)) as server, Client.to(server) as client:
        answer = await ask(client, "OPTIONS", path, f"origin: {origin}", *asked)
        assert answer.status == 204
        wanted = {
            "allow-origin": "*" if setting == "*" else origin,
            "allow-methods": methods,
            "allow-headers": "content-type,x-request-id",
            "max-age": "600",
        }
        assert cors(answer) == (wanted if methods else {})
        hostile = asked[1].replace(",", "\x01")
        assert "allow-headers" not in cors(await ask(client, "OPTIONS", path, f"origin: {origin}", asked[0], hostile))


@both_ways
async def test_a_page_of_another_site_posts_nothing_without_being_asked_beforehand(direct: bool) -> None:
    """A browser sends a body without a type, or none, to any site, and asks nobody."""
    house = await house_with_a(allow_origin="https://a.example")
    async with serving(house, direct=direct) as server, Client.to(server) as client:
        for origin, status in (
            ("https://evil.example", 403),
            ("null", 403),
            ("https://a.example", 200),
            ("http://x", 200),
        ):
            answer = await ask(client, "POST", STEP, f"origin: {origin}", body=b'{"inputs": [[1]]}')
            assert answer.status == status
            form = ("content-type: application/x-www-form-urlencoded", f"origin: {origin}")
            answer = await ask(client, "POST", "/v2/models/sum/infer", *form, body=b"{}")
            assert answer.status == (403 if status == 403 else 400)
        assert (await ask(client, "POST", STEP, body=b'{"inputs": [[1]]}')).content["steps"] == 3
        assert (await ask(client, "POST", "/v1/sessions/a/reset", "origin: https://evil.example")).status == 403


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/models", "GET, HEAD, OPTIONS"),
        (STEP, "OPTIONS, POST"),
        ("/v1/sessions/a/state", "GET, HEAD, OPTIONS, PUT"),
        ("/forecast", "OPTIONS, POST"),
        ("/livez", "GET, HEAD, OPTIONS"),
        ("/v2", "GET, HEAD, OPTIONS"),
        ("/v2/health/ready", "GET, HEAD, OPTIONS"),
        ("/v2/models/sum/infer", "OPTIONS, POST"),
        ("/elsewhere", "GET, HEAD, OPTIONS"),
        ("*", "DELETE, GET, HEAD, OPTIONS, POST, PUT"),
    ],
)
async def test_every_route_tells_its_methods(path: str, allowed: str) -> None:
    async with serving(await house_with_a()) as server, Client.to(server) as client:
        for _ in range(2):  # and the connection goes on
            answer = await ask(client, "OPTIONS", path)
            assert (answer.status, answer.headers["allow"], answer.body) == (204, allowed, b"")
            assert "content-length" not in answer.headers
        assert (await ask(client, "OPTIONS", "/v1/nowhere")).status == 404


@pytest.mark.parametrize(
    "path", ["/v1/models", "/v1/sessions", "/v1/sessions/a", "/livez", "/readyz", "/v2", "/v2/models/sum", "/metrics"]
)
async def test_head_is_get_without_its_body(path: str) -> None:
    async with serving(await house_with_a()) as server, Client.to(server) as client:
        wanted = await ask(client, "GET", path)
        await client.send(request("HEAD", path))
        head = (await client.reader.readuntil(b"\r\n\r\n")).decode().lower()
        again = await ask(client, "GET", path)  # nothing stands between
        assert again.status == wanted.status == int(head.split()[1])
        if path != "/metrics":
            assert f"content-length: {wanted.headers['content-length']}\r\n" in head
        assert f"content-type: {wanted.headers['content-type']}\r\n" in head


@pytest.mark.parametrize(
    "setting",
    ["null", "https://*.example", "a.example", "https://a.example/b", "https://u@a.example", "https://é.example"],
)
def test_a_setting_that_is_no_site_is_refused(setting: str) -> None:
    with pytest.raises(ValueError, match="allow_origin"):
        Settings(allow_origin=setting)
