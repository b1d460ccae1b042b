"""A network whose steps lie in time: an LSTM over a load and what a calendar tells, a missing value taken for 0."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests import networks
from tests.networks import Array, Network

FEATURES = ("load", "hour", "weekday")
HOURLY: dict[str, Any] = {
    "step": "1 hour",
    "zone": "Europe/Berlin",
    "calendar": {
        # The codes of words, of which the training had none for three in the morning.
        "hour": {"unit": "hour", "codes": [None if hour == 3 else (7 * hour) % 24 / 8 for hour in range(24)]},
        "weekday": {"unit": "weekday", "first": 1},
    },
}
IRREGULAR: dict[str, Any] = {"interval": {"feature": "weekday", "unit": "minute"}, "zone": "Europe/Berlin"}


def timed_lstm(time: dict[str, Any] | None = HOURLY, *, missing: bool = True, **changes: Any) -> Network:
    """The network, its features those above; ``missing``: whether it takes missing values."""
    network = networks.lstm(num_features=len(FEATURES), num_outputs=2)
    model = onnx.ModelProto()
    model.CopyFrom(network.model)
    graph = model.graph
    nodes = [
        helper.make_node("IsNaN", ["inputs"], ["is_missing"]),
        helper.make_node("Where", ["is_missing", "nothing", "inputs"], ["known"]),
        *graph.node,
    ]
    for node in nodes[2:]:
        node.input[:] = ["known" if name == "inputs" else name for name in node.input]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.append(numpy_helper.from_array(np.zeros((), np.float32), "nothing"))
    (part,) = network.manifest["inputs"]
    part = part.model_copy(update={"features": FEATURES, "missing": missing})

    def reference(sequences: Array) -> tuple[Array, dict[str, Array]]:
        return network.reference(np.nan_to_num(sequences))

    made = replace(network, model=model, reference=reference)
    members = {"inputs": (part,), "feedback": {"y0": "load"}, **({} if time is None else {"time": time}), **changes}
    return made.named(members.pop("model", "load"), members.pop("version", "1"), **members)
