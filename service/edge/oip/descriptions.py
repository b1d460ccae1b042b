"""Descriptions by the Open Inference Protocol: what the server and its models are, and what they have done.

All are plain objects whose keys are the protocol's own field names, so that HTTP writes them as JSON and gRPC as its
messages.
"""

from __future__ import annotations

from typing import Any

import ostinato
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.tensors import Input, Output, State
from ostinato.service.catalogue.catalogue import AnyEngine, Catalogue
from ostinato.service.edge.oip.datatypes import BYTES, config_name, datatype_of
from ostinato.service.edge.oip.generation import LENGTHS, input_of, outputs_of
from ostinato.service.edge.oip.interface import interface_of
from ostinato.service.edge.oip.statistics import statistics_of
from ostinato.service.engine.generation.engine import GenerationEngine
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import UnknownModel
from ostinato.service.metrics.series import Metrics

EXTENSIONS = (
    "sequence",
    "sequence(string_id)",
    "binary_tensor_data",
    "parameters",
    "model_configuration",
    "model_repository",
    "statistics",
)
PLATFORM, BACKEND = "onnxruntime_onnx", "onnxruntime"
_ANY = -1
_MICROSECONDS = 1_000_000


class Descriptions:
    """Describes the server and its models.

    Args:
        metrics: where statistics come from.
        ttl_seconds: how long a sequence may be idle whose start does not say; 0 = for ever.
    """

    def __init__(self, catalogue: Catalogue, metrics: Metrics, *, ttl_seconds: float = 0) -> None:
        self._catalogue = catalogue
        self._metrics = metrics
        self._ttl_seconds = ttl_seconds

    def server(self) -> dict[str, Any]:
        """``name``, ``version`` and ``extensions`` of the server (``ServerMetadataResponse``)."""
        return {"name": "ostinato", "version": ostinato.__version__, "extensions": list(EXTENSIONS)}

    def model(self, name: str, version: str | None = None) -> dict[str, Any]:
        """``name``, ``versions``, ``platform``, ``inputs`` and ``outputs`` (``ModelMetadataResponse``).

        Inputs that may be left out are not among them; the configuration has those, too.

        Raises:
            UnknownModel: no such model or version is served.
            Starting: that cannot be said yet.
        """
        engine = self._catalogue.resolve_any(name, version or None)
        given, made = _tensors(engine)
        return {
            "name": name,
            "versions": list(self._catalogue.versions(name)),
            "platform": PLATFORM,
            "inputs": [_metadata(*tensor) for tensor in given],
            "outputs": [_metadata(*tensor) for tensor in made],
        }

    def is_ready(self, name: str, version: str | None = None) -> bool:
        """Whether a model, or a version of it, is served; raises Starting, and UnknownModel where there is none."""
        try:
            self._catalogue.resolve_any(name, version or None)
        except UnknownModel:
            if self._catalogue.rejected(name):
                return False
            raise
        return True

    def config(self, name: str, version: str | None = None) -> dict[str, Any]:
        """What of Triton's ``ModelConfig`` has a meaning here; raises as ``model``."""
        engine = self._catalogue.resolve_any(name, version or None)
        manifest = engine.manifest
        given, made = _tensors(engine)
        content: dict[str, Any] = {
            "name": name,
            "platform": PLATFORM,
            "backend": BACKEND,
            "version_policy": {"all": {}},
            "max_batch_size": engine.max_rows,
            "input": [_config(*tensor) for tensor in given]
            + [{**_config(*tensor), "optional": True} for tensor in _optional(engine)],
            "output": [_config(*tensor) for tensor in made],
            "default_model_filename": next(iter(manifest.graphs.values())).file,
            "parameters": _parameters(manifest, engine),
        }
        if isinstance(engine, Engine):
            content["sequence_batching"] = {
                "max_sequence_idle_microseconds": int(self._ttl_seconds * _MICROSECONDS),
                "state": [_state(state) for state in manifest.states],
            }
        return content

    def statistics(self, name: str | None = None, version: str | None = None) -> dict[str, Any]:
        """``model_stats``: what each served version has done, over all workers; of one model where it is named.

        Raises as ``model``.
        """
        if name and version:
            engines = [self._catalogue.resolve_any(name, version)]
        elif name:
            self._catalogue.resolve_any(name)
            engines = list(self._catalogue.versions(name).values())
        else:
            engines = self._catalogue.served
        together = self._metrics.of_all_workers()
        return {"model_stats": [statistics_of(engine.manifest, together) for engine in engines]}

    def index(self, ready_only: bool = False) -> list[dict[str, Any]]:
        """``name``, ``version``, ``state`` and ``reason`` of each version, served or not (``RepositoryIndexResponse``).

        ``ready_only``: the served ones alone.
        """
        entries = [
            {"name": engine.manifest.name, "version": engine.manifest.version, "state": "READY", "reason": ""}
            for engine in self._catalogue.served
        ]
        if not ready_only:
            entries += [
                {"name": each.model, "version": each.version, "state": "UNAVAILABLE", "reason": each.reason}
                for each in self._catalogue.rejections
            ]
        return sorted(entries, key=lambda entry: entry["name"])


