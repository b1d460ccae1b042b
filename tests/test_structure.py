"""What the eye forgets: which part may know which, how long a file may be, what must be written down."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from ostinato.service.edge.problems import PROBLEMS
from ostinato.service.errors import FetchFailed, KeysUnreadable, ModelRejected, OstinatoError
from ostinato.service.metrics.series import SERIES

ROOT = Path(__file__).parents[1]
CODE = ("service", "models", "export", "ostinato")
TEXT = (*CODE, "tests", "examples", "benchmarks", "docs", "deploy", "requirements", ".ci")
MAX_LINES = 350

PARTS = ("ostinato.service", "ostinato.models", "ostinato.export")
"""Folders at the top of the repository that are parts of the one package; ``ostinato/`` holds links to them."""

TRAINING = ("torch", "onnx", "onnxscript", "ostinato.models", "ostinato.export")
TYPED_BY_USERS = ("ostinato.client", "ostinato.commands", "ostinato.tools", "ostinato.cli")
EDGE = ("ostinato.service.edge", "ostinato.service.app")
UNKNOWN_TO_LEAVES = ("ostinato", "bentoml", "starlette")
ABOVE_NETWORKS = ("training", "rivals", "scores", "kinds")
SERVING = ("ostinato.service", "bentoml", "onnxruntime", *TRAINING)

# Who must not know whom: (a module and what is under it, what is forbidden there, what is allowed all the same).
FORBIDDEN: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "ostinato.service": ((*TRAINING, *TYPED_BY_USERS, "benchmarks", "matplotlib"), ()),
    "ostinato.service.errors": (UNKNOWN_TO_LEAVES, ()),
    "ostinato.service.config": (UNKNOWN_TO_LEAVES, ("ostinato.service.config",)),
    "ostinato.service.metrics": (UNKNOWN_TO_LEAVES, ("ostinato.service.metrics",)),
    "ostinato.service.artifact": (
        UNKNOWN_TO_LEAVES,
        ("ostinato.service.artifact", "ostinato.service.errors", "ostinato.byte_pairs", "ostinato.tables"),
    ),
    "ostinato.service.state": (
        ("ostinato",),
        (
            "ostinato.service.state",
            "ostinato.service.artifact",
            "ostinato.service.errors",
            "ostinato.service.config",
        ),
    ),
    "ostinato.service.engine": (
        ("ostinato.service.sessions", "ostinato.service.catalogue", "bentoml", "starlette", *EDGE),
        (),
    ),
    # It decides and nothing else: time comes in as an argument, and there is nothing to wait for.
    "ostinato.service.engine.recurrent.batching": (
        ("ostinato", "asyncio", "numpy", "time", "threading", "random", "onnxruntime"),
        (),
    ),
    "ostinato.service.engine.sequence.batching": (
        ("ostinato", "asyncio", "numpy", "time", "threading", "random", "onnxruntime"),
        ("ostinato.service.artifact",),
    ),
    "ostinato.service.sessions": (("bentoml", "starlette", *EDGE), ()),
    "ostinato.service.inference": (("bentoml", "starlette", *EDGE), ()),
    "ostinato.service.catalogue": (("ostinato.service.sessions", "bentoml", "starlette", *EDGE), ()),
    "ostinato.service.edge": (("ostinato.service.state", "ostinato.service.app", "onnxruntime"), ()),
    # The reader of tables is a leaf: what trains and what sends rows to a service read them alike.
    "ostinato.tables": (("ostinato", "numpy", *TRAINING), ("ostinato.tables", "ostinato.errors")),
    "ostinato.errors": (("ostinato",), ()),
    # What trains and what serves cut text alike.
    "ostinato.byte_pairs": (("ostinato",), ()),
    # What trains and what evaluates beat the same forecasts.
    "ostinato.naive_forecasts": (("ostinato",), ()),
    "ostinato.models": (
        ("ostinato", "bentoml", "onnxruntime", "onnx"),
        (
            "ostinato.models",
            "ostinato.tables",
            "ostinato.errors",
            "ostinato.extras",
            "ostinato.byte_pairs",
            "ostinato.naive_forecasts",
        ),
    ),
    # Each on its floor: what is learned from, networks, how they are trained, what they must beat, how good they are,
    # and the kinds.
    "ostinato.models.data": (tuple(f"ostinato.models.{name}" for name in ("networks", *ABOVE_NETWORKS)), ()),
    "ostinato.models.networks": (tuple(f"ostinato.models.{name}" for name in ABOVE_NETWORKS), ()),
    "ostinato.models.training": (("ostinato.models.rivals", "ostinato.models.scores", "ostinato.models.kinds"), ()),
    "ostinato.models.rivals": (("ostinato.models.scores", "ostinato.models.kinds"), ()),
    "ostinato.models.scores": (("ostinato.models.kinds",), ()),
    "ostinato.export": ((*TYPED_BY_USERS, "ostinato.service.sessions", *EDGE), ()),
    "ostinato.client": (SERVING, ()),
    # A connector runs wherever it reaches a service: it is a client, with columns of Arrow.
    "ostinato.connectors": ((*SERVING, "ostinato.commands", "ostinato.tools", "pydantic"), ()),
    "ostinato.commands": (("benchmarks",), ()),
    "ostinato.tools": (("benchmarks", "ostinato.commands", *TRAINING), ()),
    **{
        f"ostinato.{name}": (SERVING, ())
        for name in (
            "commands.attention_picture",
            "commands.generate",
            "commands.generation_inputs",
            "commands.generation_view",
            "commands.horizon_view",
            "commands.options",
            "commands.progress",
            "commands.pictures",
            "commands.replay",
            "commands.replay_picture",
            "commands.replay_view",
            "commands.sessions",
            "tools.connection",
            "tools.horizon_report",
            "tools.horizon_scores",
            "tools.input_table",
            "tools.load",
            "tools.model_shape",
            "tools.replay",
            "tools.replay_report",
            "tools.session_files",
        )
    },
    # Plans and the policy are carried out by both kinds of client, and know the network of neither.
    **{
        f"ostinato.client.{name}": (("asyncio", "threading", "httpx2", "websockets", "numpy"), ())
        for name in ("exchange", "retry")
    },
}
OPENER = "ostinato.service.artifact.graphs"
"""The one module that imports onnxruntime, whose telemetry ``ostinato/__init__.py`` switches off before."""

QUANTISER = "ostinato.export.quantized"
"""It writes graphs by onnxruntime's tools, and opens none."""

