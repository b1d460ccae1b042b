"""The whole way in half a minute: verify, serve, replay held-out hours through live sessions, kill the service in the
middle and start it again, look a day ahead, stop.

Run after `make models` as `python -m examples.demo`; `make demo` does both.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import numpy as np
from rich.console import Console
from rich.table import Table

from examples.demo_plot import Fan, Forecasts, draw
from ostinato.client.async_client import AsyncClient
from ostinato.commands.replay_view import ReplayView, summary
from ostinato.commands.verify import results_table, verify_version
from ostinato.errors import CommandError
from ostinato.tools.input_table import InputRow, InputTable
from ostinato.tools.model_shape import ModelShape
from ostinato.tools.replay import Arrival, Replayed, ReplayOptions, replay
from ostinato.tools.server_process import ServerProcess

REPOSITORY = Path("repository")
DATA = Path("examples/beijing_pm25/beijing_pm25_hourly.csv.xz")
MODELS = ("beijing-lstm", "beijing-gru")
DAY_AHEAD = "beijing-seq2seq"
VERSIONS = (
    *(REPOSITORY / name / "1" for name in MODELS),
    Path("examples/beijing_pm25/repository") / DAY_AHEAD / "1",  # its release, trained before
)
READ_AGAIN_ROWS = 960
"""A service reads no more than 1,000 in one piece before it forecasts; a session, a day at a time, any number."""
SHARE = 80
"""Of the values that should lie between its outer quantiles, in percent."""
TARGET = "pm2.5"
FIRST = "2014-12-03 00:00"
WARM_UP_ROWS = 336
AHEAD = 24
ROWS_PER_SECOND = 80.0
PATIENCE_SECONDS = 300.0
"""Within which the service answers again after the kill: a busy machine checks three models for minutes."""
PICTURE = Path("demo.png")


@dataclass
class Story:
    """What happened in one model's session."""

    shape: ModelShape
    arrivals: list[Arrival] = field(default_factory=list)
    result: Replayed = field(default_factory=Replayed)
    ahead: list[float] = field(default_factory=list)
    killed_after: InputRow | None = None

    @property
    def drawn(self) -> Forecasts:
        """What the picture shows of it."""
        score = self.result.scores[TARGET]
        one_ahead = [arrival.comparisons[TARGET].forecast for arrival in self.arrivals]
        return Forecasts(self.shape.name, one_ahead, score.mae, score.persistence_mae, score.num_scored)


def main() -> int:
    console = Console()
    began_at = time.perf_counter()
    if missing := [name for name in MODELS if not (REPOSITORY / name / "1" / "model.json").is_file()]:
        console.print(f"[red]{' and '.join(missing)} not found in {REPOSITORY}/:[/] run [bold]make models[/] first")
        return 1
    try:
        verify(console)
        with tempfile.TemporaryDirectory(prefix="ostinato-demo-") as folder:
            exit_status = live(console, Path(folder))
    except CommandError as error:
        console.print(f"[red]error:[/] {error}", markup=True, highlight=False)
        return 1
    except KeyboardInterrupt:
        console.print("[yellow]stopped[/]")
        return 130
    if exit_status != 0:
        console.print(f"[red]the service ended with exit status {exit_status}[/]")
        return 1
    console.print(f"the service drained and ended cleanly; the demo took {time.perf_counter() - began_at:.0f} s")
    console.print("next: [bold]make serve[/] leaves the service running; README.md shows a session with curl")
    return 0


def verify(console: Console) -> None:
    """Check all models as the service will.

    Raises:
        CommandError: one fails.
    """
    console.rule("1  verify: is each graph still the network that was trained?")
    results = [verify_version(version) for version in VERSIONS]
    console.print(results_table(results))
    for result in results:
        if result.loaded is None:
            raise CommandError(f"{result.model}/{result.version}: {result.reason}")


