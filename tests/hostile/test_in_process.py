"""Decoders bear what nobody should send; and what a decoder does not bear is seen."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ostinato.service.edge.v1 import schemas
from ostinato.service.errors import InvalidInput, StateStoreUnavailable
from tests.hostile.apart import play_apart
from tests.hostile.breach import CORPUS
from tests.hostile.deadly import DEADLY
from tests.hostile.decoders import DECODERS, Decoder
from tests.hostile.in_process import case, play_decoder
from tests.hostile.seeds import BODIES, QUERIES
from tests.hostile.siege import ATTACKS

NUM_CASES = 250
SEED = 20_263


@pytest.mark.parametrize("decoder", DECODERS, ids=[decoder.name for decoder in DECODERS])
def test_a_decoder_reads_what_is_well_formed_and_bears_the_rest(decoder: Decoder) -> None:
    for seed in decoder.seeds():
        decoder.read(seed)
    toll = play_decoder(decoder, SEED, range(NUM_CASES))
    assert toll.breaches == [], "\n".join(map(str, toll.breaches))
    assert toll.num_cases == sum(toll.counts.values()) == NUM_CASES


def test_every_body_and_query_is_mutated() -> None:
    kinds = {kind for kind in vars(schemas).values() if isinstance(kind, type) and issubclass(kind, schemas.Body)}
    assert kinds - BODIES.keys() - QUERIES.keys() == {
        schemas.Body,
        schemas.StreamFrame,  # these are "frames"
        schemas.NestedFrame,
    }


def test_the_corpus_is_of_decoders_and_attacks_that_there_are() -> None:
    names = {each.name for each in DECODERS} | {each.name for each in ATTACKS}
    assert {path.name for path in CORPUS.iterdir()} <= names


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
