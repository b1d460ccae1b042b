"""A service under mixed load: a few short rounds; ``make soak`` goes on for an hour."""

from __future__ import annotations

from tests.soak.__main__ import words
from tests.soak.play import play


async def test_under_mixed_load_every_answer_is_right() -> None:
    soak = await play("lmdb", seconds=1.0, round_seconds=2.0, seed=20_264)
    assert soak.findings == []
    assert soak.surprises == [], "\n".join(words(soak))
    assert len(soak.rounds) >= 1
    assert all(each.num_steps > 0 and each.memory_mib > 20 and each.num_descriptors > 3 for each in soak.rounds)
    assert soak.num_visits >= 1
