"""Targets 21 and 22: what a second worker brings, and what traces cost; 256 sessions, one step a request."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.correctness import check_after, check_before, open_sessions
from benchmarks.errors import WrongAnswer
from benchmarks.rows.http_steps import measure
from benchmarks.subjects import Subject
from benchmarks.workloads import NUM_SESSIONS
from ostinato.tools.load import Load, Script, closed_loop


def two_workers(bench: Bench) -> None:
    """One worker and two, both over lmdb, since workers share sessions by a store.

    Where there are two cores the load takes a part of the second worker's: what is judged is the processor's time for a
    step, which says what each of them could do on a core of its own. First each session keeps to its connection, and
    so to a worker; then, by wrk, which sends the next request wherever an answer has come, they wander between both.
    """
    for subject in bench.subjects("ostinato-lmdb", "ostinato-two-workers"):
        with bench.judged(subject.title):
            check_before(subject, bench.sessions(8), bench.offline)
    for number, subject in bench.rounds(bench.subjects("ostinato-lmdb", "ostinato-two-workers")):
        prefix = f"workers/{subject.name}"
        with bench.judged(subject.title, prefix), bench.others_idle(subject, prefix):
            before = subject.cpu_seconds()
            load = _each_on_its_connection(bench, subject)
            rate = len(load.ok) / (subject.cpu_seconds() - before)
            bench.watch_load(prefix, load.cpu_fraction)
            bench.figures.add(f"{prefix}/steps_per_cpu_second", rate)
            bench.figures.add(f"{prefix}/rate", load.rate)
            bench.say(
                f"  round {number + 1}, {subject.title}: {load.rate:,.0f} steps/s, {rate:,.0f} in a core's second"
            )
    measure(bench, NUM_SESSIONS, "wandering", "ostinato-lmdb", "ostinato-two-workers")


def _each_on_its_connection(bench: Bench, subject: Subject) -> Load:
    """Steps of 256 sessions in closed loop, each on a connection of its own; raises WrongAnswer."""
    sessions = bench.sessions(NUM_SESSIONS)
    open_sessions(subject, sessions, bench.steps, 1)
    scripts = [
        Script([subject.step_request(session, bench.steps.applied(row, 1, 1)[0])])
        for row, session in enumerate(sessions)
    ]
    load = closed_loop(subject.address, scripts, bench.options.seconds)
    if load.num_failed:
        raise WrongAnswer(f"{load.num_failed} answers were refusals: {dict(load.statuses)}")
    check_after(subject, sessions, bench.steps, 1, bench.offline, [1 + steps for steps in load.num_steps])
    return load


def traces(bench: Bench) -> None:
    """Without traces, with those of a hundredth of the requests, and of all."""
    measure(bench, NUM_SESSIONS, "traces", "ostinato", "ostinato-sampled", "ostinato-traced")
