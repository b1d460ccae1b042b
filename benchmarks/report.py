"""The report of a run, for people and for programs: a table, JSON, and the generated part of docs/performance.md."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.markup import escape

from benchmarks.bench import KINDS, Bench
from benchmarks.figures import Figures, Spread
from benchmarks.machine import describe_machine, describe_versions
from benchmarks.subjects import ROOT
from benchmarks.targets import RULES, Rule, Verdict
from ostinato.commands.tables import WholeTable

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
GENERATION_MARKS = "<!-- generation measured: begin -->", "<!-- generation measured: end -->"
GENERATION_TARGETS = {15, 16, 17}
"""What has a section of its own, so that it can be measured without the rest."""
COLOURS = {Verdict.MET: "green", Verdict.MISSED: "red", Verdict.NOT_MEASURED: "yellow"}
PICTURE = "images/performance.svg"
SERVERS = "| server | steps/s, 256 sessions | p50, ms | p99, ms | steps/s, one client | p50, ms |"
"""The head of the table of servers, by which the picture can be drawn from it again."""


def show_spread(spread: Spread | None, rule: Rule) -> str:
    """A median with the least and the greatest of its rounds."""
    if spread is None:
        return "-"
    shown = rule.unit.show(spread.median)
    if spread.low == spread.high:
        return shown
    digits, times = rule.unit.digits, rule.unit.times
    return f"{shown} ({spread.low * times:,.{digits}f} to {spread.high * times:,.{digits}f})"


def targets_table(figures: Figures, targets: set[int]) -> WholeTable:
    """The rules of some targets, what came out, and whether they are met."""
    table = WholeTable(title="targets", title_justify="left")
    table.add_column("", justify="right")
    table.add_column("what")
    table.add_column("wanted")
    table.add_column("measured", justify="right")
    table.add_column("verdict")
    for rule in (rule for rule in RULES if rule.target in targets):
        verdict = rule.judge(figures)
        shown = f"[{COLOURS[verdict]}]{verdict.value}[/]"
        table.add_row(
            str(rule.target), escape(rule.what), rule.wanted, show_spread(rule.measured(figures), rule), shown
        )
    return table


def content(bench: Bench) -> dict[str, Any]:
    """Everything, for programs."""
    return {
        "machine": describe_machine(),
        "versions": describe_versions(),
        "options": asdict(bench.options),
        "commands": {name: portable(command, bench.scratch) for name, command in bench.commands.items()},
        "targets": [
            {
                "target": rule.target,
                "what": rule.what,
                "wanted": rule.wanted,
                "measured": spread.median if (spread := rule.measured(bench.figures)) else None,
                "verdict": rule.judge(bench.figures).value,
            }
            for rule in RULES
        ],
        "figures": bench.figures.values,
        "failures": [portable(text, bench.scratch) for text in bench.failures],
        "absent": {name: portable(text, bench.scratch) for name, text in bench.absent.items()},
        "notes": bench.notes,
    }


def portable(text: str, scratch: Path) -> str:
    """Text without what is true of one machine only: its folders."""
    for place, shown in ((f"{scratch}", "SCRATCH"), (f"{ROOT}/", ""), (sys.executable, "python")):
        text = text.replace(place, shown)
    return text


def write_json(report: Mapping[str, Any], path: Path) -> None:
    """The report as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")


def markdown(report: Mapping[str, Any]) -> str:
    """The report as the generated part of docs/performance.md."""
    return "\n".join(
        [
            f"![Steps a second and latencies of Ostinato and three baselines]({PICTURE})\n",
            *_targets(report, {rule.target for rule in RULES} - GENERATION_TARGETS),
            *_http(report),
            *_oip(report),
            *_stores(report),
            *_stored(report),
            *_remarks(report),
            *_circumstances(report),
        ]
    )


