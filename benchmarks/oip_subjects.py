"""Servers by the Open Inference Protocol: Ostinato and Triton, a step of a sequence in binary tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.subjects import Ostinato, Stepped, Triton
from benchmarks.workloads import MODEL, NUM_FEATURES, Floats
from ostinato.tools.connection import PlainAnswer
from ostinato.tools.sequences.oip import infer_request, read_answer
from ostinato.tools.server_process import free_port


def step_request(model: str, tensor: str, session: int, inputs: Floats, *, first: bool, last: bool = False) -> bytes:
    """One step of a sequence; 0 is the number of none."""
    parameters = {"sequence_id": session + 1, "sequence_start": first, "sequence_end": last}
    tensors = {tensor: inputs.reshape(1, -1)}
    return infer_request(f"/v2/models/{model}/infer", parameters, tensors, is_binary=True)


class OstinatoV2(Ostinato):
    """The service, by the protocol."""

    def __init__(self, repository: Path, scratch: Path) -> None:
        super().__init__(repository, scratch)
        self.name, self.title = "ostinato-v2", "Ostinato, /v2 binary"

    def step_request(self, session: int, inputs: Floats, *, first: bool = False) -> bytes:
        return step_request(MODEL, "inputs", session, inputs, first=first)

    def read_step(self, answer: PlainAnswer) -> Stepped:
        outputs, steps = read_answer(answer)
        return Stepped(outputs["outputs"].reshape(1, -1), steps or 0)

    def open(self, sessions: range) -> None:
        del sessions  # the first step does

    def close(self, sessions: range) -> None:
        nothing = np.zeros(NUM_FEATURES, np.float32)
        self.ask([step_request(MODEL, "inputs", session, nothing, first=False, last=True) for session in sessions])


class OstinatoGrpc(Ostinato):
    """The service with its gRPC port open."""

    def __init__(self, repository: Path, scratch: Path) -> None:
        super().__init__(repository, scratch)
        self.name, self.title = "ostinato-grpc", "Ostinato, gRPC"
        self.grpc_port = free_port()

    def command(self) -> tuple[list[str], dict[str, str]]:
        command, environment = super().command()
        return [*command, "--grpc-port", str(self.grpc_port)], environment


class TritonBinary(Triton):
    """The same of Triton."""

    name = "triton-binary"
    title = "Triton, binary tensors"

    def step_request(self, session: int, inputs: Floats, *, first: bool = False, last: bool = False) -> bytes:
        return step_request("step", "INPUT", session, inputs, first=first, last=last)

    def read_step(self, answer: PlainAnswer) -> Stepped:
        [output, steps] = read_answer(answer).outputs["OUTPUT"].reshape(-1).tolist()
        return Stepped(np.array([[output]], np.float32), int(steps))
