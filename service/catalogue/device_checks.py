"""Checks of a version with sessions on a device: at how many rows it is run there, and whether the promise holds."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

from ostinato.service.artifact.devices import Device
from ostinato.service.artifact.promise import MAX_ROWS
from ostinato.service.catalogue.probes import Probe
from ostinato.service.catalogue.promise_checks import holds
from ostinato.service.catalogue.timing import best_seconds
from ostinato.service.config import Settings
from ostinato.service.engine.recurrent.device_runner import DeviceRunner
from ostinato.service.engine.recurrent.runner import Runner
from ostinato.service.errors import ModelRejected, OstinatoError

SIZES = (256, 1024, 4096, 16_384)
"""Numbers of rows that are measured; those that a full queue does not fill are left out."""

ENOUGH = 0.8
"""Of the best rate: the least rows that reach so much are taken, since each step takes as long as they all do."""


def on_device(
    runner: Runner, probes: Sequence[Probe], directory: Path, settings: Settings, device: Device
) -> DeviceRunner:
    """The runner of a version that passed its checks on the CPU, on a device; and there its promise is checked.

    Raises:
        ModelRejected: the device does not run the graph, or rounds a row otherwise by what shares its run; or the
            number of rows was measured and cannot be kept.
    """
    num_rows = settings.device_rows or _kept(directory, device)
    if num_rows is None:
        num_rows = _measured(runner, directory, settings, device)
        num_rows = _keep(directory, device, num_rows)
    made = DeviceRunner(runner.manifest, directory, device, num_rows)
    if not holds(made, probes):
        raise ModelRejected(
            f"{directory}: on {made.made_on} a row's numbers depend on its place or on the rows next to it: live "
            "numbers would differ from offline ones. Serve it with --device cpu"
        )
    return made


def seconds_on_device(runner: DeviceRunner) -> float:
    """How long a run takes, by the clock on the wall: it happens elsewhere."""
    try:
        runner.run(runner.manifest.given.zeros(1, 1), runner.initial_states(1))
        return best_seconds(runner.run_again, time.perf_counter)
    except OstinatoError as error:
        raise ModelRejected(f"{runner.manifest.name}/{runner.manifest.version}: {error}") from error


def place_of_rows(directory: Path, device: Device) -> Path:
    """The file that keeps how many rows a version is run at on a device: next to its folder, which stays as it is."""
    name = re.sub("[^a-z0-9]+", "-", device.name.lower())
    return directory.absolute().parent / f".{directory.absolute().name}.rows-on-{name}"


def _measured(runner: Runner, directory: Path, settings: Settings, device: Device) -> int:
    """The least of some numbers of rows at which nearly as many steps a second are run as at the best."""
    sizes = [size for size in SIZES if size <= settings.max_queue_rows] or [settings.max_queue_rows]
    rates: dict[int, float] = {}
    first = DeviceRunner(runner.manifest, directory, device, sizes[0])
    for size in sizes:
        at_size = first.promising(first.promise.model_copy(update={"rows": size}))
        rates[size] = size / seconds_on_device(at_size)
    return next(size for size in sizes if rates[size] >= ENOUGH * max(rates.values()))


def _kept(directory: Path, device: Device) -> int | None:
    """What was measured before; None = nothing was."""
    path = place_of_rows(directory, device)
    try:
        text = path.read_text().strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeError) as error:
        raise ModelRejected(f"{path}: {error}") from error
    if not re.fullmatch("[0-9]{1,5}", text) or not 1 <= int(text) <= MAX_ROWS:
        raise ModelRejected(f"{path}: {text[:40]!r} is no number of rows; take the file away to have it measured")
    return int(text)


def _keep(directory: Path, device: Device, num_rows: int) -> int:
    """Keep what was measured for all starts to come, and for offline runs; or what another process was first to keep.

    Raises:
        ModelRejected: it cannot be kept, so that another start might measure otherwise.
    """
    path = place_of_rows(directory, device)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        draft.write_text(f"{num_rows}\n")
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    except OSError as error:
        raise ModelRejected(
            f"{path}: {num_rows} rows a run were measured on {device.name}, and cannot be kept ({error.strerror}), so "
            f"that another start might measure others: give --device-rows {num_rows}"
        ) from error
    kept = _kept(directory, device)
    assert kept is not None
    return kept
