"""Reading of somebody else's ONNX file, which is trusted in nothing: what it claims is compared with what is there
before anything is made of it.
"""

from __future__ import annotations

import mmap
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx_ir.external_data import set_base_dir
from onnx_ir.passes.common import InlinePass

from ostinato.export.errors import ExportError, first_line
from ostinato.export.importing.bounds import check_bounds
from ostinato.export.importing.formats import what_else
from ostinato.export.importing.numbers import check_numbers
from ostinato.export.importing.soundness import check_sound, is_sorted
from ostinato.service.artifact.regular_files import open_regular
from ostinato.service.artifact.wire import BrokenWire, fields, tensors
from ostinato.service.catalogue.tried import shared_trial
from ostinato.service.errors import ModelRejected

MAX_FILE_BYTES = 2**31 - 1
"""A protobuf message has no more; larger networks have their weights in files of their own."""
CHECK = "ostinato.export.importing.checker:check"
_MODEL_FIELDS = frozenset({*range(1, 9), 14, 20, 25, 26})
_GRAPH = 7


def read_graph(path: Path | str) -> ir.Model:
    """The network in an ONNX file, its functions put in their places and its nodes in an order in which they can run.

    Weights that are in files of their own stay there: they are read, and mapped, when they are asked for.

    Raises:
        ExportError: it is no such file, is damaged, or holds what no sound one does: a size that is not there, a file
            of weights outside its folder, an operator that nobody knows, numbers that are none. One line, which names
            the cause and the place.
    """
    path = Path(path)
    model = _parsed(path)
    try:
        check_sound(model, path)
        was_sorted = is_sorted(model)
        if was_sorted:
            _check_in_the_child(path)
        made = ir.from_proto(model)
        set_base_dir(made.graph, str(path.parent))
        if made.functions:
            InlinePass()(made)
        if not was_sorted:
            made.graph.sort()
    except ExportError:
        raise
    except Exception as error:  # of libraries, which have no one base class: the file is to blame for all
        raise ExportError(f"{path}: it is no sound ONNX file: {first_line(error)}") from error
    check_numbers(made, path)
    return made


def _parsed(path: Path) -> onnx.ModelProto:
    """The file as protobuf, once its sizes are those that it claims."""
    try:
        with open_regular(path) as file:
            size = file.seek(0, 2)
            if size == 0:
                raise ExportError(f"{path}: the file is empty")
            if size > MAX_FILE_BYTES:
                raise ExportError(
                    f"{path}: it has {size:,} bytes, and an ONNX file at most {MAX_FILE_BYTES:,}: larger networks have "
                    "their weights in a file of their own next to it"
                )
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                _check_bytes(content, path)
                return _decoded(content[:], path)
    except OSError as error:
        raise ExportError(f"{path}: {error.strerror or error}") from error


def _decoded(content: bytes, path: Path) -> onnx.ModelProto:
    try:
        return onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's own, which has another name in each of its releases
        raise ExportError(f"{path}: it is no ONNX file, or is damaged: {first_line(error)}") from error


def _check_bytes(content: mmap.mmap, path: Path) -> None:
    """That it is laid out as an ONNX file, and that what it claims to hold is there."""
    try:
        if other := what_else(content[:512]):
            raise ExportError(f"{path}: it is no ONNX file but {other}")
        numbers = {each.number for each in fields(content)}
        if not numbers <= _MODEL_FIELDS:
            raise BrokenWire(f"it has a field {max(numbers)}, which no model has")
        if _GRAPH not in numbers:
            raise BrokenWire("it has no graph")
        check_bounds(tensors(content), path.parent, path)
    except BrokenWire as error:
        raise ExportError(f"{path}: it is no ONNX file, or is damaged: {error}") from error


def _check_in_the_child(path: Path) -> None:
    """What ONNX' own checker says; should it die, it is the child that does."""
    try:
        found = shared_trial().call(CHECK, str(path), place=path, doing="checked").made
    except ModelRejected as error:
        raise ExportError(str(error)) from error
    if found:
        raise ExportError(f"{path}: {found}")
