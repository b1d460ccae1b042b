"""Flags of a command that are made of the settings of the service, one each."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperCommand

from ostinato.errors import SettingsError

if TYPE_CHECKING:
    from ostinato.service.config import Traits

TYPED = {bool, int, float, Path}
"""Kinds that are read here; the service reads all others, which are words until then."""


class CommandOfSettings(TyperCommand):
    """A command of which each flag is given once; else the last of two that differ would count, without a word."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read what was typed.

        Raises:
            SettingsError: a flag is given twice; names it.
        """
        _, _, given = self.make_parser(ctx).parse_args(list(args))
        for option, times in Counter(given).items():
            if times > 1:
                raise SettingsError(f"{option.opts[0]} is given {times} times; once is enough")
        return super().parse_args(ctx, args)


def command_with_flags(function: Callable[..., None]) -> typer.Typer:
    """A command with the options of ``function`` and, in place of its last argument, ``**flags``, one for each setting.

    A flag that is not given is None. Where the service's libraries are not installed there are none, and whatever is
    typed is taken: the command says then what to install.
    """
    command = typer.Typer(add_completion=False, rich_markup_mode="rich")
    own = list(inspect.signature(function, eval_str=True).parameters.values())[:-1]
    context = {}
    try:
        from ostinato.service.config import Settings, traits_of
    except ModuleNotFoundError:
        flags = []
        context = {"ignore_unknown_options": True, "allow_extra_args": True}
    else:
        flags = [flag for each in traits_of(Settings.model_fields).values() for flag in _parameters(each)]

    def call(**given: object) -> None:
        function(**given)

    call.__doc__ = function.__doc__
    call.__signature__ = inspect.Signature([*own, *flags])  # type: ignore[attr-defined]
    name = function.__name__.removeprefix("_")
    command.command(name, cls=CommandOfSettings, context_settings=context)(call)
    return command


def _parameters(traits: Traits) -> list[inspect.Parameter]:
    """The flag of a setting, and where it may be a secret, one for a file that holds it."""
    kind: Any = traits.kind if traits.kind in TYPED else str
    help_ = " ".join(filter(None, (traits.summary, _sentence(traits.bounds))))
    flags = [_flag(traits.name, kind, help_, traits.topic.value, traits.default)]
    if traits.is_secret:
        help_ = f"File that holds what {traits.flag} would say, in one line."
        flags.append(_flag(f"{traits.name}_file", Path, help_, traits.topic.value, "none"))
    return flags


def _flag(name: str, kind: Any, help_: str, topic: str, default: str) -> inspect.Parameter:
    option = typer.Option(help=escape(help_), rich_help_panel=topic, show_default=default)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


def _sentence(bounds: str) -> str:
    return f"Allowed: {bounds}." if bounds else ""
