from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer
from typer import BadParameter
from typer.main import get_command
from typer.testing import CliRunner

from ostinato.cli import COMMANDS, ERRORS, app
from tests.ostinato.conftest import RunCommand


def test_help_lists_every_command_in_the_order_of_use(run_command: RunCommand) -> None:
    result = run_command("--help")
    assert result.exit_code == 0
    places = [result.output.index(f"│ {name} ") for name in COMMANDS]
    assert places == sorted(places)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_an_example(name: str, run_command: RunCommand) -> None:
    result = run_command(name, "--help")
    assert result.exit_code == 0
    assert f"ostinato {name} " in result.output.split("Example", 1)[1]


@pytest.mark.parametrize(("typed", "meant"), [(("trian",), "train"), (("sessions", "lst"), "list")])
def test_a_mistyped_command_is_answered_with_what_may_be_meant(
    typed: tuple[str, ...], meant: str, run_command: RunCommand
) -> None:
    result = run_command(*typed)
    assert result.exit_code == 2
    assert f"Did you mean '{meant}'?" in result.output


def commands_of(name: str) -> dict[tuple[str, ...], Any]:
    """A command, and those in it, by their names."""
    group: Any = get_command(app)
    _, command, _ = group.resolve_command(group.context_class(group), [name])
    inner = getattr(command, "commands", {})
    return {(name,): command, **{(name, child): each for child, each in inner.items()}}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_paragraph_of_help_is_broken_by_the_terminal_alone(name: str) -> None:
    for command in commands_of(name).values():
        assert "\n" not in command.help.replace("\n\n", "").replace(" \\\n  ", " ")  # examples are, as a shell reads on


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_whole_in_80_columns(name: str) -> None:
    for path in commands_of(name):
        shown = CliRunner(env={"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}).invoke(app, [*path, "--help"]).output
        assert "…" not in shown
        assert max(map(len, shown.splitlines())) <= 80


def examples_of(path: tuple[str, ...]) -> list[str]:
    """The examples as a terminal of 80 columns shows them, each as a shell reads what is copied from there."""
    shown = CliRunner(env={"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}).invoke(app, [*path, "--help"]).output
    about, _, _ = shown.partition("╭")
    blocks = [block for block in about.split("\n\n") if re.match(r" (\w+=\S+ )*ostinato ", block)]
    return [block.replace("\\\n", "") for block in blocks]


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_have_the_commands_and_the_options_that_there_are(name: str) -> None:
    for path in commands_of(name):
        examples = examples_of(path)
        assert examples, path
        for example in examples:
            assert "\n" not in example.strip(), "the terminal has broken it where no shell reads on"
            for each in re.split(r" [|] | > |; ", example):
                words = shlex.split(each)
                if "ostinato" not in words[:2]:
                    continue
                words = words[words.index("ostinato") + 1 :]
                inner = commands_of(words[0])
                found = (words[0], words[1]) if len(words) > 1 and (words[0], words[1]) in inner else (words[0],)
                asked = inner[found]
                asked.make_parser(typer.Context(asked)).parse_args(words[len(found) :])  # or it raises what is wrong


def options_of(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    for child, inner in getattr(command, "commands", {}).items():
        yield from options_of(inner, f"{name} {child}")
    for option in command.params:
        if option.param_type_name == "option":
            yield f"{name} {option.opts[0]}", option


def has_value(default: object) -> bool:
    """Whether it is shown; False of a flag is not."""
    return default not in (None, "") and default is not False


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_shows_what_it_is_where_it_is_not_given(name: str) -> None:
    group: Any = get_command(app)
    _, command, _ = group.resolve_command(group.context_class(group), [name])
    silent = [
        place
        for place, option in options_of(command, name)
        if not (option.required or isinstance(option.show_default, str) or has_value(option.default))
    ]
    assert silent == []


def test_version_is_the_package_s(run_command: RunCommand) -> None:
    assert run_command("--version").output == f"ostinato {version('ostinato')}\n"


@pytest.mark.parametrize(
    ("arguments", "exit_status"),
    [
        (("--help",), 0),
        (("verify", "REPOSITORY"), 0),
        (("serve", "--repository", "REPOSITORY", "--host", "nowhere"), 1),
        (("replay", "a.csv", "--model", "loads", "--url", "http://127.0.0.1:1", "--patience", "0"), 1),
        (("generate", "g2p", "word", "--url", "http://127.0.0.1:1", "--patience", "0"), 1),
        (("bench", "--model", "loads", "--url", "http://127.0.0.1:1"), 1),
        (("sessions", "list", "--url", "http://127.0.0.1:1", "--patience", "0"), 1),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_serving_commands_import_no_torch(arguments: tuple[str, ...], exit_status: int, models: Path) -> None:
    code = (
        "import sys\nfrom ostinato.cli import main\ntry: main()\nexcept SystemExit as end: status = end.code\n"
        "heavy = {'torch', 'onnx', 'models', 'export', 'matplotlib', 'bentoml'} & set(sys.modules)\n"
        "sys.exit(f'imported: {sorted(heavy)}' if heavy else status)"
    )
    words = [str(models) if word == "REPOSITORY" else word for word in arguments]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, "imported" in done.stderr, "Traceback" in done.stderr) == (exit_status, False, False)


def test_an_expected_error_is_one_line_and_exit_status_1(run_command: RunCommand) -> None:
    result = run_command("verify", "no-such-folder")
    assert result.exit_code == 1
    assert result.stderr == "error: no-such-folder: there is no such folder; 'ostinato export' fills one\n"


def test_errors_of_training_end_in_one_line_too(run_command: RunCommand) -> None:
    result = run_command("train", "no-such.toml")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: no-such.toml")
    assert "Traceback" not in result.output


def test_an_unknown_command_is_a_usage_error(run_command: RunCommand) -> None:
    result = run_command("sreve")
    assert result.exit_code == 2
    assert "No such command 'sreve'" in result.stderr


def test_the_modules_of_expected_errors_exist() -> None:
    import importlib

    assert all(importlib.import_module(name) for name in ERRORS)


def numbers_of(command: Any) -> Iterator[Any]:
    yield from (each for each in command.params if each.type.name in ("float", "float range"))
    for inner in getattr(command, "commands", {}).values():
        yield from numbers_of(inner)


@pytest.mark.parametrize("word", ["nan", "inf", "-inf", "1e999"])
def test_no_command_takes_a_number_that_is_none(word: str) -> None:
    group = get_command(app)
    context = group.make_context("ostinato", ["--help"], resilient_parsing=True)
    numbers = [
        each
        for name in COMMANDS
        for each in numbers_of(group.resolve_command(context, [name])[1])  # type: ignore[attr-defined]
    ]
    assert len(numbers) > 10
    for each in numbers:
        with pytest.raises(BadParameter, match=r"is no finite number|is not in the range"):
            each.type.convert(word, each, context)
    assert numbers[0].type.convert("1", numbers[0], context) == 1.0


def test_a_number_that_is_none_is_a_usage_error(run_command: RunCommand) -> None:
    result = run_command("models", "canary", "lstm", "2", "--share", "nan")
    assert result.exit_code == 2
    assert "'nan' is no finite number" in result.output


def test_an_error_does_nothing_to_the_terminal(run_command: RunCommand) -> None:
    result = run_command("models", "fetch", "\x1b[31mnowhere\x9b\ud800")
    assert result.exit_code == 1
    assert "error: \\x1b[31mnowhere\\x9b\\ud800: there is no such folder" in result.output


def test_what_make_offers_is_whole_in_80_columns() -> None:
    folder = Path(__file__).parents[2]
    shown = subprocess.run(["make", "help"], cwd=folder, capture_output=True, text=True, check=True).stdout
    targets = re.findall(r"^([a-z-]+):.*## ", (folder / "Makefile").read_text(), re.MULTILINE)
    assert re.findall(r"^  make ([a-z-]+) ", shown, re.MULTILINE) == targets
    assert max(map(len, shown.splitlines())) <= 80
