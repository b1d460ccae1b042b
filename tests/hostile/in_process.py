"""Decoders under fire within this process: many thousands of cases a second, each judged by what must hold."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterable

from ostinato.service.edge.problems import Problem
from ostinato.service.errors import OstinatoError, RecordUnreadable
from tests.hostile.breach import Breach, Toll, generator_of, kept
from tests.hostile.decoders import Decoder
from tests.hostile.mutation import Mutator

MOST_SECONDS = 2.0
"""Of the processor's time for one case of a few kilobytes, which should take a thousandth of that: all others wait."""

MOST_KIBIBYTES = 256 * 1024
"""That the most memory ever held may grow with one case."""


def case(decoder: Decoder, seed: int, number: int) -> bytes:
    """What is read in one case: first what the corpus has, then mutations of that and of what is well formed."""
    known = kept(decoder.name)
    if number < len(known):
        return known[number]
    generator = generator_of(decoder.name, seed, number)
    sources = [*decoder.seeds(), *known]
    return Mutator(generator, sources, decoder.words).mutate(generator.choice(sources))


def play_decoder(
    decoder: Decoder,
    seed: int,
    numbers: Iterable[int],
    *,
    before: Callable[[int], object] = lambda _: None,
    is_over: Callable[[], bool] = lambda: False,
) -> Toll:
    """Read cases until ``is_over``; ``before`` is told the number of each before it is read."""
    toll = Toll(decoder.name)
    began_at = time.monotonic()
    for number in numbers:
        if is_over():
            break
        before(number)
        content = case(decoder, seed, number)
        toll.num_cases += 1
        answer, detail = _judge(decoder, content)
        toll.count(answer)
        if detail:
            toll.breaches.append(Breach(decoder.name, seed, number, detail, content))
    toll.seconds = time.monotonic() - began_at
    return toll


def _judge(decoder: Decoder, content: bytes) -> tuple[str, str]:
    """How content was answered, and what was wrong with that."""
    began_at, memory = time.thread_time(), _most_memory()
    try:
        decoder.read(content)
        answer, detail = "accepted", ""
    except AssertionError as error:
        answer, detail = "accepted", str(error)
    except decoder.refusals:
        answer, detail = "refused", ""
    except OstinatoError as error:
        problem = Problem(error)
        # A record is the store's own: who asked for it has done nothing wrong.
        is_ours = problem.status >= 500 and not isinstance(error, RecordUnreadable)
        answer, detail = "refused", f"it would be answered with {problem.status}: {error}" if is_ours else ""
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a panic of a library in Rust is no Exception
        answer, detail = "failed", f"{type(error).__name__}: {error}"
    seconds, grown = time.thread_time() - began_at, _most_memory() - memory
    if seconds > MOST_SECONDS:
        detail = detail or f"it took {seconds:.1f} s to read"
    if grown > MOST_KIBIBYTES:
        detail = detail or f"it took {grown >> 10} MiB to read"
    return answer, detail


def _most_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
