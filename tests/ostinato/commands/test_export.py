from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from rich.console import Console

from ostinato.commands.export_view import export_summary
from ostinato.service.artifact.manifest import GraphFile, Manifest
from tests import tensor_networks


def test_a_summary_names_inputs_contexts_and_outputs_where_there_are_several() -> None:
    manifest = Manifest(
        graphs={"step": GraphFile(file="model.onnx", sha256="0" * 64)}, **tensor_networks.panel().manifest
    )
    exported: Any = SimpleNamespace(directory="repository/panel/1", manifest=manifest)
    console = Console(width=120)
    with console.capture() as captured:
        console.print(export_summary(exported))
    shown = captured.get()
    for what in ("input load", "input weekday", "context customer", "context region", "output summary"):
        assert what in shown
