"""What is imported, and whether ``pyproject.toml`` asks for it where it is needed."""

from __future__ import annotations

import ast
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ostinato.extras import PACKAGES

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Of what several distributions are in, the one that we mean.
DISTRIBUTIONS = {**packages_distributions(), **{top: [name] for top, name in PACKAGES.items()}}

# What is imported only where its user asks for it: by an option, the address of a store, or a server of their own.
OPTIONAL = {
    "ostinato.commands.attention_picture": {"plot"},
    "ostinato.commands.replay_picture": {"plot"},
    "ostinato.connectors": {"connect"},
    "ostinato.tools.backfill": {"ray"},
    "ostinato.tools.ets": {"evaluate"},
    "ostinato.export.bentoml_store": {"serve"},
    "ostinato.service.artifact.cuda": {"cuda"},
    "ostinato.service.edge.oip.grpc": {"grpc"},
    "ostinato.service.fetching.remote": {"cloud"},
    "ostinato.service.state.redis": {"redis"},
    "ostinato.service.tracing": {"traces"},
    "ostinato.tools.sequences.oip_grpc": {"grpc"},
    "ostinato.tools.child_process": {"serve"},
}


def modules() -> dict[str, ast.Module]:
    """All modules of the package by name; the links in ``ostinato/`` lead to its parts."""
    folders = [ROOT / name for name in ("service", "models", "export")]
    paths = {f"ostinato.{dotted(path, ROOT)}": path for folder in folders for path in folder.rglob("*.py")}
    own = [
        path for path in (ROOT / "ostinato").rglob("*.py") if not any(parent.is_symlink() for parent in path.parents)
    ]
    return {
        name: ast.parse(path.read_text()) for name, path in {dotted(p, ROOT): p for p in own}.items() | paths.items()
    }


def dotted(path: Path, root: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def imported(tree: ast.AST, *, in_functions: bool) -> set[str]:
    """The modules that are imported, with ``from a import b`` as ``a`` and ``a.b``; not those for the type checker."""
    names: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        elif in_functions or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names |= imported(node, in_functions=in_functions)
    return names


MODULES = modules()


def libraries(names: set[str]) -> set[str]:
    """The distributions that the modules of other projects come from."""
    tops = {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"ostinato"}
    # What is not installed is taken for a distribution of its own name.
    return {canonicalize_name(DISTRIBUTIONS.get(top, [top])[0]) for top in tops}


def declared(*extras: str) -> set[str]:
    """What is asked for without an extra, or with these and those that they contain."""
    asked: set[str] = set()
    for line in [
        *PROJECT["dependencies"],
        *(line for extra in extras for line in PROJECT["optional-dependencies"][extra]),
    ]:
        requirement = Requirement(line)
        asked |= (
            declared(*requirement.extras)
            if requirement.name == PROJECT["name"]
            else {canonicalize_name(requirement.name)}
        )
    return asked


def reached(names: set[str], *, in_functions: bool) -> set[str]:
    """Those modules of the package, and all that they import in turn, but not what is optional."""
    seen: set[str] = set()
    queue = [name for name in names if name in MODULES]
    while queue:
        name = queue.pop()
        if name in seen or is_optional(name):
            continue
        seen.add(name)
        queue += [other for other in imported(MODULES[name], in_functions=in_functions) if other in MODULES]
    return seen


def is_optional(name: str) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in OPTIONAL)


def under(part: str) -> set[str]:
    return {name for name in MODULES if name == part or name.startswith(f"{part}.")}


def undeclared(names: set[str], extras: set[str], *, in_functions: bool) -> dict[str, set[str]]:
    """Module -> the libraries that it imports and nobody asks for."""
    asked = declared(*extras)
    found = {name: libraries(imported(MODULES[name], in_functions=in_functions)) - asked for name in names}
    return {name: missing for name, missing in found.items() if missing}


def test_the_client_and_its_commands_start_with_what_is_always_installed() -> None:
    names = reached(
        under("ostinato") - under("ostinato.service") - under("ostinato.models") - under("ostinato.export"),
        in_functions=False,
    )
    assert "ostinato.commands.serve" in names
    assert undeclared(names, set(), in_functions=False) == {}


@pytest.mark.parametrize(("part", "extra"), [("service", "serve"), ("models", "export"), ("export", "export")])
def test_a_part_s_extra_brings_all_that_it_imports(part: str, extra: str) -> None:
    names = reached(under(f"ostinato.{part}"), in_functions=True)
    assert len(names) > 10
    assert undeclared(names, {extra}, in_functions=True) == {}


@pytest.mark.parametrize("place", OPTIONAL)
def test_what_is_optional_has_an_extra_of_its_own(place: str) -> None:
    assert undeclared(under(place), {"serve", "export", *OPTIONAL[place]}, in_functions=True) == {}
    assert undeclared(under(place), set(), in_functions=True) != {}


def test_nothing_is_asked_for_that_nobody_imports() -> None:
    used = {library for tree in MODULES.values() for library in libraries(imported(tree, in_functions=True))}
    by_others = {"uvloop"}  # BentoML takes it where it finds it
    assert declared("serve", "grpc", "cloud", "redis", "export", "arrow", "plot") - used == by_others
