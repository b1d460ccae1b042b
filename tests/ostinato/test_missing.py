"""A part that lacks its extra says so in Python, too, wherever on the way of an import the library is not found."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys

import pytest

from ostinato.extras import install_sentence

CASES = {
    "ostinato.export.exporter": "export",
    "ostinato.export.errors": None,  # needs none
    "ostinato.models.networks.recurrent": "export",
    "ostinato.service.app": "serve",
    "ostinato.service.artifact.graphs": "serve",
    "ostinato.service.edge.arrow.ipc": "arrow",
    "ostinato.service.state.redis.store": "redis",
    "ostinato.commands.attention_picture:draw": "plot",
    "ostinato.export.bentoml_store:save_to_store": "serve",
}
"""What is imported, and called where it imports later -> the extra whose libraries are not installed."""

PROGRAM = """
import importlib, importlib.metadata, json, re, sys
from pathlib import Path

import numpy, pydantic, typing_extensions  # others need these

absent = set()


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Absent())


def brought(extra):
    lines = [line for line in importlib.metadata.requires("ostinato") if re.search(rf"== .{extra}.$", line)]
    return {re.match(r"[\\w.-]+", line)[0].replace("-", "_") for line in lines} - {"ostinato"}


found = {}
for place, extra in json.loads(sys.argv[1]).items():
    module, _, call = place.partition(":")
    # A function is called where the rest of its module's part is installed.
    absent = brought(extra) - (brought("export") if call else set())
    try:
        function = getattr(importlib.import_module(module), call or "__doc__")
        if call:
            function(Path("a.svg"), ["something"]) if call == "draw" else function(Path())
        found[place] = None
    except ImportError as error:
        found[place] = [str(error), error.name.partition(".")[0] in absent]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found() -> dict[str, list[object] | None]:
    """What each import came to: its error, and whether that has the name of a library which is missing."""
    arguments = [sys.executable, "-c", PROGRAM, json.dumps(CASES)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    content: dict[str, list[object] | None] = json.loads(done.stdout)
    return content


@pytest.mark.parametrize("place", CASES)
def test_a_part_without_its_extra_names_it(found: dict[str, list[object] | None], place: str) -> None:
    extra = CASES[place]
    expected = None if extra is None else [install_sentence(place.partition(":")[0], extra), True]
    assert found[place] == expected


def test_a_module_that_is_not_there_is_no_matter_of_extras() -> None:
    name = ".".join(["ostinato", "export", "nothing"])
    with pytest.raises(ModuleNotFoundError, match=f"^No module named '{name}'$"):
        importlib.import_module(name)