def live(console: Console, folder: Path) -> int:
    """Start the service, talk to it, stop it; returns its exit status.

    Args:
        folder: for its log and the files of its sessions.
    """
    console.rule("2  serve")
    settings = {"state": f"lmdb://{quote(str(folder / 'state'))}"}
    repository = folder / "repository"
    for version in VERSIONS:
        shutil.copytree(version, repository / version.parent.name / version.name)
    with ServerProcess(repository, folder / "server.log", settings=settings) as server:
        with console.status("the service checks its models"):
            server.wait_until_ready()
        console.print(f"BentoML and onnxruntime listen on {server.url}, ready")
        asyncio.run(talk(console, server))
        console.rule("6  stop")
        return server.stop()


async def talk(console: Console, server: ServerProcess) -> None:
    """Everything that needs the running service."""
    stories: list[Story] = []
    rows: list[InputRow] = []
    async with AsyncClient(server.url, patience_seconds=PATIENCE_SECONDS) as client:
        console.rule("3  replay: held-out hours, one by one through live sessions")
        for name in MODELS:
            victim = server if name == MODELS[0] else None
            shape = ModelShape.of(await client.model(name))
            read = InputTable(DATA, shape.model_input).read(first=FIRST, before=WARM_UP_ROWS)
            rows = read.rows
            stories.append(await replay_one(console, client, shape, rows, read.num_ahead, victim))
        console.rule(f"4  forecast: {AHEAD} hours from where the sessions are")
        fan = await look_a_day_ahead(client)
        console.print(ahead_table(stories, fan, rows[-AHEAD:]))
        console.print(
            f"{' and '.join(MODELS)} feed PM2.5 back hour by hour, and are told the weather of those hours, as by a "
            f"perfect weather forecast. {DAY_AHEAD} knows only what has come, and says how sure it is."
        )
        console.rule("5  what Prometheus sees of the service since it was started again")
        console.print(metrics_table(await client.metrics()))
    hours = [arrival.row for arrival in stories[0].arrivals] + rows[-AHEAD:]
    truth = [row.inputs[stories[0].shape.features.index(TARGET)] for row in hours]
    killed_after = stories[0].killed_after
    assert killed_after is not None
    draw(
        *(PICTURE, [datetime.fromisoformat(row.label) for row in hours], truth, [story.drawn for story in stories]),
        *(fan, datetime.fromisoformat(killed_after.label)),
    )
    console.print(f"[bold]{PICTURE}[/] shows the forecasts against the truth")


async def replay_one(
    console: Console,
    client: AsyncClient,
    shape: ModelShape,
    rows: list[InputRow],
    num_warm_up: int,
    victim: ServerProcess | None,
) -> Story:
    """Replay all but the last hours, look ahead over those, and compare the session with one run over the whole.

    Args:
        victim: the service, to be killed and started again in the middle; None = it is left alone.
    """
    story = Story(shape)
    past, future = rows[:-AHEAD], rows[-AHEAD:]
    options = ReplayOptions(warm_up_rows=num_warm_up, rows_per_second=ROWS_PER_SECOND, keep_open=True)
    with ReplayView(console, shape, len(past) - num_warm_up) as view:

        def observe(arrival: Arrival) -> None:
            story.arrivals.append(arrival)
            view(arrival)
            if victim is not None and len(story.arrivals) == (len(past) - num_warm_up) // 2:
                story.killed_after = arrival.row
                victim.kill()
                console.print(
                    f"[red]kill -9[/] to the service after hour {len(story.arrivals)}. It is started again; the "
                    "session is in its files, and the client asks until it is answered"
                )
                victim.start()

        story.result = await replay(client, shape, past, options, observe)
    console.print(summary(shape, story.result))
    [session_id] = story.result.session_ids
    position = shape.features.index(TARGET)
    known = {
        name: [row.inputs[index] for row in future] for index, name in enumerate(shape.features) if index != position
    }
    async with client.resume(session_id) as session:
        story.ahead = [row[0] for row in (await session.forecast(AHEAD, known)).tolist()]
        [whole] = await client.predict(shape.name, [[row.inputs for row in past]])
        await session.close()
    num_different = sum(
        live.outputs != offline for live, offline in zip(story.arrivals, whole[num_warm_up:].tolist(), strict=True)
    )
    if num_different:
        raise CommandError(f"{num_different} answers of the session differ from one run over the whole sequence")
    console.print(
        f"[green]promise kept:[/] all {len(story.arrivals)} answers of the session equal, to the bit, one run over the "
        f"{len(past)} hours in one piece\n"
    )
    return story


