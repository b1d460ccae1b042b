"""Untranslated operators: what of a module torch could not write in ONNX, and in which line of whose code it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch

from ostinato.export.errors import ExportError, first_line
from ostinato.export.graphs.untraced import place_of

_FRAME = re.compile(r'File "([^"]+)", line (\d+), in [^\n]*\n\s*([^\n]*)')
_OPERATOR = re.compile(r"No ONNX function found for <OpOverload\(op='([^']+)'")
_COLOUR = re.compile(r"\x1b\[\d*m")


def untranslated(error: Exception) -> ExportError:
    """What to raise where torch's translator raised ``error``: has the operator, and the line where torch tells it."""
    node = next(iter(_nodes(error)), None)
    reasons = [_COLOUR.sub("", str(each)) for each in _chain(error)]
    found = next((match for reason in reversed(reasons) if (match := _OPERATOR.search(reason))), None)
    if found is None and node is None:
        return ExportError(f"torch cannot translate the module to ONNX: {_COLOUR.sub('', first_line(error))}")
    name = _name_of(node) or (found.group(1) if found else "")
    place = _place(node)
    if found is None:
        return ExportError(f"torch cannot translate {name}{place} to ONNX: {first_line(list(_chain(error))[-1])}")
    return ExportError(
        f"ONNX has no operator for {name}{place}: write it with operators that it has, or take it out of the network "
        "and do it before or behind the service"
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what caused it, the last cause last."""
    at: BaseException | None = error
    while at is not None:
        yield at
        at = at.__cause__


def _nodes(error: Exception) -> Iterator[torch.fx.Node]:
    """Nodes that were being translated: the errors name them, and only the frames that raised hold them."""
    for each in reversed(list(_chain(error))):
        trace = each.__traceback__
        while trace is not None:
            node = trace.tb_frame.f_locals.get("node")
            if isinstance(node, torch.fx.Node):
                yield node
            trace = trace.tb_next


def _name_of(node: torch.fx.Node | None) -> str:
    """As the user's code calls it, where it is known what a decomposed operator was made from."""
    if node is None:
        return ""
    original = node.meta.get("original_aten")
    return str(original if original is not None else node.target).removesuffix(".default")


def _place(node: torch.fx.Node | None) -> str:
    """The line in the user's code that is nearest to the operator; empty where torch does not tell."""
    frames = _FRAME.findall(str(node.meta.get("stack_trace") or "")) if node is not None else []
    return place_of([(file, int(line), code) for file, line, code in frames])