def generation_markdown(report: Mapping[str, Any]) -> str:
    """The part of the report about outputs that are generated, as the generated part of docs/performance.md."""
    return "\n".join(
        [
            *_targets(report, GENERATION_TARGETS),
            *_generation(report),
            *_remarks(report),
            *_circumstances(report),
        ]
    )


def put_between_markers(document: str, generated: str, marks: tuple[str, str] = (BEGIN, END)) -> str:
    """A document with its generated part replaced; what is written by hand around it stays.

    Raises:
        ValueError: the document has not both markers, in order.
    """
    before, begin, rest = document.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not (begin and end):
        raise ValueError(f"the document must hold {marks[0]} and {marks[1]}")
    return f"{before}{begin}\n\n{generated}\n{end}{after}"


def _targets(report: Mapping[str, Any], targets: set[int]) -> Iterator[str]:
    figures = Figures(report["figures"])
    yield "| target | what | wanted | measured (least to greatest round) | |"
    yield "|---|---|---|---|---|"
    for rule in (rule for rule in RULES if rule.target in targets):
        verdict = rule.judge(figures)
        word = verdict.value if verdict is Verdict.MET else f"**{verdict.value}**"
        yield f"| {rule.target} | {rule.what} | {rule.wanted} | {show_spread(rule.measured(figures), rule)} | {word} |"
    yield ""


def _http(report: Mapping[str, Any]) -> Iterator[str]:
    figures = Figures(report["figures"])
    yield "One step a request over HTTP JSON, medians of the rounds; Ostinato's sessions are in memory (`memory://`):\n"
    yield from _steps(figures, "http", {name: kind.title for name, kind in KINDS.items()})


def _oip(report: Mapping[str, Any]) -> Iterator[str]:
    figures = Figures(report["figures"])
    yield "The same by the Open Inference Protocol, in rounds of their own (target 20):\n"
    titles = {
        "ostinato": "Ostinato, /v1 in JSON",
        "ostinato-v2": "Ostinato, /v2 in binary tensors",
        "ostinato-grpc": "Ostinato, gRPC, a call each (a client in Python)",
        "ostinato-grpc-stream": "Ostinato, gRPC, one stream (the same)",
        "triton": "Triton, JSON",
        "triton-binary": "Triton, binary tensors",
    }
    yield from _steps(figures, "oip", titles)


def _steps(figures: Figures, group: str, titles: Mapping[str, str]) -> Iterator[str]:
    yield SERVERS
    yield "|---|---|---|---|---|---|"
    for name, title in titles.items():
        many, one = f"{group}/256/{name}", f"{group}/1/{name}"
        cells = [
            _cell(figures.spread(f"{many}/rate"), 1, 0),
            _cell(figures.spread(f"{many}/p50"), 1000, 1),
            _cell(figures.spread(f"{many}/p99"), 1000, 1),
            _cell(figures.spread(f"{one}/rate"), 1, 0),
            _cell(figures.spread(f"{one}/p50"), 1000, 3),
        ]
        yield f"| {title} | {' | '.join(cells)} |"
    yield ""


def _stores(report: Mapping[str, Any]) -> Iterator[str]:
    figures = Figures(report["figures"])
    yield "Ostinato's stores, 256 sessions, each against memory in rounds of their own (targets 11 and 12):\n"
    yield "| store | steps/s, HTTP JSON | p50, ms | p99, ms | session-steps/s, Arrow |"
    yield "|---|---|---|---|---|"
    for store, title in (("lmdb", "lmdb"), ("redis", "Redis")):
        for name, shown in (("ostinato", f"memory, against {title}"), (f"ostinato-{store}", title)):
            http, batches = f"durable/{store}/http/{name}", f"durable/{store}/batches/{name}"
            cells = [
                _cell(figures.spread(f"{http}/rate"), 1, 0),
                _cell(figures.spread(f"{http}/p50"), 1000, 1),
                _cell(figures.spread(f"{http}/p99"), 1000, 1),
                _cell(figures.spread(f"{batches}/rate"), 1, 0),
            ]
            yield f"| {shown} | {' | '.join(cells)} |"
    yield ""


