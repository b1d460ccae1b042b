from __future__ import annotations

from pathlib import Path

from tests.service.catalogue.replicas import Failing, Replica


async def test_the_series_of_a_served_version_is_1_until_the_version_is_unloaded(tmp_path: Path) -> None:
    replica = Replica(tmp_path, Failing())
    replica.put("1")
    replica.put("2")

    def served() -> dict[str, float]:
        return {labels[1]: value for labels, (value,) in replica.metrics.model_info.numbers().items()}

    await replica.begin()
    assert served() == {"1": 1.0, "2": 1.0}
    engine = replica.catalogue.engine_named("m", "1")
    assert engine is not None
    await replica.loader.unloading().begin(engine)
    assert served() == {"1": 0.0, "2": 1.0}
    await replica.loader.load()
    assert served() == {"1": 1.0, "2": 1.0}
    await replica.stop()
