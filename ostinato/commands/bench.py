"""``ostinato bench``: how fast a running service steps sessions of a model, and whether its answers are right."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ostinato.client.async_client import AsyncClient
from ostinato.commands.options import URL, Url
from ostinato.errors import CommandError, WrongAnswer
from ostinato.extras import require
from ostinato.tools.connection import HostPort, http_request
from ostinato.tools.drawn_inputs import draw_steps
from ostinato.tools.load import Load, closed_loop
from ostinato.tools.replay import ModelShape

CYCLE_STEPS = 16
"""Different steps that each session gets, over and over."""
NUM_CHECKED = 16
RAW_SECONDS = 1.0
BUSY_FRACTION = 0.9


def bench(
    model: Annotated[str, typer.Option("--model", "-m", help="The model whose sessions are stepped.")],
    url: Url = URL,
    sessions: Annotated[int, typer.Option(min=1, max=4096, help="Sessions at once, after one alone.")] = 256,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long each load takes.")] = 10.0,
    repository: Annotated[
        Path | None,
        typer.Option(
            help="The models as they are served: their graph is run here, too, and answers are compared.",
            show_default="none",
        ),
    ] = None,
) -> None:
    """Measure how many steps a second a running service applies, one step a request over HTTP JSON, with one session
    and with many. Each client waits for its answer before it sends the next step.

    With --repository it also says how fast onnxruntime alone runs the same graph, and compares answers with an offline
    run ('ostinato run'), to the bit; exit status 1 if one differs. The sessions it opened are closed at the end.

    [bold]Examples[/]

    ostinato bench --model beijing-lstm

    ostinato bench -m beijing-lstm --url http://127.0.0.1:3000 --sessions 64 --seconds 30

    ostinato bench -m beijing-lstm --repository repository
    """
    if repository:
        require("onnxruntime", __name__)
    console = Console()
    shape = asyncio.run(_shape(url, model))
    offline = Offline(repository, shape) if repository else None
    table = _table(shape, url, seconds, with_raw=offline is not None)
    loads: list[Load] = []
    num_compared = 0
    for number in dict.fromkeys((1, sessions)):
        with console.status(f"{number} session{'s' * (number > 1)}, {seconds:g} s"):
            clients = Clients.draw(shape, number)
            load = _load(url, clients, seconds)
            loads.append(load)
            raw_rate = offline.rate(number) if offline else None
            table.add_row(*_cells(number, load, raw_rate))
            num_compared += offline.compare(clients, load) if offline else 0
    console.print(table)
    if num_compared:
        console.print(f"[green]right:[/] the last answers of {num_compared} sessions equal an offline run, to the bit")
    if offline:
        console.print(f"promise {offline.promise}: {offline.promise.sentence}", highlight=False, soft_wrap=True)
    busiest = max(load.cpu_fraction for load in loads)
    if busiest > BUSY_FRACTION:
        console.print(f"[yellow]this client used {busiest:.0%} of a core, and may have been what was slow[/]")


@dataclass(frozen=True)
class Clients:
    """What each session's client sends: a cycle of steps.

    Attributes:
        inputs: of each session, for each input by name, steps ``[CYCLE_STEPS, F]``.
        contexts: what each session is opened with, by name; None of a model that takes none.
    """

    shape: ModelShape
    inputs: list[dict[str, list[list[float]]]]
    contexts: list[dict[str, list[float]] | None]

    @classmethod
    def draw(cls, shape: ModelShape, number: int) -> Clients:
        """Different ones for each, and the same in every run."""
        generator = np.random.default_rng(number)
        inputs, contexts = [], []
        for _ in range(number):
            inputs.append({part["name"]: draw_steps(part, CYCLE_STEPS, generator) for part in shape.inputs})
            contexts.append(
                {part["name"]: _of_shape(draw_steps(part, 1, generator)[0], part) for part in shape.context}
            )
        return cls(shape, inputs, [context or None for context in contexts])

    def requests(self, session_ids: list[str], host: str) -> list[list[bytes]]:
        """The requests of each session, in turn."""
        return [
            [
                http_request("POST", f"/v1/sessions/{session_id}/step", self._body(session, [place]), host=host)
                for place in range(CYCLE_STEPS)
            ]
            for session, session_id in enumerate(session_ids)
        ]

    def applied(self, session: int, num_steps: int) -> Any:
        """The first ``num_steps`` steps that a session got, as they were given."""
        return self._given(session, np.arange(num_steps) % CYCLE_STEPS)

    def _body(self, session: int, places: Sequence[int]) -> bytes:
        return json.dumps({"inputs": self._given(session, places)}).encode()

    def _given(self, session: int, places: Iterable[int]) -> Any:
        places = list(places)
        by_name = {name: [steps[place] for place in places] for name, steps in self.inputs[session].items()}
        return by_name if len(by_name) > 1 else by_name[self.shape.inputs[0]["name"]]


class Offline:
    """The graph in this process, by the service's own runner with one thread.

    Attributes:
        promise: how it is run for live and offline answers to be the same.

    Raises:
        CommandError: the repository does not hold the served version.
    """

    def __init__(self, repository: Path, shape: ModelShape) -> None:
        from ostinato.service.catalogue.recurrent_checks import load_model
        from ostinato.service.config import Settings

        directory = (repository / shape.name / shape.version).absolute()
        if not directory.is_dir():
            raise CommandError(f"{repository}: there is no {shape.name}/{shape.version}, which the service serves")
        loaded = load_model(directory, Settings())
        self._manifest, self._runner = loaded.manifest, loaded.runner
        self.promise = self._runner.promise

    def rate(self, num_sessions: int) -> float:
        """Steps a second with all sessions in one batch, or in the largest that the model takes."""
        batch_size = min(num_sessions, self._runner.max_batch_size)
        inputs = self._runner.manifest.given.zeros(batch_size, 1)
        states = self._runner.initial_states(batch_size)
        self._runner.run(inputs, states)
        number = 0
        began_at = time.perf_counter()
        while (elapsed := time.perf_counter() - began_at) < RAW_SECONDS:
            self._runner.run(inputs, states)
            number += 1
        steps_per_run = 1 if self._manifest.framing is None else self._manifest.framing.hop
        return number * batch_size * steps_per_run / elapsed

    def compare(self, clients: Clients, load: Load) -> int:
        """Compare the last answers of some sessions with the offline run of all their steps; returns how many.

        Raises:
            WrongAnswer: one differs, or steps are lost or doubled.
        """
        from ostinato.service.engine.recurrent.offline import run_offline
        from ostinato.service.inputs.framing import Framer
        from ostinato.service.inputs.rows import to_context, to_rows

        manifest = self._manifest
        framer = None if manifest.framing is None else Framer(manifest)
        initial = self._runner.initial_states(1)[: len(manifest.states)]
        checked = range(0, len(clients.inputs), max(1, len(clients.inputs) // NUM_CHECKED))
        for session in checked:
            answer, num_steps = json.loads(load.last[session].body), load.num_steps[session]
            if answer["steps"] != num_steps:
                raise WrongAnswer(f"a session has {answer['steps']} steps, and its client got {num_steps} answers")
            steps = to_rows(clients.applied(session, num_steps), manifest.given, "inputs")
            num_answers = 1
            if framer is not None:
                steps, num_answers = framer.whole(steps), framer.num_frames(num_steps - 1, 1)
            context = to_context(clients.contexts[session], manifest.context, "context")
            begin = (*initial, *(each[None] for each in context))
            last = manifest.made.zeros(0)
            if num_answers:
                last = run_offline(self._runner, steps[None], begin=begin)[0][0, -1:]
            for part, expected in zip(manifest.outputs, manifest.made.unpack(last), strict=True):
                given = answer["outputs"][part.name] if len(manifest.outputs) > 1 else answer["outputs"]
                made = np.array(given, part.dtype)
                if made.tobytes() != expected.tobytes():
                    raise WrongAnswer(
                        f"after {num_steps} steps a session answered {made.tolist()}; offline it is {expected.tolist()}"
                    )
        return len(checked)


async def _shape(url: str, model: str) -> ModelShape:
    async with AsyncClient(url, patience_seconds=0.0) as client:
        return ModelShape.of(await client.model(model))


def _load(url: str, clients: Clients, seconds: float) -> Load:
    """Open sessions, step them for some seconds, close them.

    Raises:
        CommandError: a step was refused.
    """
    address, host = _address(url)
    session_ids: list[str] = []
    try:
        asyncio.run(_open(url, clients.shape.name, clients.contexts, session_ids))
        load = closed_loop(address, clients.requests(session_ids, host), seconds)
    finally:
        asyncio.run(_close(url, session_ids))
    if load.num_failed:
        refusal = next((answer.body for answer in load.last if answer.status >= 300), b"")
        raise CommandError(f"{load.num_failed:,} steps were refused: {dict(load.statuses)}; {refusal.decode()[:300]}")
    return load


async def _open(url: str, model: str, contexts: Sequence[Any], session_ids: list[str]) -> None:
    async with AsyncClient(url) as client:
        for context in contexts:
            # One by one, so that those opened before a refusal are closed.
            session_ids += [(await client.session(model, context=context, keep=True).open()).session_id]


def _of_shape(numbers: list[float], part: Mapping[str, Any]) -> list[float]:
    """A context's numbers, nested as it is."""
    nested: list[float] = np.reshape(numbers, [axis for axis in part["shape"] if axis != "B"] or [1]).tolist()
    return nested


