"""``ostinato serve``: check the settings, then become the server."""

from __future__ import annotations

import io
import ipaddress
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.console import Console
from rich.markup import escape

from ostinato.errors import SettingsError
from ostinato.extras import require

if TYPE_CHECKING:
    from ostinato.service.config import Settings

TARGET = "ostinato.service.app:Ostinato"
LIMITS = "Limits"
TIMES = "Times"


LEFT_OUT = {
    "max_sessions": "100000 in memory://, 10000000 else",
    "load_memory": "8GiB, and 8 bytes for each of its files",
    "grpc_port": "no gRPC",
    "grpc_certificate": "no TLS",
    "grpc_key": "no TLS",
    "grpc_client_authorities": "any client",
}
"""What a setting is where it is left out."""


def _setting(name: str, explained: str, panel: str | None = None) -> Any:
    """The flag of a setting, whose default is told by ``ostinato.service.config``."""
    try:
        from ostinato.service.config import Settings
    except ModuleNotFoundError:  # the service's libraries are not installed, as the command will say
        return typer.Option(help=explained, rich_help_panel=panel)
    default = Settings.model_fields[name].default
    if default is None:
        return typer.Option(help=explained, rich_help_panel=panel, show_default=LEFT_OUT[name])
    shown = default.human_readable() if hasattr(default, "human_readable") else f"{default}"
    return typer.Option(help=explained, rich_help_panel=panel, show_default=shown)


def serve(
    repository: Annotated[
        Path | None, _setting("repository", "Folder <repository>/<model>/<version>/ to serve.")
    ] = None,
    require_models: Annotated[
        bool | None,
        _setting("require_models", "Be unready while any version of the repository fails its checks."),
    ] = None,
    state: Annotated[
        str | None,
        _setting("state", "Store of the sessions: lmdb://PATH, redis://HOST:PORT/DB, or memory:// (lost at exit)."),
    ] = None,
    record_schema: Annotated[
        int | None, _setting("record_schema", "Schema of records written; the one before, during a roll-out.")
    ] = None,
    memory_budget: Annotated[
        str | None, _setting("memory_budget", "Memory for the sessions used last, in each worker, as 512MiB.")
    ] = None,
    host: Annotated[str | None, _setting("host", "Address to listen on; 0.0.0.0 = every one of this machine.")] = None,
    port: Annotated[int | None, _setting("port", "TCP port to listen on; 0 = any free one.")] = None,
    grpc_port: Annotated[
        int | None, _setting("grpc_port", "TCP port for gRPC at the same address; 0 = any free one.")
    ] = None,
    grpc_certificate: Annotated[
        Path | None, _setting("grpc_certificate", "Certificate in PEM, for TLS at the gRPC port.")
    ] = None,
    grpc_key: Annotated[Path | None, _setting("grpc_key", "Key of that certificate.")] = None,
    grpc_client_authorities: Annotated[
        Path | None,
        _setting("grpc_client_authorities", "Certificates in PEM of those that vouch for clients of that port."),
    ] = None,
    workers: Annotated[int | None, _setting("workers", "Processes that share the port.")] = None,
    max_batch_size: Annotated[int | None, _setting("max_batch_size", "Rows in one iteration.", LIMITS)] = None,
    max_iteration_steps: Annotated[
        int | None, _setting("max_iteration_steps", "Steps of a chunk in one iteration.", LIMITS)
    ] = None,
    max_queue_rows: Annotated[
        int | None, _setting("max_queue_rows", "Rows of a model accepted and not yet answered.", LIMITS)
    ] = None,
    max_sessions: Annotated[int | None, _setting("max_sessions", "Live sessions of a model.", LIMITS)] = None,
    max_chunk_steps: Annotated[
        int | None, _setting("max_chunk_steps", "Steps of one chunk or one sequence.", LIMITS)
    ] = None,
    max_horizon: Annotated[int | None, _setting("max_horizon", "Steps of one forecast.", LIMITS)] = None,
    max_source_steps: Annotated[
        int | None, _setting("max_source_steps", "Steps of what an encoder reads, or of a prompt.", LIMITS)
    ] = None,
    max_output_steps: Annotated[
        int | None, _setting("max_output_steps", "Steps of one output that is generated.", LIMITS)
    ] = None,
    max_beams: Annotated[int | None, _setting("max_beams", "Beams, or outputs for one input.", LIMITS)] = None,
    max_body_bytes: Annotated[int | None, _setting("max_body_bytes", "Size of a request's body.", LIMITS)] = None,
    max_connections: Annotated[int | None, _setting("max_connections", "Open connections of a worker.", LIMITS)] = None,
    allow_origin: Annotated[
        str | None,
        _setting("allow_origin", "Sites whose pages may use this, as https://a.example; * = all.", LIMITS),
    ] = None,
    head_seconds: Annotated[
        float | None, _setting("head_seconds", "How long a request's head may take; 0 = for ever.", TIMES)
    ] = None,
    ttl_seconds: Annotated[
        float | None, _setting("ttl_seconds", "How long a session may be idle; 0 = for ever.", TIMES)
    ] = None,
    tombstone_seconds: Annotated[
        float | None, _setting("tombstone_seconds", "How long a closed or expired session's id answers 410.", TIMES)
    ] = None,
    deadline_seconds: Annotated[
        float | None, _setting("deadline_seconds", "How long a request may take; 0 = for ever.", TIMES)
    ] = None,
    max_stream_frames: Annotated[
        int | None, _setting("max_stream_frames", "Frames of a WebSocket stream not yet answered.", LIMITS)
    ] = None,
    stream_idle_seconds: Annotated[
        float | None, _setting("stream_idle_seconds", "How long a stream may be idle; 0 = for ever.", TIMES)
    ] = None,
    stream_ping_seconds: Annotated[
        float | None, _setting("stream_ping_seconds", "How often a stream's client is pinged; 0 = never.", TIMES)
    ] = None,
    drain_seconds: Annotated[
        float | None, _setting("drain_seconds", "How long work in flight may take after SIGTERM.", TIMES)
    ] = None,
    load_seconds: Annotated[
        float | None, _setting("load_seconds", "How long a version may take to be loaded and checked.", TIMES)
    ] = None,
    load_memory: Annotated[
        str | None,
        _setting("load_memory", "Memory that a version may take for that, as 16GiB.", LIMITS),
    ] = None,
    inline_run_seconds: Annotated[
        float | None,
        _setting("inline_run_seconds", "Graphs whose step of a full batch takes longer run in a thread.", TIMES),
    ] = None,
) -> None:
    """Serve every model of a repository over HTTP, with sessions that keep their recurrent state.

    Each flag is an environment variable, too: --drain-seconds is OSTINATO_DRAIN_SECONDS. A flag goes before it.
    On SIGTERM or Ctrl-C it takes no new work, answers what was taken, and ends.

    [bold]Examples[/]

    ostinato serve --repository repository

    ostinato serve --repository repository --host 0.0.0.0 --port 8080 --drain-seconds 60

    OSTINATO_REPOSITORY=repository ostinato serve
    """
    flags = {name: value for name, value in locals().items() if value is not None}
    launch = plan_launch(flags, os.environ)
    os.execve(launch.command[0], launch.command, launch.environment)


