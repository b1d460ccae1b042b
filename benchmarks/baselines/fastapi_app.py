"""FastAPI, onnxruntime and a dictionary of states: what one writes in an afternoon. Run by uvicorn.

The handlers are coroutines, which FastAPI runs on the event loop itself: with so small a graph that is faster than
its threads.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import onnxruntime
from fastapi import FastAPI
from pydantic import BaseModel

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["BENCH_GRAPH"], options, providers=["CPUExecutionProvider"])
initial = np.zeros((1, 1, session.get_inputs()[1].shape[2]), np.float32)
states: dict[str, tuple[Any, Any, int]] = {}

app = FastAPI()


class StepRequest(BaseModel):
    inputs: list[list[float]]


class StepAnswer(BaseModel):
    outputs: list[list[float]]
    steps: int


@app.get("/ready")
async def ready() -> str:
    return "ready"


@app.post("/sessions/{session_id}/step")
async def step(session_id: str, request: StepRequest) -> StepAnswer:
    h, c, steps = states.get(session_id, (initial, initial, 0))
    inputs = np.array(request.inputs, np.float32)[None]
    outputs, h, c = session.run(None, {"inputs": inputs, "h": h, "c": c})
    steps += inputs.shape[1]
    states[session_id] = (h, c, steps)
    return StepAnswer(outputs=outputs[0].tolist(), steps=steps)
