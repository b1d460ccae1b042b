from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, load_file, save_file
from typer.testing import CliRunner

from ostinato import Client
from ostinato.cli import app
from ostinato.errors import CommandError
from ostinato.tools.session_files import file_name, read_file
from tests.ostinato.conftest import RunCommand
from tests.ostinato.fake_http import fake_server
from tests.ostinato.fake_service import FakeService
from tests.server import ServerProcess

# One server for all tests that ask it.
pytestmark = pytest.mark.xdist_group("ostinato_server")

NOWHERE = ("--url", "http://127.0.0.1:1", "--patience", "0")


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    """A client of a server that has no session, and is left without one."""
    with Client(server.url) as client:
        yield client
        for info in list(client.sessions()):
            client.close_session(info.session_id)


@pytest.fixture
def sums(client: Client) -> list[str]:
    """Three sessions of ``loads``, which have added up 1, 2 and 3."""
    names = ["sum:1", "sum.2", "sum_3"]
    for number, name in enumerate(names):
        client.session("loads", session_id=name, keep=True).step([[number + 1.0]])
    return names


def one_line(text: str) -> str:
    assert text.count("\n") == 1, text
    return text


@pytest.mark.parametrize("name", ["list", "show", "export", "import", "close"])
def test_every_command_explains_itself_with_an_example(name: str, run_command: RunCommand) -> None:
    result = run_command("sessions", name, "--help")
    assert result.exit_code == 0
    assert f"ostinato sessions {name}" in result.output.split("Example", 1)[1]
    assert "--url" in result.output


def test_sessions_are_listed(client: Client, server: ServerProcess, sums: list[str], run_command: RunCommand) -> None:
    client.session("gusts", session_id="other", keep=True, ttl_seconds=0)
    result = run_command("sessions", "list", "--url", server.url)
    assert result.exit_code == 0
    assert all(name in result.output for name in (*sums, "other", "never"))
    of_model = run_command("sessions", "list", "--model", "gusts", "--url", server.url)
    assert "other" in of_model.output
    assert "sum" not in of_model.output
    some = run_command("sessions", "list", "--model", "loads", "--limit", 2, "--url", server.url)
    assert sum(name in some.output for name in sums) == 2
    assert "There are more than 2." in some.output
    assert "more than" not in run_command("sessions", "list", "-m", "loads", "--limit", 3, "--url", server.url).output


def test_sessions_are_listed_for_programs(server: ServerProcess, sums: list[str], run_command: RunCommand) -> None:
    result = run_command("sessions", "list", "--json", "--url", server.url)
    listed = [json.loads(line) for line in result.output.splitlines()]
    assert sorted(each["session_id"] for each in listed) == sorted(sums)
    assert set(listed[0]) == {
        "session_id",
        "model",
        "version",
        "steps",
        "opened_at",
        "expires_at",
        "last_at",
        "source",
        "offset",
    }
    assert {(each["model"], each["version"], each["steps"]) for each in listed} == {("loads", "1", 1)}
    limited = run_command("sessions", "list", "--json", "--limit", 1, "--url", server.url)
    assert len(limited.output.splitlines()) == 1