class Launch(NamedTuple):
    """The server's command line and environment; ``models`` are the names in the repository."""

    command: list[str]
    environment: dict[str, str]
    url: str
    models: list[str]


def plan_launch(flags: Mapping[str, object], environment: Mapping[str, str]) -> Launch:
    """Check the settings and word the server's command.

    Args:
        flags: settings by the names of ``ostinato.service.config``; they go before the environment's.
        environment: the process's; the server's is a copy with the settings added.

    Raises:
        SettingsError: the server could not start so; names the flag.
        ModelRejected: the repository is not a folder.
        ModuleNotFoundError: a library is missing.
    """
    require("bentoml", __name__)  # which the server imports
    from ostinato.service.startup import ANNOUNCEMENT
    from ostinato.service.state.address import absolute_address

    settings = _settings(flags)
    models = _check_repository(settings)
    host = _address(settings.host)
    port = settings.port or _any_port(host)
    _check_port(host, port)
    grpc_port = _grpc_port(settings, host)
    _check_state(settings)  # last, for it may make a folder
    values = {**{name: str(value) for name, value in flags.items()}, "host": host, "port": str(port)}
    # The server's working folder is another: paths must not depend on it.
    values["repository"] = str(settings.repository.absolute())
    values["state"] = absolute_address(settings.state)
    for name in ("grpc_certificate", "grpc_key", "grpc_client_authorities"):
        if (path := getattr(settings, name)) is not None:
            values[name] = str(path.absolute())
    shown = "127.0.0.1" if host == "0.0.0.0" else f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{port}"
    grpc_address = None
    if grpc_port is not None:
        values["grpc_port"] = str(grpc_port)
        grpc_address = f"{shown}:{grpc_port}"
    handed_on = {
        "BENTOML_DO_NOT_TRACK": "true",
        **environment,
        ANNOUNCEMENT: _announcement(url, models, grpc_address),
        **{f"OSTINATO_{name.upper()}": value for name, value in values.items()},
    }
    if home := _bentoml_home(environment):
        handed_on["BENTOML_HOME"] = home
    return Launch(_command(host, port), handed_on, url, models)


