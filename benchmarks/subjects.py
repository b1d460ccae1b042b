"""The servers that are compared: how each is started, and how each speaks of one step of a session."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from benchmarks.environments import Environment
from benchmarks.errors import OwnFault, SubjectFailed
from benchmarks.process import LOAD_CORE, MORE_CORE, SERVER_CORE, Process
from benchmarks.spelling import EXAMPLE
from benchmarks.triton_server import triton_command
from benchmarks.workloads import MODEL, NUM_FEATURES, Floats
from ostinato.errors import ServiceUnreachable
from ostinato.tools.connection import PlainAnswer, PlainConnection, http_request
from ostinato.tools.server_process import free_port

ROOT = Path(__file__).resolve().parents[1]
BASELINES = ROOT / "benchmarks" / "baselines"


class Stepped(NamedTuple):
    """A step's answer: outputs ``[1, O]``, and the session's steps with it."""

    outputs: Floats
    steps: int


class Subject(ABC):
    """A server of W1's model, not yet started.

    Attributes:
        name: in figures and reports.
        title: for people.
        is_ours: whether it needs nothing but this project's own environment.
        tolerance: how far its answers may be off the offline run's; 0 = they must be the same to the bit.
        cores: where it runs, as ``taskset`` takes them.
    """

    name: str
    title: str
    is_ours: ClassVar[bool] = False
    tolerance: ClassVar[float] = 1e-5
    ready_target: ClassVar[str]
    cores: ClassVar[str] = f"{SERVER_CORE}"

    def __init__(self, repository: Path, scratch: Path) -> None:
        self.repository, self.scratch = repository, scratch
        self.graph = repository / MODEL / "1" / "model.onnx"
        self.port = free_port()
        self.address = ("127.0.0.1", self.port)
        self.process: Process | None = None
        self.seconds_to_ready = 0.0

    def start(self) -> None:
        """Install what it needs, start it and wait until it is ready.

        Raises:
            SubjectFailed: that did not work; the message says why.
            OwnFault: the same of what is ours.
        """
        environment = {"BENCH_GRAPH": str(self.graph), "BENTOML_DO_NOT_TRACK": "true", "ORT_DISABLE_TELEMETRY": "1"}
        environment["BENTOML_HOME"] = str(self.scratch / "bentoml")
        command, more = self.command()
        log = self.scratch / f"{self.name}-{self.port}.log"
        variables = {**environment, **more}
        self.process = Process(command, log, self.is_ready, cores=self.cores, environment=variables, folder=ROOT)
        try:
            self.seconds_to_ready = self.process.wait_until_ready()
        except SubjectFailed as error:
            if self.is_ours:
                raise OwnFault(str(error)) from error
            raise

    def stop(self) -> None:
        """End it, if it was started."""
        if self.process is not None:
            self.process.stop()
            self.process = None

    def cpu_seconds(self) -> float:
        """Of a processor, that it has used since its start."""
        assert self.process is not None
        return self.process.use().cpu_seconds

    def is_ready(self) -> bool:
        """Whether it answers."""
        try:
            return self.ask([http_request("GET", self.ready_target)])[0].status == 200
        except (ServiceUnreachable, OSError):
            return False

    def ask(self, requests: list[bytes]) -> list[PlainAnswer]:
        """Answers to requests, one after the other on one connection."""
        connection = PlainConnection(self.address)
        try:
            return [connection.ask(request) for request in requests]
        finally:
            connection.socket.close()

    @abstractmethod
    def command(self) -> tuple[list[str], dict[str, str]]:
        """The command that serves on ``port``, and its environment."""

    @abstractmethod
    def step_request(self, session: int, inputs: Floats, *, first: bool = False) -> bytes:
        """A session's request with one step ``[F]``; ``first`` = it is the session's first."""

    def read_step(self, answer: PlainAnswer) -> Stepped:
        """What a step's answer says; here the one that most servers give."""
        content = json.loads(answer.body)
        return Stepped(np.array(content["outputs"], np.float32), content["steps"])

    def open(self, sessions: range) -> None:
        """Begin sessions, where that takes a request of its own."""
        del sessions

    def close(self, sessions: range) -> None:
        """End them, where there is a way to."""
        del sessions


