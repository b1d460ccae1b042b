"""BentoML as its documentation shows a service: `@bentoml.api` methods of a class, and its stock settings.

The states are a dictionary in the class, as the documentation keeps what a service needs in `self`.
"""

from __future__ import annotations

import os
from typing import Any

import bentoml
import numpy as np
import onnxruntime


@bentoml.service
class Recurrent:
    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            os.environ["BENCH_GRAPH"], options, providers=["CPUExecutionProvider"]
        )
        self.initial = np.zeros((1, 1, self.session.get_inputs()[1].shape[2]), np.float32)
        self.states: dict[str, tuple[Any, Any, int]] = {}

    @bentoml.api
    def step(self, session_id: str, inputs: list[list[float]]) -> dict[str, Any]:
        h, c, steps = self.states.get(session_id, (self.initial, self.initial, 0))
        chunk = np.array(inputs, np.float32)[None]
        outputs, h, c = self.session.run(None, {"inputs": chunk, "h": h, "c": c})
        steps += chunk.shape[1]
        self.states[session_id] = (h, c, steps)
        return {"outputs": outputs[0].tolist(), "steps": steps}
