"""``ostinato connect``: readings from a broker through sessions, and answers to a broker."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from ostinato.connectors.drafts import draft_of
from ostinato.errors import InputError


def connect(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="TOML file: what is read, and where answers go.",
            metavar="CONFIG.toml",
            show_default="none, with --init",
        ),
    ] = None,
    init: Annotated[
        str,
        typer.Option(
            "--init",
            help="Print a first file for this kind of source: kafka, mqtt, redis, file or stdin.",
            metavar="KIND",
            show_default="none",
        ),
    ] = "",
    model: Annotated[str, typer.Option("--model", "-m", help="With --init: the model.")] = "beijing-lstm",
    check: Annotated[
        bool, typer.Option("--check", help="Only compare the file with the model of the running service.")
    ] = False,
) -> None:
    """Carry readings from Kafka, MQTT, Redis Streams, a file or standard input through a model's sessions, one session
    for each key, and send the answers on.

    From Kafka to Kafka, and to Redis or a file from any source that can be read again, each reading is applied once and
    answered once, even if processes are killed. A reading that cannot be read or applied goes to the dead letters with
    the reason. On SIGTERM or Ctrl-C the batch under way is finished.

    With a calibrated model each answer says how surprising its reading was. The section webhook of the file names who
    is sent anomalies and crossed levels: signed, and at least once.

    [bold]Examples[/]

    ostinato connect --init kafka --model pumps > connect.toml

    ostinato connect connect.toml --check

    ostinato connect connect.toml

    ostinato connect --init stdin -m pumps > pipe.toml; tail -f readings.jsonl | ostinato connect pipe.toml
    """
    if init:
        typer.echo(draft_of(init, model), nl=False)
        return
    if file is None:
        raise InputError("name a file, or begin one: ostinato connect --init kafka > connect.toml")
    _connect(file, Console(stderr=True), check=check)


def _connect(file: Path, console: Console, *, check: bool) -> None:
    from ostinato.connectors.assembly import assemble, promise_of, wait_for_model
    from ostinato.connectors.counters import Counters, MetricsPort
    from ostinato.connectors.features import ReadingFeatures
    from ostinato.connectors.reports import Reports
    from ostinato.connectors.service_line import ServiceLine
    from ostinato.connectors.settings import read_settings

    settings = read_settings(file)
    stops: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: stops.append(number))

    def write(line: str) -> None:
        console.print(escape(line), highlight=False, soft_wrap=True)

    report = Reports(write, time.monotonic)
    line = ServiceLine(settings.service)
    features = ReadingFeatures.of(line.model()) if check else wait_for_model(line, report, lambda: bool(stops))
    if features is None:
        return
    counters = Counters()
    connector = assemble(settings, features, line, counters, report, lambda: bool(stops))
    write(f"{features.model} {features.version}: {promise_of(settings)}")
    if check:
        connector.close()
        return
    port = None
    if settings.metrics.port:
        try:
            port = MetricsPort(counters, settings.metrics.host, settings.metrics.port)
        except OSError as error:
            raise InputError(f"[metrics] port {settings.metrics.port}: {error.strerror}") from error
    try:
        connector.run()
    finally:
        if port is not None:
            port.close()
    told = f", {counters.value('webhooks_total'):.0f} webhooks" if settings.webhook is not None else ""
    write(
        f"{counters.value('readings_total'):.0f} readings, {counters.value('answers_total'):.0f} answers, "
        f"{counters.value('dead_letters_total'):.0f} dead letters, {counters.value('late_total'):.0f} late{told}"
    )