async def look_a_day_ahead(client: AsyncClient) -> Fan:
    """The quantiles of the day behind the replay by a session that has the hours before it.

    Raises:
        CommandError: they are not those of the hours read in one piece.
    """
    shape = ModelShape.of(await client.model(DAY_AHEAD))
    rows = InputTable(DATA, shape.model_input).read(first=FIRST, before=WARM_UP_ROWS).rows
    hours = [row.inputs for row in rows[:-AHEAD]][-READ_AGAIN_ROWS:]
    async with client.session(DAY_AHEAD) as session:
        for start in range(0, len(hours), 24):
            await session.step(hours[start : start + 24], return_sequences=False)
        quantiles = (await session.forecast(AHEAD)).tolist()
    [whole] = (await client.generate(DAY_AHEAD, [hours], max_steps=AHEAD)).firsts
    if np.array(whole.value).tolist() != quantiles:
        raise CommandError("the forecast of the session differs from that of its hours read in one piece")
    low, median, high = (list(column) for column in zip(*quantiles, strict=True))
    return Fan(DAY_AHEAD, low, median, high, SHARE)


def ahead_table(stories: list[Story], fan: Fan, future: list[InputRow]) -> Table:
    """Every third hour of the look ahead compared with what came."""
    table = Table(title=f"{TARGET} in ug/m3")
    table.add_column("hour")
    for story in stories:
        table.add_column(story.shape.name, justify="right")
    table.add_column(f"{fan.name}, {fan.share} %", justify="right")
    table.add_column("what came", justify="right")
    position = stories[0].shape.features.index(TARGET)
    for step in range(2, AHEAD, 3):
        came = future[step].inputs[position]
        table.add_row(
            future[step].label,
            *(f"{story.ahead[step]:.0f}" for story in stories),
            f"{fan.median[step]:.0f} ({fan.low[step]:.0f} to {fan.high[step]:.0f})",
            "missing" if came is None else f"{came:.0f}",
        )
    return table


def metrics_table(text: str) -> Table:
    """A few of the series, model by model."""
    table = Table()
    table.add_column("series")
    for name in MODELS:
        table.add_column(name, justify="right")

    def value(series: str, model: str, more: str = "") -> float:
        pattern = rf'^{series}\{{(?=[^}}]*model="{model}")(?=[^}}]*{more})[^}}]*\}} (\S+)'
        return sum(float(found) for found in re.findall(pattern, text, re.MULTILINE))

    rows = {
        "ostinato_steps_total": lambda model: f"{value('ostinato_steps_total', model):,.0f}",
        'ostinato_sessions_total{event="opened"}': lambda model: (
            f"{value('ostinato_sessions_total', model, 'event=.opened'):.0f}"
        ),
        'ostinato_sessions_total{event="loaded"}': lambda model: (
            f"{value('ostinato_sessions_total', model, 'event=.loaded'):.0f}"
        ),
        'ostinato_sessions_total{event="closed"}': lambda model: (
            f"{value('ostinato_sessions_total', model, 'event=.closed'):.0f}"
        ),
        "ostinato_run_seconds, mean of all iterations": lambda model: (
            f"{1000 * value('ostinato_run_seconds_sum', model) / value('ostinato_run_seconds_count', model):.2f} ms"
        ),
    }
    for series, of_model in rows.items():
        table.add_row(series, *(of_model(name) for name in MODELS))
    return table


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())
