"""What the eye forgets: which part may know which, how long a file may be, what must be written down."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.edge.problems import PROBLEMS
from service.errors import ModelRejected, OstinatoError
from service.metrics.series import SERIES

ROOT = Path(__file__).parents[1]
CODE = ("service", "models", "export", "ostinato")
TEXT = (*CODE, "tests", "examples", "benchmarks", "docs", "deploy", "requirements", ".ci")
MAX_LINES = 350

TRAINING = ("torch", "onnx", "onnxscript", "models", "export")
REPLIES = ("service.http", "service.app")
UNKNOWN_TO_LEAVES = ("service", "ostinato", "bentoml", "starlette")

# Who must not know whom: (a module and what is under it, what is forbidden there, what is allowed all the same).
FORBIDDEN: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "service": ((*TRAINING, "ostinato", "benchmarks", "matplotlib"), ()),
    "service.errors": (UNKNOWN_TO_LEAVES, ()),
    "service.config": (UNKNOWN_TO_LEAVES, ()),
    "service.metrics.series": (UNKNOWN_TO_LEAVES, ()),
    "service.artifact.manifest": (
        UNKNOWN_TO_LEAVES,
        ("service.errors", "service.artifact.tensors", "service.artifact.vocabulary"),
    ),
    "service.artifact.tensors": (UNKNOWN_TO_LEAVES, ()),
    "service.artifact.vocabulary": (UNKNOWN_TO_LEAVES, ("service.errors",)),
    "service.state": (
        ("service",),
        ("service.state", "service.errors", "service.config", "service.artifact.manifest", "service.artifact.tensors"),
    ),
    "service.engine": (
        ("service.sessions.sessions", "service.catalogue.recurrent_checks", "bentoml", "starlette", *REPLIES),
        (),
    ),
    # It decides and nothing else: time comes in as an argument, and there is nothing to wait for.
    "service.engine.recurrent.batching": (
        ("service", "asyncio", "numpy", "time", "threading", "random", "onnxruntime"),
        (),
    ),
    "service.sessions.sessions": (("bentoml", "starlette", *REPLIES), ()),
    "service.catalogue.recurrent_checks": (("service.sessions.sessions", "bentoml", "starlette", *REPLIES), ()),
    "service.http": (("service.state", "service.app", "onnxruntime"), ()),
    "models": (("service", "export", "ostinato", "bentoml", "onnxruntime", "onnx"), ()),
    "export": (("ostinato", "service.sessions.sessions", *REPLIES), ()),
    "ostinato": (("benchmarks",), ()),
    **{
        f"ostinato.{name}": (("service", "bentoml", "onnxruntime", *TRAINING), ())
        for name in (
            "client",
            "commands.attention_picture",
            "commands.generate",
            "commands.generation_inputs",
            "commands.generation_view",
            "commands.sessions",
            "tools.connection",
            "tools.load",
            "tools.session_files",
        )
    },
    # Plans and the policy are carried out by both kinds of client, and know the network of neither.
    **{
        f"ostinato.client.{name}": (("service", "asyncio", "threading", "httpx", "websockets", "numpy"), ())
        for name in ("exchange", "retry")
    },
}
ONLY_IMPORTERS = {"onnxruntime": "service.engine.graph"}  # within service/


def module_name(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def source_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imports(tree: ast.AST) -> set[str]:
    """What a tree imports, at its top or within a function; of ``from a import b``, both ``a`` and ``a.b``."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def is_under(name: str, parents: tuple[str, ...]) -> bool:
    return any(name == parent or name.startswith(f"{parent}.") for parent in parents)


def wrong_arrows(module: str, imported: set[str]) -> list[str]:
    """The imports that a module of this name must not have."""
    wrong = set()
    for place, (forbidden, allowed) in FORBIDDEN.items():
        if is_under(module, (place,)):
            wrong |= {name for name in imported if is_under(name, forbidden) and not is_under(name, allowed)}
    return sorted(wrong)


IMPORTS = {module_name(path): imports(ast.parse(path.read_text(), str(path))) for path in source_files(*CODE)}


@pytest.mark.parametrize("module", IMPORTS)
def test_the_arrows_point_one_way(module: str) -> None:
    assert wrong_arrows(module, IMPORTS[module]) == []


