"""What the examples of this folder have in common: each exports its network as a command."""

from __future__ import annotations

import argparse
from typing import Any

from torch import nn

from ostinato.export.exporter import export_module
from ostinato.service.artifact.tensors import Input


def export_from_command_line(module: nn.Module, inputs: Input, name: str, **options: Any) -> None:
    """Export to the folder that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repository", default="repository")
    made = export_module(module, inputs, parser.parse_args().repository, name=name, **options)
    print(f"{made.directory}: promise {made.manifest.promise}")
