"""``ostinato serve``: check the settings, then become the server."""

from __future__ import annotations

import contextlib
import io
import ipaddress
import json
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer
from rich.console import Console
from rich.markup import escape

from ostinato.commands.models_fetch import fetch_models
from ostinato.commands.setting_flags import command_with_flags
from ostinato.errors import SettingsError
from ostinato.extras import require
from ostinato.tools.service_settings import configuration_of

if TYPE_CHECKING:
    from ostinato.service.config import Settings

TARGET = "ostinato.service.app:Ostinato"


def _serve(
    config: Annotated[
        Path | None,
        typer.Option(
            help="TOML file with settings by their names: max_batch_size = 64.",
            show_default="none",
        ),
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print every setting and where it comes from, then exit.")
    ] = False,
    **flags: object,
) -> None:
    """Serve every model of a repository over HTTP, with sessions that keep their recurrent state.

    Each flag is also an environment variable: --drain-seconds is OSTINATO_DRAIN_SECONDS. A flag overrides the variable,
    and the variable overrides the configuration file; see docs/configuration.md. On SIGTERM or Ctrl-C the server takes
    no new work, answers what it has accepted, and ends.

    [bold]Examples[/]

    ostinato serve --repository repository

    ostinato serve --repository repository --host 0.0.0.0 --port 8080 --keys keys.txt

    ostinato serve --config ostinato.toml --print-config

    OSTINATO_REPOSITORY=repository ostinato serve
    """
    given = {name: value for name, value in {"config": config, **flags}.items() if value is not None}
    if print_config:
        print_configuration(given, os.environ)
        return
    launch = plan_launch(given, os.environ)
    os.execve(launch.command[0], launch.command, launch.environment)


serve = command_with_flags(_serve)


def print_configuration(flags: Mapping[str, object], environment: Mapping[str, str]) -> None:
    """Print what ``ostinato serve`` would serve with; nothing is started, opened or made.

    Raises:
        SettingsError: it could not start so; names what was given.
        ModuleNotFoundError: a library is missing.
    """
    require("pydantic_settings", __name__)
    from ostinato.service.config import as_toml, unknown_variables

    for sentence in unknown_variables(environment):
        typer.echo(f"warning: {sentence}", err=True)
    typer.echo(as_toml(configuration_of(flags, environment)), nl=False)


class Launch(NamedTuple):
    """The server's command line and environment; ``models`` are the names in the repository."""

    command: list[str]
    environment: dict[str, str]
    url: str
    models: list[str]


def plan_launch(flags: Mapping[str, object], environment: Mapping[str, str]) -> Launch:
    """Check the settings and word the server's command.

    Args:
        flags: settings by the names of ``ostinato.service.config``; they override the environment's.
        environment: the process's; the server's is a copy with the settings added.

    Raises:
        SettingsError: the server could not start so, and names the flag; or not on this system.
        ModelRejected: the repository is not a folder.
        FetchFailed: a model that the settings name cannot be fetched.
        ModuleNotFoundError: a library is missing.
    """
    require("bentoml", __name__)  # which the server imports
    from ostinato.service.config import handed_on, variable_of
    from ostinato.service.startup import ANNOUNCEMENT, check_system

    try:
        check_system()
    except ValueError as error:
        raise SettingsError(str(error)) from error
    configuration = configuration_of(flags, environment)
    settings = configuration.settings
    try:
        _fetch_models(settings)
        tasks = _check_repository(settings)
        host = _address(settings.host)
        _check_exposure(settings, host)
        port = settings.port or _any_port(host)
        _check_port(host, port)
        grpc_port = _grpc_port(settings, host)
        _check_state(settings)  # last, for it may make a folder
    except SettingsError as error:
        raise SettingsError(configuration.named(str(error))) from error
    values = {"host": host, "port": str(port)}
    shown = "127.0.0.1" if host == "0.0.0.0" else f"[{host}]" if ":" in host else host
    url = f"{'http' if settings.certificate is None else 'https'}://{shown}:{port}"
    grpc_address = None
    if grpc_port is not None:
        values["grpc_port"] = str(grpc_port)
        grpc_address = f"{shown}:{grpc_port}"
    variables = {
        "BENTOML_DO_NOT_TRACK": "true",
        **handed_on(configuration, environment, Path.cwd()),  # the server's working folder is another
        ANNOUNCEMENT: _announcement(url, tasks, grpc_address),
        **{variable_of(name): value for name, value in values.items()},
    }
    for name in ("models", "models_file"):  # which are there by now
        variables.pop(variable_of(name), None)
    if home := _bentoml_home(environment):
        variables["BENTOML_HOME"] = home
    return Launch(_command(host, port), variables, url, list(tasks))


