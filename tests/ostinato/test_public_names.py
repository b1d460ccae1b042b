from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path
from typing import assert_type

import pytest

import ostinato
from ostinato import errors

ERRORS = sorted(name for name, each in vars(errors).items() if isinstance(each, type))


def test_clients_errors_and_version_are_named_at_the_top() -> None:
    assert set(ostinato.__all__) == {"AsyncClient", "Client", "__version__", *ERRORS}
    assert set(ostinato.__all__) <= set(dir(ostinato))


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_at_the_top_is_the_one_that_is_raised(name: str) -> None:
    assert getattr(ostinato, name) is getattr(errors, name)


def test_every_name_can_be_imported_in_a_fresh_interpreter() -> None:
    names = ", ".join(ostinato.__all__)
    done = subprocess.run(
        [sys.executable, "-c", f"from ostinato import {names}\nprint(Client.__name__, AsyncClient.__name__)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "Client AsyncClient\n"


def test_the_version_is_that_of_the_installed_project() -> None:
    assert assert_type(ostinato.__version__, str) == importlib.metadata.version("ostinato")


def test_neither_python_nor_a_type_checker_believes_in_another_name() -> None:
    # Strict mypy fails on an exemption that it does not need: it must see for itself that there is no such name.
    with pytest.raises(ImportError):
        from ostinato import Nothing  # type: ignore[attr-defined]  # noqa: F401


def test_the_package_says_that_it_is_typed() -> None:
    assert Path(ostinato.__file__).with_name("py.typed").is_file()
