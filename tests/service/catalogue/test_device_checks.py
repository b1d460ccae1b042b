from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ostinato.service.artifact.manifest import Promise
from ostinato.service.catalogue import device_checks
from ostinato.service.catalogue.device_checks import place_of_rows
from ostinato.service.catalogue.loading import load_offline
from ostinato.service.catalogue.repository import mark_of
from ostinato.service.config import Settings
from ostinato.service.engine.recurrent.device_runner import DeviceRunner
from ostinato.service.engine.recurrent.offline import run_offline
from ostinato.service.errors import ModelRejected
from tests import networks, rounding_networks
from tests.service.devices import CountingDevice, use_device

INPUTS = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
SECONDS = {256: 1e-4, 1024: 1.1e-4, 4096: 4e-4, 16_384: 1.7e-3}
"""Of a run, by its rows: the best rate is that of 4,096, and 1,024 have nine tenths of it."""


@pytest.fixture(autouse=True)
def device(monkeypatch: pytest.MonkeyPatch) -> CountingDevice:
    made = CountingDevice()
    use_device(monkeypatch, made)
    monkeypatch.setattr(device_checks, "seconds_on_device", lambda runner: SECONDS.get(runner.max_batch_size, 1.0))
    return made


def runner_of(directory: Path, **settings: Any) -> DeviceRunner:
    runner = load_offline(directory, Settings(device="cuda", **settings)).runner
    assert isinstance(runner, DeviceRunner)
    return runner


def test_the_least_rows_that_are_nearly_as_quick_are_taken_and_kept_for_all_to_come(
    tmp_path: Path, device: CountingDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = networks.lstm().write(tmp_path, INPUTS)
    mark = mark_of(directory)
    assert runner_of(directory).promise == Promise(holds="fixed", rows=1024, steps=1)
    assert place_of_rows(directory, device).read_text() == "1024\n"
    assert mark_of(directory) == mark  # the version's own folder is as it was
    monkeypatch.setattr(device_checks, "_measured", None)
    assert runner_of(directory).promise.rows == 1024
    assert runner_of(directory, device_rows=12).promise.rows == 12
    assert place_of_rows(directory, device).read_text() == "1024\n"
    assert [path.name for path in directory.parent.iterdir() if path.name != "1"] == [".1.rows-on-counted"]


def test_no_more_rows_are_measured_than_the_queue_holds(tmp_path: Path) -> None:
    directory = networks.lstm().write(tmp_path, INPUTS)
    assert runner_of(directory, max_queue_rows=256).promise.rows == 256
    other = networks.lstm().named("other").write(tmp_path, INPUTS)
    assert runner_of(other, max_queue_rows=100).promise.rows == 100


def test_who_measures_at_the_same_time_takes_what_the_first_has_kept(
    tmp_path: Path, device: CountingDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = networks.lstm().write(tmp_path, INPUTS)

    def measured(*_: object) -> int:
        place_of_rows(directory, device).write_text("16\n")  # another process, meanwhile
        return 32

    monkeypatch.setattr(device_checks, "_measured", measured)
    assert runner_of(directory).promise.rows == 16


@pytest.mark.parametrize("text", ["", "many", "0", "70000", "1e3"])
def test_a_file_that_keeps_no_number_of_rows_is_named(text: str, tmp_path: Path, device: CountingDevice) -> None:
    directory = networks.lstm().write(tmp_path, INPUTS)
    place_of_rows(directory, device).write_text(text)
    with pytest.raises(ModelRejected, match="is no number of rows; take the file away"):
        runner_of(directory)


def test_rows_that_cannot_be_kept_are_told_and_may_be_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = networks.lstm().write(tmp_path, INPUTS)
    nowhere = tmp_path / "nowhere" / "rows"
    monkeypatch.setattr(device_checks, "place_of_rows", lambda *_: nowhere)
    with pytest.raises(ModelRejected, match="another start might measure others: give --device-rows 1024"):
        runner_of(directory)
    assert runner_of(directory, device_rows=1024).promise.rows == 1024


def test_a_device_on_which_rows_depend_on_each_other_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = networks.lstm().write(tmp_path, INPUTS)
    run = DeviceRunner.run

    def leaking(self: DeviceRunner, inputs: Any, states: Any) -> Any:
        outputs, made = run(self, inputs, states)
        return outputs + np.float32(1e-6) * inputs.mean(), made

    monkeypatch.setattr(DeviceRunner, "run", leaking)
    with pytest.raises(ModelRejected, match="on counted, 8 x 1 a row's numbers depend on its place"):
        runner_of(directory, device_rows=8)


def test_a_graph_that_rounds_by_the_shape_runs_at_one_and_one_that_rounds_by_the_place_does_not(
    tmp_path: Path,
) -> None:
    whole = np.arange(12, dtype=np.float32).reshape(1, 12, 1)
    by_shape, by_place = (
        rounding_networks.planted(what).named(what).write(tmp_path, whole) for what in ("batch", "place")
    )
    assert runner_of(by_shape, device_rows=16).promise == Promise(holds="fixed", rows=16, steps=1)
    with pytest.raises(ModelRejected, match="on counted, 16 x 1 a row's numbers depend on its place"):
        runner_of(by_place, device_rows=16)


def test_the_numbers_of_a_device_are_those_of_the_trained_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = networks.lstm().write(tmp_path, INPUTS)
    run = DeviceRunner.run

    def coarse(self: DeviceRunner, inputs: Any, states: Any) -> Any:
        outputs, made = run(self, inputs, states)
        return outputs.astype(np.float16).astype(np.float32), made

    monkeypatch.setattr(DeviceRunner, "run", coarse)
    with pytest.raises(ModelRejected, match="the graph is off by"):
        runner_of(directory, device_rows=8)


def test_what_has_no_sessions_runs_on_the_cpu(tmp_path: Path) -> None:
    directory = networks.lstm().write(tmp_path, INPUTS)
    runner = load_offline(directory, Settings(device="cpu")).runner
    assert not isinstance(runner, DeviceRunner)
    on_device = runner_of(directory, device_rows=8)
    sequence = INPUTS[:1]
    np.testing.assert_allclose(run_offline(on_device, sequence)[0], run_offline(runner, sequence)[0], atol=2e-6)  # type: ignore[arg-type]
