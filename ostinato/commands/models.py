"""``ostinato models``: which versions a running service serves, and which is meant by which name."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Annotated, Any

import httpx2
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape

from ostinato.client import wire
from ostinato.client.addresses import part_of_path, shown
from ostinato.client.answers import read
from ostinato.client.keys import own_key
from ostinato.commands.models_fetch import fetch
from ostinato.commands.options import URL, AsJson, Url
from ostinato.commands.tables import WholeTable, table_console
from ostinato.errors import CommandError, ServiceError, ServiceUnreachable

ANSWER_SECONDS, LOAD_SECONDS, UNLOAD_SECONDS = 120.0, 600.0, 3600.0
"""How long an answer may take; and a version, which is asked for again and again, to be loaded and checked, or to be
unloaded with its sessions.
"""

NUM_ALWAYS = 5
"""Columns that a list always has."""

models = typer.Typer(
    name="models",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

models.command()(fetch)

Model = Annotated[str, typer.Argument(help="The model's name.", show_default=False)]
Version = Annotated[str, typer.Argument(help="The version.", show_default=False)]


@models.callback()
def about() -> None:
    """List and load versions of a running service, decide which version a name means, and fetch versions into a
    repository.

    [bold]Examples[/]

    ostinato models fetch https://models.example.com/beijing-lstm-2.tar.gz --repository repository

    ostinato models list

    ostinato models load beijing-lstm 2

    ostinato models alias beijing-lstm champion 2

    ostinato models default beijing-lstm 2

    ostinato models canary beijing-lstm 3 --share 0.05

    ostinato models unload beijing-lstm 1

    ostinato models shadow beijing-lstm 3 --share 0.1

    ostinato models rollback beijing-lstm
    """


@models.command("list")
def list_models(url: Url = URL, as_json: AsJson = False) -> None:
    """List the models, their versions, and what is decided about them.

    [bold]Example[/]

    ostinato models list
    """
    rows = []
    with _Service(url) as service:
        for each in service.ask("GET", "/v1/models")["models"]:
            decided = service.ask("GET", _path(each["model"]))
            if as_json:
                typer.echo(json.dumps(decided))
                continue
            aliases = ", ".join(f"{name} = {version}" for name, version in sorted(decided["aliases"].items()))
            failed = "\n".join(f"{escape(one['version'])}: {escape(one['reason'])}" for one in decided["failed"])
            default = decided["default"] or "the latest"
            versions = ", ".join(decided["versions"])
            parts = [escape(_part(decided, name)) for name in ("canary", "shadow")]
            rows.append([each["model"], each["task"], versions, default, aliases, *parts, failed])
    if not as_json:
        table_console().print(_table(rows))


def _table(rows: list[list[str]]) -> WholeTable:
    """The models, with the columns in which something stands."""
    table = WholeTable(box=SIMPLE_HEAD, pad_edge=False)
    names = ("model", "task", "versions", "default", "aliases", "canary", "shadow", "failed")
    shown = [place for place, _ in enumerate(names) if place < NUM_ALWAYS or any(row[place] for row in rows)]
    for place in shown:
        table.add_column(names[place], overflow="fold")
    for row in rows:
        table.add_row(*(row[place] for place in shown))
    return table


@models.command()
def load(model: Model, version: Version, url: Url = URL) -> None:
    """Check a version of the service's repository, and serve it; existing sessions keep their version.

    [bold]Example[/]

    ostinato models load beijing-lstm 2
    """
    give_up_at = time.monotonic() + LOAD_SECONDS
    name = f"{model}/{version}"
    with Console(stderr=True).status(f"{escape(name)} is loaded and checked"), _Service(url) as service:
        while service.ask("POST", _path(model, f"/versions/{part_of_path(version)}/load"))["status"] == "loading":
            if time.monotonic() > give_up_at:
                raise CommandError(f"{name} is still being loaded; 'ostinato models list' shows what became of it")
    typer.echo(f"{name} is served")


@models.command()
def default(
    model: Model,
    version: Annotated[str | None, typer.Argument(help="The version.", show_default="the latest")] = None,
    url: Url = URL,
) -> None:
    """Decide which version is used where a request names none.

    [bold]Example[/]

    ostinato models default beijing-lstm 2
    """
    _decide(url, model, "/default", version)


@models.command()
def alias(
    model: Model,
    name: Annotated[str, typer.Argument(help="The other name, as champion.", show_default=False)],
    version: Annotated[str | None, typer.Argument(help="Its version.", show_default="the name is removed")] = None,
    url: Url = URL,
) -> None:
    """Give a version another name, or remove the name.

    [bold]Examples[/]

    ostinato models alias beijing-lstm champion 2

    ostinato models alias beijing-lstm champion
    """
    _decide(url, model, f"/aliases/{part_of_path(name)}", version)


@models.command()
def canary(
    model: Model,
    version: Annotated[str | None, typer.Argument(help="The version.", show_default="there is none")] = None,
    share: Annotated[float, typer.Option(min=0, max=1, help="Share of the new sessions that name no version.")] = 0.1,
    url: Url = URL,
) -> None:
    """Let a share of new sessions run another version. The id of a session decides, so the choice is the same after a
    restart.

    [bold]Examples[/]

    ostinato models canary beijing-lstm 2 --share 0.05

    ostinato models canary beijing-lstm
    """
    _decide(url, model, "/canary", version, share=share)


@models.command()
def unload(
    model: Model,
    version: Version,
    sessions: Annotated[
        str,
        typer.Option(help="What happens to its sessions: refuse (to unload), keep (in the store), close, or migrate."),
    ] = "refuse",
    to: Annotated[
        str | None, typer.Option(help="With migrate: the version that the sessions continue with.", show_default="none")
    ] = None,
    url: Url = URL,
) -> None:
    """Stop serving a version. First it begins no new session, then its sessions are kept, closed or migrated, which may
    take a while, and then it is unloaded. If this is refused, the version stays as it was.

    [bold]Examples[/]

    ostinato models unload beijing-lstm 1

    ostinato models unload beijing-lstm 1 --sessions migrate --to 2
    """
    body = {"sessions": sessions} if to is None else {"sessions": sessions, "version": to}
    give_up_at, name = time.monotonic() + UNLOAD_SECONDS, f"{model}/{version}"
    with Console(stderr=True).status(f"{escape(name)} is unloaded"), _Service(url) as service:
        while True:
            try:
                done = service.ask("POST", _path(model, f"/versions/{part_of_path(version)}/unload"), body)
                break
            except ServiceError as error:  # that it takes longer than a request may, and goes on
                if error.code != "deadline_exceeded" or time.monotonic() > give_up_at:
                    raise
    became = {"close": "closed", "migrate": "migrated"}.get(sessions)
    counted = f"{done['sessions']} session{'s' * (done['sessions'] != 1)}"
    typer.echo(f"{model}/{version} is served no more" + (f", {counted} {became}" if became else ""))


@models.command()
def shadow(
    model: Model,
    version: Annotated[str | None, typer.Argument(help="The version.", show_default="no shadow")] = None,
    share: Annotated[float, typer.Option(help="Share of the sessions that begin from now on.", min=0.0, max=1.0)] = 0.1,
    url: Url = URL,
) -> None:
    """Let a version run a copy of the traffic. Its outputs are compared with the answers, and counted in /metrics.
    Without a version, end that.

    [bold]Examples[/]

    ostinato models shadow beijing-lstm 3 --share 0.1

    ostinato models shadow beijing-lstm
    """
    _decide(url, model, "/shadow", version, share=share)


@models.command()
def rollback(model: Model, url: Url = URL) -> None:
    """Undo the last decision about a model's default, aliases, canary and shadow.

    [bold]Example[/]

    ostinato models rollback beijing-lstm
    """
    _change("POST", url, model, "/rollback")


def _tell(decided: Any) -> None:
    aliases = "".join(f", {name} is {version}" for name, version in sorted(decided["aliases"].items()))
    parts = [f", {name} {told}" for name in ("canary", "shadow") if (told := _part(decided, name))]
    typer.echo(f"{decided['model']}: default {decided['default'] or 'the latest'}{aliases}{''.join(parts)}")


def _part(decided: Any, name: str) -> str:
    """The canary or the shadow in words; empty where there is none, or the service is of a release without."""
    known = decided.get(name)
    if not known:
        return ""
    not_drawn = f" (not drawn: {known['not_drawn']})" if known.get("not_drawn") else ""
    return f"{known['version']} of {100 * known['share']:g}%{not_drawn}"


def _decide(url: str, model: str, place: str, version: str | None, **more: object) -> None:
    """Decide that a place of a model is a version's; or, without one, that it is nobody's."""
    if version is None:
        _change("DELETE", url, model, place)
    else:
        _change("PUT", url, model, place, {"version": version, **more})


def _change(method: str, url: str, model: str, place: str, content: Any = None) -> None:
    """Change what is decided about a model, and tell it."""
    with _Service(url) as service:
        _tell(service.ask(method, _path(model, place), content))


def _path(model: str, place: str = "") -> str:
    return f"/v1/admin/models/{part_of_path(model)}{place}"


def _shape(members: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a model, a load, or a list of models has to hold."""
    if not members.keys() & {"models", "status", "aliases"}:
        raise ValueError("it is of another service")
    return members


class _Service:
    """Whoever answers at an address."""

    def __init__(self, url: str) -> None:
        (self._url,) = wire.base_urls(url)
        options = wire.options([self._url], ANSWER_SECONDS, own_key())
        self._http = httpx2.Client(mounts=wire.direct(), **options)

    def __enter__(self) -> _Service:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def ask(self, method: str, path: str, content: Any = None) -> Any:
        """The members of its answer; raises its own words where it refuses."""
        try:
            response = self._http.request(method, f"{self._url}{path}", json=content if content is not None else {})
        except httpx2.TransportError as error:
            raise ServiceUnreachable(
                f"no service answers at {shown(self._url)} ({error}); 'ostinato serve' starts one"
            ) from error
        return read(wire.answer_of(response), _shape)
