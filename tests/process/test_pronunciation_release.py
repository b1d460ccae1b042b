"""The released pronunciation network over every held-out word of CMUdict, by a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ostinato.models.data.written_pairs import Entries, PairsData, load_pairs
from tests.server import LIMITS, ServerProcess, running_server

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "cmudict"
WORDS_PER_REQUEST = 200


@pytest.fixture(scope="module")
def held_out() -> Entries:
    return load_pairs(PairsData(file=EXAMPLE / "cmudict.dict.xz", form="cmudict", unknown=False)).parts["test"]


@pytest.fixture(scope="module")
def releasing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(EXAMPLE / "repository", tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.mark.long
def test_beams_find_hardly_a_less_probable_output_than_greed(releasing: ServerProcess, held_out: Entries) -> None:
    greedy, one, five = (_spell(releasing, held_out, **options) for options in ({}, _beams(1), _beams(5)))
    assert one == greedy
    num_below = sum(found[1] < best[1] for found, best in zip(five, greedy, strict=True))
    num_above = sum(found[1] > best[1] for found, best in zip(five, greedy, strict=True))
    assert num_below <= 0.01 * len(held_out)
    assert _error_rate(greedy, held_out) <= 0.35
    # The README's figures are those of this release.
    told = (EXAMPLE / "README.md").read_text()
    assert f"| greedily | {100 * _error_rate(greedy, held_out):.2f} % |" in told
    assert f"| by 5 beams | {100 * _error_rate(five, held_out):.2f} % |" in told
    assert f"less probable for {num_below} of the {len(held_out):,} words, and more probable for {num_above}" in told


def _beams(num_beams: int) -> dict[str, Any]:
    return {"method": "beam", "num_beams": num_beams}


def _spell(server: ServerProcess, words: Entries, **options: Any) -> list[tuple[str, float]]:
    """The phonemes of each word, and their log-probability."""
    made: list[tuple[str, float]] = []
    with httpx2.Client(base_url=server.url, timeout=60, limits=LIMITS) as http:
        for first in range(0, len(words), WORDS_PER_REQUEST):
            some = list(words)[first : first + WORDS_PER_REQUEST]
            answer = http.post("/v1/models/g2p/generate", json={"inputs": some, **options})
            assert answer.status_code == 200, answer.text
            made += zip(answer.json()["outputs"], answer.json()["scores"], strict=True)
    return made


def _error_rate(made: list[tuple[str, float]], words: Entries) -> float:
    """The fraction of words of which none of the pronunciations was written."""
    spoken = [{" ".join(phonemes) for phonemes in pronunciations} for pronunciations in words.values()]
    return sum(written not in known for (written, _), known in zip(made, spoken, strict=True)) / len(made)
