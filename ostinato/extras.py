"""Extras of the package: which one a missing library belongs to, and the sentence that says so.

The package's own metadata is the only table: what ``pyproject.toml`` puts into an extra is known here at once.
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec
from traceback import walk_tb

from ostinato.errors import MissingExtra

EXTRA_OF_PLACE = {
    "ostinato.commands.bench": "serve",
    "ostinato.commands.evaluate": "serve",
    "ostinato.commands.run": "serve",
    "ostinato.commands.verify": "serve",
    "ostinato.service.edge.oip.grpc": "grpc",
    "ostinato.service": "serve",
    "ostinato.models": "export",
    "ostinato.export": "export",
}
"""Part of the package, or module -> the extra that is named for a library which several extras bring."""

PACKAGES = {
    "cupy": "cupy-cuda13x",
    "google": "protobuf",
    "grpc": "grpcio",
    "grpc_health": "grpcio-health-checking",
    "grpc_reflection": "grpcio-reflection",
    "opentelemetry": "opentelemetry-exporter-otlp-proto-http",
    "sklearn": "scikit-learn",
}
"""Libraries that have another name than their package."""

_LEFT_OUT_OF_BENTOS = ("ostinato.models", "ostinato.export")
_REQUIREMENT = re.compile(r"""\s*([\w.-]+)[^;]*;.*\bextra\s*==\s*["']([\w.-]+)["']""")


def require(module: str, subject: str) -> None:
    """Make sure that a library can be imported, without importing it; ``subject`` is what needs it.

    Raises:
        MissingExtra: it is not installed, and an extra brings it.
        ModuleNotFoundError: it is not installed.
    """
    try:
        is_there = find_spec(module) is not None
    except ModuleNotFoundError:
        is_there = False
    if not is_there:
        error = ModuleNotFoundError(f"No module named {module!r}", name=module)
        if extra := extra_of(error):
            raise MissingExtra(install_sentence(subject, extra), name=module)
        raise error


def extra_of(error: ModuleNotFoundError) -> str | None:
    """The extra whose library was not found; None = no extra brings it, or the package is not installed."""
    name = (error.name or "").partition(".")[0]
    library = PACKAGES.get(name) or _normal_name(name)
    extras = [extra for name, extra in _brought() if name == library]
    wanted = [extra for extra in _extras_on_the_way(error) if extra in extras]
    return next(iter(wanted + extras), None)


def missing_sentence(subject: str, error: ModuleNotFoundError) -> str | None:
    """What the user reads of a module that was not found; None = one of ours, which only a fault of ours can name."""
    if extra := extra_of(error):
        return install_sentence(subject, extra)
    if error.name in _LEFT_OUT_OF_BENTOS:
        return f"{subject} is not in a Bento, which only serves; use it where all of Ostinato is installed"
    library = (error.name or "").partition(".")[0]
    return f"{subject} needs {library}, which is not installed" if library not in ("", "ostinato") else None


def install_sentence(subject: str, extra: str) -> str:
    """What to do about a missing extra; ``subject`` is what needs it."""
    return f"{subject} needs the extra {extra}: pip install 'ostinato[{extra}]'"


def _brought() -> list[tuple[str, str]]:
    """All libraries that extras for users bring, each with its extra, in the order of the metadata."""
    try:
        lines = requires("ostinato") or []
    except PackageNotFoundError:
        return []
    matches = filter(None, map(_REQUIREMENT.match, lines))
    # An extra that contains another one asks for the package itself.
    return [(_normal_name(match[1]), match[2]) for match in matches if match[1] != "ostinato" and match[2] != "dev"]


def _extras_on_the_way(error: ModuleNotFoundError) -> list[str]:
    """The extras of the places that the import went through, the first place first."""
    names = [f"{frame.f_globals.get('__name__')}." for frame, _ in walk_tb(error.__traceback__)]
    return [extra for name in names for place, extra in EXTRA_OF_PLACE.items() if name.startswith(f"{place}.")]


def _normal_name(name: str) -> str:
    """A library's name as the index compares it; all others that we import have the name of their package."""
    return re.sub(r"[-_.]+", "-", name).lower()
