"""Untranslated operators: what of a module torch could not write in ONNX, and in which line of whose code it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch

from ostinato.export.errors import ExportError, first_line
from ostinato.export.graphs.untraced import place_in

_OPERATOR = re.compile(r"No ONNX function found for <OpOverload\(op='([^']+)'")
_LACKING = re.compile(r"Could not find an implementation for (\w+)\(\d+\) node with name '([^']*)'")
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


def unloadable(error: ExportError, places: Mapping[str, str]) -> ExportError:
    """What to raise where onnxruntime does not load a graph; says which operator it lacks, and the line it comes from.

    Args:
        places: name of a node -> the line in the user's code, in brackets.
    """
    found = _LACKING.search(str(error))
    if found is None:
        return error
    return ExportError(
        f"onnxruntime has no {found[1]} for numbers of the dtype that it is given{places.get(found[2], '')}: give it "
        "float32, as by .float(), or write it with other operators"
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
    return "" if node is None else place_in(str(node.meta.get("stack_trace") or ""))