INNER = ("arena", "generator", "decoder", "encoder", "runner", "lanes")
"""What an engine may hand over, and nobody outside ``engine/`` reaches through."""


def module_name(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    is_part = f"ostinato.{name.partition('.')[0]}" in PARTS
    return f"{'ostinato.' if is_part else ''}{name}".removesuffix(".__init__")


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
    found = set()
    for place, (forbidden, allowed) in FORBIDDEN.items():
        if is_under(module, (place,)):
            found |= {name for name in imported if is_under(name, forbidden) and not is_under(name, allowed)}
    return sorted(found)


CODE_FILES = {module_name(path): path for path in source_files(*CODE)}
CHECKED_FILES = CODE_FILES | {module_name(path): path for path in source_files("benchmarks")}


@functools.cache
def tree_of(module: str) -> ast.Module:
    """A module, read where a test asks, and not by each process that collects tests."""
    return ast.parse(CHECKED_FILES[module].read_text(), str(CHECKED_FILES[module]))


@functools.cache
def imports_of(module: str) -> set[str]:
    """What a module imports."""
    return imports(tree_of(module))


def wrong(modules: Iterable[str], found: Callable[[str], object]) -> dict[str, object]:
    """What is found in each module that should have none. It is one test: to collect and report one for each module
    takes longer than to look at all of them.
    """
    return {module: seen for module in modules if (seen := found(module))}


def all_imports() -> dict[str, set[str]]:
    return {module: imports_of(module) for module in CODE_FILES}


def test_the_arrows_point_one_way() -> None:
    assert wrong(CODE_FILES, lambda module: wrong_arrows(module, imports_of(module))) == {}


def test_every_rule_is_about_a_module_that_exists() -> None:
    assert [place for place in FORBIDDEN if place not in CODE_FILES] == []


@pytest.mark.parametrize(
    ("module", "line", "wrong"),
    [
        ("ostinato.service.engine.recurrent.runner", "import torch", ["torch"]),
        (
            "ostinato.service.state.memory",
            "def f():\n    from ostinato.service.engine import graph",
            ["ostinato.service.engine", "ostinato.service.engine.graph"],
        ),
        ("ostinato.service.artifact.manifest", "from ostinato.service.errors import ModelRejected", []),
        ("ostinato.service.engine.recurrent.batching", "import asyncio", ["asyncio"]),
        (
            "ostinato.client.client",
            "from ostinato.service.errors import OstinatoError",
            ["ostinato.service.errors", "ostinato.service.errors.OstinatoError"],
        ),
        ("ostinato.models.networks.recurrent", "import torch", []),
        ("ostinato.service_shop", "import torch_of_olympia", []),
    ],
)
def test_a_wrong_arrow_is_seen(module: str, line: str, wrong: list[str]) -> None:
    assert wrong_arrows(module, imports(ast.parse(line))) == wrong


def floors() -> dict[str, int]:
    """The folders and files of ``service/`` by their floor, 0 the highest, as docs/architecture.md has them."""
    line = re.search(r"^`(app > .+)`$", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE)
    assert line is not None
    return {name: floor for floor, names in enumerate(line[1].split(" > ")) for name in names.split(", ")}


def climbs(module: str, imported: set[str]) -> list[str]:
    """What a module of ``service/`` imports that is not below its own floor."""
    service, floor_of = "ostinato.service.", floors()
    if not module.startswith(service):
        return []
    own = module.removeprefix(service).partition(".")[0]
    inside = [name for name in imported if name.startswith(service)]
    folders = {name: name.removeprefix(service).partition(".")[0] for name in inside}
    return sorted(name for name, folder in folders.items() if folder != own and not floor_of[folder] > floor_of[own])


def test_what_the_service_imports_is_on_a_floor_below() -> None:
    assert wrong(CODE_FILES, lambda module: climbs(module, imports_of(module))) == {}


@pytest.mark.parametrize(
    ("module", "imported", "wrong"),
    [
        ("ostinato.service.engine.graph", "ostinato.service.inference.prediction", True),
        ("ostinato.service.state.base", "ostinato.service.inputs.sources", True),
        ("ostinato.service.engine.graph", "ostinato.service.engine.admission", False),
        ("ostinato.service.edge.asgi", "ostinato.service.errors", False),
        ("ostinato.service.config", "ostinato.service.errors", True),
    ],
)
def test_an_import_of_an_upper_floor_is_seen(module: str, imported: str, wrong: bool) -> None:
    assert climbs(module, {imported}) == [imported] * wrong


def importers(library: str, modules: Mapping[str, set[str]]) -> list[str]:
    return [name for name, imported in modules.items() if any(is_under(each, (library,)) for each in imported)]


def test_one_module_opens_graphs() -> None:
    baselines = ROOT / "benchmarks" / "baselines"  # what others would write, which knows nothing of us
    ours = [path for path in source_files("benchmarks") if baselines not in path.parents]
    modules = all_imports() | {module_name(path): imports(ast.parse(path.read_text())) for path in ours}
    assert importers("onnxruntime", modules) == [QUANTISER, OPENER]
    assert {name for name in modules[QUANTISER] if is_under(name, ("onnxruntime",))} == {
        "onnxruntime.quantization",
        "onnxruntime.quantization.QuantType",
        "onnxruntime.quantization.quantize_dynamic",
    }


def reaches_through(tree: ast.AST) -> list[str]:
    """Where code takes more of an engine than the engine's own: ``engine.arena.busy``, ``session.engine.arena``, or
    anything of a scheduler.
    """

    def is_engine(node: ast.AST) -> bool:
        name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
        return name.removeprefix("_") in {"engine", "generator"}

    def is_session_s(node: ast.AST) -> bool:
        return isinstance(node, ast.Attribute) and node.attr == "engine"

    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            inner = node.value
            of_inner = isinstance(inner, ast.Attribute) and inner.attr in INNER and is_engine(inner.value)
            if node.attr.removeprefix("_") == "scheduler" or of_inner or (node.attr in INNER and is_session_s(inner)):
                found.append(ast.unparse(node))
    return sorted(set(found))


def test_nobody_reaches_through_an_engine() -> None:
    service = [name for name in CODE_FILES if is_under(name, ("ostinato.service",))]
    outside = [name for name in service if not is_under(name, ("ostinato.service.engine",))]
    assert wrong(outside, lambda module: reaches_through(tree_of(module))) == {}


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("engine.admit(1)", []),
        ("store.attach(engine.arena)", []),
        ("engine.arena.busy[slot]", ["engine.arena.busy"]),
        ("session.engine.arena", ["session.engine.arena"]),
        ("engine.scheduler.leave(1)", ["engine.scheduler"]),
        ("self._engine._scheduler", ["self._engine._scheduler"]),
        ("request.generator.decoder.part", ["request.generator.decoder.part"]),
        ("if engine.generator is not None:\n    engine.generator.run(asked)", ["engine.generator.run"]),
        ("session.arena.busy[session.slot]", []),
    ],
)
def test_a_reach_through_an_engine_is_seen(code: str, found: list[str]) -> None:
    assert reaches_through(ast.parse(code)) == found


