"""Decoders bear what nobody should send; and what a decoder does not bear is seen."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from ostinato.service.edge.v1 import forecast_bodies, schemas
from ostinato.service.errors import InvalidInput, OstinatoError, StateStoreUnavailable
from tests.hostile.apart import play_apart
from tests.hostile.breach import CORPUS, kept
from tests.hostile.deadly import DEADLY
from tests.hostile.decoders import DECODERS, Decoder
from tests.hostile.in_process import case, play_decoder
from tests.hostile.seeds import BODIES, QUERIES
from tests.hostile.siege import ATTACKS

NUM_CASES = 250
SEED = 20_263
SPARE_BYTES = 64 * 2**20
"""Of memory, for all that a message of some kilobytes may make a decoder ask for."""


@pytest.mark.parametrize("decoder", DECODERS, ids=[decoder.name for decoder in DECODERS])
def test_a_decoder_reads_what_is_well_formed_and_bears_the_rest(decoder: Decoder) -> None:
    for seed in decoder.seeds():
        decoder.read(seed)
    toll = play_decoder(decoder, SEED, range(NUM_CASES))
    assert toll.breaches == [], "\n".join(map(str, toll.breaches))
    assert toll.num_cases == sum(toll.counts.values()) == NUM_CASES


def test_every_body_and_query_is_mutated() -> None:
    everything = [*vars(schemas).values(), *vars(forecast_bodies).values()]
    kinds = {kind for kind in everything if isinstance(kind, type) and issubclass(kind, schemas.Body)}
    frames = {schemas.StreamFrame, schemas.NestedFrame}  # which have a decoder of their own
    bases = {schemas.Body, schemas.StepOptions, schemas.OutputOptions}  # of what is decoded
    assert kinds - BODIES.keys() - QUERIES.keys() == bases | frames


def test_the_corpus_is_of_decoders_and_attacks_that_there_are() -> None:
    names = {each.name for each in DECODERS} | {each.name for each in ATTACKS}
    assert {path.name for path in CORPUS.iterdir()} <= names


@pytest.mark.parametrize("name", ["arrow-rows", "arrow-sequences"])
def test_what_a_message_declares_and_does_not_have_takes_no_memory(name: str) -> None:
    (decoder,) = (each for each in DECODERS if each.name == name)
    for seed in decoder.seeds():
        decoder.read(seed)
    contents = kept(name)
    assert len(contents) > 20
    # In a process of its own, whose memory can be bounded: to ask for more is a MemoryError at once.
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, _within_memory(decoder, contents).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        assert told.read() == "each was refused"
    os.waitpid(child, 0)


def _within_memory(decoder: Decoder, contents: list[bytes]) -> str:
    """What came of ``contents``, read with ``SPARE_BYTES`` of memory."""
    num_pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = num_pages * resource.getpagesize() + SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    for content in contents:
        try:
            decoder.read(content)
        except OstinatoError as error:
            if not isinstance(error.__cause__, MemoryError):
                continue
            return f"{content[:2000]!r} took all memory"
        except BaseException as error:
            return f"{content[:2000]!r}: {error!r}"
        return f"{content[:2000]!r} was accepted"
    return "each was refused"


def _one() -> list[bytes]:
    return [b'{"a": 1}']


def _accept(_: bytes) -> None:
    pass


def _refuse(_: bytes) -> None:
    raise InvalidInput("no")


def _fail(_: bytes) -> None:
    raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")


def _blame_the_store(_: bytes) -> None:
    raise StateStoreUnavailable("not now")


def _take_what_does_not_hold(_: bytes) -> None:
    raise AssertionError("a NaN was taken")


@pytest.mark.parametrize(
    ("read", "answer", "said"),
    [
        (_accept, "accepted", None),
        (_refuse, "refused", None),
        (_fail, "failed", "UnicodeDecodeError: 'utf-8' codec"),
        (_blame_the_store, "refused", "it would be answered with 503: not now"),
        (_take_what_does_not_hold, "accepted", "a NaN was taken"),
    ],
)
def test_what_a_decoder_does_not_bear_is_seen(read: Callable[[bytes], None], answer: str, said: str | None) -> None:
    decoder = Decoder("one", _one, read)
    toll = play_decoder(decoder, 5, [7])
    assert toll.counts == {answer: 1}
    if said is None:
        assert toll.breaches == []
    else:
        (breach,) = toll.breaches
        assert breach.detail.startswith(said)
        assert breach.content == case(decoder, 5, 7)
        assert "python -m tests.hostile --only one --seed 5 --case 7" in str(breach)


def test_a_case_is_the_same_bytes_again_and_another_is_not() -> None:
    decoder = Decoder("one", _one, _accept)
    cases = [case(decoder, 5, number) for number in range(20)]
    assert cases == [case(decoder, 5, number) for number in range(20)]
    assert len(set(cases)) > 10
    assert cases != [case(decoder, 6, number) for number in range(20)]


def test_a_decoder_that_kills_its_process_is_told_with_the_case() -> None:
    toll = play_apart(DEADLY, 5, seconds=60, numbers=[3])
    (breach,) = toll.breaches
    assert (breach.number, breach.detail) == (3, "the process died with -6")
