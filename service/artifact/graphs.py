"""Graph files, opened under onnxruntime: by the service, the exporters and the benchmarks, here and nowhere else."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

from ostinato.service.errors import ModelRejected

_ERRORS_ONLY, _FATAL_ONLY = 3, 4


def open_graph(path: Path) -> onnxruntime.InferenceSession:
    """An ONNX file under onnxruntime, on one thread of the CPU.

    Raises:
        ModelRejected: onnxruntime cannot load it; names the file.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions share no base class
        raise ModelRejected(f"{path}: onnxruntime cannot load the graph: {' '.join(str(error).split())}") from error


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