def circles(modules: Mapping[str, set[str]]) -> list[list[str]]:
    """The sets of modules that import each other in a circle, wherever in a file the imports are (Tarjan, 1972)."""
    found: list[list[str]] = []
    depth: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []

    def visit(module: str) -> None:
        depth[module] = lowest[module] = len(depth)
        path.append(module)
        for imported in sorted(modules[module] & modules.keys()):
            if imported not in depth:
                visit(imported)
            if imported in path:
                lowest[module] = min(lowest[module], lowest[imported])
        if lowest[module] == depth[module]:
            circle = path[path.index(module) :]
            del path[path.index(module) :]
            if len(circle) > 1 or module in modules[module]:
                found.append(sorted(circle))

    for module in modules:
        if module not in depth:
            visit(module)
    return sorted(found)


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles(all_imports()) == []


def test_a_circle_of_imports_is_seen() -> None:
    modules = {
        "a": imports(ast.parse("import b")),
        "b": imports(ast.parse("if TYPE_CHECKING:\n    from c import C")),
        "c": imports(ast.parse("def f():\n    import a, json")),
        "d": imports(ast.parse("import a")),
        "e": imports(ast.parse("from e import E")),
    }
    assert circles(modules) == [["a", "b", "c"], ["e"]]


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_imported_by_its_one_name(part: str) -> None:
    """``import service.errors`` would work in a checkout, and make a second copy of every class."""
    folder = part.removeprefix("ostinato.")
    assert (ROOT / "ostinato" / folder).readlink() == Path("..") / folder
    readers = source_files(*CODE, "benchmarks", "tests", "examples")
    found = {
        module_name(path): name
        for path in readers
        for name in imports(ast.parse(path.read_text()))
        if is_under(name, (folder,))
    }
    assert found == {}