def test_every_rule_is_about_a_module_that_exists() -> None:
    assert [place for place in FORBIDDEN if place not in IMPORTS] == []


@pytest.mark.parametrize(
    ("module", "line", "wrong"),
    [
        ("service.engine.recurrent.runner", "import torch", ["torch"]),
        (
            "service.state.memory",
            "def f():\n    from service.engine import graph",
            ["service.engine", "service.engine.graph"],
        ),
        ("service.artifact.manifest", "from service.errors import ModelRejected", []),
        ("service.engine.recurrent.batching", "import asyncio", ["asyncio"]),
        (
            "ostinato.client.async_client",
            "from service.errors import OstinatoError",
            ["service.errors", "service.errors.OstinatoError"],
        ),
        ("models.networks.recurrent", "import torch", []),
        ("service.modelshop", "import models_of_trains", []),
    ],
)
def test_a_wrong_arrow_is_seen(module: str, line: str, wrong: list[str]) -> None:
    assert wrong_arrows(module, imports(ast.parse(line))) == wrong


@pytest.mark.parametrize(("library", "importer"), ONLY_IMPORTERS.items())
def test_one_module_of_the_service_knows_the_library(library: str, importer: str) -> None:
    knows = [
        name for name in IMPORTS if is_under(name, ("service",)) and any(is_under(i, (library,)) for i in IMPORTS[name])
    ]
    assert knows == [importer]


def test_nothing_imports_the_app() -> None:
    found = [
        module for module, imported in IMPORTS.items() if any(is_under(name, ("service.app",)) for name in imported)
    ]
    assert found == []


def test_the_command_line_starts_without_the_libraries_of_its_commands() -> None:
    tree = ast.parse((ROOT / "ostinato" / "cli.py").read_text())
    at_the_top = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    heavy = (*TRAINING, "bentoml", "onnxruntime", "matplotlib")
    assert [name for node in at_the_top for name in imports(node) if is_under(name, heavy)] == []


@pytest.mark.parametrize("path", source_files(*CODE, "benchmarks"), ids=module_name)
def test_a_file_holds_one_noun(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


def errors_below(kind: type[OstinatoError]) -> Iterator[type[OstinatoError]]:
    for child in kind.__subclasses__():
        yield child
        yield from errors_below(child)


def test_every_error_has_a_status_and_a_code() -> None:
    # A model is rejected before there is a request to answer.
    expected = set(errors_below(OstinatoError)) - {ModelRejected}
    assert {error for error in expected if error not in PROBLEMS} == set()
    assert all(400 <= status < 600 and re.fullmatch(r"[a-z_]+", code) for status, code in PROBLEMS.values())


def test_every_series_is_explained_to_the_operator() -> None:
    explained = (ROOT / "docs" / "metrics.md").read_text()
    assert [name for name in SERIES if not re.search(rf"\b{name}\b", explained)] == []


def text_files() -> Iterator[tuple[Path, str]]:
    # Not what git tracks: the tests also run where there is no git.
    inside = [path for folder in TEXT for path in (ROOT / folder).rglob("*") if "__pycache__" not in path.parts]
    for path in [*ROOT.glob("*"), *ROOT.glob(".git?*"), *inside]:
        if path.is_file() and path.suffix not in {".log", ".png", ".xz"} and path != Path(__file__):
            try:
                yield path, path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue  # not text


def test_no_text_holds_what_is_true_of_one_machine_only() -> None:
    registries = r"pypi\.(org|python)|pythonhosted|download\.pytorch|registry\.npmjs|deb\.debian|archive\.ubuntu"
    options = r"--(extra-)?index-url|--find-links|--trusted-host|^-[if] "
    paths = r"(?<![\w.])/(root|work|Users|opt/pypi|tmp/w)/|/home/(?!bentoml\b)"
    machine = re.compile(f"{registries}|{paths}", re.MULTILINE)
    found = [f"{path.relative_to(ROOT)}: {match[0]}" for path, text in text_files() if (match := machine.search(text))]
    for path in (ROOT / "requirements").iterdir():
        found += [f"{path.name}: {match[0]}" for match in re.finditer(options, path.read_text(), re.MULTILINE)]
    assert found == []