def _command(host: str, port: int) -> list[str]:
    import ostinato

    # BentoML changes into the working folder and imports from it first. Without -P, so would Python from the folder
    # where it was started, whatever lies there under the name of a library.
    code = Path(ostinato.__file__).absolute().parents[1]
    command = [sys.executable, "-P", "-m", "bentoml", "serve", TARGET, "--working-dir", str(code)]
    return [*command, "--host", host, "--port", str(port)]


def _fetch_models(settings: Settings) -> None:
    from ostinato.service.fetching.sources import read_sources

    if sources := read_sources(settings.models):
        fetch_models(sources, settings.repository)


def _check_repository(settings: Settings) -> dict[str, str]:
    """The names of the models, in order, and what each is for; empty where its manifest cannot be read."""
    from ostinato.service.artifact.manifest import MANIFEST_FILE
    from ostinato.service.catalogue.repository import find_versions, place_of

    # One without a manifest is shown as failed by readiness, as long as any other has one.
    versions = find_versions(settings.repository)
    if not any((version / MANIFEST_FILE).is_file() for version in versions):
        raise SettingsError(
            f"--repository {settings.repository}: there is no <model>/<version> in it; 'ostinato export' writes one, "
            "and --models fetches one"
        )
    tasks = {place_of(version, settings.repository)[0]: _task_of(version / MANIFEST_FILE) for version in versions}
    return dict(sorted(tasks.items()))


def _task_of(manifest: Path) -> str:
    with contextlib.suppress(OSError, ValueError):
        content = json.loads(manifest.read_bytes())
        return str(content.get("task", "")) if isinstance(content, dict) else ""
    return ""


def _check_exposure(settings: Settings, host: str) -> None:
    from ostinato.service.edge.local_guard import check_exposure
    from ostinato.service.startup import check_device, check_keys, check_traces

    try:
        check_exposure(settings, host)
        check_keys(settings)
        check_traces(settings)
        check_device(settings)
    except ValueError as error:
        raise SettingsError(str(error)) from error


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


def _announcement(url: str, tasks: Mapping[str, str], grpc_address: str | None = None) -> str:
    """What is printed when the server listens; ``tasks``: of the models, by their names."""
    here = Console()
    console = Console(file=io.StringIO(), force_terminal=here.is_terminal, color_system=here.color_system)  # type: ignore[arg-type]
    also = "" if grpc_address is None else f", for gRPC on [bold]{escape(grpc_address)}[/]"
    console.print(
        f"[bold]Ostinato[/] listens on [bold]{url}[/]{also} and serves {escape(', '.join(tasks))}",
        highlight=False,
        soft_wrap=True,
    )
    # What can be tried most is shown of one that has sessions.
    name = min(tasks, key=lambda name: tasks[name] != "recurrent")
    ways = {
        "recurrent": (
            f"curl -X POST {url}/v1/models/{name}/sessions",
            f"ostinato replay FILE.csv --model {name} --url {url}",
        ),
        "generator": (f"ostinato generate {name} --url {url}",),
        "encoder_decoder": (f"ostinato generate {name} --input FILE --url {url}",),
    }
    lines = (f"curl {url}/readyz", f"curl {url}/v1/models/{name}", *ways.get(tasks[name], ()))
    console.print("try, when it is ready:\n  " + "\n  ".join(lines), markup=False, highlight=False, soft_wrap=True)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().rstrip("\n")
