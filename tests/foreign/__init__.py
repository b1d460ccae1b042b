"""Graphs in the styles of other people's exporters, each with what it answers over a whole sequence.

    from tests.foreign import FOREIGN
    case = FOREIGN["tf2onnx_lstm_classifier"]()

A new one is a function of a module of this folder that gives a ``Foreign``; it is found here.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.foreign import (
    control,
    keras2onnx,
    speech,
    speech_encoders,
    tf2onnx,
    torch_exports,
    torch_loops,
)
from tests.foreign.case import Foreign

MODULES = (control, keras2onnx, speech, speech_encoders, tf2onnx, torch_exports, torch_loops)

FOREIGN: dict[str, Callable[[], Foreign]] = {
    name: function
    for module in MODULES
    for name, function in vars(module).items()
    if callable(function) and getattr(function, "__module__", "") == module.__name__ and not name.startswith("_")
}