NAMED_TUPLE = {"_replace", "_asdict", "_make", "_fields", "_field_defaults"}
"""Open to everybody, whatever the underscore says: a named tuple's fields have the names without."""
OF_THE_SYSTEM = {"_exit"}
"""Likewise: the end of a fork (``os._exit``)."""


def private_names(tree: ast.AST) -> set[str]:
    """The private members and functions that a module itself makes."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_own(node.value):
            names.add(node.attr)
    return names


def is_own(node: ast.AST) -> bool:
    """Whether it is ``self``, ``cls`` or ``super()``."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "super"
    return isinstance(node, ast.Name) and node.id in {"self", "cls"}


def private_reaches(tree: ast.AST) -> list[str]:
    """Where code takes a private member of what another module makes, or imports a private name."""
    own = private_names(tree)
    imported = [alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names]
    taken = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and not is_own(node.value)
        and node.attr not in own | NAMED_TUPLE | OF_THE_SYSTEM
    ]
    found = [*((name, name) for name in imported), *((node.attr, ast.unparse(node)) for node in taken)]
    return [place for name, place in found if re.match(r"_[^_]", name)]


def test_nobody_reaches_for_anothers_private_members() -> None:
    assert wrong(CHECKED_FILES, lambda module: private_reaches(tree_of(module))) == {}


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("runner._session.run()", ["runner._session"]),
        ("self._runner._session = None", ["self._runner._session"]),
        ("from a.b import _c, d", ["_c"]),
        ("import a\na.b._c()", ["a.b._c"]),
        ("class A:\n    def __init__(self, other: A):\n        self._b = other._b", []),
        ("class A(B):\n    def c(self):\n        return super()._d + self._e + cls._f", []),
        ("def _f(): ...\n_f()", []),
        ("point._replace(x=1)", []),
        ("vars.__dict__", []),
        ("from __future__ import annotations", []),
    ],
)
def test_a_reach_for_a_private_member_is_seen(code: str, found: list[str]) -> None:
    assert private_reaches(ast.parse(code)) == found


