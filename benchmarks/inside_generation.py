"""Targets 15 to 17 without HTTP: the engine's outputs, against the decoder's graph alone and against static batches."""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import cycle
from pathlib import Path

import numpy as np

from benchmarks.clocks import TimedSession
from benchmarks.errors import WrongAnswer
from benchmarks.figures import Figures
from benchmarks.spelling import NUM_REQUESTS, Spelled, Speller, draw_words, padded_length
from ostinato.service.catalogue.generation_checks import LoadedGenerator
from ostinato.service.catalogue.loading import load_version
from ostinato.service.config import Settings
from ostinato.service.engine.generation.engine import GenerationEngine
from ostinato.service.inference.generation import GenerationRequest, StepEvent, generate, stream
from ostinato.service.inference.generation_options import Options
from ostinato.service.metrics.generation import GenerationMetrics
from ostinato.service.metrics.series import Metrics

WARM_UP_SECONDS = 0.5


class SpellingHouse:
    """The engine of the release, as a worker has it. Built within a running event loop."""

    def __init__(self, directory: Path) -> None:
        settings = Settings(repository=directory.parents[1], state="memory://")
        loaded = load_version(directory, settings)
        assert isinstance(loaded, LoadedGenerator)
        name, version = loaded.manifest.name, loaded.manifest.version
        self.sessions: list[TimedSession] = []
        assert loaded.encoder is not None
        for part in (loaded.encoder, loaded.decoder):
            part.graph.session = TimedSession(part.graph.session)
            self.sessions.append(part.graph.session)
        self._metrics = GenerationMetrics(Metrics(), name, version)
        self.engine = GenerationEngine(loaded.manifest, loaded.encoder, loaded.decoder, settings, self._metrics)
        gc.collect()
        gc.freeze()  # as the service does when it has loaded its models

    @property
    def graph_seconds(self) -> float:
        """Time in the graphs until now."""
        return sum(session.seconds for session in self.sessions)

    @property
    def num_iterations(self) -> int:
        """Iterations until now."""
        return sum(self._metrics.run_seconds.counts)

    async def spell(self, word: str) -> Spelled:
        """A request of one word."""
        asked = GenerationRequest(self.engine, [word], Options())
        [output], _ = (await generate(asked))[0]
        assert asked.vocabulary is not None
        return Spelled(asked.vocabulary.decode(output.codes), output.score, len(output.log_probabilities))

    async def first_step(self, word: str, waits: list[float]) -> int:
        """A request of one word, step by step; puts down the seconds until its first step. Returns its tokens."""
        began_at = time.perf_counter()
        num_tokens = 0
        async for each in stream(GenerationRequest(self.engine, [word], Options())):
            if isinstance(each, StepEvent):
                if not num_tokens:
                    waits.append(time.perf_counter() - began_at)
                num_tokens += 1
        return num_tokens


async def generation(arguments: argparse.Namespace, figures: Figures) -> None:
    """The decoder's step, static batches, the engine's outputs at once and step by step, in turn in each round."""
    house, speller = SpellingHouse(arguments.directory), Speller(arguments.directory)
    words = draw_words()
    for word in words[:256]:
        if (await house.spell(word)) != (expected := speller.alone(word)):
            raise WrongAnswer(f"{word!r} is spelled differently from the graphs alone, which make it {expected}")
    waiting = cycle(words)
    await _closed_loop(house.spell, waiting, WARM_UP_SECONDS)
    for _ in range(arguments.rounds):
        figures.add("generation/raw/rate", _raw_rate(speller, words, arguments.seconds))
        for name, value in _static(speller, words, arguments.seconds).items():
            figures.add(f"generation/static/{name}", value)
        num_before, graphs_before = house.num_iterations, house.graph_seconds
        rate, seconds = await _closed_loop(house.spell, waiting, arguments.seconds)
        figures.add("generation/engine/rate", rate)
        figures.add("generation/graphs/rate", rate * seconds / (house.graph_seconds - graphs_before))
        figures.add("generation/engine/iteration", seconds / (house.num_iterations - num_before))
        waits: list[float] = []
        num_before = house.num_iterations
        rate, seconds = await _closed_loop(lambda word: house.first_step(word, waits), waiting, arguments.seconds)  # noqa: B023 (called in this round)
        iteration = seconds / (house.num_iterations - num_before)
        figures.add("generation/engine_stream/rate", rate)
        figures.add("generation/engine_stream/iteration", iteration)
        for percent in (50, 99):
            figures.add(f"generation/engine_stream/first_p{percent}", float(np.percentile(waits, percent)) / iteration)


async def _closed_loop(
    spell: Callable[[str], Awaitable[Spelled | int]], waiting: Iterator[str], seconds: float
) -> tuple[float, float]:
    """As many callers as there are requests at once, each with a word when its last one is done.

    Returns:
        tokens a second, and the seconds that it took.
    """
    began_at = time.perf_counter()
    num_tokens = 0

    async def caller() -> None:
        nonlocal num_tokens
        while time.perf_counter() < began_at + seconds:
            made = await spell(next(waiting))  # apart: `+=` around an await loses the others' counts
            num_tokens += made.num_tokens if isinstance(made, Spelled) else made

    await asyncio.gather(*(caller() for _ in range(NUM_REQUESTS)))
    wall = time.perf_counter() - began_at
    return num_tokens / wall, wall


def _raw_rate(speller: Speller, words: list[str], seconds: float) -> float:
    """Lane-steps a second of the decoder's graph with all lanes, at the padded length that most words have."""
    short = [word for word in words if padded_length(len(word)) == padded_length(1)][:NUM_REQUESTS]
    lanes = speller.encode(short, padded_length(1))
    previous = np.full(NUM_REQUESTS, speller.stop, np.int64)
    speller.step(previous, lanes)
    number = 0
    began_at = now = time.perf_counter()
    while now < began_at + seconds:
        speller.step(previous, lanes)
        number += 1
        now = time.perf_counter()
    return number * NUM_REQUESTS / (now - began_at)


def _static(speller: Speller, words: list[str], seconds: float) -> dict[str, float]:
    """Full batches one after the other: tokens a second, and how many steps they took against the tokens."""
    batches = cycle([words[start : start + NUM_REQUESTS] for start in range(0, len(words), NUM_REQUESTS)])
    num_tokens = num_steps = 0
    began_at = now = time.perf_counter()
    while now < began_at + seconds:
        batch = next(batches)
        lengths = [spelled.num_tokens for spelled in speller.batch(batch, max(map(len, batch)))]
        num_tokens += sum(lengths)
        num_steps += NUM_REQUESTS * max(lengths)
        now = time.perf_counter()
    return {"rate": num_tokens / (now - began_at), "steps_per_token": num_steps / num_tokens}
