from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import httpx2
import pytest
from typer.main import get_command

from ostinato import extras
from ostinato.commands.serve import _bentoml_home, plan_launch, serve
from ostinato.errors import SettingsError
from ostinato.service.config import Settings
from tests.ostinato.conftest import RunCommand
from tests.service.far_arrays import far_library


@pytest.fixture(autouse=True)
def _nothing_becomes_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a test became the server")

    monkeypatch.setattr(os, "execve", refuse)
    monkeypatch.setenv("OSTINATO_STATE", f"lmdb://{tmp_path}/state")


def test_every_setting_is_a_flag() -> None:
    options = {option.name for option in get_command(serve).params}
    assert options == {*Settings.model_fields, "state_file", "models_file", "config", "print_config"}


def test_help_says_of_a_setting_what_it_is_its_bounds_and_its_default(run_command: RunCommand) -> None:
    lines = run_command("serve", "--help").output
    for said in (
        "TCP port to listen on; 0 = any free port. Allowed: 0 to 65535.",
        "[default: (1GiB)]",
        " Limits ",
    ):
        assert said in lines


def test_without_the_service_s_libraries_there_is_help_and_a_sentence_for_whatever_is_typed(tmp_path: Path) -> None:
    code = "import sys\nsys.modules['pydantic'] = sys.modules['bentoml'] = None\nfrom ostinato.cli import main\nmain()"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, "serve", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    shown = run("--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "Serve every model of a repository" in shown.stdout
    refused = run("--port", "3001")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "'ostinato serve' needs the extra serve: pip install" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--state", "sqlite://nowhere"), "--state sqlite://...: there is no such store"),
        (("--state", "lmdb://"), "--state 'lmdb://': it is lmdb://PATH"),
        (("--state", "lmdb://x?sync=never"), "--state 'lmdb://x?sync=never': it is lmdb://PATH"),
        (("--state", "lmdb:///proc/nothing"), "/proc/nothing: "),
        (("--memory-budget", "much"), "--memory-budget 'much': "),
        (("--state", "memory://", "--workers", "2"), "--workers 2: memory:// serves one worker"),
        (("--workers", "0"), "--workers '0': input should be greater than or equal to 1"),
        (("--host", "example.org"), "--host 'example.org': give an address"),
        (("--grpc-port", "0", "--certificate-key", "k.pem"), "--certificate and --certificate-key belong together"),
        (("--port", "0", "--grpc-port", "70000"), "--grpc-port '70000': "),
        (("--port", "1", "--port", "2"), "--port is given 2 times; once is enough"),
        (("--require-models", "--no-require-models"), "--require-models is given 2 times; once is enough"),
        (("--state", "memory://", "--state-file", "s"), "--state and --state-file give the same setting; leave one"),
        (("--drain-seconds", "-1"), "--drain-seconds '-1.0': input should be greater than or equal to 0"),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_starts(
    arguments: tuple[str, ...], message: str, models: Path, run_command: RunCommand
) -> None:
    result = run_command("serve", "--repository", models, *arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {message}")
    assert result.stderr.count("\n") == 1


def test_a_device_that_is_not_there_is_refused_with_what_to_do(
    models: Path, run_command: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("serve", "--repository", models, "--device", "cuda")
    monkeypatch.setattr(extras, "requires", lambda _: ['cupy-cuda13x==14.2.0; extra == "cuda"'])
    result = run_command(*asked)
    assert (result.exit_code, result.stderr) == (
        1,
        "error: 'ostinato serve' needs the extra cuda: pip install 'ostinato[cuda]'\n",
    )
    with far_library() as library:
        library.num_devices = 0
        assert run_command(*asked).stderr.startswith("error: --device cuda: there is no GPU that CUDA sees")


def test_a_wrong_variable_is_named_as_the_user_gave_it(
    models: Path, run_command: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OSTINATO_PORT", "tcp://10.0.0.1:3000")
    result = run_command("serve", "--repository", models)
    assert result.exit_code == 1
    assert "OSTINATO_PORT 'tcp://10.0.0.1:3000'" in result.stderr


def test_an_absent_and_an_empty_repository_are_refused(tmp_path: Path, run_command: RunCommand) -> None:
    assert "there is no such folder" in run_command("serve", "--repository", tmp_path / "absent").stderr
    (tmp_path / "photos" / "summer").mkdir(parents=True)
    assert "there is no <model>/<version> in it" in run_command("serve", "--repository", tmp_path).stderr


def test_a_taken_grpc_port_is_refused(models: Path, run_command: RunCommand) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        result = run_command("serve", "--repository", models, "--port", 0, "--grpc-port", port)
    assert result.exit_code == 1
    assert f"--grpc-port {port} at 127.0.0.1: address already in use" in result.stderr


def test_what_is_wrong_is_named_where_it_stands(
    models: Path, tmp_path: Path, run_command: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OSTINATO_STATE")
    file = tmp_path / "ostinato.toml"
    file.write_text(f'repository = "{models}"\nhost = "nowhere"\n')
    told = run_command("serve", "--config", file).stderr
    assert told.startswith(f"error: host ({file}, line 2) 'nowhere': give an address")
    file.write_text(f'repository = "{models}"\nport = 0\nworkers = 2\nstate = "memory://"\n')
    told = run_command("serve", "--config", file).stderr
    assert told.startswith(f"error: workers ({file}, line 3) 2: memory:// serves one worker")
    monkeypatch.setenv("OSTINATO_WORKERS", "3")
    assert run_command("serve", "--config", file).stderr.startswith("error: OSTINATO_WORKERS 3: memory://")


def test_a_file_reaches_the_server_with_its_paths(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OSTINATO_STATE")
    (tmp_path / "models").symlink_to(models)
    file = tmp_path / "ostinato.toml"
    file.write_text('repository = "models"\nport = 0\nmax_beams = 3\nttl_seconds = 9\n')
    environment = {"OSTINATO_CONFIG": str(file), "OSTINATO_STATE": "memory://", "OSTINATO_TTL_SECONDS": "8"}
    launch = plan_launch({"ttl_seconds": 7.5}, environment)
    assert {name: launch.environment.get(name) for name in ("OSTINATO_CONFIG", "OSTINATO_REPOSITORY")} == {
        "OSTINATO_CONFIG": None,
        "OSTINATO_REPOSITORY": f"{tmp_path}/models",
    }
    assert (launch.environment["OSTINATO_MAX_BEAMS"], launch.environment["OSTINATO_TTL_SECONDS"]) == ("3", "7.5")
    assert launch.url == f"http://127.0.0.1:{launch.environment['OSTINATO_PORT']}"


def test_a_configuration_is_printed_and_nothing_is_made(
    tmp_path: Path, run_command: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OSTINATO_STATE", "lmdb://absent")
    monkeypatch.setenv("OSTINATO_DRAIN_SECOND", "1")
    result = run_command("serve", "--print-config", "--repository", "absent", "--port", 1)
    assert result.exit_code == 0
    assert "port = 1  # --port\n" in result.stdout
    assert tomllib.loads(result.stdout)["state"] == f"lmdb://{tmp_path}/absent"
    assert result.stderr == (
        "warning: OSTINATO_DRAIN_SECOND is no setting and is not heeded; did you mean OSTINATO_DRAIN_SECONDS?\n"
    )
    assert list(tmp_path.iterdir()) == []
    refused = run_command("serve", "--print-config", "--workers", "0")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr.endswith("\nerror: --workers '0': input should be greater than or equal to 1\n")


def test_any_grpc_port_is_settled_and_said_at_the_start(models: Path) -> None:
    launch = plan_launch({"repository": models, "port": 0, "grpc_port": 0}, os.environ)
    port = int(launch.environment["OSTINATO_GRPC_PORT"])
    assert port > 0
    assert f"for gRPC on 127.0.0.1:{port}" in launch.environment["_OSTINATO_ANNOUNCEMENT"]


def test_a_taken_port_is_refused(models: Path, run_command: RunCommand) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        result = run_command("serve", "--repository", models, "--port", port)
    assert result.exit_code == 1
    assert f"--port {port}: address already in use" in result.stderr


def test_the_state_lies_where_the_command_was_given(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for given, expected in (
        ("lmdb://some%20state?sync=always", f"lmdb://{tmp_path}/some%20state?sync=always"),
        ("lmdb:///tmp/../" + str(tmp_path)[1:], f"lmdb:///tmp/../{str(tmp_path)[1:]}"),
        ("memory://", "memory://"),
    ):
        launch = plan_launch({"repository": models, "port": 0, "state": given}, os.environ)
        assert launch.environment["OSTINATO_STATE"] == expected
    assert (tmp_path / "some state" / "data.mdb").exists()


def test_flags_go_before_variables_and_both_reach_the_server(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSTINATO_TTL_SECONDS", "7")
    monkeypatch.setenv("OSTINATO_DRAIN_SECONDS", "7")
    monkeypatch.delenv("BENTOML_DO_NOT_TRACK", raising=False)  # BentoML sets it where it was imported
    launch = plan_launch({"repository": models, "port": 0, "drain_seconds": 9.0}, os.environ)
    assert launch.environment["OSTINATO_TTL_SECONDS"] == "7"
    assert launch.environment["OSTINATO_DRAIN_SECONDS"] == "9.0"
    assert launch.environment["OSTINATO_REPOSITORY"] == str(models.absolute())
    assert launch.environment["BENTOML_DO_NOT_TRACK"] == "true"
    assert launch.command[-1] == launch.url.rpartition(":")[2] != "0"


def test_port_0_and_localhost_become_a_real_address(models: Path) -> None:
    launch = plan_launch({"repository": models, "port": 0, "host": "localhost"}, os.environ)
    assert launch.url.startswith("http://127.0.0.1:")
    with pytest.raises(SettingsError):
        plan_launch({"repository": models, "host": "no-address"}, os.environ)


def test_a_home_that_cannot_hold_files_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert _bentoml_home({"HOME": str(tmp_path / "file")}, lambda: "elsewhere") == "elsewhere"
    assert _bentoml_home({"HOME": str(tmp_path)}, lambda: "elsewhere") is None
    assert _bentoml_home({"HOME": "/dev/null", "BENTOML_HOME": "mine"}, lambda: "elsewhere") is None


def test_it_serves_from_any_folder_with_a_useless_home_and_ends_on_sigterm(models: Path, tmp_path: Path) -> None:
    # Modules of the user's own that have the names of ours and of a library.
    (tmp_path / "service").mkdir()
    (tmp_path / "service" / "__init__.py").write_text("raise RuntimeError('not this one')\n")
    (tmp_path / "numpy.py").write_text("raise RuntimeError('not this one')\n")
    (tmp_path / "models").symlink_to(models)
    environment = {**os.environ, "HOME": "/dev/null", "OSTINATO_REPOSITORY": "models"}
    environment.pop("BENTOML_HOME", None)
    # As the console script, which does not look into the current folder.
    start = [sys.executable, "-P", "-m", "ostinato.cli", "serve", "--port", "0", "--drain-seconds", "5"]
    process = subprocess.Popen(start, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        # What it starts with is said before; that it listens, when it does.
        first = next(line for line in process.stdout if line.startswith("Ostinato listens"))
        url = first.split(" listens on ")[1].split()[0]
        assert first == f"Ostinato listens on {url} and serves gusts, loads\n"
        for line in process.stdout:
            if "2 model versions are served" in line:
                break
        names = [model["model"] for model in httpx2.get(f"{url}/v1/models").json()["models"]]
        assert names == ["gusts", "loads"]
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()
        assert process.wait(30) == 0
        assert "drained, with 0 requests left" in rest
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
