"""Target 20: one step a request by the Open Inference Protocol, in binary tensors, beside /v1 and Triton."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.errors import WrongAnswer
from benchmarks.oip_subjects import OstinatoGrpc
from benchmarks.rows.http_steps import measure
from benchmarks.workloads import MODEL, NUM_SESSIONS
from ostinato.tools.load import Load
from ostinato.tools.sequences.course import Course
from ostinato.tools.sequences.drawn import draw_sequences
from ostinato.tools.sequences.expected import OfflineReference, compare
from ostinato.tools.sequences.oip_grpc import GrpcProtocol

KEPT_ANSWERS = 100_000
"""Answers over gRPC that are compared, besides each sequence's last."""
SUBJECTS = ("ostinato", "ostinato-v2", "triton", "triton-binary")


def many_sessions(bench: Bench) -> None:
    """256 sessions in closed loop, each with a connection of its own."""
    measure(bench, NUM_SESSIONS, "oip/256", *SUBJECTS)


def one_session(bench: Bench) -> None:
    """One client, one session."""
    measure(bench, 1, "oip/1", *SUBJECTS)


def by_grpc(bench: Bench) -> None:
    """The same over gRPC, a call for each step or all in one stream, by the client of ``ostinato bench``."""
    reference = OfflineReference(bench.directory)
    for number, subject in bench.rounds(bench.subjects("ostinato-grpc")):
        assert isinstance(subject, OstinatoGrpc)
        for num_sessions in (1, NUM_SESSIONS):
            for name, is_stream in (("ostinato-grpc", False), ("ostinato-grpc-stream", True)):
                prefix = f"oip/{num_sessions}/{name}"
                with bench.judged(subject.title, prefix):
                    load = _load_by_grpc(bench, subject, reference, num_sessions, is_stream=is_stream)
                    bench.watch_load(prefix, load.cpu_fraction)
                    for figure, value in (
                        ("rate", load.rate),
                        ("p50", load.percentile(50)),
                        ("p99", load.percentile(99)),
                    ):
                        bench.figures.add(f"{prefix}/{figure}", value)
                    bench.say(
                        f"  round {number + 1}, {num_sessions} session{'s' * (num_sessions > 1)}, {name}: "
                        f"{load.rate:,.0f} steps/s, p50 {load.percentile(50) * 1000:.2f} ms"
                    )


def _load_by_grpc(
    bench: Bench, subject: OstinatoGrpc, reference: OfflineReference, num_sessions: int, *, is_stream: bool
) -> Load:
    """Load, its answers compared and its sequences ended.

    Raises:
        WrongAnswer: an answer was a refusal or differs, or steps are lost or doubled.
    """
    protocol = GrpcProtocol(f"127.0.0.1:{subject.grpc_port}", MODEL, is_stream=is_stream)
    sequences = draw_sequences(protocol.model, num_sessions)
    course = Course.of(1, None)
    scripts = [protocol.script(place, sequence, course) for place, sequence in enumerate(sequences)]
    load = protocol.load(scripts, bench.options.seconds, 0, KEPT_ANSWERS // num_sessions)
    if load.num_failed:
        raise WrongAnswer(f"{load.num_failed} answers were refusals: {next(iter(load.refusals))}")
    compare(protocol, sequences, scripts, load, reference)
    with protocol.asking() as ask:
        for place, sequence in enumerate(sequences):
            ask(protocol.end(place, sequence))
    return load