def _stored(report: Mapping[str, Any]) -> Iterator[str]:
    figures, options = Figures(report["figures"]), report["options"]
    yield (
        f"{options['stored_sessions']:,} sessions in lmdb, memory for {options['resident_sessions']:,}, in process "
        "(targets 13 and 14; a miss is judged by its p99):\n"
    )
    yield "| what | p50 | p99 | longest |"
    yield "|---|---|---|---|"
    for place, shown in (("miss", "a miss, from the database, us"), ("journal_miss", "a miss, from the journal, us")):
        cells = [_cell(figures.spread(f"stored/{place}/{name}"), 1e6, 0) for name in ("p50", "p99", "max")]
        yield f"| {shown} | {' | '.join(cells)} |"
    yield ""
    rate = _cell(figures.spread("stored/steps/rate"), 1, 0)
    journal = _cell(figures.spread("restart/killed/journal_bytes"), 2**-20, 0)
    yield f"Steps of sessions drawn at random from all: {rate} a second. The journal after the kill: {journal} MiB.\n"


def _generation(report: Mapping[str, Any]) -> Iterator[str]:
    figures = Figures(report["figures"])
    yield "Greedy outputs of `g2p` for words of CMUdict, a word a request, 64 at once; first tokens in iterations:\n"
    yield "| what | tokens/s | against the decoder's graph | an iteration, ms | first token, p50 | p99 |"
    yield "|---|---|---|---|---|---|"
    for name, shown in (
        ("raw", "the decoder's graph alone, 64 lanes"),
        ("graphs", "both graphs alone, in the runs that the engine has them do"),
        ("static", "static batches of 64, both graphs and nothing else"),
        ("engine", "the engine, whole answers"),
        ("engine_stream", "the engine, step by step"),
        ("http", "HTTP, whole answers"),
        ("http_stream", "HTTP, server-sent events"),
    ):
        place = f"generation/{name}"
        cells = [
            _cell(figures.spread(f"{place}/rate"), 1, 0),
            _cell(figures.ratio(f"{place}/rate", "generation/raw/rate"), 1, 2),
            _cell(figures.spread(f"{place}/iteration"), 1000, 2),
            _cell(figures.spread(f"{place}/first_p50"), 1, 1),
            _cell(figures.spread(f"{place}/first_p99"), 1, 1),
        ]
        yield f"| {shown} | {' | '.join(cells)} |"
    yield ""
    ideal = _cell(figures.spread("generation/static/steps_per_token"), 1, 2)
    yield (
        f"A static batch runs {ideal} lane-steps for each token, the longest of 64 against the mean: that is the most "
        "that leaving early can win by itself.\n"
    )


def _remarks(report: Mapping[str, Any]) -> Iterator[str]:
    lines = [f"- Failed: {text}" for text in report["failures"]]
    lines += [f"- Not measured: {name}: {text}" for name, text in report["absent"].items()]
    lines += [f"- {text}" for text in report["notes"]]
    if lines:
        yield "To be known when reading them:\n"
        yield from lines
        yield ""


def _circumstances(report: Mapping[str, Any]) -> Iterator[str]:
    options = report["options"]
    yield (
        f"Measured with {options['rounds']} rounds of {options['seconds']:g} s, pauses and overload over "
        f"{options['long_seconds']:g} s. Machine and versions:\n"
    )
    yield "| | |"
    yield "|---|---|"
    for name, value in {**report["machine"], **report["versions"]}.items():
        yield f"| {name} | {value} |"
    yield "\nThe servers' commands:\n"
    yield "```text"
    yield from report["commands"].values()
    yield "```"


def _cell(spread: Spread | None, times: float, digits: int) -> str:
    return "-" if spread is None else f"{spread.median * times:,.{digits}f}"
