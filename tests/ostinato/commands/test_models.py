from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner

from ostinato.cli import app
from tests.ostinato.conftest import RunCommand

Answers = Callable[[httpx2.Request], httpx2.Response]
ADMIN = "/v1/admin/models"
LONG = "a-long-name-" * 20


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bytes]]:
    """What the service was asked, which has one model of one failed version and two loads that take long."""
    asked: list[tuple[str, bytes]] = []
    loads = ["loading", "loading", "ready"]
    decided = {"model": "m", "default": "1", "aliases": {LONG: "1"}, "versions": ["1"]}
    failed = [{"version": "2", "reason": "model.onnx: " + "damaged " * 40}]

    def answer(request: httpx2.Request) -> httpx2.Response:
        path = request.url.raw_path.decode()
        asked.append((request.method, request.url.raw_path))
        if request.headers.get("authorization") != "Bearer right":
            problem = {"detail": "this server needs a key", "code": "unauthenticated"}
            return httpx2.Response(401, json=problem, headers={"content-type": "application/problem+json"})
        if path == "/v1/models":
            return httpx2.Response(200, json={"models": [{"model": "m", "task": "recurrent"}]})
        if path.endswith("/load"):
            return httpx2.Response(202, json={"model": "m", "version": "2", "status": loads.pop(0)})
        if path.endswith("elsewhere"):
            return httpx2.Response(200, text="<html>")
        shadow = json.loads(request.content) if request.method == "PUT" and path.endswith("/shadow") else None
        return httpx2.Response(200, json={**decided, "shadow": shadow, "failed": failed})

    make = partial(httpx2.Client, transport=httpx2.MockTransport(answer))
    monkeypatch.setattr("ostinato.commands.models.httpx2.Client", lambda **options: make(headers=options["headers"]))
    monkeypatch.setenv("OSTINATO_KEY", "right")
    monkeypatch.delenv("COLUMNS", raising=False)
    return asked


def test_a_load_is_asked_for_until_it_has_ended(asked: list[tuple[str, bytes]], run_command: RunCommand) -> None:
    result = run_command("models", "load", "m", "2")
    assert (result.exit_code, result.stdout) == (0, "m/2 is served\n")
    assert asked == [("POST", b"/v1/admin/models/m/versions/2/load")] * 3


def test_names_are_parts_of_a_path_whatever_they_are(asked: list[tuple[str, bytes]], run_command: RunCommand) -> None:
    run_command("models", "load", "..", "../a b?#%41")
    run_command("models", "alias", "m", "..", "1")
    assert [path for _, path in asked[-2:]] == [
        b"/v1/admin/models/%2E%2E/versions/..%2Fa%20b%3F%23%2541/load",
        b"/v1/admin/models/m/aliases/%2E%2E",
    ]


@pytest.mark.usefixtures("asked")
def test_what_is_piped_is_whole_and_of_json_one_object_a_line(run_command: RunCommand) -> None:
    (line,) = run_command("models", "list", "--json").stdout.splitlines()
    told: Any = json.loads(line)
    assert told["aliases"] == {LONG: "1"}
    listed = CliRunner(env={"COLUMNS": ""}).invoke(app, ["models", "list"]).stdout
    (row,) = [line for line in listed.splitlines() if line.strip().startswith("m ")]
    assert f"{LONG} = 1" in row
    assert "damaged " * 39 in row
    assert run_command("models", "default", "m", "1").stdout == f"m: default 1, {LONG} is 1\n"


@pytest.mark.usefixtures("asked")
def test_a_key_that_is_missing_is_told_with_the_place_that_it_is_taken_from(
    run_command: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OSTINATO_KEY")
    result = run_command("models", "list")
    assert result.exit_code == 1
    assert "OSTINATO_KEY or OSTINATO_KEY_FILE [401 unauthenticated]" in " ".join(result.output.split())


@pytest.mark.usefixtures("asked")
def test_an_answer_of_another_service_is_said(run_command: RunCommand) -> None:
    result = run_command("models", "alias", "m", "elsewhere")
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert "it is no JSON object" in " ".join(result.output.split())


@pytest.mark.parametrize("url", ["http://[::1", "foo", "http://", "http://127.0.0.1:99999", "http://[", "ftp://x", ""])
@pytest.mark.parametrize("command", ["models list", "sessions list", "bench -m m"])
def test_what_is_no_address_is_said(command: str, url: str, run_command: RunCommand) -> None:
    result = run_command(*command.split(), "--url", url)
    assert result.exit_code in (1, 2), result.output
    assert not isinstance(result.exception, (ValueError, httpx2.InvalidURL, OverflowError)), result.exception


def test_a_shadow_is_set_told_and_taken_away(asked: list[tuple[str, bytes]], run_command: RunCommand) -> None:
    told = f"m: default 1, {LONG} is 1"
    assert run_command("models", "shadow", "m", "2", "--share", "0.25").stdout == f"{told}, shadow 2 of 25%\n"
    assert run_command("models", "shadow", "m", "2").stdout == f"{told}, shadow 2 of 10%\n"
    assert run_command("models", "shadow", "m").stdout == f"{told}\n"
    assert asked == [(method, b"/v1/admin/models/m/shadow") for method in ("PUT", "PUT", "DELETE")]
