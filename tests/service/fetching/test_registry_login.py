from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from ostinato.service.errors import FetchFailed
from ostinato.service.fetching import registry_login
from tests.service.fetching.registry_server import PASSWORD, USER, Registry
from tests.service.fetching.test_fetching import bring
from tests.service.fetching.web_server import Reply, running_web


@pytest.fixture(autouse=True)
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of what ``docker login`` keeps."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    (tmp_path / "docker").mkdir()
    return tmp_path / "docker"


@pytest.mark.parametrize("is_kept", [True, False])
@pytest.mark.parametrize("login", ["basic", "bearer"])
def test_who_asks_is_shown_as_the_registry_wants_it(
    login: str, is_kept: bool, origin: Path, repository: Path, docker: Path
) -> None:
    registry = Registry(login)
    registry.push_files("1", origin)
    with running_web(registry) as web:
        registry.address = web.address
        source = f"oci://{web.address}/team/sums:1"
        with pytest.raises(FetchFailed, match="'docker login' there first") as caught:
            bring(source, repository)
        if is_kept:
            auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            (docker / "config.json").write_text(json.dumps({"auths": {web.address: {"auth": auth}}}))
            assert bring(source, repository) == [f"sums/1: fetched, from {source}"]
        else:
            with_password = f"oci://{USER}:{PASSWORD}@{web.address}/team/sums:1"
            assert bring(with_password, repository) == [f"sums/1: fetched, from {source}"]
        assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(("seconds", "times"), [(50.0, 1), (0.0, 4)])
def test_a_token_is_asked_for_anew_when_it_may_have_ended(
    seconds: float, times: int, origin: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_login, "RENEW_SECONDS", seconds)
    registry = Registry("bearer")
    registry.push_files("1", origin)
    with running_web(registry) as web:
        registry.address = web.address
        bring(f"oci://{USER}:{PASSWORD}@{web.address}/team/sums:1", repository)
        assert sum(path.startswith("/token?") for path in web.asked) == times


@pytest.mark.parametrize("challenge", ["Negotiate", 'Bearer realm="http://elsewhere.example/token"', "Bearer"])
def test_a_password_goes_nowhere_else(challenge: str, repository: Path) -> None:
    with running_web(Registry(challenge)) as web, pytest.raises(FetchFailed, match="'docker login' there first"):
        bring(f"oci://{USER}:{PASSWORD}@{web.address}/team/sums:1", repository)


@pytest.mark.parametrize(
    "content",
    [
        *(
            b"",
            b"[]",
            b"{}",
            b"[" * 100_000,
            b'{"token": 5}',
            b'{"token": "a\\r\\nHost: b"}',
            '{"token": "ü"}'.encode(),
        ),
        bytes(registry_login.MAX_TOKEN_BYTES + 1),
    ],
)
def test_a_token_that_is_none_is_refused(content: bytes, repository: Path) -> None:
    registry = Registry("bearer")

    def answer(path: str, headers: dict[str, str]) -> Reply:
        return Reply(200, content) if path.startswith("/token?") else registry(path, headers)

    with running_web(answer) as web:
        registry.address = web.address
        with pytest.raises(FetchFailed, match=r"gives no token|more than 1,048,576 bytes"):
            bring(f"oci://{USER}:{PASSWORD}@{web.address}/team/sums:1", repository)