class Echo(Subject):
    """The limit of the server stack; it computes nothing."""

    is_ours = True
    name = "echo"
    title = "bare ASGI echo"
    ready_target = "/"

    def command(self) -> tuple[list[str], dict[str, str]]:
        return uvicorn_command(sys.executable, "benchmarks.baselines.echo:app", self.port), {}

    def step_request(self, session: int, inputs: Floats, *, first: bool = False) -> bytes:
        del session, first
        return http_request("POST", "/", json.dumps({"inputs": [to_list(inputs)]}).encode())

    def read_step(self, answer: PlainAnswer) -> Stepped:
        return Stepped(np.array(json.loads(answer.body)["inputs"], np.float32), 1)


class Ostinato(Subject):
    """The service of this checkout, as `ostinato serve` starts it.

    Args:
        state: the address of its store.
    """

    is_ours = True
    name = "ostinato"
    title = "Ostinato"
    tolerance = 0.0
    ready_target = "/readyz"

    def __init__(self, repository: Path, scratch: Path, state: str = "memory://") -> None:
        super().__init__(repository, scratch)
        self.state = state
        store = state.partition(":")[0]
        if store != "memory":
            self.name, self.title = f"ostinato-{store}", f"Ostinato on {store}"

    def command(self) -> tuple[list[str], dict[str, str]]:
        command = [sys.executable, "-m", "ostinato.cli", "serve", "--repository", str(self.repository)]
        return [*command, "--state", self.state, "--port", str(self.port)], {}

    def step_request(self, session: int, inputs: Floats, *, first: bool = False) -> bytes:
        del first
        body = json.dumps({"inputs": [to_list(inputs)]}).encode()
        return http_request("POST", f"/v1/sessions/s{session}/step", body)

    def open(self, sessions: range) -> None:
        opened = self.ask(
            [
                http_request("POST", f"/v1/models/{MODEL}/sessions", json.dumps({"session_id": f"s{session}"}).encode())
                for session in sessions
            ]
        )
        if refused := [answer for answer in opened if answer.status != 201]:
            raise SubjectFailed(f"a session was not opened: {refused[0]}")

    def close(self, sessions: range) -> None:
        self.ask([http_request("DELETE", f"/v1/sessions/s{session}") for session in sessions])


class TwoWorkers(Ostinato):
    """The service with two worker processes on two cores, of which the load has one, too, where there are no more."""

    is_ours = True
    cores = f"{SERVER_CORE},{MORE_CORE}"

    def __init__(self, repository: Path, scratch: Path, state: str) -> None:
        super().__init__(repository, scratch, state)
        self.name, self.title = "ostinato-two-workers", "Ostinato, two workers"

    def command(self) -> tuple[list[str], dict[str, str]]:
        command, environment = super().command()
        return [*command, "--workers", "2"], environment


class Polling(Ostinato):
    """The service whose worker looks for the next step for a millisecond before it sleeps."""

    is_ours = True
    name = "ostinato-polling"
    title = "Ostinato, polling"

    def command(self) -> tuple[list[str], dict[str, str]]:
        return [*super().command()[0], "--busy-poll-seconds", "0.001"], {}


class Traced(Ostinato):
    """The service that sends the spans of all requests to a collector on the load's core, which throws them away."""

    is_ours = True
    name = "ostinato-traced"
    title = "Ostinato with traces"
    sampling: ClassVar[dict[str, str]] = {}

    def __init__(self, repository: Path, scratch: Path) -> None:
        super().__init__(repository, scratch)
        self._collector = free_port()
        self._collecting: Process | None = None

    def command(self) -> tuple[list[str], dict[str, str]]:
        command, environment = super().command()
        return [*command, "--traces", f"http://127.0.0.1:{self._collector}"], {**environment, **self.sampling}

    def start(self) -> None:
        command = uvicorn_command(sys.executable, "benchmarks.baselines.echo:app", self._collector)
        log, cores = self.scratch / "collector.log", f"{LOAD_CORE}"
        self._collecting = Process(command, log, self._is_collecting, cores=cores, folder=ROOT)
        self._collecting.wait_until_ready()
        super().start()

    def stop(self) -> None:
        super().stop()
        if self._collecting is not None:
            self._collecting.stop()
            self._collecting = None

    def _is_collecting(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._collector), 1.0):
            return True
        return False


