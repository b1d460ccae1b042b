"""Page of the command line: each command with its arguments and options, as its ``--help`` has them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ostinato.tools.reference.markdown import escaped, page, table

INTRODUCTION = """`ostinato COMMAND --help` shows the same in a terminal. A command that lacks a library says which
extra brings it."""
EXAMPLES = re.compile(r"^\[bold\]Examples?:?\[/\].*$", re.MULTILINE)
KINDS = {"str": "text", "int": "whole number", "float": "number"}

_MARKUP = re.compile(r"(?<!\\)\[/?[a-z ]*\]")


def commands_page() -> str:
    """The page."""
    from typer.main import get_command

    from ostinato.cli import COMMANDS, app

    group: Any = get_command(app)
    context = group.context_class(group, info_name="ostinato")
    overview = table(
        ("command", "what it does"),
        ((f"[ostinato {name}](#ostinato-{name})", escaped(summary)) for name, (_, summary) in COMMANDS.items()),
    )
    commands = (group.resolve_command(context, [name])[1] for name in COMMANDS)
    parts = (part for command in commands for part in _command(command, "ostinato", context))
    return page("Commands", INTRODUCTION, overview, *parts)


def _command(command: Any, parent: str, above: Any) -> Iterator[str]:
    name = f"{parent} {command.name}"
    context = command.context_class(command, info_name=command.name, parent=above)
    level = "#" * (1 + name.count(" "))
    inner = getattr(command, "commands", {})
    yield f"{level} {name}\n\n{_help(command.help or '')}"
    if not inner:
        yield f"`{' '.join([name, *_usage(command)])}`"
    yield from _parameters(command)
    for each in inner.values():
        yield from _command(each, name, context)


def _help(text: str) -> str:
    """The help of a command: paragraphs, and its examples as a list."""
    told, *examples = EXAMPLES.split(text)
    paragraphs = [_plain(" ".join(each.split())) for each in told.split("\n\n") if each.strip()]
    commands = [" ".join(each.replace(" \\\n", " ").split()) for each in "".join(examples).split("\n\n")]
    lines = [f"- `{re.sub(_MARKUP, '', each)}`" for each in commands if each]
    return "\n\n".join(
        [*paragraphs, *([f"Example{'s' if len(lines) > 1 else ''}:", "\n".join(lines)] if lines else [])]
    )


def _parameters(command: Any) -> Iterator[str]:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    if arguments:
        rows = ((f"`{_name(each)}`", _kind(each), _about(each)) for each in arguments)
        yield table(("argument", "type", "what it is"), rows)
    options = [each for each in command.params if each.param_type_name == "option" and not each.hidden]
    if options:
        told = ((_flags(each), _kind(each), _default(each), _about(each)) for each in options)
        yield table(("option", "type", "default", "what it is"), told)


def _usage(command: Any) -> Iterator[str]:
    if any(each.param_type_name == "option" for each in command.params):
        yield "[OPTIONS]"
    for each in command.params:
        if each.param_type_name == "argument":
            name = f"{_name(each)}{'...' if each.nargs == -1 else ''}"
            yield name if each.required else f"[{name}]"


def _name(argument: Any) -> str:
    return str(argument.metavar or argument.name).removesuffix("...").strip("[]").upper()


def _flags(option: Any) -> str:
    flags = ", ".join(f"`{flag}`" for flag in (*option.opts, *option.secondary_opts))
    return f"{flags}<br>`{option.envvar}`" if isinstance(option.envvar, str) else flags


def _kind(parameter: Any) -> str:
    if getattr(parameter, "is_flag", False):
        return "flag"
    if choices := getattr(parameter.type, "choices", None):
        return ", ".join(f"`{choice}`" for choice in choices)
    kind = parameter.type.name.removesuffix(" range")
    bounds = {"at least": _bound(parameter, "min"), "at most": _bound(parameter, "max")}
    words = [KINDS.get(kind, kind), *(f"{word} {bound:,}" for word, bound in bounds.items() if bound is not None)]
    return ", ".join([*words, "more than once"] if getattr(parameter, "multiple", False) else words)


def _bound(parameter: Any, name: str) -> float | None:
    bound: float | None = getattr(parameter.type, name, None)
    return bound


def _default(option: Any) -> str:
    if option.required:
        return "**needed**"
    if isinstance(option.show_default, str):
        return escaped(option.show_default)
    if option.default is None or option.default == () or callable(option.default):
        return ""
    if isinstance(option.default, bool):
        return "on" if option.default else "off"
    return f"`{getattr(option.default, 'value', option.default)}`"


def _about(parameter: Any) -> str:
    return _plain(" ".join((parameter.help or "").split()))


def _plain(text: str) -> str:
    """Help as Markdown: rich's signs for bold are left out, and words between quotation marks stay."""
    return escaped(re.sub(_MARKUP, "", text).replace("\\[", "["))