async def _close(url: str, session_ids: list[str]) -> None:
    async with AsyncClient(url, patience_seconds=0.0) as client:
        for session_id in session_ids:
            # What stopped the load is the error to tell of; a session that stays behind expires.
            with contextlib.suppress(CommandError):
                await client.close_session(session_id)


def _address(url: str) -> tuple[HostPort, str]:
    """Where to connect to, and the name of the host for the requests."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or parts.path.strip("/"):
        raise CommandError(f"{url!r}: bench speaks plain HTTP to a service's own address, as {URL}")
    return (parts.hostname, parts.port or 80), parts.netloc


def _table(shape: ModelShape, url: str, seconds: float, *, with_raw: bool) -> Table:
    title = f"{shape.name}/{shape.version} at {url}: one step a request, {seconds:g} s each"
    table = Table(title=escape(title), title_justify="left")
    for name in ("sessions", "steps/s", "p50", "p99", "longest pause"):
        table.add_column(name, justify="right")
    if with_raw:
        table.add_column("onnxruntime alone", justify="right")
        table.add_column("ratio", justify="right")
    return table


def _cells(number: int, load: Load, raw_rate: float | None) -> list[str]:
    cells = [
        f"{number:,}",
        f"{load.rate:,.0f}",
        f"{load.percentile(50) * 1000:.2f} ms",
        f"{load.percentile(99) * 1000:.2f} ms",
        f"{load.longest_pause * 1000:.1f} ms",
    ]
    return cells if raw_rate is None else [*cells, f"{raw_rate:,.0f}", f"{load.rate / raw_rate:.3f}"]
