"""Errors of every part: each comes out of another process as it was raised there."""

from __future__ import annotations

import builtins
import copy
import importlib
import inspect
import multiprocessing
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ostinato.errors import SeqConflict
from tests.waiting import PATIENCE_SECONDS

PACKAGE = Path(__file__).parents[2] / "ostinato"
CLASS = re.compile(r"^ *class (\w+)\(([^)]*)\):", re.MULTILINE)
CONTENTS: dict[str, Any] = {
    "str": "text",
    "int": 409,
    "bool": True,
    "float": 0.5,
    "tuple": ("GET", "PUT"),
    "dict": {"a": 1},
    "typing.Any": 2,
}
"""What an argument is given, by the beginning of its annotation."""


def classes() -> Iterator[tuple[str, str, list[str]]]:
    """Module, name and bases of every class of the package."""
    for path in sorted(_files(PACKAGE)):
        module = ".".join(("ostinato", *path.relative_to(PACKAGE).with_suffix("").parts))
        # Each process that collects tests asks for this: to parse all of it would take longer than many tests.
        for name, bases in CLASS.findall(path.read_text()):
            yield module, name, [base.strip().rpartition(".")[2] for base in bases.split(",")]


def error_classes() -> list[type[BaseException]]:
    """Every exception that the package defines, in whichever file."""
    errors = {
        name for name, each in vars(builtins).items() if inspect.isclass(each) and issubclass(each, BaseException)
    }
    found: dict[str, str] = {}
    everything = list(classes())
    while True:
        more = {name: module for module, name, bases in everything if name not in found and errors.intersection(bases)}
        if not more:
            break
        found |= more
        errors |= more.keys()
    places = sorted({(module, name) for module, name, bases in everything if errors.intersection(bases)})
    return [getattr(importlib.import_module(module), name) for module, name in places]


def _files(folder: Path) -> Iterator[Path]:
    # The parts are links to folders, which a search does not follow.
    for path in folder.iterdir():
        if path.is_dir():
            yield from _files(path)
        elif path.suffix == ".py":
            yield path


def an_error(kind: type[BaseException]) -> BaseException:
    """One, with something in each of its arguments."""
    given = []
    for parameter in list(inspect.signature(kind.__init__).parameters.values())[1:]:
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            [content] = [content for name, content in CONTENTS.items() if str(parameter.annotation).startswith(name)]
            given.append(content)
    return kind(*given) if given else kind("what is wrong")


ERRORS = error_classes()


def test_every_part_has_errors() -> None:
    names = [kind.__name__ for kind in ERRORS]
    assert names.count("SeqConflict") == 2
    assert {"UnexpectedAnswer", "ExportError", "DataError", "AnswerLost", "ClientGone"} <= set(names)


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_an_error_is_pickled_and_copied_with_all_that_it_carries(kind: type[BaseException]) -> None:
    error = an_error(kind)
    error.add_note("and a note")
    again = [pickle.loads(pickle.dumps(error, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]  # noqa: S301
    for each in (*again, copy.copy(error), copy.deepcopy(error)):
        assert type(each) is kind
        assert (str(each), each.args, vars(each)) == (str(error), error.args, vars(error))


def refuse(number: int) -> None:
    raise SeqConflict(f"no {number}", 409, "seq_conflict", expected_seq=number)


def test_a_pool_gives_an_error_in_place_of_waiting_for_ever() -> None:
    with multiprocessing.get_context("fork").Pool(1) as pool, pytest.raises(SeqConflict, match="no 7") as raised:
        pool.map_async(refuse, [7]).get(PATIENCE_SECONDS)
    assert (raised.value.expected_seq, raised.value.status, raised.value.code) == (7, 409, "seq_conflict")
