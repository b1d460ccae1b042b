"""Targets 7, 10 and 18, without a server: live sessions by the million, the engine's own time, idle versions."""

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
