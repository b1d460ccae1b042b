"""The site under ``/docs/``: what a real server answers, and what a browser makes of it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.browser import DESKTOP, PHONE, running_browser
from tests.docs.site import ARCHIVE, built_site
from tests.server import CHECKOUT, PLAIN, ServerProcess, running_server
from tests.shared import Shared

pytestmark = pytest.mark.xdist_group("site")

PICTURES = CHECKOUT / "build" / "docs"
TARGET = "tests.process.site_service:Ostinato"


@pytest.fixture(scope="module")
def archive(shared: Shared) -> Path:
    return built_site(shared) / ARCHIVE


@pytest.fixture(scope="module")
def site_server(archive: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    keys = tmp_path_factory.mktemp("keys") / "keys.txt"
    keys.write_text("")
    home = tmp_path_factory.mktemp("site")
    with running_server(repository, home, target=TARGET, environment={"SITE": str(archive)}, keys=keys) as running:
        yield running


@pytest.fixture
def client(site_server: ServerProcess) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=site_server.url, trust_env=False, **PLAIN) as opened:
        yield opened


def test_who_has_no_key_reads_the_pages(client: httpx2.Client) -> None:
    index = client.get("/docs/")
    assert (index.status_code, index.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in index.headers["content-security-policy"]
    assert client.get("/docs/index.html").text == index.text
    assert client.get("/docs/stores.md").text.startswith("# Looking after stores\n")
    assert client.get("/docs/llms.txt").headers["content-type"] == "text/plain; charset=utf-8"
    assert client.get("/v1/models").status_code == 401


def test_a_page_that_was_read_is_not_sent_again(client: httpx2.Client) -> None:
    first = client.get("/docs/stores.html")
    again = client.get("/docs/stores.html", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert first.headers["cache-control"] == "no-cache"
    assert client.get("/docs/stores.html", headers={"If-None-Match": '"else"'}).status_code == 200


def test_a_head_is_that_of_the_answer(client: httpx2.Client) -> None:
    head, whole = client.head("/docs/"), client.get("/docs/", headers={"Accept-Encoding": "identity"})
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["etag"] == whole.headers["etag"]
    refused = client.post("/docs/")
    assert (refused.status_code, refused.json()["code"]) == (405, "method_not_allowed")


@pytest.mark.parametrize(
    "path",
    [
        "/docs/nothing.html",
        "/docs/_static",
        "/docs/../pyproject.toml",
        "/docs/..%2f..%2fpyproject.toml",
        "/docs/%2e%2e/%2e%2e/etc/passwd",
        "/docs//etc/passwd",
        "/docs/_static/..%5c..%5csite.zip",
    ],
)
def test_a_path_that_the_site_has_not_is_unknown(path: str, site_server: ServerProcess) -> None:
    # By hand: a client of HTTP would tidy the path.
    with socket.create_connection(("127.0.0.1", site_server.port)) as opened:
        opened.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: opened.recv(65536), b""))
    assert answer.startswith((b"HTTP/1.1 404 ", b"HTTP/1.1 401 ")), answer


def test_a_reader_finds_the_way_between_the_routes_and_the_pages(client: httpx2.Client, server: ServerProcess) -> None:
    routes = httpx2.get(f"{server.url}/docs", trust_env=False, **PLAIN).text
    assert "href='docs/'" in routes
    assert 'href="../docs"' in client.get("/docs/reference_http.html").text
    assert 'href="docs/"' in client.get("/console").text


@pytest.mark.parametrize("console", [True, False])
def test_where_it_is_not_built_or_not_wanted_it_is_unknown(
    console: bool, archive: Path, repository: Path, tmp_path: Path
) -> None:
    place = tmp_path / "none.zip" if console else archive
    environment = {"SITE": str(place)}
    with running_server(repository, tmp_path, target=TARGET, environment=environment, console=console) as running:
        answer = httpx2.get(f"{running.url}/docs/", trust_env=False, **PLAIN)
        assert answer.status_code == 404
        assert not console or (answer.json()["code"] == "unknown_route" and "make docs" in answer.json()["detail"])
        assert httpx2.get(f"{running.url}/docs", trust_env=False, **PLAIN).status_code == 200


def test_a_browser_shows_it_on_a_desk_and_a_phone_and_asks_no_other_host(
    site_server: ServerProcess, tmp_path: Path
) -> None:
    with running_browser(tmp_path) as browser:
        page = browser.new_page(site_server.url)
        for size, name, theme in ((DESKTOP, "desktop", "light"), (PHONE, "phone", "dark")):
            page.look(size, theme)  # type: ignore[arg-type]
            for path in ("index", "configuration", "stores"):
                page.go(f"/docs/{path}.html")
                page.until_there("article h1")
                assert page.run("document.documentElement.scrollWidth") <= size[0], f"{path} is wider than a {name}"
                page.picture(PICTURES / f"{path}-{name}-{theme}.png", whole=False)
        page.look(DESKTOP)
        page.go("/docs/stores.html")
        page.run("navigator.clipboard.writeText = async (text) => { window.put = text; }; 0")
        page.until_there("button.copy")
        page.run("document.querySelector('div.highlight-console button.copy').click(); 0")
        page.until("typeof window.put === 'string'")
        assert page.run("window.put.includes('$ ')") is False
        page.go("/docs/search.html?q=migrate")
        page.until("document.querySelectorAll('ul.search li').length > 0")
        assert (page.foreign, page.faults) == ([], [])
        page.close()