MIRRORED = ("service", "models", "export", "ostinato", "benchmarks")
MIRROR_NOTHING = {
    "export/runs/test_members.py": "ensembles of every kind",
    "export/test_telemetry.py": "what a library that is imported leaves on the disk",
    "export/test_toy_kind.py": "the steps by which a kind of training is added",
    "models/test_devices.py": "that every kind trains on any device",
    "models/rivals/test_readmes.py": "that the tables of the examples have the figures that their rivals make",
    "models/test_train_command.py": "the command over real recipes and networks",
    "models/training/test_pairs_recipe.py": "that each line of a recipe reaches its network",
    "ostinato/tables/test_train_and_replay.py": "training and replay of one table",
    "ostinato/test_client_live.py": "both kinds of client and a real server",
    "ostinato/test_generation_live.py": "both kinds of client and a real server that writes",
    "ostinato/test_public_names.py": "what an application imports",
    "service/edge/oip/test_fold.py": "that sequences of the protocol answer as one offline run of each",
    "service/edge/test_frames_of_steps.py": "that every way in knows models that answer once a frame",
    "service/edge/test_options.py": "that every way in has the same options",
    "service/edge/test_uvicorn.py": "members of a library that the edge overrides",
    "service/state/lmdb/test_crossings.py": "several workers over one folder, and what befalls them",
    "service/state/lmdb/test_life.py": "a random life of sessions at three workers",
    "service/state/test_shared_stores.py": "two stores of any kind over one place",
    "service/state/test_store_contract.py": "what every store keeps",
}
"""Test files of these folders that are about no single module, and what they are about."""


def mirrors_a_module(path: Path) -> bool:
    """``service/engine/test_graph.py`` mirrors ``service/engine/graph.py``, or a folder of that name."""
    mirrored = ROOT / path.relative_to(ROOT / "tests").with_name(path.name.removeprefix("test_"))
    return mirrored.is_file() or mirrored.with_suffix("").is_dir()


@pytest.mark.parametrize("folder", MIRRORED)
def test_tests_mirror_modules(folder: str) -> None:
    tests = (ROOT / "tests" / folder).rglob("test_*.py")
    others = {path.relative_to(ROOT / "tests").as_posix() for path in tests if not mirrors_a_module(path)}
    assert others - MIRROR_NOTHING.keys() == set(), "name them for their module, or say here what they are about"


def test_what_is_listed_as_an_exception_is_there_and_mirrors_no_module() -> None:
    listed = [ROOT / "tests" / name for name in MIRROR_NOTHING]
    assert [path.name for path in listed if not path.is_file() or mirrors_a_module(path)] == []


def test_nothing_imports_the_app() -> None:
    app = ("ostinato.service.app",)
    found = [module for module, imported in all_imports().items() if any(is_under(name, app) for name in imported)]
    assert found == []


def test_the_command_line_starts_without_the_libraries_of_its_commands() -> None:
    tree = ast.parse((ROOT / "ostinato" / "cli.py").read_text())
    at_the_top = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    heavy = (*TRAINING, "bentoml", "onnxruntime", "matplotlib")
    assert [name for node in at_the_top for name in imports(node) if is_under(name, heavy)] == []


SHARED_NAMES = {
    "TimeConflict": "likewise",
    "SeqConflict": "the service raises it, and its clients, who know nothing of the service, raise what they are told",
    "Send": "ASGI's own word for what writes; and an effect of the client's plans",
}
"""Names of classes and aliases that are given twice on purpose, and why."""


