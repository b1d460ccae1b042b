"""Targets of the service, and the rule that judges each figure. Ratios, so that the machine matters little."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from benchmarks.figures import Figures, Spread
from benchmarks.workloads import BLOCK_ROWS, STATE_BYTES

OVERHEAD_SECONDS = 30e-6 + 0.15e-6 * BLOCK_ROWS
SESSION_BYTES = 1.3 * STATE_BYTES + 300
REFUSAL_SECONDS = 0.1
"""What "at once" means for a refusal."""
GROWTH_BYTES = 256 * 2**20
"""What "bounded" means for the memory of a service under too much load."""
MISS_SECONDS = 150e-6
"""What bringing a session to memory may take, judged by the 99th percentile."""
RESTART_SECONDS = 5.0


VERSION_BYTES = 10 * 2**20
"""What an idle version of W1's network may take: several times its weights, and less than a run of many rows."""
HOLD_SECONDS = 0.050
"""What one message may keep the event loop to itself."""
FIRST_ITERATIONS = 5.0
"""What a first token may take, judged by the 99th percentile, in iterations of the run that it comes from."""


class Verdict(Enum):
    """How a rule came out."""

    MET = "met"
    MISSED = "missed"
    NOT_MEASURED = "not measured"


class Unit(NamedTuple):
    """How a figure is shown: multiplied, then with a word behind it."""

    word: str
    times: float = 1.0
    digits: int = 2

    def show(self, value: float) -> str:
        """A value with its unit."""
        return f"{value * self.times:,.{self.digits}f} {self.word}".rstrip()


RATIO = Unit("x")
SECONDS, MILLISECONDS, MICROSECONDS = Unit("s"), Unit("ms", 1e3, 1), Unit("us", 1e6, 1)
ITERATIONS = Unit("iterations")
BYTES, MEBIBYTES = Unit("bytes", 1, 0), Unit("MiB", 2**-20, 0)


@dataclass(frozen=True)
class Rule:
    """A bound, inclusive, for a figure or for its ratio to another.

    Attributes:
        target: the target's number.
        what: what is measured, and against what.
        over: the figure that it is divided by; None = it is taken as it is.
        at_least: whether ``bound`` is the least allowed, or the most.
    """

    target: int
    what: str
    figure: str
    over: str | None
    bound: float
    at_least: bool = True
    unit: Unit = RATIO

    @property
    def wanted(self) -> str:
        """The bound in words."""
        return f"{'at least' if self.at_least else 'at most'} {self.unit.show(self.bound)}"

    def measured(self, figures: Figures) -> Spread | None:
        """The figure or ratio over the rounds; None = it was not measured."""
        return figures.ratio(self.figure, self.over) if self.over else figures.spread(self.figure)

    def judge(self, figures: Figures) -> Verdict:
        """Compare the median with the bound."""
        spread = self.measured(figures)
        if spread is None:
            return Verdict.NOT_MEASURED
        met = spread.median >= self.bound if self.at_least else spread.median <= self.bound
        return Verdict.MET if met else Verdict.MISSED


def _http(target: int, what: str, name: str, other: str, bound: float, *, at_least: bool = True) -> Rule:
    num_sessions = 1 if target == 3 else 256
    return Rule(
        target,
        what,
        f"http/{num_sessions}/ostinato/{name}",
        f"http/{num_sessions}/{other}",
        bound,
        at_least,
    )


def _overload(name: str, what: str) -> tuple[Rule, ...]:
    place = f"overload/{name}"
    return (
        Rule(8, f"{what}: goodput over capacity", f"{place}/goodput", f"{place}/capacity", 0.9),
        Rule(8, f"{what}: p99 of refusals", f"{place}/refusal_p99", None, REFUSAL_SECONDS, False, MILLISECONDS),
        Rule(8, f"{what}: growth of memory", f"{place}/rss_growth_bytes", None, GROWTH_BYTES, False, MEBIBYTES),
    )


def _durable(target: int, store: str, title: str, batches: float, steps: float) -> tuple[Rule, ...]:
    """How fast a store is against sessions in memory, in the same rounds."""

    def rule(what: str, name: str, bound: float) -> Rule:
        place = f"durable/{store}/{name}"
        return Rule(target, what, f"{place}/ostinato-{store}/rate", f"{place}/ostinato/rate", bound)

    return (
        rule(f"Arrow over HTTP, {title} against memory", "batches", batches),
        rule(f"256 sessions, steps/s, {title} against memory", "http", steps),
    )


def _oip(what: str, num_sessions: int, name: str, other: str, bound: float) -> Rule:
    place = f"oip/{num_sessions}"
    return Rule(20, what, f"{place}/ostinato-v2/{name}", f"{place}/{other}/{name}", bound, at_least=name == "rate")


def _first_token(what: str, way: str) -> Rule:
    return Rule(17, what, f"generation/{way}/first_p99", None, FIRST_ITERATIONS, False, ITERATIONS)


