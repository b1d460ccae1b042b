from __future__ import annotations

from ostinato.service.catalogue.timing import best_seconds


def test_of_several_runs_the_best_counts_and_the_first_warms_up() -> None:
    now, seconds = [0.0], iter([100.0, 0.5, 19.0, 0.25, 10.0, 0.5])

    def run() -> None:
        now[0] += next(seconds)

    assert best_seconds(run, lambda: now[0]) == 0.25
