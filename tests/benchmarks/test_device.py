from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import device
from benchmarks.device import SMALL, check_life, check_rows, main
from benchmarks.errors import WrongAnswer
from ostinato.service.artifact.devices import Device
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.engine.recurrent.device_runner import DeviceRunner

NETWORK = SMALL[0]


@pytest.fixture
def runner(tmp_path: Path) -> DeviceRunner:
    directory = NETWORK.write(tmp_path)
    return DeviceRunner(Manifest.read(directory), directory, Device(), NETWORK.num_rows)


def test_the_script_runs_where_there_is_no_gpu_and_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "SMALL", SMALL[1:])
    main(["--device", "host", "--seconds", "0.01"])
    printed = capsys.readouterr().out
    assert "which is no device" in printed
    assert "gru-2x8, 16 x 1" in printed
    assert printed.count("live equals offline") == 2
    assert printed.count("M steps/s") == 2


def test_without_a_gpu_it_ends_with_a_sentence() -> None:
    with pytest.raises(SystemExit, match="error: "):
        main([])


@pytest.mark.parametrize("by", ["place", "mates"])
def test_a_row_that_depends_on_others_is_seen(by: str, runner: DeviceRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "place" in check_rows(runner)
    run = runner.run

    def planted(inputs: Any, states: Any) -> Any:
        outputs, made = run(inputs, states)
        row = np.arange(len(inputs)) if by == "place" else inputs.mean()
        return outputs + (1e-6 * row).astype(np.float32).reshape(-1, 1, 1), made

    monkeypatch.setattr(runner, "run", planted)
    with pytest.raises(WrongAnswer, match="bits differ"):
        check_rows(runner)


async def test_a_live_answer_that_is_another_than_offline_is_seen(
    runner: DeviceRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_iteration = runner.run_iteration

    def planted(*given: Any) -> Any:
        result = run_iteration(*given)
        return result._replace(outputs=result.outputs + np.float32(1e-6))

    monkeypatch.setattr(runner, "run_iteration", planted)
    with pytest.raises(WrongAnswer, match="a live session: bits differ"):
        await check_life(runner, tmp_path / NETWORK.name / "1", "memory://")