RULES: tuple[Rule, ...] = (
    _http(1, "256 sessions, steps/s against Triton", "rate", "triton/rate", 2.0),
    _http(1, "256 sessions, steps/s against FastAPI + onnxruntime", "rate", "fastapi/rate", 4.0),
    _http(1, "256 sessions, steps/s against BentoML as documented", "rate", "bentoml/rate", 30.0),
    _http(1, "256 sessions, steps/s against a bare ASGI echo", "rate", "echo/rate", 0.7),
    _http(2, "256 sessions, p99 over p50", "p99", "ostinato/p50", 1.5, at_least=False),
    Rule(2, "256 sessions, longest pause", "pauses/ostinato/longest", None, 0.020, False, MILLISECONDS),
    _http(2, "256 sessions, p99 against Triton's", "p99", "triton/p99", 0.5, at_least=False),
    _http(3, "one client, p50 against Triton's", "p50", "triton/p50", 0.55, at_least=False),
    Rule(
        3, "one client, p50, polling, against Triton's", "http/1/ostinato-polling/p50", "http/1/triton/p50", 0.5, False
    ),
    _http(3, "one client, p50 against FastAPI's", "p50", "fastapi/p50", 0.75, at_least=False),
    Rule(4, "one WebSocket, steps/s against HTTP", "stream/websocket/rate", "stream/http/rate", 0.7),
    Rule(5, "Arrow over HTTP against raw onnxruntime", "batches/http/rate", "batches/raw/rate", 0.65),
    Rule(5, "Arrow on a WebSocket against raw onnxruntime", "batches/websocket/rate", "batches/raw/rate", 0.65),
    Rule(6, "engine, sequences/s against packed work", "sequences/engine/rate", "sequences/packed/rate", 0.85),
    Rule(6, "engine, sequences/s against padding", "sequences/engine/rate", "sequences/padded/rate", 1.8),
    Rule(6, "HTTP, sequences/s against Triton", "sequences/http/ostinato/rate", "sequences/http/triton/rate", 2.0),
    Rule(7, "1 M live sessions, steps/s against 1 k", "sessions/1000000/rate", "sessions/1000/rate", 0.8),
    Rule(7, "1 M live sessions, bytes each", "sessions/1000000/bytes", None, SESSION_BYTES, False, BYTES),
    *_overload("sequences", "whole sequences"),
    *_overload("steps", "single steps"),
    Rule(9, "from start to ready", "start/seconds", None, 4.0, False, SECONDS),
    Rule(10, "256 works: overhead", "engine/256/overhead", None, OVERHEAD_SECONDS, False, MICROSECONDS),
    Rule(10, "a block of 256: overhead", "engine/block/overhead", None, OVERHEAD_SECONDS, False, MICROSECONDS),
    *_durable(11, "lmdb", "lmdb", 0.5, 0.9),
    *_durable(12, "redis", "Redis", 0.15, 0.6),
    Rule(13, "p99 of misses in the database", "stored/miss/p99", None, MISS_SECONDS, False, MICROSECONDS),
    Rule(13, "p99 of misses in the journal", "stored/journal_miss/p99", None, MISS_SECONDS, False, MICROSECONDS),
    Rule(14, "restart on stored sessions", "restart/clean/seconds", None, RESTART_SECONDS, False, SECONDS),
    Rule(14, "restart behind a load and kill -9", "restart/killed/seconds", None, RESTART_SECONDS, False, SECONDS),
    Rule(15, "HTTP, tokens/s against the decoder's graph", "generation/http/rate", "generation/raw/rate", 0.6),
    Rule(15, "engine, tokens/s against the decoder's graph", "generation/engine/rate", "generation/raw/rate", 0.6),
    Rule(16, "engine, tokens/s against static batches", "generation/engine/rate", "generation/static/rate", 2.0),
    _first_token("HTTP, first token of a stream, p99", "http_stream"),
    _first_token("engine, first token of a stream, p99", "engine_stream"),
    Rule(18, "an idle version", "versions/bytes", None, VERSION_BYTES, False, MEBIBYTES),
    Rule(19, "longest hold of the event loop", "holds/longest", None, HOLD_SECONDS, False, MILLISECONDS),
    _oip("/v2 in binary tensors, 256 sessions, steps/s against /v1 in JSON", 256, "rate", "ostinato", 1.0),
    _oip("/v2 in binary tensors, one client, p50 against /v1 in JSON", 1, "p50", "ostinato", 1.0),
    _oip("/v2 in binary tensors, 256 sessions, steps/s against Triton's", 256, "rate", "triton-binary", 2.0),
    Rule(
        21,
        "256 sessions on lmdb, steps in a second of a processor, two workers against one",
        "workers/ostinato-two-workers/steps_per_cpu_second",
        "workers/ostinato-lmdb/steps_per_cpu_second",
        0.9,
    ),
    Rule(
        22,
        "256 sessions, steps/s, traces of 1 % against none",
        "traces/ostinato-sampled/rate",
        "traces/ostinato/rate",
        0.8,
    ),
)
