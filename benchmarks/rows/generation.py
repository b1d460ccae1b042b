"""Targets 15 to 17: outputs that are generated, in the engine and over HTTP, against the decoder and static batches."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import numpy as np

from benchmarks.bench import Bench
from benchmarks.errors import WrongAnswer
from benchmarks.load import events, wrk
from benchmarks.process import LOAD_CORE
from benchmarks.spelling import NUM_REQUESTS, RELEASE, SPELLER, Spelled, Speller, draw_words
from benchmarks.subjects import Subject
from ostinato.tools.connection import http_request

NUM_CHECKED = 256
"""Words whose answers are compared with the graphs alone, before the load and after it."""
INSIDE_SECONDS, HTTP_SECONDS = 3.0, 5.0
"""The most of a round that each measurement takes."""

_ITERATIONS = re.compile(rf'^ostinato_run_seconds_count{{[^}}]*model="{SPELLER}"[^}}]*}} (\S+)$', re.MULTILINE)


def spelling(bench: Bench) -> None:
    """Words of CMUdict to phonemes, 64 requests of one word at a time; all that is compared is in each round."""
    for subject in bench.subjects("speller"):
        with bench.judged(subject.title, "generation"):
            speller, words = Speller(), draw_words(bench.options.num_words)
            expected = [speller.alone(word) for word in words]
            tokens_per_word = float(np.mean([spelled.num_tokens for spelled in expected]))
            requests = [generate_request(word) for word in words]
            streams = [generate_request(word, stream=True) for word in words]
            check(subject, words, expected)
            wrk.run(subject.port, requests, NUM_REQUESTS, min(1.0, bench.options.seconds), bench.scratch, LOAD_CORE)
            for number in range(bench.options.rounds):
                seconds = min(INSIDE_SECONDS, bench.options.seconds)
                inside = bench.inside("generation", RELEASE, "--seconds", seconds)
                bench.take(inside)
                rate = _at_once(bench, subject, requests) * tokens_per_word
                bench.figures.add("generation/http/rate", rate)
                first, streamed = _streamed(bench, subject, streams, expected)
                shown = {name.removeprefix("generation/"): values[-1] for name, values in inside.items()}
                bench.say(
                    f"  round {number + 1}, tokens/s: decoder alone {shown['raw/rate']:,.0f}, static batches "
                    f"{shown['static/rate']:,.0f}, engine {shown['engine/rate']:,.0f}, HTTP {rate:,.0f}, streams "
                    f"{streamed:,.0f}; first token, p99: engine {shown['engine_stream/first_p99']:.1f}, HTTP "
                    f"{first:.1f} iterations"
                )
            check(subject, words, expected)


def generate_request(word: str, *, stream: bool = False) -> bytes:
    """A request for one word's phonemes, greedily, as every client would send it."""
    body = {"inputs": [word], **({"stream": True} if stream else {})}
    return http_request("POST", f"/v1/models/{SPELLER}/generate", json.dumps(body).encode())


def check(subject: Subject, words: Sequence[str], expected: Sequence[Spelled]) -> None:
    """Ask for some words and compare with what the graphs alone make of each, to the bit.

    Raises:
        WrongAnswer: one differs.
    """
    answers = subject.ask([generate_request(word) for word in words[:NUM_CHECKED]])
    for word, answer, spelled in zip(words, answers, expected, strict=False):
        if answer.status != 200:
            raise WrongAnswer(f"{subject.title} answered {answer.status}: {answer.body[:200]!r}")
        compare(word, answer.body, spelled)


def compare(word: str, body: bytes, expected: Spelled) -> None:
    """Compare an answer's body with what it must say.

    Raises:
        WrongAnswer: it differs, or cannot be read.
    """
    try:
        content = json.loads(body)
        made = content["outputs"], content["scores"]
    except (ValueError, KeyError) as error:
        raise WrongAnswer(f"{body[:200]!r} cannot be read: {error!r}") from error
    if made != ([expected.phonemes], [expected.score]):
        raise WrongAnswer(f"{word!r} came back as {made}; the graphs alone make it {expected}")


def read_iterations(metrics: str) -> int:
    """How many iterations of the decoder the service's metrics count.

    Raises:
        WrongAnswer: they do not tell.
    """
    found = _ITERATIONS.findall(metrics)
    if not found:
        raise WrongAnswer(f"the metrics do not tell how many iterations {SPELLER} had")
    return sum(int(float(number)) for number in found)


def _at_once(bench: Bench, subject: Subject, requests: Sequence[bytes]) -> float:
    """Words a second where each answer comes at once."""
    seconds = min(HTTP_SECONDS, bench.options.seconds)
    prefix = "generation/http"
    with bench.others_idle(subject, prefix):
        load = wrk.run(subject.port, requests, NUM_REQUESTS, seconds, bench.scratch, LOAD_CORE)
    if load.num_failed:
        raise WrongAnswer(f"{load.num_failed} of {load.num_answers} answers were refusals or none")
    bench.watch_load(prefix, load.cpu_fraction)
    bench.figures.add(f"{prefix}/p50", load.p50)
    bench.figures.add(f"{prefix}/p99", load.p99)
    return load.rate


def _streamed(
    bench: Bench, subject: Subject, requests: Sequence[bytes], expected: Sequence[Spelled]
) -> tuple[float, float]:
    """The 99th percentile of the first token's time, in iterations, and tokens a second, where steps are events."""
    prefix = "generation/http_stream"
    seconds = min(HTTP_SECONDS, bench.options.seconds)
    before = _iterations(subject)
    with bench.others_idle(subject, prefix):
        load = events.closed_loop(subject.address, requests, NUM_REQUESTS, seconds)
    iteration = load.seconds / (_iterations(subject) - before)
    for turn, body in load.last:
        compare(f"request {turn}", body, expected[turn])
    bench.watch_load(prefix, load.cpu_fraction)
    bench.figures.add(f"{prefix}/iteration", iteration)
    bench.figures.add(f"{prefix}/rate", load.num_steps / load.seconds)
    for percent in (50, 99):
        first = float(np.percentile(load.first_after, percent)) / iteration
        bench.figures.add(f"{prefix}/first_p{percent}", first)
    return first, load.num_steps / load.seconds


def _iterations(subject: Subject) -> int:
    [answer] = subject.ask([http_request("GET", "/metrics")])
    return read_iterations(answer.body.decode())
