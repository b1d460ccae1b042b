"""A runner that adds up its inputs, tells what it was asked to run, and fails when told; and an engine around it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.framing import Framing
from ostinato.service.artifact.manifest import GraphFile, Manifest
from ostinato.service.artifact.tensors import Input, Output, State
from ostinato.service.catalogue.catalogue import Catalogue
from ostinato.service.config import Settings
from ostinato.service.engine.recurrent.batching import Iteration
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.engine.recurrent.runner import Result, Soundness, slots_of, steps_of
from ostinato.service.metrics.series import Metrics, ModelMetrics
from ostinato.service.sessions.ledger import Ledger
from ostinato.service.sessions.sessions import Sessions
from ostinato.service.sessions.turns import Turns
from ostinato.service.state.arena import Arena
from ostinato.service.state.base import Store
from ostinato.service.state.memory import MemoryStore
from tests.waiting import PATIENCE_SECONDS, until_true

MANIFEST = Manifest(
    name="sum",
    version="1",
    task="recurrent",
    graphs={"step": GraphFile(file="model.onnx", sha256="0" * 64)},
    inputs=(Input(name="inputs", dtype="float32", shape=("B", "T", 1), features=("x",)),),
    outputs=(Output(name="outputs", dtype="float32", shape=("B", "T", 1), features=("total",)),),
    states=(State(name="total", input="total", output="total_next", shape=("B", 1), dtype="float32"),),
    feedback={"total": "x"},
)


def framed(hop: int) -> Manifest:
    """The same, answered once in ``hop`` steps."""
    framing = Framing(window=hop, hop=hop, many=True)
    return Manifest.model_validate({**MANIFEST.model_dump(), "feedback": {}, "framing": framing.model_dump()})


class PuppetRunner:
    """Output of a step, or of a frame of ``hop``: the sum of all inputs so far, which is the state.

    Attributes:
        iterations: (rows' slots, steps) of every iteration that has begun, in order.
        fails: asked with each iteration whether it shall fail.
        gate: an iteration that has begun waits until it is set.
        is_held: whether one waits there just now.
        answers_every_step: False gives the last step's output for all of an iteration's.
        breaks: gives states of too few rows.
    """

    def __init__(self, max_batch_size: int = 8, max_iteration_steps: int = 4, hop: int = 1) -> None:
        self.hop = hop
        self.max_batch_size = max_batch_size
        self.max_iteration_steps = max_iteration_steps
        self.answers_every_step = True
        self.breaks = self.is_held = False
        self.iterations: list[tuple[list[int], int]] = []
        self.fails: Callable[[Iteration], bool] = lambda _: False
        self.gate = threading.Event()
        self.gate.set()
        self._soundness = Soundness(MANIFEST)

    def run_iteration(self, iteration: Iteration, arena: Arena) -> Result:
        works, num_rows, num_steps = iteration.works, iteration.num_rows, iteration.num_steps
        self.iterations.append(([slot for work in works for slot in work.slots], num_steps))
        self.is_held = not self.gate.is_set()
        assert self.gate.wait(PATIENCE_SECONDS)
        self.is_held = False
        if self.fails(iteration):
            raise RuntimeError("told to fail")
        slots = slots_of(iteration)
        inputs = np.frombuffer(b"".join([steps_of(work, num_steps) for work in works]), np.float32)
        inputs = inputs.reshape(num_rows, num_steps, self.hop)
        state = np.empty((num_rows, 1), np.float32)
        arena.gather(slots, out=[state])
        # A step by itself is its own sum: what is measured over the puppet is the service, not this.
        sums = inputs if self.hop == 1 else inputs.sum(axis=2, keepdims=True, dtype=np.float32)
        outputs: NDArray[Any] = state[:, None] + np.cumsum(sums, axis=1, dtype=np.float32)
        states = outputs[:, -1].copy()
        if not self.answers_every_step:
            outputs = outputs[:, -1:]
        failed_rows = self._soundness.failed_rows(outputs, (states,))
        taken = inputs.reshape(-1, self.hop)
        return Result(outputs, (states[:0] if self.breaks else states,), failed_rows, slots, taken)


class Clock:
    """Seconds that a test turns by hand."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class House:
    """Sessions over one engine with a puppet runner. Built within a running event loop.

    Args:
        engine_clock: what the engine measures by, in place of a clock that stands still; ``clock`` is the sessions'.
        hop: the steps of a frame, where the model has frames.
        settings: of the service.
    """

    def __init__(
        self,
        *,
        store: Store | None = None,
        in_thread: bool = False,
        engine_clock: Callable[[], float] | None = None,
        hop: int = 0,
        **settings: Any,
    ) -> None:
        self.settings = Settings(**{"max_sessions": 100, "max_queue_rows": 1000, "open": True, **settings})
        self.clock = Clock()
        self.metrics = Metrics()
        self.catalogue = Catalogue()
        self.store = store or MemoryStore(
            tombstone_seconds=self.settings.tombstone_seconds, max_sessions=self.settings.max_sessions or 100
        )
        self.turns = Turns()
        self.ledger = Ledger(self.store, self.turns, clock=self.clock)
        self.sessions = Sessions(
            self.store, self.catalogue, self.turns, default_ttl_seconds=self.settings.ttl_seconds, clock=self.clock
        )
        self.runner = PuppetRunner(hop=hop or 1)
        manifest = framed(hop) if hop else MANIFEST
        self.engine = Engine(
            manifest,
            self.runner,
            self.ledger,
            self.settings,
            ModelMetrics(self.metrics, "sum", "1"),
            max_resident=self.store.num_slots(manifest),
            in_thread=in_thread,
            clock=engine_clock or Clock(),
        )
        self.store.attach(self.engine.arena)
        self.catalogue.add(self.engine)
        self.catalogue.complete = True

    async def until_waiting(self, count: int) -> None:
        """Let others run until so many requests wait behind others of their sessions."""
        await until_true(lambda: f" {count} waiting " in repr(self.turns), f"{count} requests that wait")

    def value(self, series: str) -> float:
        """The value of one line of the metrics, as ``ostinato_steps_total{model="sum",version="1"}``."""
        for line in self.metrics.render().decode().splitlines():
            if line.startswith(f"{series} "):
                return float(line.rpartition(" ")[2])
        raise AssertionError(f"no series {series}")


def column(*values: float) -> NDArray[np.float32]:
    """A chunk ``[n, 1]``."""
    return np.array(values, np.float32)[:, None]


async def until(holds: Callable[[], object]) -> None:
    """Let others run until something holds."""
    await until_true(holds)
