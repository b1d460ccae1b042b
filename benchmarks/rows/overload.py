"""Target 8: four times the load that there is capacity for, arriving as it will."""

from __future__ import annotations

import resource
from collections.abc import Callable

from benchmarks.bench import Bench
from benchmarks.correctness import check_after, open_sessions
from benchmarks.errors import SubjectFailed, WrongAnswer
from benchmarks.rows import whole_sequences
from benchmarks.subjects import Subject
from benchmarks.workloads import REQUEST_SEQUENCES, Steps
from ostinato.tools.load import Load, Script, closed_loop, open_loop

TIMES_CAPACITY = 4
# More connections than the service admits rows (4,096, of which a request of W2 has 16): or nothing would be refused.
STEP_CONNECTIONS, STEP_CAPACITY_CONNECTIONS = 6_000, 256
SEQUENCE_CONNECTIONS, SEQUENCE_CAPACITY_CONNECTIONS = 1_000, 32
NUM_SESSIONS = 1_024


def whole_sequences_overload(bench: Bench) -> None:
    """W2, where it is the computation that is scarce."""
    for subject in bench.subjects("ostinato"):
        with bench.judged(subject.title, "overload/sequences"):
            calls = whole_sequences.requests_of_sequences()
            try:
                requests = [whole_sequences.encode(subject, call) for call in calls]
                whole_sequences.check(subject, calls[:2], requests[:2], bench)
            except SubjectFailed as error:
                bench.notes.append(f"overload by whole sequences is with JSON bodies: {error}")
                requests = [whole_sequences.encode_json(call) for call in calls]
                whole_sequences.check(subject, calls[:2], requests[:2], bench)
            load = _overload(bench, subject, "sequences", requests, SEQUENCE_CAPACITY_CONNECTIONS, SEQUENCE_CONNECTIONS)
            for turn, answer in zip(load.turns, load.last, strict=True):
                if answer.status == 200:
                    whole_sequences.compare(
                        subject, whole_sequences.decode(subject, answer, calls[turn]), calls[turn], bench
                    )


def steps_overload(bench: Bench) -> None:
    """W1, where refusing a request costs nearly what serving it does."""
    steps = Steps.draw(NUM_SESSIONS)
    for subject in bench.subjects("ostinato"):
        with bench.judged(subject.title, "overload/steps"):
            sessions = bench.sessions(NUM_SESSIONS)
            open_sessions(subject, sessions, steps, 1)
            requests = [
                subject.step_request(session, steps.applied(row, 1, 1)[0]) for row, session in enumerate(sessions)
            ]
            num_ok = 0

            def count(load: Load) -> None:
                nonlocal num_ok
                num_ok += sum(load.num_steps)

            _overload(bench, subject, "steps", requests, STEP_CAPACITY_CONNECTIONS, STEP_CONNECTIONS, count)
            applied = check_after(subject, sessions, steps, 1, bench.offline)
            if applied != num_ok:
                raise WrongAnswer(f"{num_ok} steps were answered and {applied} applied")


def _overload(
    bench: Bench,
    subject: Subject,
    name: str,
    requests: list[bytes],
    capacity_connections: int,
    num_connections: int,
    observe: Callable[[Load], object] = lambda _: None,
) -> Load:
    """Measure the capacity in closed loop, then send four times as much; returns the overload.

    Raises:
        WrongAnswer: something was refused in closed loop, or otherwise than with 429 in open loop.
    """
    assert subject.process is not None
    process, options = subject.process, bench.options
    _allow_files(num_connections + 100)
    share = max(1, len(requests) // capacity_connections)
    shares = [
        Script(requests[start::capacity_connections] or requests[:share]) for start in range(capacity_connections)
    ]
    seconds = options.seconds
    closed = closed_loop(subject.address, shares, seconds)
    observe(closed)
    while not closed.rate and not closed.num_failed:  # a moment may be too short for any
        seconds *= 2
        closed = closed_loop(subject.address, shares, seconds)
        observe(closed)
    if closed.num_failed:
        raise WrongAnswer(f"{closed.num_failed} answers were refusals below capacity: {dict(closed.statuses)}")
    rss_bytes = [process.use().rss_bytes]
    bench.say(f"  {name}: a capacity of {closed.rate:,.0f} requests/s; now {TIMES_CAPACITY} times as many")
    load = open_loop(
        subject.address,
        [Script(requests, start=number % len(requests)) for number in range(num_connections)],
        TIMES_CAPACITY * closed.rate,
        options.long_seconds,
        watch=lambda: rss_bytes.append(process.use().rss_bytes),
    )
    observe(load)
    if others := {status: number for status, number in load.statuses.items() if status not in (200, 429)}:
        raise WrongAnswer(f"answers that are neither 200 nor 429: {others}")
    prefix = f"overload/{name}"
    sequences = REQUEST_SEQUENCES if name == "sequences" else 1
    bench.watch_load(prefix, load.cpu_fraction)
    for figure, value in (
        ("capacity", closed.rate * sequences),
        ("goodput", load.rate * sequences),
        ("offered", (len(load.ok) + load.num_unsent) / load.seconds * sequences),
        ("refused", load.num_failed / load.seconds * sequences),
        ("unsent", load.num_unsent / load.seconds * sequences),
        ("refusal_p50", load.percentile(50, ok=False) if load.num_failed else 0.0),
        ("refusal_p99", load.percentile(99, ok=False) if load.num_failed else 0.0),
        ("answer_p99", load.percentile(99)),
        ("rss_growth_bytes", max(rss_bytes) - rss_bytes[0]),
    ):
        bench.figures.add(f"{prefix}/{figure}", value)
    if not load.num_failed:
        bench.notes.append(f"overload by {name}: nothing was refused; what could not be served yet was not read yet")
    bench.say(
        f"  {name}: goodput {load.rate / closed.rate:.2f} of capacity, {load.num_failed:,} refused within "
        f"{load.percentile(99, ok=False) * 1000:.0f} ms (99 %), memory + "
        f"{(max(rss_bytes) - rss_bytes[0]) / 2**20:.0f} MiB"
    )
    return load


def _allow_files(number: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < number:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(number, soft), hard), hard))
