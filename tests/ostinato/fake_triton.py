"""A small server of the Open Inference Protocol with sequences: running totals, which it may keep badly."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUM_FEATURES = 2


class Refused(Exception):
    """A request that is answered by 400."""


class FakeTriton:
    """The model ``totals``: to each step ``[2]`` of a sequence, the total of all its numbers so far.

    Args:
        has_steps: whether a request may have several, ``[1, T, 2]`` in place of ``[1, 2]``.
        swaps: whether, as soon as two sequences are live, each step is put to the other's state.
        forgets: sequences of more steps than that are not there any more; 0 = none.
        rounds: how far an answer is off while other sequences are live.
        context: an input of three numbers that a sequence begins with; empty = none.

    Attributes:
        totals: of each live sequence.
        num_started, num_ended: sequences.
        ids, is_binary: what requests had.
        url: where it listens.
    """

    def __init__(
        self,
        *,
        has_steps: bool = False,
        swaps: bool = False,
        forgets: int = 0,
        rounds: float = 0.0,
        context: str = "",
    ) -> None:
        self.has_steps, self.swaps, self.forgets, self.rounds = has_steps, swaps, forgets, rounds
        self.context = context
        self.totals: dict[int | str, float] = {}
        self.steps: dict[int | str, int] = {}
        self.num_started = self.num_ended = 0
        self.ids: set[int | str] = set()
        self.is_binary: set[bool] = set()
        self.url = ""
        self._turn = threading.Lock()

    def described(self, target: str) -> Any:
        """What is answered to a GET."""
        shape = [-1, -1, NUM_FEATURES] if self.has_steps else [-1, NUM_FEATURES]
        inputs = [
            {"name": "IN", "datatype": "FP32", "shape": shape},
            {"name": "HINT", "datatype": "FP32", "shape": [1]},
        ]
        if self.context:
            inputs.append({"name": self.context, "datatype": "FP32", "shape": [-1, 3]})
        parameters = {"context": {"string_value": self.context}} if self.context else {}
        config = {"max_batch_size": 8, "input": [{"name": "HINT", "optional": True}], "parameters": parameters}
        outputs = [{"name": "OUT", "datatype": "FP32", "shape": [*shape[:-1], 1]}]
        return {
            "/v2/models/totals": {"name": "totals", "versions": ["1", "3"], "inputs": inputs, "outputs": outputs},
            "/v2/models/totals/config": config,
            "/v2/models/words": {"name": "words", "inputs": [{"name": "W", "datatype": "BYTES", "shape": [-1, 1]}]},
            "/v2/models/words/config": {"max_batch_size": 8},
        }.get(target)

    def infer(self, content: Any, binary: bytes) -> tuple[Any, NDArray[np.float32]]:
        """What is answered to an inference."""
        [given] = content["inputs"]
        if given["name"] != "IN" or given["datatype"] != "FP32":
            raise Refused(f"unexpected inference input {given['name']!r}")
        numbers = np.frombuffer(binary, "<f4") if binary else np.array(given["data"], np.float32)
        rows = numbers.reshape(given["shape"]).reshape(-1, NUM_FEATURES)
        parameters = content["parameters"]
        name = parameters["sequence_id"]
        with self._turn:
            self.ids.add(name)
            self.is_binary.add(bool(binary))
            if parameters.get("sequence_start"):
                self.totals[name], self.steps[name] = 0.0, 0
                self.num_started += 1
            if self.forgets and self.steps.get(name, 0) >= self.forgets:
                self.totals.pop(name, None)
            if name not in self.totals:
                raise Refused("must specify the START flag on the first request of the sequence")
            others = [other for other in self.totals if other != name]
            if self.swaps and others:
                self.totals[name], self.totals[others[0]] = self.totals[others[0]], self.totals[name]
            made = self.totals[name] + np.cumsum(rows.sum(axis=1, dtype=np.float64))
            self.totals[name] = float(made[-1])
            self.steps[name] += len(rows)
            if parameters.get("sequence_end"):
                del self.totals[name]
                self.num_ended += 1
        shape = [*given["shape"][:-1], 1]
        return {"name": "OUT", "datatype": "FP32", "shape": shape}, (made + self.rounds * bool(others)).astype("<f4")

    @contextmanager
    def running(self) -> Iterator[FakeTriton]:
        """It listens meanwhile."""
        with ThreadingHTTPServer(("127.0.0.1", 0), _handler(self)) as server:
            self.url = f"127.0.0.1:{server.server_port}"
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()


def _handler(fake: FakeTriton) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            pass

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            described = fake.described(self.path)
            words = described if described is not None else {"error": f"unknown: {self.path}"}
            self.answer(200 if described is not None else 404, json.dumps(words).encode())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            length = self.headers.get("inference-header-content-length")
            head = body if length is None else body[: int(length)]
            content = json.loads(head)
            try:
                output, made = fake.infer(content, body[len(head) :])
            except Refused as error:
                self.answer(400, json.dumps({"error": str(error)}).encode())
                return
            if content["parameters"].get("binary_data_output"):
                output["parameters"] = {"binary_data_size": made.nbytes}
                self.answer(200, json.dumps({"outputs": [output]}).encode() + made.tobytes())
            else:
                self.answer(200, json.dumps({"outputs": [{**output, "data": made.tolist()}]}).encode())

    return Handler