def nouns(tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """The public classes and aliases of types that a module defines, and whether it is a class."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, True
    for statement in tree.body:
        given: list[ast.expr] = []
        if isinstance(statement, ast.Assign) and not is_type_variable(statement.value):
            given = statement.targets
        elif isinstance(statement, ast.AnnAssign) and ast.unparse(statement.annotation) == "TypeAlias":
            given = [statement.target]
        yield from ((each.id, False) for each in given if isinstance(each, ast.Name) and is_noun(each.id))


def is_noun(name: str) -> bool:
    """Whether it is written as a class is, and not as a constant."""
    return re.fullmatch(r"[A-Z]+[a-z]\w*", name) is not None


def is_type_variable(value: ast.expr) -> bool:
    return isinstance(value, ast.Call) and ast.unparse(value.func) in {"TypeVar", "ParamSpec"}


def nouns_given_twice(modules: Mapping[str, ast.Module]) -> dict[str, list[str]]:
    """Class names that stand in two places, or are an alias' name, too; and aliases that one part defines twice."""
    places: dict[str, list[tuple[str, bool]]] = {}
    for module, tree in modules.items():
        for name, is_class in nouns(tree):
            places.setdefault(name, []).append((module, is_class))
    found = {}
    for name, given in places.items():
        parts = [part_of(module) for module, _ in given]
        if len(given) > 1 and (any(is_class for _, is_class in given) or len(set(parts)) < len(parts)):
            found[name] = [module for module, _ in given]
    return found


def part_of(module: str) -> str:
    return next((part for part in PARTS if is_under(module, (part,))), "ostinato")


def test_one_noun_is_one_class() -> None:
    modules = {module_name(path): ast.parse(path.read_text()) for path in source_files(*CODE)}
    found = nouns_given_twice(modules)
    assert {name: places for name, places in found.items() if name not in SHARED_NAMES} == {}
    assert SHARED_NAMES.keys() <= found.keys(), "an exception that is none any more"


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ("class Request: ...", "class Request(tuple): ...", ["Request"]),
        ("class Request: ...", "def f():\n    class Request: ...", ["Request"]),
        ("class Node: ...", "Node = tuple[str, int]", ["Node"]),
        ("class Report: ...", "Report: TypeAlias = Callable[[int], None]", ["Report"]),
        ("Receive = Callable[[], int]", "Receive: TypeAlias = Callable[[], str]", ["Receive"]),
        ("class _Prover: ...", "class _Prover: ...", []),
        ("class Result: ...", "Result = TypeVar('Result')", []),
        ("LIMIT = 1", "LIMIT = 2", []),
        ("class Request: ...", "from a import Request", []),
    ],
)
def test_a_noun_that_is_given_twice_is_seen(first: str, second: str, found: list[str]) -> None:
    modules = {"ostinato.service.a": ast.parse(first), "ostinato.service.b": ast.parse(second)}
    assert list(nouns_given_twice(modules)) == found


def test_an_alias_is_of_its_own_part() -> None:
    alias = ast.parse("Array = NDArray[Any]")
    assert nouns_given_twice({"ostinato.export.a": alias, "ostinato.client.b": alias}) == {}


NO_NOUN = r"(What|How|From|Whether|Where|Which|When|Why|Who|One|Many|All|Every|Both|Some|On|In|Of|To)\b"


def test_a_docstring_of_a_module_begins_with_its_noun() -> None:
    def nounless(module: str) -> str:
        docstring = ast.get_docstring(tree_of(module)) or ""
        return docstring.partition("\n")[0] if re.match(NO_NOUN, docstring) else ""

    assert wrong(CHECKED_FILES, nounless) == {}


def test_a_file_holds_one_noun() -> None:
    lengths = {module: len(path.read_text().splitlines()) for module, path in CHECKED_FILES.items()}
    assert {module: lines for module, lines in lengths.items() if lines > MAX_LINES} == {}


def errors_below(kind: type[OstinatoError]) -> Iterator[type[OstinatoError]]:
    for child in kind.__subclasses__():
        yield child
        yield from errors_below(child)


