"""Targets 4 and 5: many sessions on one connection, a frame each; and 256 sessions in one Arrow message."""

from __future__ import annotations

import json
import re

import numpy as np

from benchmarks.bench import Bench
from benchmarks.correctness import check_after, open_sessions
from benchmarks.errors import SubjectFailed, WrongAnswer
from benchmarks.load import arrow, wrk
from benchmarks.load.websocket import BINARY, TEXT, WebSocketRefused, encode_frame, stream_loop
from benchmarks.process import LOAD_CORE
from benchmarks.subjects import Subject, to_list
from benchmarks.workloads import BLOCK_ROWS, CYCLE_STEPS, MODEL, NUM_SESSIONS, Steps
from ostinato.tools.connection import http_request
from ostinato.tools.load import Load, Script, closed_loop

STREAM_TARGET = f"/v1/models/{MODEL}/stream"
STEP_TARGET = f"/v1/models/{MODEL}/step"
NUM_GROUPS = 4
"""Messages of 256 sessions under way at once, so that the service need not wait for its client."""
NOT_THERE = (404, 405, 415, 426)
"""Statuses of a service without such a route."""

_SESSION = re.compile(rb'"session_id": ?"s(\d+)"')
# The ids of a column stand behind each other; three in a row are in no schema.
_FIRST_SESSION = re.compile(rb"s(\d+)s\d+s\d+")


def stream(bench: Bench) -> None:
    """256 sessions on one WebSocket, against as many on connections of their own."""
    for number, subject in bench.rounds(bench.subjects("ostinato")):
        with bench.judged(subject.title, "stream"):
            sessions = bench.sessions(NUM_SESSIONS)
            open_sessions(subject, sessions, bench.steps, 1)
            requests = [
                subject.step_request(session, bench.steps.applied(row, 1, 1)[0]) for row, session in enumerate(sessions)
            ]
            http = wrk.run(subject.port, requests, NUM_SESSIONS, bench.options.seconds, bench.scratch, LOAD_CORE)
            subject.close(sessions)
            load = _stream(bench, subject)
            bench.figures.add("stream/http/rate", http.rate)
            for name, value in (("rate", load.rate), ("p50", load.percentile(50)), ("p99", load.percentile(99))):
                bench.figures.add(f"stream/websocket/{name}", value)
            bench.watch_load("stream/websocket", load.cpu_fraction)
            bench.say(f"  round {number + 1}: {load.rate:,.0f} steps/s on one WebSocket, {http.rate:,.0f} over HTTP")


def batches(bench: Bench) -> None:
    """256 sessions in an Arrow message, over HTTP and on a WebSocket, against raw onnxruntime."""
    for number, subject in bench.rounds(bench.subjects("ostinato")):
        for way in ("http", "websocket"):
            with bench.judged(subject.title, f"batches/{way}"):
                load = load_batches(bench, subject, way)
                rate = load.rate * BLOCK_ROWS
                bench.figures.add(f"batches/{way}/rate", rate)
                bench.watch_load(f"batches/{way}", load.cpu_fraction)
                bench.say(f"  round {number + 1}: {rate:,.0f} session-steps/s in Arrow messages by {way}")
        figures = bench.inside("raw", bench.directory, "--seconds", min(3.0, bench.options.seconds))
        bench.figures.add("batches/raw/rate", figures["raw/256/rate"][0])


def _stream(bench: Bench, subject: Subject) -> Load:
    sessions = bench.sessions(NUM_SESSIONS)
    open_sessions(subject, sessions, bench.steps, CYCLE_STEPS)
    frames = {
        session: [
            encode_frame(json.dumps({"session_id": f"s{session}", "inputs": [to_list(inputs)]}).encode(), TEXT)
            for inputs in bench.steps.inputs[row]
        ]
        for row, session in enumerate(sessions)
    }
    try:
        load = stream_loop(subject.address, STREAM_TARGET, frames, _SESSION, bench.options.seconds)
    except WebSocketRefused as error:
        raise SubjectFailed(f"the service has no {STREAM_TARGET}: {error.status}") from error
    _check(bench, subject, sessions, bench.steps, load, [1 + num_steps for num_steps in load.num_steps])
    return load


def load_batches(bench: Bench, subject: Subject, way: str) -> Load:
    """A checked load of Arrow messages over ``http``, or on a ``websocket``.

    Raises:
        SubjectFailed: the service takes no such messages.
        WrongAnswer: an answer was a refusal or differs, or steps are lost or doubled.
    """
    steps = Steps.draw(NUM_GROUPS * BLOCK_ROWS)
    arrow.pyarrow()
    sessions = bench.sessions(len(steps.inputs))
    open_sessions(subject, sessions, steps, CYCLE_STEPS)
    starts = range(0, len(sessions), BLOCK_ROWS)
    messages = [
        [
            arrow.encode_steps(
                [f"s{session}" for session in sessions[start : start + BLOCK_ROWS]],
                steps.inputs[start : start + BLOCK_ROWS, turn],
            )
            for turn in range(CYCLE_STEPS)
        ]
        for start in starts
    ]
    if way == "http":
        scripts = [
            Script([http_request("POST", STEP_TARGET, message, arrow.MEDIA_TYPE) for message in group])
            for group in messages
        ]
        load = closed_loop(subject.address, scripts, bench.options.seconds)
    else:
        frames = {
            sessions[start]: [encode_frame(message, BINARY) for message in group]
            for start, group in zip(starts, messages, strict=True)
        }
        try:
            load = stream_loop(subject.address, STREAM_TARGET, frames, _FIRST_SESSION, bench.options.seconds)
        except WebSocketRefused as error:
            raise SubjectFailed(f"the service has no {STREAM_TARGET}: {error.status}") from error
    if load.num_failed and set(load.statuses) <= set(NOT_THERE):
        raise SubjectFailed(f"the service takes no Arrow message at {STEP_TARGET}: {dict(load.statuses)}")
    known = [1 + load.num_steps[row // BLOCK_ROWS] for row in range(len(sessions))]
    for group, start in enumerate(starts):
        ids, outputs = arrow.decode_steps(load.last[group].body)
        expected = bench.offline.run(steps.applied(start, known[start], CYCLE_STEPS)[None])[0][0, -1]
        if ids[0] != f"s{sessions[start]}" or not np.array_equal(outputs[0], expected):
            raise WrongAnswer(f"an Arrow row answers {ids[0]} {outputs[0].tolist()}; offline it is {expected.tolist()}")
    _check(bench, subject, sessions, steps, load, known)
    return load


def _check(bench: Bench, subject: Subject, sessions: range, steps: Steps, load: Load, known: list[int]) -> None:
    if load.num_failed:
        raise WrongAnswer(f"{load.num_failed} answers were refusals, the last: {load.last[0].body[:200]!r}")
    check_after(subject, sessions, steps, CYCLE_STEPS, bench.offline, known)