class Sampled(Traced):
    """The same of one request in a hundred."""

    is_ours = True
    name = "ostinato-sampled"
    title = "Ostinato with traces of 1 %"
    sampling: ClassVar[dict[str, str]] = {
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.01",
    }


class Spelling(Ostinato):
    """The service with nothing but the release of examples/cmudict."""

    is_ours = True

    def __init__(self, scratch: Path) -> None:
        super().__init__(EXAMPLE / "repository", scratch)
        self.name, self.title = "speller", "Ostinato, g2p"


class FastApi(Subject):
    """FastAPI, onnxruntime and a dictionary."""

    name = "fastapi"
    title = "FastAPI + onnxruntime"
    ready_target = "/ready"

    def command(self) -> tuple[list[str], dict[str, str]]:
        python = Environment(ROOT / ".venv-bench", ROOT / "requirements" / "bench-fastapi.txt").python()
        return uvicorn_command(str(python), "benchmarks.baselines.fastapi_app:app", self.port), {}

    def step_request(self, session: int, inputs: Floats, *, first: bool = False) -> bytes:
        del first
        return http_request("POST", f"/sessions/s{session}/step", json.dumps({"inputs": [to_list(inputs)]}).encode())


class BentoMl(Subject):
    """BentoML as its documentation shows, with its stock settings."""

    name = "bentoml"
    title = "BentoML as documented"
    ready_target = "/readyz"

    def command(self) -> tuple[list[str], dict[str, str]]:
        python = Environment(ROOT / ".venv-bentoml", ROOT / "requirements" / "bench-bentoml.txt").python()
        target = "benchmarks.baselines.bentoml_app:Recurrent"
        return [str(python), "-m", "bentoml", "serve", target, "--host", "127.0.0.1", "--port", str(self.port)], {}

    def step_request(self, session: int, inputs: Floats, *, first: bool = False) -> bytes:
        del first
        return http_request(
            "POST", "/step", json.dumps({"session_id": f"s{session}", "inputs": [to_list(inputs)]}).encode()
        )


class Triton(Subject):
    """Triton's sequence batcher before a model in its Python backend."""

    name = "triton"
    title = "Triton, sequence batcher"
    ready_target = "/v2/health/ready"

    def command(self) -> tuple[list[str], dict[str, str]]:
        environment = Environment(
            ROOT / ".venv-triton", ROOT / "requirements" / "bench-triton.txt", with_dependencies=False
        )
        return triton_command(environment.python(), BASELINES / "triton", self.scratch, self.port)

    def step_request(self, session: int, inputs: Floats, *, first: bool = False, last: bool = False) -> bytes:
        body = {
            # Triton takes 0 for "no sequence".
            "parameters": {"sequence_id": session + 1, "sequence_start": first, "sequence_end": last},
            "inputs": [{"name": "INPUT", "shape": [1, len(inputs)], "datatype": "FP32", "data": to_list(inputs)}],
        }
        return http_request("POST", "/v2/models/step/infer", json.dumps(body).encode())

    def read_step(self, answer: PlainAnswer) -> Stepped:
        output, steps = json.loads(answer.body)["outputs"][0]["data"]
        return Stepped(np.array([[output]], np.float32), int(steps))

    def close(self, sessions: range) -> None:
        # A sequence holds one of the batcher's places until its last request, which is a step like any other.
        nothing = np.zeros(NUM_FEATURES, np.float32)
        self.ask([self.step_request(session, nothing, last=True) for session in sessions])


def uvicorn_command(python: str, application: str, port: int) -> list[str]:
    """The server with the loop and parser that the service has, and nothing logged."""
    command = [python, "-m", "uvicorn", application, "--host", "127.0.0.1", "--port", str(port)]
    return [*command, "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]


def to_list(inputs: Floats) -> list[float]:
    """float32 as few digits as give it back, as a client would send them."""
    return [float(str(value)) for value in inputs]
