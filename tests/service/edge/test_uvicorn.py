"""Members of uvicorn that the edge overrides or reads; none is public, so a new release may change them.

Where a test fails after uvicorn's pin was moved, read what changed there before the names here are adapted.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import tomllib
from pathlib import Path

import uvicorn
from packaging.requirements import Requirement
from uvicorn import config
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import Server, ServerState

from ostinato.service.edge.answering_connection import AnsweringConnection
from ostinato.service.edge.direct import DirectExchange
from ostinato.service.edge.guarded_connection import GuardedConnection
from ostinato.service.edge.http_connection import HttpConnection
from ostinato.service.edge.reading_connection import ReadingConnection

OVERRIDDEN = {
    "__init__",
    "_unset_keepalive_if_required",
    "connection_lost",
    "connection_made",
    "data_received",
    "on_body",
    "on_header",
    "on_headers_complete",
    "on_message_begin",
    "on_message_complete",
    "on_response_complete",
    "pause_writing",
    "resume_writing",
    "timeout_keep_alive_handler",
}
READ = {
    "_should_upgrade",
    "_start_asgi_task",
    "app_state",
    "client",
    "connections",
    "cycle",
    "expect_100_continue",
    "flow",
    "handle_websocket_upgrade",
    "headers",
    "limit_concurrency",
    "loop",
    "parser",
    "pipeline",
    "root_path",
    "scope",
    "server_state",
    "timeout_keep_alive",
    "timeout_keep_alive_task",
    "transport",
    "url",
}
OURS = (HttpConnection, GuardedConnection, ReadingConnection, AnsweringConnection)
ASKED_OF_A_CYCLE = {"disconnected", "keep_alive", "message_event", "response_complete"}
ASKED_OF_A_CYCLE_WITH_A_BODY = {"body", "more_body"}
"""In members that are overridden, and reach uvicorn's with cycles of its own only."""


def members_of_self(source: object) -> set[str]:
    """The names that are used as ``self.NAME``."""
    tree = ast.parse(inspect.getsource(source))  # type: ignore[arg-type]
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    }


def test_uvicorn_is_pinned_to_a_minor_release() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    pins = [Requirement(line) for line in project["optional-dependencies"]["serve"]]
    (pin,) = [requirement for requirement in pins if requirement.name == "uvicorn"]
    major, minor, _ = uvicorn.__version__.split(".")
    assert pin.specifier.contains(uvicorn.__version__)
    assert not pin.specifier.contains(f"{major}.{int(minor) + 1}.0")


def test_the_overridden_members_are_known_and_as_uvicorn_calls_them() -> None:
    overridden = {name for kind in OURS for name, value in vars(kind).items() if inspect.isfunction(value)}
    overridden &= set(dir(HttpToolsProtocol))
    assert overridden == OVERRIDDEN
    for name in OVERRIDDEN - {"__init__"}:  # which hands its arguments on
        ours, theirs = (
            list(inspect.signature(getattr(kind, name)).parameters) for kind in (HttpConnection, HttpToolsProtocol)
        )
        assert ours == theirs, name


def test_the_members_that_are_read_are_known_and_uvicorn_has_them() -> None:
    theirs = members_of_self(HttpToolsProtocol) | set(dir(HttpToolsProtocol))
    assert theirs >= READ
    ours = set().union(*map(members_of_self, OURS))
    assert (ours & theirs) - OVERRIDDEN == READ


def test_uvicorn_asks_nothing_of_a_cycle_that_an_exchange_lacks() -> None:
    tree = ast.parse(inspect.getsource(httptools_impl))
    asked = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute) and node.value.attr == "cycle"
    }
    assert asked == ASKED_OF_A_CYCLE | ASKED_OF_A_CYCLE_WITH_A_BODY
    assert set(dir(DirectExchange)) >= ASKED_OF_A_CYCLE


def test_uvicorn_still_finds_connections_in_its_tables() -> None:
    assert "auto" in config.HTTP_PROTOCOLS
    assert "auto" in config.WS_PROTOCOLS
    state = ServerState()
    assert state.total_requests == 0
    assert state.default_headers == []
    assert state.connections == set()


def test_uvicorn_listens_where_the_acceptor_takes_its_place() -> None:
    """It starts with no socket of its own, and asks of what listens just what an acceptor has."""
    assert list(inspect.signature(Server.startup).parameters) == ["self", "sockets"]
    assert {"config", "lifespan", "server_state", "servers"} <= members_of_self(Server)
    asked = {
        node.attr
        for member in (Server.shutdown, Server._wait_tasks_to_complete)
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(member))))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "server"
    }
    assert asked == {"close", "wait_closed"}
