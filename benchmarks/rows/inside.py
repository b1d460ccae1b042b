"""Targets 7, 10, 18 and 19 in one process: live sessions by the million, the engine's time, idle versions, holds."""

from __future__ import annotations

from benchmarks.bench import Bench


def live_sessions(bench: Bench) -> None:
    """1 k, 100 k and 1 M sessions in one process."""
    options = bench.options
    bench.say(f"  up to {options.max_sessions:,} live sessions, a minute or so")
    rounds = ("--rounds", options.rounds, "--seconds", min(5.0, options.seconds))
    bench.take(bench.inside("live_sessions", bench.directory, *rounds, "--sessions", options.max_sessions))


def iterations(bench: Bench) -> None:
    """What an iteration costs on top of the run of the graph."""
    options = bench.options
    rounds = ("--rounds", options.rounds, "--seconds", min(5.0, options.seconds))
    bench.take(bench.inside("iterations", bench.directory, *rounds))
    bench.take(bench.inside("blocks", bench.directory, *rounds))


def idle_versions(bench: Bench) -> None:
    """What a version takes that nobody asks, in memory."""
    bench.take(bench.inside("idle_versions", bench.directory, "--rounds", bench.options.rounds))


def holds(bench: Bench) -> None:
    """How long one message keeps the event loop to itself, for each kind of large ones."""
    options = bench.options
    figures = bench.inside("holds", bench.directory, "--rounds", options.rounds, "--bytes", options.message_bytes)
    bench.take(figures)
    for name, values in sorted(figures.items(), key=lambda item: -min(item[1])):
        bench.say(f"  {min(values) * 1e3:6.1f} ms  {name.removeprefix('holds/')}")
