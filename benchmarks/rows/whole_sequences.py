"""Target 6: whole sequences of any lengths, inside the engine and over HTTP with binary bodies."""

from __future__ import annotations

import json

import numpy as np

from benchmarks.bench import Bench
from benchmarks.errors import SubjectFailed, WrongAnswer
from benchmarks.load import arrow
from benchmarks.rows.many_in_one import NOT_THERE
from benchmarks.subjects import Subject, Triton
from benchmarks.workloads import MODEL, REQUEST_SEQUENCES, Floats, draw_sequences, pad
from ostinato.tools.connection import PlainAnswer, http_request
from ostinato.tools.load import Script, closed_loop

NUM_CONNECTIONS = 16
PREDICT_TARGET = f"/v1/models/{MODEL}/predict"
JSON_DIGITS = 6


def inside_the_engine(bench: Bench) -> None:
    """No HTTP: the engine against perfectly packed work, and against padding."""
    options = bench.options
    figures = bench.inside(
        "sequences", bench.directory, "--rounds", options.rounds, "--seconds", min(5.0, options.seconds)
    )
    bench.take(figures)


def over_http(bench: Bench) -> None:
    """16 sequences a request: Arrow to Ostinato, binary tensors, padded by the client, to Triton."""
    calls = requests_of_sequences()
    subjects = bench.subjects("ostinato", "triton")
    for number, subject in bench.rounds(subjects):
        prefix = f"sequences/http/{subject.name}"
        with bench.judged(subject.title, prefix):
            requests = [encode(subject, call) for call in calls]
            check(subject, calls[:4], requests[:4], bench)
            # Each connection begins elsewhere, so that long and short requests are mixed at any time.
            scripts = [Script(requests, start=2 * number % len(requests)) for number in range(NUM_CONNECTIONS)]
            load = closed_loop(subject.address, scripts, bench.options.seconds)
            if load.num_failed:
                raise WrongAnswer(f"{load.num_failed} answers were refusals: {dict(load.statuses)}")
            for connection, answer in enumerate(load.last):
                call = calls[load.turns[connection]]
                compare(subject, decode(subject, answer, call), call, bench)
            rate = load.rate * REQUEST_SEQUENCES
            bench.figures.add(f"{prefix}/rate", rate)
            bench.figures.add(f"{prefix}/p99", load.percentile(99))
            bench.watch_load(prefix, load.cpu_fraction)
            bench.say(f"  round {number + 1}, {subject.title}: {rate:,.0f} sequences/s")


def requests_of_sequences() -> list[list[Floats]]:
    """W2 as requests of 16 sequences in the order of their arrival."""
    drawn = draw_sequences()
    return [drawn[start : start + REQUEST_SEQUENCES] for start in range(0, len(drawn), REQUEST_SEQUENCES)]


def encode(subject: Subject, call: list[Floats]) -> bytes:
    """A request with whole sequences, binary."""
    if isinstance(subject, Triton):
        batch = pad(call)
        tensor = {"name": "INPUT", "shape": batch.shape, "datatype": "FP32"}
        head = {
            "inputs": [{**tensor, "parameters": {"binary_data_size": batch.nbytes}}],
            "outputs": [{"name": "OUTPUT", "parameters": {"binary_data": True}}],
        }
        return _with_header_length(json.dumps(head).encode(), batch.tobytes())
    return http_request("POST", PREDICT_TARGET, arrow.encode_sequences(call), arrow.MEDIA_TYPE)


def encode_json(call: list[Floats]) -> bytes:
    """The same for Ostinato as JSON."""
    rows = [[[round(float(value), JSON_DIGITS) for value in step] for step in sequence] for sequence in call]
    return http_request("POST", PREDICT_TARGET, json.dumps({"sequences": rows}).encode())


def decode(subject: Subject, answer: PlainAnswer, call: list[Floats]) -> list[Floats]:
    """Outputs ``[n, O]`` of each sequence.

    Raises:
        SubjectFailed: the service takes no such request.
        WrongAnswer: it refused this one.
    """
    if answer.status in NOT_THERE:
        raise SubjectFailed(f"the service takes no Arrow at {PREDICT_TARGET}: {answer.status}")
    if answer.status != 200:
        raise WrongAnswer(f"{subject.title} answered {answer.status}: {answer.body[:200]!r}")
    if not isinstance(subject, Triton):
        if answer.body.startswith(b"{"):
            return [np.array(rows, np.float32) for rows in json.loads(answer.body)["outputs"]]
        return arrow.decode_sequences(answer.body)
    longest = max(map(len, call))
    flat = np.frombuffer(answer.body[-4 * len(call) * longest :], np.float32)
    return [rows[: len(sequence), None] for rows, sequence in zip(flat.reshape(len(call), longest), call, strict=True)]


def check(subject: Subject, calls: list[list[Floats]], requests: list[bytes], bench: Bench) -> None:
    """Ask for some requests' outputs and compare them with the offline run.

    Raises:
        SubjectFailed, WrongAnswer.
    """
    for call, answer in zip(calls, subject.ask(requests), strict=True):
        compare(subject, decode(subject, answer, call), call, bench)


def compare(subject: Subject, outputs: list[Floats], call: list[Floats], bench: Bench) -> None:
    """Compare outputs with one offline run of each sequence alone.

    Raises:
        WrongAnswer: one differs.
    """
    if len(outputs) != len(call):
        raise WrongAnswer(f"{subject.title} answered {len(outputs)} sequences of {len(call)}")
    for made, sequence in zip(outputs, call, strict=True):
        expected = bench.offline.run(sequence[None])[0][0]
        if made.shape != expected.shape or not np.abs(made - expected).max() <= subject.tolerance:
            raise WrongAnswer(
                f"{subject.title}: the outputs of a sequence of {len(sequence)} steps differ from offline"
            )


def _with_header_length(head: bytes, tensor: bytes) -> bytes:
    """Triton's binary extension: JSON, then the tensor's bytes, and a header that says where the one ends."""
    request = http_request("POST", "/v2/models/whole/infer", head + tensor, "application/octet-stream")
    length = b"Inference-Header-Content-Length: %d\r\n" % len(head)
    return request.replace(b"\r\nContent-Type", b"\r\n" + length + b"Content-Type", 1)
