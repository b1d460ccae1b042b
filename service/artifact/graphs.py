"""Graph files, opened under onnxruntime: by the service, the exporters and the benchmarks, here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime

from ostinato.service.errors import ModelRejected

_ERRORS_ONLY, _FATAL_ONLY = 3, 4
_CPU = "CPUExecutionProvider"


def open_graph(path: Path, providers: Sequence[Any] = (_CPU,)) -> onnxruntime.InferenceSession:
    """An ONNX file under onnxruntime, on one thread of the CPU, or by the first of ``providers``, each a name or a pair
    of a name and options.

    Raises:
        ModelRejected: onnxruntime cannot load it, or not so; names the file.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    if providers[0] != _CPU:
        options.use_deterministic_compute = True
        onnxruntime.preload_dlls()  # CUDA and cuDNN, where pip has installed them
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=list(providers))
    except Exception as error:  # onnxruntime's own exceptions share no base class
        raise ModelRejected(f"{path}: onnxruntime cannot load the graph: {' '.join(str(error).split())}") from error
    wanted = providers[0] if isinstance(providers[0], str) else providers[0][0]
    if session.get_providers()[0] != wanted:  # it says so to the terminal, and takes the next
        raise ModelRejected(
            f"{path}: onnxruntime could not begin {wanted}: its libraries (CUDA, cuDNN) are missing or of another "
            "version than it was built for; pip install 'ostinato[cuda]' brings those that fit"
        )
    return session


def available_providers() -> list[str]:
    """By what the onnxruntime that is installed could run graphs."""
    return list(onnxruntime.get_available_providers())


def without_messages() -> onnxruntime.RunOptions:
    """Options of a run that may fail, whose failure is not written to the terminal."""
    options = onnxruntime.RunOptions()
    options.log_severity_level = _FATAL_ONLY
    return options


def giving_memory_back() -> onnxruntime.RunOptions:
    """Options of a run behind which onnxruntime gives the system back what it kept of larger runs before."""
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options
