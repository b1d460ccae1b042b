"""User code, loaded as ``python`` loads it: ``package.module:function`` or ``path/to/file.py:function``.

A file is loaded as ``python file.py`` would: its folder comes first on ``sys.path``, so it imports what lies next to
it. A file of a package (its folder has an ``__init__.py``) is loaded under its name in the package, so relative imports
work, too. A dotted name is loaded as ``python -m`` would, the current folder first.

One thing differs: ``__name__`` is the module's own name, so what is under ``if __name__ == "__main__":`` does not
run. While the module is asked for its network, ``sys.modules["__main__"]`` is the module all the same: by that name a
script's classes are called in what the script saved with ``torch.save``.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

import ostinato
from ostinato.export.errors import ExportError

# Needed for any export and imported late by torch: a user's file of such a name must not be taken for the library.
_LIBRARIES = ("onnx", "onnxscript", "torch.onnx", "torch.export", "torch.fx.experimental.symbolic_shapes")
# This package, whose parts may be links to folders next to it, and Python's: they may lie below a user's folder.
_OWN = [str(folder) for path in ostinato.__path__ for folder in (path, *Path(path).iterdir())]
_PYTHONS = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib")]
_NOT_USERS = [os.path.realpath(folder) for folder in (*_OWN, *_PYTHONS)]
_INSTALLED = {"site-packages", "dist-packages"}


@contextlib.contextmanager
def user_module(source: str) -> Iterator[nn.Module]:
    """What the function named by ``source`` returns; meanwhile its code can import as when it was loaded.

    Afterwards ``sys.path`` is as it was, and modules of the user's folder are forgotten: another file of the same name
    can be loaded in the same process.

    Raises:
        ExportError: it cannot be found or fails, or what it returns is no ``torch.nn.Module``; says in which line.
    """
    place, _, function = source.rpartition(":")
    if not place or not function:
        raise ExportError(f"{source}: name a function: package.module:function or path/to/file.py:function")
    file = Path(place).resolve() if place.endswith(".py") else None
    if file is not None and not file.is_file():
        raise ExportError(f"{place}: no such file")
    root = Path.cwd() if file is None else _package_root(file)
    with _first_on_path(*([] if file is None else [file.parent]), root):
        try:
            module = _import(place, root) if file is None else _load_file(file, root)
            with _as_main(module):
                found = _find(module, function)
                if isinstance(found, nn.Module):  # called, it would ask for its inputs
                    raise ExportError(f"{source}: is a network; name a function that returns it")
                network = _made(found, source)
        except ExportError:
            raise
        except (Exception, SystemExit) as error:  # a user's code may raise anything
            raise ExportError(f"{source}: {_sentence(error, root)}") from error
        if not isinstance(network, nn.Module):
            raise ExportError(f"{source}: returned {type(network).__name__}, not a torch.nn.Module")
        yield network


def _made(function: Any, source: str) -> Any:
    """What a function returns; a class is called, too, where it needs nothing."""
    if isinstance(function, type) and issubclass(function, nn.Module):
        parameters = inspect.signature(function).parameters.values()
        rest = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        needed = [each.name for each in parameters if each.default is each.empty and each.kind not in rest]
    else:
        needed = []
    if needed:
        place, _, name = source.rpartition(":")
        raise ExportError(
            f"{source}: needs {', '.join(needed)}, and is called without arguments: add a function that gives them, as "
            f"def network(): return {name}({', '.join(f'{each}=...' for each in needed)}), and name it: {place}:network"
        )
    return function()


def _import(name: str, folder: Path) -> ModuleType:
    top = name.partition(".")[0]
    if _is_taken(top, folder) and ((folder / top).is_dir() or (folder / f"{top}.py").is_file()):
        raise ExportError(
            f"{name}: a library named {top!r} is loaded already, so yours cannot be imported by this name: give the "
            f"file ({name.replace('.', '/')}.py:function), or rename {top!r}"
        )
    return importlib.import_module(name)


def _load_file(file: Path, root: Path) -> ModuleType:
    """The module of a file, under its name in its package where it is in one."""
    name = ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
    if root != file.parent and not _is_taken(name.partition(".")[0], root):
        return importlib.import_module(name)
    # A library that is loaded already keeps its name: much would break if `random` were suddenly another module.
    name = f"_user_{file.stem}" if _is_taken(file.stem, file.parent) else file.stem
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickles look a class's module up while it is being made.
    sys.modules[name] = module
    with _as_main(module):
        spec.loader.exec_module(module)
    return module


def _package_root(file: Path) -> Path:
    """The folder from which a file is imported: the first above it that is no package."""
    folder = file.parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder


def _is_taken(name: str, folder: Path) -> bool:
    """Whether a module of this name is loaded, and not from this folder."""
    module = sys.modules.get(name)
    return module is not None and not _lies_in(module, folder)


def _find(module: ModuleType, name: str) -> Any:
    try:
        return reduce(getattr, name.split("."), module)
    except AttributeError as error:
        public = sorted(word for word in vars(module) if not word.startswith("_") and callable(vars(module)[word]))
        where = _shown(module.__file__) if module.__file__ else module.__name__
        raise AttributeError(f"{where} has no attribute {name!r}; it has {', '.join(public) or 'nothing'}") from error


@contextlib.contextmanager
def _first_on_path(*folders: Path) -> Iterator[None]:
    for library in _LIBRARIES:
        importlib.import_module(library)
    path_before, modules_before = sys.path[:], set(sys.modules)
    sys.path[:0] = dict.fromkeys(map(str, folders))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = path_before
        for name in set(sys.modules) - modules_before:
            if any(_lies_in(sys.modules[name], folder) for folder in folders):
                del sys.modules[name]


@contextlib.contextmanager
def _as_main(module: ModuleType) -> Iterator[None]:
    main = sys.modules["__main__"]
    sys.modules["__main__"] = module
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _lies_in(module: ModuleType, folder: Path) -> bool:
    """Whether a module is of the user's folder, and not of an environment in it."""
    files = [getattr(module, "__file__", None), *(getattr(module, "__path__", None) or ())]
    return any(isinstance(file, str) and _is_users(file, folder) for file in files)


def _is_users(file: str, folder: Path) -> bool:
    path = Path(os.path.realpath(file))
    # What is frozen or made while running has a file that is none, such as `<string>`.
    if not Path(file).is_absolute() or _INSTALLED & set(path.parts) or any(map(path.is_relative_to, _NOT_USERS)):
        return False
    return path.is_relative_to(os.path.realpath(folder))


def _sentence(error: BaseException, folder: Path) -> str:
    """What is wrong and in which line of which file, on one line."""
    what = " ".join(str(error).split())
    if isinstance(error, SyntaxError) and error.filename:
        return f"{type(error).__name__}: {error.msg} ({_shown(error.filename)}, line {error.lineno})"
    if isinstance(error, SystemExit):
        what = f'{what}, it ends the process: put what a script does under `if __name__ == "__main__":`'
    if "no known parent package" in what:
        what += ": its folder has no __init__.py; add one, or name it package.module:function from the folder above"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename, folder)]
    place = f" ({_shown(frames[-1].filename)}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {what}{place}"


def _shown(file: str) -> str:
    """From the current folder where it lies in it."""
    path, here = Path(os.path.realpath(file)), Path.cwd().resolve()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
