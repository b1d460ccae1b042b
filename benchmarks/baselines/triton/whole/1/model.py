"""Whole sequences `[B, longest, F]` by one onnxruntime run a request; outputs behind a sequence's end mean nothing."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, _: dict[str, str]) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            os.environ["BENCH_GRAPH"], options, providers=["CPUExecutionProvider"]
        )
        self.hidden_size = self.session.get_inputs()[1].shape[2]

    def execute(self, requests: list[Any]) -> list[Any]:
        responses = []
        for request in requests:
            inputs = pb_utils.get_input_tensor_by_name(request, "INPUT").as_numpy()
            state = np.zeros((1, len(inputs), self.hidden_size), np.float32)
            outputs = self.session.run(["outputs"], {"inputs": inputs, "h": state, "c": state})[0]
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT", outputs)]))
        return responses
