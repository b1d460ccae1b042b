"""Missing libraries: what a part of the package says, in Python as on the command line, that lacks its extra.

Whatever module of a part is imported, and wherever on its way the library is not found, the error names the extra.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

from ostinato.errors import MissingExtra


class PartLoader(SourceFileLoader):
    """Loads a module of the package as any other; only what it says of a missing library differs."""

    def exec_module(self, module: ModuleType) -> None:
        """See ``importlib.abc.Loader``."""
        try:
            super().exec_module(module)
        except ModuleNotFoundError as error:
            from ostinato.extras import extra_of, install_sentence

            extra = extra_of(error)
            if extra is None:
                raise
            # The module that was asked for speaks last: of several extras that bring the library, it names its own.
            missing = MissingExtra(install_sentence(module.__name__, extra), name=error.name, path=error.path)
            raise missing.with_traceback(error.__traceback__) from None


class PartFinder:
    """Finds the modules of the package where Python itself finds them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See ``importlib.abc.MetaPathFinder``; None = not one of ours."""
        if not fullname.startswith("ostinato."):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = PartLoader(spec.loader.name, spec.loader.path)
        return spec


def install() -> None:
    """Have every module of the package that is imported from now on name the extra that it lacks."""
    if not any(isinstance(finder, PartFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, PartFinder())
