"""Rights, at the edge in this process: every route by every kind of key."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ostinato.service.access.key import Key, Right, digest_of, new_secret
from ostinato.service.access.key_file import add_key, remove_key
from ostinato.service.access.keys import Keys
from ostinato.service.access.meter import Meters
from ostinato.service.edge.access import ADMIN, PUBLIC, RIGHTS, STEP, needed_for
from ostinato.service.edge.asgi import Edge
from ostinato.service.edge.desk import Desk
from ostinato.service.edge.key_routes import access_by
from tests.service.edge.test_asgi import Connection, edge_over
from tests.service.puppet import House

SECRETS = {name: new_secret() for name in ("stepper", "reader", "admin", "scraper", "other", "slow", "everything")}
ROWS = {
    "stepper": ("acme", {Right.STEP}),
    "reader": ("acme", {Right.READ}),
    "admin": ("", {Right.ADMIN}),
    "scraper": ("", {Right.METRICS}),
    "other": ("zeta", set(Right) - {Right.ADMIN}),
    "slow": ("slow", {Right.STEP}),
    "everything": ("", set(Right)),
}


@asynccontextmanager
async def guarded(house: House, path: Path) -> AsyncIterator[tuple[Edge, Keys]]:
    for name, (tenant, rights) in ROWS.items():
        limits: dict[str, Any] = {"rate": 10.0} if name == "slow" else {}
        add_key(path, Key(name, tenant, frozenset(rights), digest_of(SECRETS[name].encode()), **limits))
    async with edge_over(house) as edge:
        desk: Desk = edge.desk
        keys = Keys(path)
        desk.access = access_by(keys, Meters(), edge.routes)
        yield edge, keys


async def ask(
    edge: Edge, method: str, path: str, key: str | None, body: Any = None, query: str = ""
) -> tuple[int, Any]:
    headers = {} if key is None else {"authorization": f"Bearer {SECRETS.get(key, key)}"}
    content = b"" if body is None else json.dumps(body).encode()
    connection = Connection(method, path, content, content_type="application/json", **headers)
    connection.scope["query_string"] = query.encode()
    return await connection.through(edge)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "keys.txt"


async def test_every_route_needs_a_key_that_there_is_and_has_the_right(key_file: Path) -> None:
    house = House()
    async with guarded(house, key_file) as (edge, _):
        for method, pattern in edge.routes.patterns:
            path = pattern.replace("{}", "sum")
            for nobody in (None, "ostinato_of_nobody", SECRETS["stepper"][:-1], ""):
                status, content = await ask(edge, method, path, nobody, {})
                assert (status, "WWW" in str(content)) == (401, False), (method, pattern)
            needed = needed_for(method, pattern)
            for name, (_, rights) in ROWS.items():
                status, content = await ask(edge, method, path, name, {})
                is_let_through = not needed.isdisjoint(rights)
                assert (status == 403) != is_let_through, (method, pattern, name, content)
                assert status != 401
                assert SECRETS[name] not in str(content)


def test_what_changes_something_is_for_steppers_or_administrators_alone() -> None:
    for (method, pattern), needed in RIGHTS.items():
        if method in ("POST", "PUT", "DELETE"):
            assert needed <= STEP | ADMIN, pattern
    assert needed_for("POST", "/v1/models/{}/predict") == STEP
    assert needed_for("POST", "/predict") == STEP
    assert needed_for("HEAD", "/v1/sessions") == needed_for("GET", "/v1/sessions")
    assert needed_for("POST", "/v1/admin/models/{}/versions/{}/load") == ADMIN
    assert needed_for("POST", "/v2/repository/models/{}/unload") == ADMIN


async def test_probes_need_no_key_and_are_told_no_model(key_file: Path) -> None:
    async with guarded(House(), key_file) as (edge, _):
        for path in PUBLIC:
            status, content = await ask(edge, "GET", path, None)
            assert status == 200
            assert "sum" not in str(content)
        for path in ("/metrics", "/docs.json", "/schema.json"):
            assert (await ask(edge, "GET", path, None))[0] == 401
        assert (await ask(edge, "GET", "/metrics", "stepper"))[0] == 403
        assert (await ask(edge, "GET", "/metrics", "scraper"))[0] == 200
        assert (await ask(edge, "OPTIONS", "/v1/sessions", None))[0] == 204


async def test_tenants_do_not_meet(key_file: Path) -> None:
    async with guarded(House(), key_file) as (edge, _):
        for key in ("stepper", "other"):
            assert (await ask(edge, "POST", "/v1/models/sum/sessions", key, {"session_id": "a"}))[0] == 201
        status, answer = await ask(edge, "POST", "/v1/sessions/a/step", "stepper", {"inputs": [[5.0]]})
        assert (status, answer["session_id"], answer["outputs"]) == (200, "a", [[5.0]])
        status, answer = await ask(edge, "POST", "/v1/sessions/a/step", "other", {"inputs": [[1.0]]})
        assert (answer["session_id"], answer["steps"], answer["outputs"]) == ("a", 1, [[1.0]])
        # Of one tenant, whoever of its keys asks.
        assert (await ask(edge, "GET", "/v1/sessions/a", "reader"))[1]["steps"] == 1
        _, mine = await ask(edge, "GET", "/v1/sessions", "reader")
        assert [each["session_id"] for each in mine["sessions"]] == ["a"]
        # An administrator has no session of that name, and may name the others'.
        assert (await ask(edge, "GET", "/v1/sessions/a", "admin"))[0] == 404
        _, all_of_them = await ask(edge, "GET", "/v1/sessions", "admin", query="tenant=*")
        assert sorted((each["tenant"], each["session_id"]) for each in all_of_them["sessions"]) == [
            ("acme", "a"),
            ("zeta", "a"),
        ]
        assert (await ask(edge, "DELETE", "/v1/sessions/a", "admin", query="tenant=zeta"))[0] == 204
        assert (await ask(edge, "GET", "/v1/sessions/a", "other"))[0] == 410
        assert (await ask(edge, "GET", "/v1/sessions/a", "reader"))[0] == 200
        for key in ("stepper", "other", "reader"):
            for tenant in ("-", "zeta" if key != "other" else "acme", "*"):
                status, content = await ask(edge, "GET", "/v1/sessions", key, query=f"tenant={tenant}")
                assert status == 403, (key, tenant, content)
        assert (await ask(edge, "GET", "/v1/sessions", "admin", query="tenant=a/b"))[0] == 422


async def test_a_rate_is_of_steps_however_they_are_asked_for(key_file: Path) -> None:
    async with guarded(House(), key_file) as (edge, _):
        for name in ("a", "b"):
            await ask(edge, "POST", "/v1/models/sum/sessions", "slow", {"session_id": name})
        predict = {"sequences": [[[1.0]] * 20, [[2.0]] * 10]}
        status, answer = await ask(edge, "POST", "/v1/models/sum/predict", "slow", predict)
        assert status == 200, answer
        step = {"inputs": [[1.0]]}
        columns = {"session_ids": ["a", "b"], "inputs": [[1.0], [1.0]]}
        for path, body in (
            ("/v1/sessions/a/step", step),
            ("/v1/models/sum/step", columns),
            ("/v1/models/sum/predict", predict),
            ("/step", {"session_id": "a", **step}),
        ):
            status, answer = await ask(edge, "POST", path, "slow", body)
            assert (status, answer["code"]) == (429, "rate_limited"), path
        _, facts = await ask(edge, "GET", "/v1/sessions/a", "slow")
        assert facts["steps"] == 0


async def test_a_key_that_is_revoked_is_none_any_more(key_file: Path) -> None:
    async with guarded(House(), key_file) as (edge, keys):
        assert (await ask(edge, "GET", "/v1/models", "stepper"))[0] == 200
        remove_key(key_file, "stepper")
        keys.refresh()
        status, answer = await ask(edge, "GET", "/v1/models", "stepper")
        assert (status, answer["code"]) == (401, "unauthenticated")
        assert (await ask(edge, "GET", "/v1/models", "reader"))[0] == 200


async def test_no_way_in_leads_to_another_tenants_session_by_its_name_in_the_store(key_file: Path) -> None:
    """Those of the default tenant are bare ids, so theirs are the ids that might be such a name."""
    async with guarded(House(), key_file) as (edge, _):
        assert (await ask(edge, "POST", "/v1/models/sum/sessions", "stepper", {"session_id": "x"}))[0] == 201
        await ask(edge, "POST", "/v1/sessions/x/step", "stepper", {"inputs": [[5.0]]})
        for name in ("acme/x", "/x", "acme/", "a/b"):
            for path, body in (
                ("/step", {"session_id": name, "inputs": [[1.0]]}),
                ("/step", {"session_id": name, "inputs": [[1.0]], "seq": 9}),
                ("/forecast", {"session_id": name, "horizon": 1}),
                (f"/v1/sessions/{name}/step", {"inputs": [[1.0]]}),
            ):
                status, answer = await ask(edge, "POST", path, "everything", body)
                assert (status, answer["code"]) in ((404, "unknown_session"), (404, "unknown_route")), (path, answer)
            for create_missing in ("true", "false"):
                columns = {"session_ids": [name, "own"], "inputs": [[1.0], [1.0]]}
                query = f"create_missing={create_missing}"
                status, answer = await ask(edge, "POST", "/v1/models/sum/step", "everything", columns, query)
                assert status == 200
                [error, *_] = answer["errors"]
                assert (error["row"], error["code"]) in ((0, "unknown_session"), (0, "invalid_input")), error
                assert answer["outputs"][0] is None
        assert (await ask(edge, "GET", "/v1/sessions/x", "stepper"))[1]["steps"] == 1


async def test_what_is_refused_costs_no_steps(key_file: Path) -> None:
    async with guarded(House(), key_file) as (edge, _):
        await ask(edge, "POST", "/v1/models/sum/sessions", "slow", {"session_id": "a"})
        many = {"inputs": [[1.0]] * 100}
        for path, body, refused in (
            ("/v1/sessions/none/forecast", {"horizon": 900}, 404),
            ("/v1/sessions/a/forecast", {"horizon": 10**9}, 413),
            ("/v1/sessions/a/forecast", {"horizon": 9 * 10**18}, 413),
            ("/v1/sessions/a/step", {**many, "seq": 7}, 409),
            ("/v1/sessions/none/step", many, 404),
            ("/v1/models/none/predict", {"sequences": [[[1.0]] * 500]}, 404),
            ("/v1/models/sum/predict", {"sequences": [[[1.0]] * 500, [["x"]]]}, 422),
            ("/v1/models/sum/step", {"session_ids": ["none"] * 1, "inputs": [[1.0]]}, 200),
        ):
            assert (await ask(edge, "POST", path, "slow", body))[0] == refused, path
            status, answer = await ask(edge, "POST", "/v1/sessions/a/step", "slow", {"inputs": []})
            assert status == 422, answer  # and not 429
        assert (await ask(edge, "POST", "/v1/sessions/a/step", "slow", {"inputs": [[1.0]]}))[0] == 200


async def test_an_administrator_names_another_tenant_at_every_route_of_a_session(key_file: Path) -> None:
    async with guarded(House(), key_file) as (edge, _):
        theirs = "tenant=acme"
        opened = await ask(edge, "POST", "/v1/models/sum/sessions", "everything", {"session_id": "a"}, theirs)
        assert opened[0] == 201
        for method, path, body in (
            ("POST", "/v1/sessions/a/step", {"inputs": [[2.0]]}),
            ("POST", "/v1/sessions/a/forecast", {"horizon": 1}),
            ("POST", "/v1/models/sum/predict", {"sequences": [[[1.0]]]}),
            ("POST", "/v1/models/sum/step", {"session_ids": ["a"], "inputs": [[3.0]]}),
            ("POST", "/v1/sessions/a/fork", {"session_id": "b"}),
            ("POST", "/v1/sessions/b/reset", None),
            ("POST", "/step", {"session_id": "a", "inputs": [[1.0]]}),
            ("POST", "/predict", {"model": "sum", "sequences": [[[1.0]]]}),
            ("GET", "/v1/sessions/a", None),
            ("GET", "/v1/sessions/a/state", None),
        ):
            status, answer = await ask(edge, method, path, "everything", body, theirs)
            assert status in (200, 201), (path, answer)
            if path != "/predict":
                assert (await ask(edge, method, path, "stepper", body, "tenant=zeta"))[0] == 403, path
        assert (await ask(edge, "GET", "/v1/sessions/a", "stepper"))[1]["steps"] == 3
        assert (await ask(edge, "GET", "/v1/sessions/a", "everything"))[0] == 404
        both = await ask(edge, "POST", "/v1/models/sum/step", "everything", None, "unknown=1&tenant=acme")
        assert both[0] == 422
        # Written otherwise it is the same, and nobody's session is taken for another's.
        await ask(edge, "POST", "/v1/models/sum/sessions", "everything", {"session_id": "b"})
        assert (await ask(edge, "GET", "/v1/sessions/a", "everything", None, "%74enant=acme"))[1]["steps"] == 3
        for method, path in (("DELETE", "/v1/sessions/b"), ("GET", "/v1/sessions/b"), ("POST", "/v1/sessions/b/reset")):
            assert (await ask(edge, method, path, "everything", None, "tenant=*"))[0] == 422
        assert (await ask(edge, "GET", "/v1/sessions/b", "everything"))[0] == 200


async def test_statistics_of_all_tenants_are_for_who_may_see_them(key_file: Path) -> None:
    async with guarded(House(), key_file) as (edge, _):
        for path in ("/v2/models/stats", "/v2/models/sum/stats", "/v2/models/sum/versions/1/stats"):
            found = {key: (await ask(edge, "GET", path, key))[0] for key in ROWS}
            assert found == {
                name: 200 if rights & {Right.METRICS, Right.ADMIN} else 403 for name, (_, rights) in ROWS.items()
            }