def test_every_error_has_a_status_and_a_code() -> None:
    # A model is fetched or rejected, and a file of keys read, before there is a request to answer.
    expected = set(errors_below(OstinatoError)) - {FetchFailed, ModelRejected, KeysUnreadable}
    assert {error for error in expected if error not in PROBLEMS} == set()
    assert all(400 <= status < 600 and re.fullmatch(r"[a-z_]+", code) for status, code in PROBLEMS.values())


def test_every_series_is_explained_to_the_operator() -> None:
    explained = (ROOT / "docs" / "metrics.md").read_text()
    assert [name for name in SERIES if not re.search(rf"\b{name}\b", explained)] == []


def text_files() -> Iterator[tuple[Path, str]]:
    # Not what git tracks: the tests also run where there is no git.
    inside = [path for folder in TEXT for path in (ROOT / folder).rglob("*") if "__pycache__" not in path.parts]
    for path in [*ROOT.glob("*"), *ROOT.glob(".git?*"), *inside]:
        # A worktree's `.git` is a file that names the repository's own.
        is_ours = path.name != ".git" and path != Path(__file__)
        if path.is_file() and path.suffix not in {".log", ".png", ".xz"} and is_ours:
            try:
                yield path, path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue  # not text


MODULES = {module_name(path): path for path in source_files(*CODE, "benchmarks", "examples", "tests")}
PLACES = (
    r"ostinato\.(?:service|models|export|client|commands|tools)|tests\.(?:service|process|faults|ostinato)|benchmarks"
)
NAMED = re.compile(rf"(?<![\w.])(?:{PLACES})(?:\.[A-Za-z]\w*)+")
FILE_ENDS = ("py", "md", "toml", "sh", "yml", "yaml", "json", "txt", "lock", "svg")


def is_there(name: str) -> bool:
    """Whether a dotted name is a module, or stands in one."""
    parts = name.split(".")
    if parts[-1] in FILE_ENDS:
        return True  # a file's name
    known = max((number for number in range(1, len(parts) + 1) if ".".join(parts[:number]) in MODULES), default=0)
    if known == len(parts) or ROOT.joinpath(*parts).is_dir():
        return True
    return known > 0 and all(
        re.search(rf"\b{part}\b", MODULES[".".join(parts[:known])].read_text()) for part in parts[known:]
    )


def test_whatever_names_a_module_names_one_that_is_there() -> None:
    """In commands, in messages, in what a test patches: no import tells that it has moved."""
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path, text in text_files()
        for name in NAMED.findall(text)
        if not is_there(name)
    }
    assert found == set()


def test_the_files_that_the_architecture_names_are_there() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    files = [path.relative_to(ROOT).as_posix() for path in source_files(*CODE, "tests")]
    named = re.findall(r"[\w/]+\.py\b", page)
    assert [name for name in named if not any(f"/{file}".endswith(f"/{name}") for file in files)] == []


def test_the_classes_and_methods_of_the_walks_are_there() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    walks = page[page.index("### One step request, walked") : page.index("## A model's directory")]
    code = "\n".join(path.read_text() for path in source_files(*CODE))
    named = {word for member in re.findall(r"`([A-Z]\w+(?:\.\w+)?)`", walks) for word in member.split(".")}
    assert {"DirectExchange", "begin", "NewVersion", "finish"} < named
    assert [name for name in sorted(named) if not re.search(rf"\b(?:class|def) {name}\b", code)] == []


def test_no_text_holds_what_is_true_of_one_machine_only() -> None:
    registries = r"pypi\.(org|python)|pythonhosted|download\.pytorch|registry\.npmjs|deb\.debian|archive\.ubuntu"
    options = r"--(extra-)?index-url|--find-links|--trusted-host|^-[if] "
    paths = r"(?<![\w.])/(root|work|Users|opt/pypi|tmp/w)/|/home/(?!bentoml\b)"
    machine = re.compile(f"{registries}|{paths}", re.MULTILINE)
    found = [f"{path.relative_to(ROOT)}: {match[0]}" for path, text in text_files() if (match := machine.search(text))]
    for path in (ROOT / "requirements").iterdir():
        found += [f"{path.name}: {match[0]}" for match in re.finditer(options, path.read_text(), re.MULTILINE)]
    assert found == []