def _command(host: str, port: int) -> list[str]:
    import ostinato

    # BentoML changes into the working folder and imports from it first. Without -P, so would Python from the folder
    # where it was started, whatever lies there under the name of a library.
    code = Path(ostinato.__file__).absolute().parents[1]
    command = [sys.executable, "-P", "-m", "bentoml", "serve", TARGET, "--working-dir", str(code)]
    return [*command, "--host", host, "--port", str(port)]


def _settings(flags: Mapping[str, object]) -> Settings:
    from ostinato.service.config import read_settings

    try:
        return read_settings(flags)
    except ValueError as error:
        raise SettingsError(str(error)) from None


def _check_repository(settings: Settings) -> list[str]:
    from ostinato.service.artifact.manifest import MANIFEST_FILE
    from ostinato.service.catalogue.repository import find_versions

    # One without a manifest is shown as failed by readiness, as long as any other has one.
    versions = find_versions(settings.repository)
    if not any((version / MANIFEST_FILE).is_file() for version in versions):
        raise SettingsError(
            f"--repository {settings.repository}: there is no <model>/<version> in it; 'ostinato export' writes one"
        )
    return sorted({version.parent.name for version in versions})


def _check_state(settings: Settings) -> None:
    from ostinato.service.startup import check_store

    try:
        check_store(settings)
    except ValueError as error:
        raise SettingsError(str(error)) from error


def _address(host: str) -> str:
    """The address for a host: BentoML takes no names."""
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        if host == "localhost":
            return "127.0.0.1"
        raise SettingsError(f"--host {host!r}: give an address, as 127.0.0.1, 0.0.0.0 or ::") from None


def _grpc_port(settings: Settings, host: str) -> int | None:
    """The port for gRPC, which is free; None = it is off."""
    from ostinato.service.startup import check_grpc, hold_grpc_port

    try:
        check_grpc(settings)
        held = hold_grpc_port(settings.model_copy(update={"host": host}))
    except ValueError as error:
        raise SettingsError(str(error)) from error
    if held is None:
        return None
    with held:
        return int(held.getsockname()[1])


def _any_port(host: str) -> int:
    with _listener(host, 0) as listener:
        return int(listener.getsockname()[1])


def _check_port(host: str, port: int) -> None:
    try:
        _listener(host, port).close()
    except OSError as error:
        raise SettingsError(
            f"--host {host} --port {port}: {(error.strerror or str(error)).lower()}; --port 0 takes any free port"
        ) from error


def _listener(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


def _bentoml_home(
    environment: Mapping[str, str], make_folder: Callable[[], str] = lambda: tempfile.mkdtemp(prefix="ostinato-")
) -> str | None:
    """A folder for what BentoML writes, where the user's home cannot hold it; None = its own choice is good."""
    if environment.get("BENTOML_HOME"):
        return None
    try:
        place = Path(environment.get("HOME") or Path.home()) / "bentoml"
        place.mkdir(parents=True, exist_ok=True)
        if os.access(place, os.W_OK | os.X_OK):
            return None
    except (OSError, RuntimeError):
        pass
    return make_folder()


def _announcement(url: str, models: list[str], grpc_address: str | None = None) -> str:
    """What is printed when the server listens."""
    here = Console()
    console = Console(file=io.StringIO(), force_terminal=here.is_terminal, color_system=here.color_system)  # type: ignore[arg-type]
    also = "" if grpc_address is None else f", for gRPC on [bold]{escape(grpc_address)}[/]"
    console.print(
        f"[bold]Ostinato[/] listens on [bold]{url}[/]{also} and serves {escape(', '.join(models))}",
        highlight=False,
        soft_wrap=True,
    )
    lines = (
        f"curl {url}/readyz",
        f"curl {url}/v1/models/{models[0]}",
        f"curl -X POST {url}/v1/models/{models[0]}/sessions",
        f"ostinato replay FILE.csv --model {models[0]} --url {url}",
    )
    console.print("try, when it is ready:\n  " + "\n  ".join(lines), markup=False, highlight=False, soft_wrap=True)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().rstrip("\n")
