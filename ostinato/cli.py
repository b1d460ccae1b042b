"""The command line. A command's module, and what that needs, is imported when the command runs."""

from __future__ import annotations

import contextlib
import copy
import importlib
import keyword
import math
import re
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from ostinato import __version__
from ostinato.extras import missing_sentence
from ostinato.printable import printable

COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("ostinato.commands.train", "Train a network on a table (CSV), or as its recipe says."),
    "export": ("ostinato.commands.export", "Export a trained module to ONNX, proved against PyTorch."),
    "import": ("ostinato.commands.import_onnx", "Import an ONNX file: its states are found and proved."),
    "run": ("ostinato.commands.run", "Run a model offline over whole sequences; live answers are equal."),
    "evaluate": (
        "ostinato.commands.evaluate",
        "Score a forecaster offline, by steps ahead, with naive forecasts and ETS.",
    ),
    "verify": ("ostinato.commands.verify", "Check models as the service does, without starting it."),
    "serve": ("ostinato.commands.serve", "Serve a repository of models over HTTP."),
    "keys": ("ostinato.commands.keys", "Make, list and revoke the keys that a service asks for."),
    "models": ("ostinato.commands.models", "Fetch and load versions, and decide which version a name means."),
    "connect": ("ostinato.commands.connect", "Carry readings from Kafka, MQTT or Redis through sessions."),
    "replay": ("ostinato.commands.replay", "Stream a table (CSV) through live sessions, and score the forecasts."),
    "generate": (
        "ostinato.commands.generate",
        "Generate texts, codes or numbers with a model, and show its attention.",
    ),
    "sessions": ("ostinato.commands.sessions", "List, show, export, import and close sessions of a running service."),
    "bench": ("ostinato.commands.bench", "Measure how fast a running service is, and check its answers."),
    "plan": ("ostinato.commands.plan", "Calculate what sessions need: replicas, memory, Redis, disk, cost."),
}
"""Command -> the module whose function, or group of commands, has its name; and what the list of commands says."""

ERRORS = ("ostinato.service.errors", "ostinato.export.errors", "ostinato.models.errors", "ostinato.errors")
"""Modules whose exceptions are sentences for the user; they are known by name, so that none is imported for it."""


NUMBERS = ("int", "int range", "integer", "integer range", "float", "float range")
EXAMPLE_COLUMNS = 76
"""Of 80, with a margin and what tells a shell to read on."""


class LazyGroup(TyperGroup):
    """Commands that are imported when they are called, and expected errors that end in one line."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All commands, in the order in which a user meets them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """For the list of commands: a name and what it does."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        return _command(lambda: None, cmd_name, COMMANDS[cmd_name][1])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """For a call: the command itself."""
        if args[0] not in COMMANDS:  # typer looks here for what a mistyped one may have meant
            self.commands = {name: self.get_command(ctx, name) for name in COMMANDS}
        name, _, rest = super().resolve_command(ctx, args)
        if name is None:
            return name, None, rest
        ctx.invoked_subcommand = name  # known before its module is imported, which may lack an extra
        module, _ = COMMANDS[name]
        return name, _command(_function(module, name), name, None), rest

    def invoke(self, ctx: Any) -> Any:
        """Run a command; one red line and exit status 1 for an error that is meant for the user."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            sentence = _sentence(error, str(ctx.invoked_subcommand))
            if sentence is None:
                raise
            Console(stderr=True).print(f"[red]error:[/] {escape(printable(sentence))}", highlight=False, soft_wrap=True)
            raise typer.Exit(1) from error


def _function(module: str, name: str) -> Any:
    """A command's function, called as it is; with an underscore where Python has the word for itself."""
    return getattr(importlib.import_module(module), f"{name}_" if keyword.iskeyword(name) else name)


def _sentence(error: Exception, command: str) -> str | None:
    """What the user reads of an error; None where it was not meant for one."""
    if isinstance(error, ModuleNotFoundError):
        return missing_sentence(f"'ostinato {command}'", error)
    return str(error) if any(base.__module__ in ERRORS for base in type(error).__mro__) else None


def _command(function: Any, name: str, summary: str | None) -> Any:
    group = function
    if not isinstance(function, typer.Typer):
        group = typer.Typer(add_completion=False, rich_markup_mode="rich")
        group.command(name, help=summary)(function)
    return _tidy(typer.main.get_command(group))


def _tidy(command: Any) -> Any:
    """A command whose help is broken where the terminal ends: typer would break it where the docstring is, too; and
    whose numbers are finite: to typer ``nan`` is within any bounds. An example is broken where a shell reads on, and
    can be copied: no line has spaces at its end.
    """
    command.format_help = _unpadded(command.format_help)
    paragraphs = re.sub(r"(?<!\n)\n(?!\n)", " ", command.help or "").split("\n\n")
    command.help = "\n\n".join(map(_example, paragraphs)) or None
    for each in command.params:
        if each.type.name in NUMBERS and each.metavar is None:
            each.metavar = "N"
        if each.type.name == "boolean" and each.default is False and not each.secondary_opts:
            each.show_default = "off"
        if each.type.name in ("float", "float range"):
            each.type = _finite(each.type)
    for inner in getattr(command, "commands", {}).values():
        _tidy(inner)
    return command


class _Unpadded:
    """The standard output, without the spaces that fill a line up to the terminal's edge: a shell reads on behind a
    backslash at the end of a line, and not where a space follows it.
    """

    def __init__(self) -> None:
        self._file = sys.stdout

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, text: str) -> int:
        """Write whole lines."""
        return int(self._file.write(re.sub(r" +(?=\n)", "", text)))


def _unpadded(show: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    def shown(ctx: Any, formatter: Any) -> None:
        output: Any = _Unpadded()
        with contextlib.redirect_stdout(output):
            show(ctx, formatter)

    return shown


def _example(paragraph: str) -> str:
    """A paragraph of a help; one that is a command in lines that fit a terminal of 80 columns, and can be copied."""
    if not paragraph.startswith("ostinato "):
        return paragraph
    first, *words = re.split(r" (?=-)|(?<=;) |(?<=\|) ", paragraph)  # an option and its value stay together
    lines = [first]
    for word in words:
        if len(lines[-1]) + len(word) + 1 > EXAMPLE_COLUMNS:
            lines.append(f"  {word}")
        else:
            lines[-1] += f" {word}"
    return " \\\n".join(lines)


def _finite(kind: Any) -> Any:
    """A kind of numbers without those that are none."""
    made = copy.copy(kind)  # it may be everybody's

    def convert(value: Any, param: Any, ctx: Any) -> Any:
        found = kind.convert(value, param, ctx)
        if not math.isfinite(found):
            kind.fail(f"{value!r} is no finite number", param, ctx)
        return found

    made.convert = convert
    return made


app = typer.Typer(
    cls=LazyGroup,
    name="ostinato",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_show_locals=False,
)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"ostinato {__version__}")
        raise typer.Exit


@app.callback(
    epilog="Begin:  [bold]ostinato train[/] RECIPE  ->  [bold]ostinato export[/] RUN  ->  [bold]ostinato serve[/]  ->  "
    "[bold]ostinato replay[/] FILE.csv --model NAME"
)
def ostinato(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Trained recurrent networks, served as live sessions: state stays on the server, a client sends what is new."""


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
