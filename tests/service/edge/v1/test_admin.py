from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from ostinato.service.catalogue import reload
from ostinato.service.edge.message import Request
from ostinato.service.edge.v1.admin import ROOT, AdminRoutes
from ostinato.service.edge.v1.models import ModelRoutes
from ostinato.service.errors import InvalidInput, UnknownModel
from ostinato.service.inference.departures import Departures
from tests.service.catalogue.replicas import Failing, Replica, held_loads

AtEnd: TypeAlias = list[Callable[[], Awaitable[object]]]


class Desk:
    """An operator's, at one replica that serves versions 1 and 2."""

    def __init__(self, repository: Path, deadline_seconds: float = 0) -> None:
        self.replica = Replica(repository, Failing())
        for version in "12":
            self.replica.put(version)
        departures = Departures(self.replica.catalogue, self.replica.live, self.replica.sessions)
        self._routes = AdminRoutes(self.replica.catalogue, self.replica.live, departures, deadline_seconds)

    async def ask(
        self, method: str, place: str, *names: str, version: str | None = None, **others: float
    ) -> tuple[int, Any]:
        handler = self._routes.table[ROOT + place][method]
        body = b"" if version is None else json.dumps({"version": version, **others}).encode()
        answer = await handler(Request("/".join(("m", *names)), b"", "application/json", body))
        return answer.status, json.loads(answer.body)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload, "LOOK_SECONDS", 0.01)


