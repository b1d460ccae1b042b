"""Targets 1 to 3: one step a request over HTTP JSON, 256 sessions and one; tails and pauses."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.correctness import check_after, check_before, open_sessions
from benchmarks.errors import WrongAnswer
from benchmarks.load import wrk
from benchmarks.process import LOAD_CORE
from benchmarks.subjects import Echo, Subject
from benchmarks.workloads import CYCLE_STEPS, NUM_SESSIONS
from ostinato.tools.load import Script, closed_loop


def many_sessions(bench: Bench) -> None:
    """256 sessions in closed loop, each with a connection of its own."""
    measure(bench, NUM_SESSIONS, "http/256", "echo", "ostinato", "triton", "fastapi", "bentoml")


def one_session(bench: Bench) -> None:
    """One client, one session."""
    measure(bench, 1, "http/1", "echo", "ostinato", "ostinato-polling", "triton", "fastapi", "bentoml")


def pauses(bench: Bench) -> None:
    """A long load by a client that takes down when each answer came."""
    prefix = "pauses/ostinato"
    for subject in bench.subjects("ostinato"):
        with bench.judged(subject.title, prefix):
            sessions = bench.sessions(NUM_SESSIONS)
            open_sessions(subject, sessions, bench.steps, CYCLE_STEPS)
            scripts = [
                Script([subject.step_request(session, inputs) for inputs in bench.steps.inputs[row]])
                for row, session in enumerate(sessions)
            ]
            load = closed_loop(subject.address, scripts, bench.options.long_seconds)
            if load.num_failed:
                raise WrongAnswer(f"{load.num_failed} answers were refusals: {dict(load.statuses)}")
            known = [1 + num_steps for num_steps in load.num_steps]
            check_after(subject, sessions, bench.steps, CYCLE_STEPS, bench.offline, known)
            bench.watch_load(prefix, load.cpu_fraction)
            bench.figures.add(f"{prefix}/longest", load.longest_pause)
            for name, value in (("rate", load.rate), ("p50", load.percentile(50)), ("p99", load.percentile(99))):
                bench.figures.add(f"{prefix}/{name}", value)
            bench.say(
                f"  {bench.options.long_seconds:g} s of load on {subject.title}: {load.rate:,.0f} steps/s, p99 "
                f"{load.percentile(99) * 1000:.1f} ms, longest pause {load.longest_pause * 1000:.1f} ms"
            )


def measure(bench: Bench, num_sessions: int, group: str, *names: str) -> None:
    """The named servers in turn, each with as many connections as sessions; figures are ``group/name/...``."""
    sound = [subject for subject in bench.subjects(*names) if _warm_up(bench, subject, num_sessions)]
    for number, subject in bench.rounds(sound):
        prefix = f"{group}/{subject.name}"
        if subject not in sound:
            continue
        with bench.judged(subject.title, prefix) as outcome:
            with bench.others_idle(subject, prefix):
                before = subject.cpu_seconds()
                load = _load(bench, subject, num_sessions, bench.options.seconds)
                bench.figures.add(f"{prefix}/steps_per_cpu_second", load.num_answers / (subject.cpu_seconds() - before))
            bench.watch_load(prefix, load.cpu_fraction)
            for name, value in (("rate", load.rate), ("p50", load.p50), ("p99", load.p99), ("longest", load.longest)):
                bench.figures.add(f"{prefix}/{name}", value)
            bench.say(
                f"  round {number + 1}, {num_sessions} session{'s' * (num_sessions > 1)}, {subject.title}: "
                f"{load.rate:,.0f} steps/s, p50 {load.p50 * 1000:.2f} ms, p99 {load.p99 * 1000:.2f} ms"
            )
        if not outcome.is_sound:
            sound.remove(subject)


def _warm_up(bench: Bench, subject: Subject, num_sessions: int) -> bool:
    """Check a subject's answers and load it for a moment, which does not count; whether it may be measured."""
    with bench.judged(subject.title) as outcome:
        if not isinstance(subject, Echo):
            check_before(subject, bench.sessions(8), bench.offline)
        _load(bench, subject, num_sessions, min(2.0, bench.options.seconds))
    return outcome.is_sound


def _load(bench: Bench, subject: Subject, num_sessions: int, seconds: float) -> wrk.WrkLoad:
    """Load by wrk, its answers counted and checked.

    Raises:
        WrongAnswer: an answer was a refusal or differs, or steps are lost or doubled.
    """
    sessions = bench.sessions(num_sessions)
    if not isinstance(subject, Echo):
        open_sessions(subject, sessions, bench.steps, 1)
    requests = [
        subject.step_request(session, bench.steps.applied(row, 1, 1)[0]) for row, session in enumerate(sessions)
    ]
    load = wrk.run(subject.port, requests, num_sessions, seconds, bench.scratch, LOAD_CORE)
    if load.num_failed:
        raise WrongAnswer(f"{load.num_failed} of {load.num_answers} answers were refusals or none")
    if isinstance(subject, Echo):
        [answer] = subject.ask(requests[:1])
        if not requests[0].endswith(answer.body):
            raise WrongAnswer("the echo is none")
        return load
    applied = check_after(subject, sessions, bench.steps, 1, bench.offline)
    # wrk leaves with a request under way on each connection, which may be applied or not.
    if not load.num_answers <= applied <= load.num_answers + num_sessions:
        raise WrongAnswer(f"{load.num_answers} steps were answered and {applied} applied")
    return load
