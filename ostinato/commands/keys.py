"""``ostinato keys``: make, list and revoke the keys of a service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console

from ostinato.commands.tables import WholeTable, table_console
from ostinato.errors import CommandError
from ostinato.extras import require

keys = typer.Typer(
    name="keys",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

KeyFile: TypeAlias = Annotated[Path, typer.Option("--keys", help="The file of keys.", envvar="OSTINATO_KEYS")]
Name: TypeAlias = Annotated[str, typer.Argument(help="The name of the key; it is no secret.", show_default=False)]


@keys.callback()
def about() -> None:
    """Make, list and revoke the keys that 'ostinato serve --keys FILE' asks for.

    A server reads the file again when it changes, so new, changed and revoked keys take effect within a second or two.
    The file holds digests, from which a key cannot be computed.

    [bold]Examples[/]

    ostinato keys new robots --tenant acme --keys keys.txt

    ostinato keys new prometheus --rights metrics --keys keys.txt > prometheus.key

    ostinato keys list --keys keys.txt

    ostinato keys revoke robots --keys keys.txt
    """
    require("pydantic_settings", __name__)


@keys.command("new")
def new_key(
    name: Name,
    path: KeyFile = Path("keys.txt"),
    tenant: Annotated[
        str,
        typer.Option(
            help="The tenant whose sessions the key can use and see; - = the sessions of a server without keys."
        ),
    ] = "-",
    rights: Annotated[
        str, typer.Option(help="What the key may do: step, read, admin, metrics, separated by commas.")
    ] = "step,read",
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="The most steps a second, on average.", show_default="any number")
    ] = None,
    sessions: Annotated[
        int | None, typer.Option(min=1, help="The most live sessions of its tenant.", show_default="any number")
    ] = None,
) -> None:
    """Make a key, add its digest to the file, and print the key on standard output. It is stored nowhere else.

    [bold]Examples[/]

    ostinato keys new robots --tenant acme --keys keys.txt

    ostinato keys new trial --tenant guest --rate 100 --sessions 1000 --keys keys.txt
    """
    from ostinato.service.access.key import NAME, Key, digest_of, new_secret
    from ostinato.service.access.key_file import DEFAULT_TENANT, add_key, rights_of

    for what, word in (("name", name), ("tenant", tenant)):
        if not NAME.fullmatch(word) and not (what == "tenant" and word == DEFAULT_TENANT):
            raise CommandError(
                f"{word!r}: a {what} is 1 to 64 characters of A-Z a-z 0-9 . _ -, the first a letter or digit"
            )
    secret = new_secret()
    owner = "" if tenant == DEFAULT_TENANT else tenant
    add_key(path, Key(name, owner, rights_of(rights), digest_of(secret.encode()), rate, sessions))
    typer.echo(secret)
    Console(stderr=True).print(f"key {name} is in {path}; keep what was printed, it is shown once", highlight=False)


@keys.command("list")
def list_keys(path: KeyFile = Path("keys.txt")) -> None:
    """List the keys of a file, and what each may do.

    [bold]Example[/]

    ostinato keys list --keys keys.txt
    """
    from ostinato.service.access.key_file import DEFAULT_TENANT, read_keys

    if not path.exists():
        raise CommandError(f"{path}: there is no such file; 'ostinato keys new NAME --keys {path}' makes it")
    table = WholeTable("name", "tenant", "rights", "steps/s", "sessions", box=SIMPLE_HEAD, pad_edge=False)
    for key in read_keys(path):
        rate = "" if key.rate is None else f"{key.rate:g}"
        sessions = "" if key.sessions is None else f"{key.sessions:,}"
        table.add_row(key.name, key.tenant or DEFAULT_TENANT, key.shown_rights, rate, sessions)
    table_console().print(table)


@keys.command("revoke")
def revoke_key(name: Name, path: KeyFile = Path("keys.txt")) -> None:
    """Remove a key from the file. Within a second or two its requests are refused, and its streams are closed.

    [bold]Example[/]

    ostinato keys revoke robots --keys keys.txt
    """
    from ostinato.service.access.key_file import remove_key

    remove_key(path, name)
    Console(stderr=True).print(f"key {name} is revoked", highlight=False)
