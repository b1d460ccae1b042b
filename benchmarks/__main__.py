"""``python -m benchmarks``: Ostinato, the limits and the baselines, side by side in one run."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks import report
from benchmarks.bench import Bench, Options, Row
from benchmarks.chart import draw
from benchmarks.errors import OwnFault, SubjectFailed
from benchmarks.process import LOAD_CORE
from benchmarks.rows import (
    durability,
    generation,
    http_steps,
    inside,
    many_in_one,
    oip_steps,
    overload,
    start_up,
    whole_sequences,
    workers,
)
from benchmarks.subjects import ROOT
from benchmarks.targets import RULES, Verdict

ROWS: tuple[tuple[str, tuple[int, ...], Row], ...] = (
    ("the engine's own time", (10,), inside.iterations),
    ("live sessions", (7,), inside.live_sessions),
    ("idle versions", (18,), inside.idle_versions),
    ("holds of the event loop", (19,), inside.holds),
    ("whole sequences inside the engine", (6,), whole_sequences.inside_the_engine),
    ("start to ready", (9,), start_up.start_up),
    ("misses of stored sessions", (13,), durability.misses),
    ("start to ready on stored sessions", (14,), durability.restart),
    ("one client", (3,), http_steps.one_session),
    ("256 sessions over HTTP", (1, 2), http_steps.many_sessions),
    ("pauses", (2,), http_steps.pauses),
    ("one client, Open Inference Protocol", (20,), oip_steps.one_session),
    ("256 sessions, Open Inference Protocol", (20,), oip_steps.many_sessions),
    ("Open Inference Protocol over gRPC", (20,), oip_steps.by_grpc),
    ("256 sessions on one WebSocket", (4,), many_in_one.stream),
    ("256 sessions in a message", (5,), many_in_one.batches),
    ("256 sessions over HTTP, lmdb", (11,), durability.steps_on_lmdb),
    ("256 sessions in a message, lmdb", (11,), durability.batches_on_lmdb),
    ("256 sessions over HTTP, Redis", (12,), durability.steps_on_redis),
    ("256 sessions in a message, Redis", (12,), durability.batches_on_redis),
    ("256 sessions over HTTP, one worker and two", (21,), workers.two_workers),
    ("256 sessions over HTTP, with traces", (22,), workers.traces),
    ("whole sequences over HTTP", (6,), whole_sequences.over_http),
    ("outputs that are generated", (15, 16, 17), generation.spelling),
    ("too many whole sequences", (8,), overload.whole_sequences_overload),
    ("too many single steps", (8,), overload.steps_overload),
)
"""What is measured, and for which targets; in this order, those without servers first."""

DOCUMENT = ROOT / "docs" / "performance.md"


def main(
    only: Annotated[str, typer.Option(help="Targets to measure, by commas, as 1,3,9; empty = all.")] = "",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each figure; the median counts.")] = 3,
    seconds: Annotated[float, typer.Option(min=1, help="Load in a round.")] = 10.0,
    quick: Annotated[bool, typer.Option("--quick", help="One round of a second each, to see that it works.")] = False,
    output: Annotated[Path, typer.Option(help="Folder for performance.json and performance.svg.")] = Path(
        "build/benchmarks"
    ),
    docs: Annotated[
        bool,
        typer.Option("--docs", help="Put the figures into docs/performance.md, too, in the sections that they are of."),
    ] = False,
) -> None:
    """Measure Ostinato against its limits and three baselines: servers on one core, the load on another.

    Says which target is met. Exit status 1 if an answer was wrong or something of ours broke; a target that is missed
    is no error, nor is what is not installed.

    [bold]Examples[/]

    python -m benchmarks

    python -m benchmarks --only 1,2,3 --rounds 5

    python -m benchmarks --only 15,16,17 --docs

    python -m benchmarks --quick
    """
    options = Options.quick() if quick else replace(Options(), rounds=rounds, seconds=seconds)
    console = Console(width=None if sys.stdout.isatty() else 120)
    wanted = {int(word) for word in only.split(",") if word.strip()} or {rule.target for rule in RULES}
    # Next to the report, not among temporary files, which may be in memory: stored sessions belong on a disk.
    output.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="scratch-", dir=output)).absolute()
    os.sched_setaffinity(0, {LOAD_CORE})
    bench = Bench(options, scratch, console)
    try:
        measure(bench, [row for row in ROWS if wanted & set(row[1])])
    except KeyboardInterrupt:
        console.print("[yellow]stopped[/]; what was measured until now:")
        bench.absent["the rest"] = "the run was stopped"
    finally:
        bench.stop_subjects()
    found = report.content(bench)
    shutil.rmtree(scratch, ignore_errors=True)
    console.print(report.targets_table(bench.figures, wanted))
    _write(found, output, wanted if docs else set())
    verdicts = [rule.judge(bench.figures) for rule in RULES if rule.target in wanted]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict.value}" for verdict in Verdict)
    console.print(f"{counts}; {output / 'performance.json'} has every figure", highlight=False)
    for name, reason in found["absent"].items():
        console.print(f"[yellow]not measured:[/] {name}: {reason}", highlight=False, soft_wrap=True)
    for failure in found["failures"]:
        console.print(f"[red]failed:[/] {failure}", highlight=False, soft_wrap=True)
    if bench.failures:
        raise typer.Exit(1)


def measure(bench: Bench, rows: Iterable[tuple[str, tuple[int, ...], Row]]) -> None:
    """Measure rows of ``ROWS``; what cannot be measured is told, and does not keep the others from it."""
    for title, targets, row in rows:
        bench.console.rule(f"{title} (target {' and '.join(map(str, targets))})", align="left")
        try:
            row(bench)
        except (SubjectFailed, OwnFault) as error:
            bench.absent[title] = str(error)
            if isinstance(error, OwnFault):
                bench.failures.append(f"{title}: {error}")
            bench.say(f"[yellow]not measured:[/] {error}")


def _write(found: dict[str, object], output: Path, documented: set[int]) -> None:
    """Write the report; and into the document the sections of the targets named."""
    report.write_json(found, output / "performance.json")
    with contextlib.suppress(ImportError):
        draw(found, output / "performance.svg")
    if documented - report.GENERATION_TARGETS:
        draw(found, DOCUMENT.parent / report.PICTURE)
        DOCUMENT.write_text(report.put_between_markers(DOCUMENT.read_text(), report.markdown(found)))
    if documented & report.GENERATION_TARGETS:
        section = report.generation_markdown(found)
        DOCUMENT.write_text(report.put_between_markers(DOCUMENT.read_text(), section, report.GENERATION_MARKS))


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
    app.command()(main)
    app(prog_name="python -m benchmarks")