def _tensors(engine: AnyEngine) -> tuple[list[tuple[str, str, list[int]]], list[tuple[str, str, list[int]]]]:
    """What must be sent, and what is answered: names, datatypes, and all axes but that of the batch."""
    manifest = engine.manifest
    if isinstance(engine, GenerationEngine):
        name, datatypes, axes = input_of(manifest)
        given = [(name, datatypes[0], [1] if datatypes[0] == BYTES else list(axes))]
        return given, [(each, datatype, list(sizes)) for each, (datatype, sizes) in outputs_of(manifest).items()]
    made = interface_of(engine).made.shown
    given = [_described(part) for part in manifest.inputs]
    given += [_context(part) for part in manifest.context if not part.missing]
    return given, [_described(part) for part in made]


def _described(part: Input | Output) -> tuple[str, str, list[int]]:
    """A tensor of steps; what is answered once, or read by a graph of one step, has an axis of steps, too."""
    return part.name, datatype_of(part.dtype), [_ANY, *part.row_shape]


def _context(part: Input) -> tuple[str, str, list[int]]:
    """A tensor of a context, which is the same for all steps."""
    return part.name, datatype_of(part.dtype), list(part.row_shape)


def _optional(engine: AnyEngine) -> list[tuple[str, str, list[int]]]:
    """What may be sent, too: contexts that may be missing, lengths, and the states that sequences begin with."""
    manifest = engine.manifest
    if isinstance(engine, GenerationEngine):
        return [(LENGTHS, "INT64", [])] if _ANY in input_of(manifest)[2] else []
    tensors = [_context(part) for part in manifest.context if part.missing]
    tensors.append((interface_of(engine).lengths, "INT64", []))
    return tensors + [(state.input, datatype_of(state.dtype), list(state.row_shape)) for state in manifest.states]


def _metadata(name: str, datatype: str, axes: list[int]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [_ANY, *axes]}


def _config(name: str, datatype: str, axes: list[int]) -> dict[str, Any]:
    return {"name": name, "data_type": config_name(datatype), "dims": axes or [1]}


def _state(state: State) -> dict[str, Any]:
    """A state of the graph, which is zeros at first, or what the manifest has."""
    kind, dims = config_name(datatype_of(state.dtype)), list(state.row_shape) or [1]
    content: dict[str, Any] = {
        "input_name": state.input,
        "output_name": state.output,
        "data_type": kind,
        "dims": dims,
    }
    if not state.initial_row().any():
        content["initial_state"] = [{"name": state.name, "data_type": kind, "dims": dims, "zero_data": True}]
    return content


def _parameters(manifest: Manifest, engine: AnyEngine) -> dict[str, Any]:
    """What has no place of its own, as texts; ``context``: the inputs that go with the START of a sequence alone."""
    told = {"task": manifest.task, "version": manifest.version, "description": manifest.description}
    if manifest.context:
        told["context"] = ",".join(part.name for part in manifest.context)
    if manifest.promise is not None:
        told["promise"] = manifest.promise.holds
    if manifest.framing is not None:
        told["framing"] = str(manifest.framing)
    if isinstance(engine, GenerationEngine):
        told |= {"max_source_steps": str(engine.max_source_steps), "max_output_steps": str(engine.max_output_steps)}
    else:
        told["max_chunk_steps"] = str(engine.max_chunk_steps)
    return {name: {"string_value": value} for name, value in told.items() if value}