@pytest.mark.parametrize(
    "command", [("list",), ("list", "--json"), ("export", "--all"), ("close", "--all", "-m", "half")]
)
def test_how_many_sessions_are_unreadable_is_said(
    command: tuple[str, ...], run_command: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    service = FakeService(num_unreadable=1)
    with fake_server(service) as fake, Client(fake.url) as client:
        client.session("half", session_id="a", keep=True)  # on a page of its own, behind an empty one
        result = run_command("sessions", *command, "--url", fake.url)
        assert result.exit_code == 0, result.output
        assert "2 sessions left out, of whichever model: the service cannot read" in one_line(result.stderr)
        service.num_unreadable = 0
        assert run_command("sessions", *command, "--url", fake.url).stderr == ""


@pytest.mark.usefixtures("client")
def test_that_there_is_no_session_is_said(server: ServerProcess, run_command: RunCommand) -> None:
    assert run_command("sessions", "list", "--url", server.url).output == "there is no live session\n"
    assert run_command("sessions", "list", "--json", "--url", server.url).output == ""
    result = run_command("sessions", "list", "--model", "never", "--url", server.url)
    assert result.exit_code == 1
    assert "404 unknown_model" in one_line(result.stderr)


def test_one_session_is_shown(server: ServerProcess, sums: list[str], run_command: RunCommand) -> None:
    assert sums[0] in run_command("sessions", "show", sums[0], "--url", server.url).output
    result = run_command("sessions", "show", sums[0], "--json", "--url", server.url)
    assert json.loads(result.output)["steps"] == 1


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("name", ["never", "..", ".", "a/b"])
@pytest.mark.parametrize("command", ["show", "close"])
def test_an_unknown_session_is_said_in_one_line(
    command: str, name: str, server: ServerProcess, run_command: RunCommand
) -> None:
    result = run_command("sessions", command, name, "--url", server.url)
    assert result.exit_code == 1
    assert "404 unknown_" in one_line(result.stderr)


@pytest.mark.parametrize("command", [("list",), ("show", "a"), ("export", "a"), ("close", "a")])
def test_a_server_that_is_not_there_is_said_in_one_line(
    command: tuple[str, ...], run_command: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run_command("sessions", *command, *NOWHERE)
    assert result.exit_code == 1
    assert "no service answers" in one_line(result.stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        ("export",),
        ("close",),
        ("export", "a", "--all"),
        ("close", "a", "--all", "--model", "loads"),
        ("export", "a", "--model", "loads"),
        ("close", "--all"),
        ("import",),
        ("import", "a", "b", "--session-id", "c"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(arguments: tuple[str, ...], run_command: RunCommand) -> None:
    assert run_command("sessions", *arguments, *NOWHERE).exit_code == 2


def test_sessions_are_exported(server: ServerProcess, sums: list[str], run_command: RunCommand, tmp_path: Path) -> None:
    result = run_command("sessions", "export", *sums[:2], "-o", tmp_path / "new" / "folder", "--url", server.url)
    assert result.exit_code == 0, result.output
    assert result.output.startswith("2 sessions exported to ")
    files = sorted((tmp_path / "new" / "folder").iterdir())
    assert [path.name for path in files] == ["sum.2.safetensors", "sum:1.safetensors"]
    assert load_file(files[0])["total"].tolist() == [2.0]
    everything = run_command("sessions", "export", "--all", "--output", tmp_path, "--url", server.url)
    assert everything.output.startswith("3 sessions exported to ")
    assert {path.name for path in tmp_path.glob("*.safetensors")} == {f"{name}.safetensors" for name in sums}


def test_an_export_that_fails_leaves_no_part_of_a_file(
    server: ServerProcess, sums: list[str], run_command: RunCommand, tmp_path: Path
) -> None:
    unknown = run_command("sessions", "export", "never", "--output", tmp_path, "--url", server.url)
    assert (unknown.exit_code, "404 unknown_session" in one_line(unknown.stderr)) == (1, True)
    (tmp_path / f"{sums[0]}.safetensors").mkdir()
    taken = run_command("sessions", "export", sums[0], "--output", tmp_path, "--url", server.url)
    assert (taken.exit_code, f"{sums[0]}.safetensors: " in one_line(taken.stderr)) == (1, True)
    (tmp_path / "file").touch()
    no_folder = run_command("sessions", "export", sums[0], "--output", tmp_path / "file", "--url", server.url)
    assert (no_folder.exit_code, "--output" in one_line(no_folder.stderr)) == (1, True)
    assert {path.name for path in tmp_path.iterdir()} == {"file", f"{sums[0]}.safetensors"}


@pytest.mark.parametrize("name", ["", "../up", "a/b", "a\0b", "a\nb", "é", "x" * 129])
def test_what_is_no_id_becomes_no_path(name: str) -> None:
    with pytest.raises(CommandError, match="an id is 1 to 128"):
        file_name(name)


@pytest.mark.parametrize("name", [".", "..", "...", "-", "a:b"])
def test_every_id_has_a_file_of_its_own(name: str, tmp_path: Path) -> None:
    path = tmp_path / file_name(name)
    assert path.resolve().parent == tmp_path.resolve()
    assert path.name == f"{name}.safetensors"


def test_an_imported_session_goes_on(
    client: Client, server: ServerProcess, sums: list[str], run_command: RunCommand, tmp_path: Path
) -> None:
    run_command("sessions", "export", "--all", "--output", tmp_path, "--url", server.url)
    for name in sums:
        client.close_session(name)
    files = sorted(tmp_path.iterdir())
    result = run_command("sessions", "import", *files, "--url", server.url, "--ttl", 0)
    assert result.exit_code == 0, result.output
    assert "sum:1: loads/1, 1 steps" in result.output
    assert client.resume("sum:1").look().expires_at is None
    assert [client.resume(name).step([[10]]).tolist() for name in sums] == [[[11.0]], [[12.0]], [[13.0]]]
    again = run_command("sessions", "import", files[0], "--session-id", "again", "--url", server.url)
    assert "again: loads/1, 1 steps" in again.output
    assert client.resume("again").forecast(1).tolist() == client.resume("again").step([[0]]).tolist()


def test_a_state_that_was_made_on_a_device_is_imported_with_a_word(
    client: Client, server: ServerProcess, run_command: RunCommand, tmp_path: Path
) -> None:
    session = client.session("loads", session_id="made", keep=True)
    session.step([[1.0]])
    content = session.state()
    assert session.put_state(content).bits_may_differ is None
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    file = tmp_path / "made.safetensors"
    save_file(load(content), file, {**metadata, "made_on": "cuda NVIDIA H200, 4096 x 1"})
    told = "made on cuda NVIDIA H200, 4096 x 1, and run from here by the CPU"
    assert told in str(session.put_state(file.read_bytes()).bits_may_differ)
    result = run_command("sessions", "import", file, "--session-id", "here", "--url", server.url)
    assert result.exit_code == 0, result.output
    assert told in result.output


def test_an_imported_session_lives_as_long_as_the_one_exported(
    client: Client, server: ServerProcess, run_command: RunCommand, tmp_path: Path
) -> None:
    lives = {"short": 77.5, "for-ever": 0.0, "default": None}
    for name, ttl in lives.items():
        client.session("loads", session_id=name, ttl_seconds=ttl, keep=True).step([[1.0]])
    run_command("sessions", "export", *lives, "--output", tmp_path, "--url", server.url)
    for name in lives:
        client.close_session(name)
    assert read_file(tmp_path / "default.safetensors")[1]["ttl_seconds"] == "3600.0"
    result = run_command("sessions", "import", *sorted(tmp_path.iterdir()), "--url", server.url)
    assert result.exit_code == 0, result.output
    seconds = {}
    for name in lives:
        client.resume(name).step([[1.0]])
        run_command("sessions", "export", name, "--output", tmp_path, "--url", server.url)
        seconds[name] = read_file(tmp_path / f"{name}.safetensors")[1]["ttl_seconds"]
    assert seconds == {"short": "77.5", "for-ever": "0", "default": "3600.0"}


@pytest.mark.parametrize("text", ["", "soon", "nan", "inf", "-1"])
def test_a_file_whose_time_to_live_is_none_is_refused(text: str, run_command: RunCommand, tmp_path: Path) -> None:
    metadata = {"format": "ostinato-session", "schema": "1", "model": "loads", "ttl_seconds": text}
    save_file({"total": np.zeros(1, np.float32)}, tmp_path / "a.safetensors", metadata)
    result = run_command("sessions", "import", tmp_path / "a.safetensors", *NOWHERE)
    assert (result.exit_code, "is no number of seconds; --ttl" in one_line(result.stderr)) == (1, True)


def test_a_session_that_is_live_is_not_overwritten(
    client: Client, server: ServerProcess, sums: list[str], run_command: RunCommand, tmp_path: Path
) -> None:
    run_command("sessions", "export", sums[0], "--output", tmp_path, "--url", server.url)
    client.resume(sums[0]).step([[4]])
    result = run_command("sessions", "import", tmp_path / f"{sums[0]}.safetensors", "--url", server.url)
    assert result.exit_code == 1
    assert "'ostinato sessions close sum:1' ends it" in one_line(result.stderr)
    assert client.resume(sums[0]).step([[0]]).tolist() == [[5.0]]


def test_a_file_made_by_hand_needs_a_model(
    client: Client, server: ServerProcess, run_command: RunCommand, tmp_path: Path
) -> None:
    path = tmp_path / "plain.safetensors"
    save_file({"total": np.array([40], np.float32)}, path)
    result = run_command("sessions", "import", path, "--url", server.url)
    assert (result.exit_code, "say which with --model" in one_line(result.stderr)) == (1, True)
    named = run_command("sessions", "import", path, "-m", "loads", "--session-id", "made", "--url", server.url)
    assert named.exit_code == 0, named.output
    assert client.resume("made").step([[2]]).tolist() == [[42.0]]


def test_a_state_that_is_refused_leaves_no_session_behind(
    client: Client, server: ServerProcess, sums: list[str], run_command: RunCommand, tmp_path: Path
) -> None:
    run_command("sessions", "export", sums[0], "--output", tmp_path, "--url", server.url)
    path = tmp_path / f"{sums[0]}.safetensors"
    arguments = ("--model", "gusts", "--session-id", "new", "--url", server.url)
    result = run_command("sessions", "import", path, *arguments)
    assert result.exit_code == 1
    assert f"{path}: a state of model 'loads'" in one_line(result.stderr)
    assert sorted(info.session_id for info in client.sessions()) == sorted(sums)


def test_a_version_that_is_not_served_gives_way_to_the_latest_and_that_is_said(
    client: Client, server: ServerProcess, run_command: RunCommand, tmp_path: Path
) -> None:
    metadata = {"format": "ostinato-session", "model": "loads", "version": "0", "session_id": "old", "steps": "8"}
    save_file({"total": np.array([40], np.float32)}, tmp_path / "old.safetensors", metadata)
    result = run_command("sessions", "import", tmp_path / "old.safetensors", "--url", server.url)
    assert result.exit_code == 0, result.output
    assert "old: loads/1, 8 steps" in result.output
    assert "exported from version 0, which is not served there" in result.output
    assert client.resume("old").steps == 8
    asked = ("--version", "0", "--session-id", "older")
    refused = run_command("sessions", "import", tmp_path / "old.safetensors", *asked, "--url", server.url)
    assert (refused.exit_code, "404 unknown_model" in one_line(refused.stderr)) == (1, True)


@pytest.mark.parametrize("content", [b"", b"x" * 100, None])
def test_a_file_that_cannot_be_read_is_named(content: bytes | None, run_command: RunCommand, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    if content is not None:
        path.write_bytes(content)
    result = run_command("sessions", "import", path, *NOWHERE)
    assert result.exit_code == 1
    assert f"error: {path}: " in one_line(result.stderr)
    with pytest.raises(CommandError):
        read_file(tmp_path)


def test_one_session_is_closed_without_a_question(
    client: Client, server: ServerProcess, sums: list[str], run_command: RunCommand
) -> None:
    result = run_command("sessions", "close", sums[0], "--url", server.url)
    assert (result.exit_code, result.output) == (0, "1 session closed\n")
    assert {info.session_id for info in client.sessions()} == set(sums[1:])


@pytest.mark.parametrize(("answer", "num_left"), [("y\n", 1), ("n\n", 4), ("", 4)])
def test_many_are_closed_when_that_is_confirmed(
    answer: str, num_left: int, client: Client, server: ServerProcess, sums: list[str]
) -> None:
    client.session("gusts", keep=True)
    arguments = ["sessions", "close", "--all", "--model", "loads", "--url", server.url]
    result = CliRunner().invoke(app, arguments, input=answer)
    assert f"Close {len(sums)} sessions?" in result.output
    assert result.exit_code == (0 if num_left == 1 else 1)
    assert len(list(client.sessions())) == num_left


def test_many_are_closed_without_a_question_where_that_was_said(
    client: Client, server: ServerProcess, sums: list[str], run_command: RunCommand
) -> None:
    result = run_command("sessions", "close", *sums[:2], "--yes", "--url", server.url)
    assert (result.exit_code, result.output) == (0, "2 sessions closed\n")
    assert [info.session_id for info in client.sessions()] == sums[2:]
