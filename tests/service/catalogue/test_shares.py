from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ostinato.service.catalogue.decisions import ModelDecisions
from ostinato.service.catalogue.shares import share_of

NAMES = [f"session-{number}" for number in range(20_000)]


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_a_share_has_about_as_many_of_the_sessions(share: float) -> None:
    inside = [name for name in NAMES if share_of("m", name) < share]
    deviation = (share * (1 - share) / len(NAMES)) ** 0.5
    assert abs(len(inside) / len(NAMES) - share) < 5 * deviation


def test_all_are_in_the_whole_and_none_in_nothing() -> None:
    shares = [share_of("m", name) for name in NAMES]
    assert min(shares) >= 0
    assert max(shares) < 1


def test_who_is_in_a_share_is_told_by_the_names_alone() -> None:
    """A process that hashes texts by another seed tells the same."""
    told = "print(share_of('m', 'zürich'), share_of('m', 'a', 'b'))"
    code = f"from ostinato.service.catalogue.shares import share_of; {told}"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    process = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert process.stdout.split() == [str(share_of("m", "zürich")), str(share_of("m", "a", "b"))]


@pytest.mark.parametrize("other", [("n", ""), ("m", "shadow")])
def test_another_model_and_another_draw_know_nothing_of_it(other: tuple[str, str]) -> None:
    model, draw = other
    inside = [name for name in NAMES if share_of("m", name) < 0.5]
    both = [name for name in inside if share_of(model, name, draw) < 0.5]
    assert abs(len(both) / len(inside) - 0.5) < 0.02


def test_it_is_a_hash_of_these_bytes() -> None:
    # As b2sum -l 64 says of 0, "lstm", 0, "robot-7".
    assert share_of("lstm", "robot-7") == (0x8ADE581EC051DBB3 >> 11) / 2**53


def test_a_canary_has_who_is_among_its_share() -> None:
    decisions = ModelDecisions(canary="2", canary_share=0.5)
    for number in range(100):
        name = f"s{number}"
        assert decisions.canary_for("m", name) == ("2" if share_of("m", name) < 0.5 else "")
    assert ModelDecisions().canary_for("m", "s") == ""
