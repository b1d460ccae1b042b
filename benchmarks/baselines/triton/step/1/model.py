"""The requests that Triton hands over at once, run by onnxruntime as one batch; states are kept by sequence id."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils

START = pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START
END = pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END


class TritonPythonModel:
    def initialize(self, _: dict[str, str]) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            os.environ["BENCH_GRAPH"], options, providers=["CPUExecutionProvider"]
        )
        self.initial = np.zeros((1, 1, self.session.get_inputs()[1].shape[2]), np.float32)
        self.states: dict[int, tuple[Any, Any, int]] = {}

    def execute(self, requests: list[Any]) -> list[Any]:
        ids = [request.correlation_id() for request in requests]
        for request, sequence_id in zip(requests, ids, strict=True):
            if request.flags() & START:
                self.states[sequence_id] = (self.initial, self.initial, 0)
        inputs = np.concatenate([pb_utils.get_input_tensor_by_name(r, "INPUT").as_numpy() for r in requests])
        held = [self.states[sequence_id] for sequence_id in ids]
        h = np.concatenate([state[0] for state in held], axis=1)
        c = np.concatenate([state[1] for state in held], axis=1)
        outputs, h, c = self.session.run(None, {"inputs": inputs[:, None], "h": h, "c": c})
        responses = []
        for row, (request, sequence_id) in enumerate(zip(requests, ids, strict=True)):
            steps = held[row][2] + 1
            if request.flags() & END:
                del self.states[sequence_id]
            else:
                # Copied: a row of its own must not keep the whole batch alive.
                self.states[sequence_id] = (h[:, row : row + 1].copy(), c[:, row : row + 1].copy(), steps)
            answer = np.array([[outputs[row, 0, 0], steps]], np.float32)
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT", answer)]))
        return responses