async def test_a_load_that_takes_longer_than_a_request_may_is_told_and_goes_on(
    tmp_path: Path, at_end: AtEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(tmp_path, deadline_seconds=0.05)
    at_end.append((await desk.replica.begin()).stop)
    desk.replica.put("3")
    with held_loads(monkeypatch) as begun:
        for _ in range(2):
            asked = await desk.ask("POST", "/versions/{}/load", "3")
            assert asked == (202, {"model": "m", "version": "3", "status": "loading"})
    while (asked := await desk.ask("POST", "/versions/{}/load", "3"))[0] == 202:
        await asyncio.sleep(0)
    assert asked == (200, {"model": "m", "version": "3", "status": "ready"})
    assert len(begun) == 1


async def test_what_became_of_a_load_is_told_to_whoever_asks_again(tmp_path: Path, at_end: AtEnd) -> None:
    desk = Desk(tmp_path, deadline_seconds=30)
    at_end.append((await desk.replica.begin()).stop)
    (desk.replica.put("3") / "model.onnx").write_bytes(b"no graph")
    for _ in range(2):
        with pytest.raises(InvalidInput, match="not served"):
            await desk.ask("POST", "/versions/{}/load", "3")


async def test_an_alias_is_no_version_s_name(tmp_path: Path, at_end: AtEnd) -> None:
    desk = Desk(tmp_path)
    desk.replica.put("beta")
    at_end.append((await desk.replica.begin()).stop)
    desk.replica.put("gamma")  # nobody has loaded it
    (desk.replica.put("delta") / "model.onnx").unlink()
    await desk.replica.loader.try_now(tmp_path / "m" / "delta")
    shutil.move(tmp_path / "m" / "delta", tmp_path / ".delta")
    for name in ("beta", "gamma", "delta"):
        with pytest.raises(InvalidInput, match=f"has a version '{name}', so that can be no alias"):
            await desk.ask("PUT", "/aliases/{}", name, version="1")
    # One that was there before a version of its name came may be changed, and means what was decided.
    await desk.ask("PUT", "/aliases/{}", "omega", version="1")
    desk.replica.put("omega")
    await desk.ask("POST", "/versions/{}/load", "omega")
    assert desk.replica.opens("omega") == "1"
    assert (await desk.ask("PUT", "/aliases/{}", "omega", version="2"))[1]["aliases"] == {"omega": "2"}
    assert desk.replica.opens("omega") == "2"


async def test_no_roll_back_leads_to_a_version_that_is_not_served(tmp_path: Path, at_end: AtEnd) -> None:
    desk = Desk(tmp_path)
    at_end.append((await desk.replica.begin()).stop)
    for version in "12":
        await desk.ask("PUT", "/default", version=version)
    await desk.ask("PUT", "/aliases/{}", "champion", version="2")
    document = desk.replica.document
    again = Desk(tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "elsewhere" / "m" / "1")
    again.replica.document.content = document.content
    at_end.append((await again.replica.begin()).stop)
    assert (await again.ask("POST", "/rollback"))[1]["aliases"] == {}
    with pytest.raises(UnknownModel, match="no version '1'"):
        await again.ask("POST", "/rollback")
    assert again.replica.opens() == "2"
    # What lies in the repository and is meant by nobody yet is no hindrance.
    again.replica.put("1")
    await again.ask("POST", "/versions/{}/load", "1")
    assert (await again.ask("POST", "/rollback"))[1]["default"] == "1"


async def test_a_model_is_described_by_the_version_that_is_meant(tmp_path: Path, at_end: AtEnd) -> None:
    desk = Desk(tmp_path)
    at_end.append((await desk.replica.begin()).stop)
    models = ModelRoutes(desk.replica.catalogue)

    async def described() -> Any:
        manifest = json.loads((await models.show(Request("m", b"", "", b""))).body)["manifest"]
        return manifest and manifest["version"]

    assert await described() == "2"
    await desk.ask("PUT", "/default", version="1")
    assert await described() == "1"
    desk.replica.catalogue.decisions = desk.replica.catalogue.decisions.with_default("m", "9")
    assert await described() is None


async def test_a_shadow_is_shown_taken_back_and_refused_where_it_is_none(tmp_path: Path, at_end: AtEnd) -> None:
    desk = Desk(tmp_path)
    at_end.append((await desk.replica.begin()).stop)

    async def shown() -> Any:
        return (await desk.ask("GET", ""))[1]["shadow"]

    assert await shown() is None
    await desk.ask("PUT", "/aliases/{}", "next", version="1")
    assert (await desk.ask("PUT", "/shadow", version="next", share=0.5))[1]["shadow"] == {"version": "1", "share": 0.5}
    assert (await desk.ask("PUT", "/shadow", version="1"))[1]["shadow"] == {"version": "1", "share": 0.1}
    for share in (0, -1, 1.5, float("nan")):
        with pytest.raises(InvalidInput):
            await desk.ask("PUT", "/shadow", version="1", share=share)
    with pytest.raises(UnknownModel, match="no version '9'"):
        await desk.ask("PUT", "/shadow", version="9")
    assert await shown() == {"version": "1", "share": 0.1}
    assert (await desk.ask("POST", "/rollback"))[1]["shadow"] == {"version": "1", "share": 0.5}
    assert (await desk.ask("DELETE", "/shadow"))[1]["shadow"] is None
    # A version that nobody had loaded yet is loaded by whoever takes the decision up.
    desk.replica.put("3")
    with pytest.raises(UnknownModel):
        await desk.ask("PUT", "/shadow", version="3")
    await desk.ask("POST", "/versions/{}/load", "3")
    assert (await desk.ask("PUT", "/shadow", version="3"))[0] == 200


async def test_a_model_is_shown_by_any_version_that_is_served_and_by_an_alias(tmp_path: Path, at_end: AtEnd) -> None:
    desk = Desk(tmp_path)
    at_end.append((await desk.replica.begin()).stop)
    await desk.ask("PUT", "/aliases/{}", "champion", version="1")
    show = ModelRoutes(desk.replica.catalogue).show
    for query, version in ((b"", "2"), (b"version=1", "1"), (b"version=2", "2"), (b"version=champion", "1")):
        members = json.loads((await show(Request("m", query, "", b""))).body)
        assert (members["version"], members["manifest"]["version"]) == (version, version)
    with pytest.raises(UnknownModel, match="nothing"):
        await show(Request("m", b"version=nothing", "", b""))
    with pytest.raises(InvalidInput, match="vershun"):
        await show(Request("m", b"vershun=1", "", b""))
