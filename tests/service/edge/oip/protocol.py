"""A client of the Open Inference Protocol over sockets, as small as can be, and a service with real graphs for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.edge.oip.datatypes import DTYPES, datatype_of
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.engine.recurrent.runner import Runner
from ostinato.service.metrics.series import ModelMetrics
from tests.service.edge.test_http_connection import Client
from tests.service.edge.test_http_connection import post as post_bytes
from tests.service.puppet import House

Array = NDArray[Any]


class Reply(NamedTuple):
    """An answer: its status, its header or error, and its outputs."""

    status: int
    content: Any
    outputs: dict[str, Array]
    headers: dict[str, str]


def add(house: House, directory: Path) -> Manifest:
    """Serve a version with its real graph."""
    manifest = Manifest.read(directory)
    runner = Runner(manifest.of_graph, directory, max_batch_size=8, max_iteration_steps=16)
    engine = Engine(
        manifest,
        runner,
        house.ledger,
        house.settings,
        ModelMetrics(house.metrics, manifest.name, manifest.version),
        max_resident=house.store.num_slots(manifest),
    )
    house.store.attach(engine.arena)
    house.catalogue.add(engine)
    return manifest


def tensor(name: str, array: Array, *, shape: tuple[int, ...] | None = None, datatype: str = "") -> dict[str, Any]:
    """An input in JSON, its data flat."""
    data = [each.decode() if isinstance(each, bytes) else each for each in array.reshape(-1).tolist()]
    shape = array.shape if shape is None else shape
    return {"name": name, "shape": shape, "datatype": datatype or datatype_of(array.dtype), "data": data}


def json_request(model: str, inputs: dict[str, Array], *, nested: bool = False, **members: Any) -> bytes:
    """A request whose tensors are in JSON."""
    tensors = [tensor(name, array) for name, array in inputs.items()]
    if nested:
        for each, array in zip(tensors, inputs.values(), strict=True):
            each["data"] = array.tolist()
    return post_bytes(f"/v2/models/{model}/infer", json.dumps({"inputs": tensors, **members}))


def binary_request(model: str, inputs: dict[str, Array], **members: Any) -> bytes:
    """A request whose tensors are behind the header, and whose answer's shall be, too."""
    parts = {name: packed(array) for name, array in inputs.items()}
    tensors = [
        {
            "name": name,
            "shape": array.shape,
            "datatype": datatype_of(array.dtype),
            "parameters": {"binary_data_size": len(parts[name])},
        }
        for name, array in inputs.items()
    ]
    parameters = {"binary_data_output": True, **members.pop("parameters", {})}
    header = json.dumps({"inputs": tensors, "parameters": parameters, **members}).encode()
    length = f"inference-header-content-length: {len(header)}"
    return post_bytes(f"/v2/models/{model}/infer", header + b"".join(parts.values()), length)


def packed(array: Array) -> bytes:
    """A tensor as it lies behind a header."""
    if array.dtype != object:
        return array.tobytes()
    return b"".join(len(each).to_bytes(4, "little") + each for each in array.reshape(-1))


async def ask(client: Client, request: bytes) -> Reply:
    """Send a request, and read its answer."""
    client.writer.write(request)
    status, headers, body = await client.answer()
    named = dict(headers)
    size = named.get("inference-header-content-length")
    behind = b""
    if size is not None:
        body, behind = body[: int(size)], body[int(size) :]
    content = json.loads(body) if isinstance(body, bytes) and body else body
    outputs = {}
    for entry in content["outputs"] if isinstance(content, dict) and "model_name" in content else []:
        num_bytes = entry.get("parameters", {}).get("binary_data_size")
        dtype = DTYPES[entry["datatype"]]
        if num_bytes is None:
            array = np.array(entry["data"], dtype)
        else:
            array, behind = np.frombuffer(behind[:num_bytes], dtype), behind[num_bytes:]
        outputs[entry["name"]] = array.reshape(entry["shape"])
    assert not behind
    return Reply(status, content, outputs, named)
