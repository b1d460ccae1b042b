"""A check and a measurement of the promise on a device: ``python -m benchmarks.device``, where there is a GPU.

Bits first: that rows depend on nothing but themselves at the one shape, and that live sessions answer as the offline
run, across forks, states out and in, and a store. Then steps a second, each beside its target. With ``--device host``
the same is done small on the CPU, with NumPy in CuPy's place, which says that the code works and nothing of a GPU.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.device_networks import NUM_FEATURES, DeviceNetwork
from benchmarks.errors import WrongAnswer
from benchmarks.house import House
from ostinato.service.artifact.device_choice import open_device
from ostinato.service.artifact.devices import Device
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.catalogue.recurrent_checks import LoadedModel
from ostinato.service.engine.recurrent.batching import Iteration, Work
from ostinato.service.engine.recurrent.device_runner import DeviceRunner
from ostinato.service.engine.recurrent.offline import run_offline, run_sequence
from ostinato.service.engine.recurrent.runner import Runner
from ostinato.service.sessions.rows import Columns, step_columns
from ostinato.service.state.arena import session_bytes
from ostinato.service.state.device_arena import DeviceArena

Floats = NDArray[np.float32]

NETWORKS = (
    DeviceNetwork("LSTM", 1, 128, 16_384, 20e6),
    DeviceNetwork("LSTM", 2, 512, 4_096, 4e6),
    DeviceNetwork("GRU", 4, 1_024, 4_096, 0.9e6),
)
SMALL = (DeviceNetwork("LSTM", 2, 8, 16), DeviceNetwork("GRU", 2, 8, 16))
NUM_WATCHED, NUM_STEPS = 8, 6
WARM_RUNS = 3


def main(arguments: Sequence[str] | None = None) -> None:
    """Check and measure each network; raises WrongAnswer at the first bit that is another."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.device", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "host"), default="cuda")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each rate is measured")
    asked = parser.parse_args(arguments)
    try:
        device = Device() if asked.device == "host" else open_device(asked.device)
    except (ValueError, ModuleNotFoundError) as error:
        sys.exit(f"error: {error}")
    assert device is not None
    networks = SMALL if asked.device == "host" else NETWORKS
    print(f"device: {device.name}")
    if asked.device == "host":
        print("which is no device: NumPy and the CPU, small; the rates say nothing of a GPU")
    for network in networks:
        with tempfile.TemporaryDirectory() as folder:
            directory = network.write(Path(folder))
            print(f"{network.name}, {network.num_rows:,} x 1")
            for line in asyncio.run(measured(network, directory, device, asked.seconds)):
                print(f"  {line}", flush=True)


async def measured(network: DeviceNetwork, directory: Path, device: Device, seconds: float) -> list[str]:
    """What was found of a network, in lines.

    Raises:
        WrongAnswer: a row is not what it is by itself.
    """
    manifest = Manifest.read(directory)
    runner = DeviceRunner(manifest, directory, device, network.num_rows)
    difference = difference_to_cpu(runner, directory)
    memory, lmdb = [await check_life(runner, directory, store) for store in ("memory://", f"lmdb://{directory}-state")]
    lines = [
        f"rows are their own: {check_rows(runner)}",
        f"off from the CPU by {difference:.1e}",
        f"live equals offline over memory: {memory}",
        f"live equals offline over lmdb: {lmdb}",
    ]
    iterations = rate_of_iterations(runner, seconds)
    lines.append(_rate("iterations: gather, run, scatter", iterations, network))
    lines.append(
        _rate("engine: sessions stepped in one message", await rate_of_engine(runner, directory, seconds), network)
    )
    return lines


def check_rows(runner: DeviceRunner) -> str:
    """Run some rows over a few steps again, in other places, with other mates, and alone."""
    num_rows, generator = runner.max_batch_size, np.random.default_rng(1)
    inputs = generator.normal(size=(num_rows, NUM_STEPS, NUM_FEATURES)).astype(np.float32)
    together = run_sequence(runner, inputs, 1)
    watched = generator.choice(num_rows, NUM_WATCHED, replace=False)
    wanted = _of(together, watched)
    places = generator.permutation(num_rows)
    turned = run_sequence(runner, inputs[places], 1)
    tried = {
        "repetition": _of(run_sequence(runner, inputs, 1), watched),
        "place": _of(turned, np.argsort(places)[watched]),
    }
    for name, factor in (("mates that are zero", 0.0), ("mates that are large", 1e4)):
        others = (inputs * np.float32(factor)).astype(np.float32)
        others[watched] = inputs[watched]
        tried[name] = _of(run_sequence(runner, others, 1), watched)
    tried["a short batch"] = run_sequence(runner, inputs[watched], 1)
    for name, made in tried.items():
        _check(name, wanted, made)
    alone = [run_sequence(runner, inputs[[row]], 1) for row in watched[:2]]
    for place, made in enumerate(alone):
        _check("alone", _of(wanted, [place]), made)
    return f"{', '.join(tried)}, alone"


def difference_to_cpu(runner: DeviceRunner, directory: Path) -> float:
    """The largest difference of outputs to those of the CPU: rounding, and nothing else."""
    on_cpu = Runner(
        runner.manifest.model_copy(update={"promise": None}), directory, max_batch_size=8, max_iteration_steps=1
    )
    inputs = np.random.default_rng(2).normal(size=(4, NUM_STEPS, NUM_FEATURES)).astype(np.float32)
    ours, theirs = (run_sequence(each, inputs, 1)[0] for each in (runner, on_cpu))
    largest = float(np.abs(ours - theirs).max())
    if not largest < 1e-3:
        raise WrongAnswer(f"{runner}: off from the CPU by {largest}")
    return largest


async def check_life(runner: DeviceRunner, directory: Path, store: str) -> str:
    """Step sessions in random company, over a store of which few fit into memory, fork one, take one out and in."""
    generator = np.random.default_rng(3)
    settings = {} if store == "memory://" else {"memory_budget": 16 * session_bytes(runner.manifest)}
    house = _house(runner, directory, state=store, **settings)
    num_sessions = 3 * NUM_WATCHED
    inputs = generator.normal(size=(num_sessions, 2 * NUM_STEPS, NUM_FEATURES)).astype(np.float32)
    done, answered = np.zeros(num_sessions, int), np.zeros((num_sessions, 2 * NUM_STEPS, 1), np.float32)
    for row in range(num_sessions):
        await house.sessions.open(runner.manifest.name, session_id=f"s{row}")
    while (done < NUM_STEPS).any():
        rows = [row for row in generator.permutation(num_sessions)[:NUM_WATCHED].tolist() if done[row] < NUM_STEPS]
        sessions = [await house.sessions.find(f"s{row}") for row in rows]
        futures = [
            house.ledger.step(each, inputs[row, done[row], None]) for row, each in zip(rows, sessions, strict=True)
        ]
        for row, answer in zip(rows, await asyncio.gather(*futures), strict=True):
            answered[row, done[row]] = answer.outputs
            done[row] += 1
    offline = run_offline(runner, inputs)[0]
    _same("a live session", answered[:, :NUM_STEPS], offline[:, :NUM_STEPS])
    source = await house.sessions.find("s0")
    fork = await house.sessions.fork(source, session_id="fork")
    await house.sessions.put(await house.sessions.find("s1"), await house.sessions.snapshot(fork))
    for name in ("s0", "fork", "s1"):
        answer = await house.ledger.step(await house.sessions.find(name), inputs[0, NUM_STEPS:])
        _same(f"{name} behind a fork", np.asarray(answer.outputs), offline[0, NUM_STEPS:])
    evicted = num_sessions + 1 - house.engine.arena.num_sessions
    await house.store.stop()
    house.engine.close()
    return f"{num_sessions} sessions, {evicted} of them not in memory, a fork, a state out and in"


def rate_of_iterations(runner: DeviceRunner, seconds: float) -> float:
    """Steps a second of iterations alone: inputs in, states gathered, run and scattered, outputs out."""
    num_rows, device = runner.max_batch_size, runner.device
    arena = DeviceArena(runner.manifest, 2 * num_rows, device)
    slots = [arena.allocate() for _ in range(2 * num_rows)]
    generator = np.random.default_rng(4)
    inputs = generator.normal(size=(num_rows, NUM_FEATURES)).astype(np.float32)
    chosen = [np.sort(generator.choice(slots, num_rows, replace=False)).tolist() for _ in range(8)]

    def iterate(places: list[int]) -> None:
        work = Work(places, inputs, num_rows, 1, None)
        result = runner.run_iteration(Iteration([work], num_rows, 1, is_whole=True), arena)
        arena.scatter(result.slots, result.states)

    def forever() -> Iterator[list[int]]:
        while True:
            yield from chosen

    turns = forever()
    for _ in range(WARM_RUNS):
        iterate(next(turns))
    device.synchronize()
    began_at, num_runs = time.perf_counter(), 0
    while time.perf_counter() < began_at + seconds:
        iterate(next(turns))
        num_runs += 1
    device.synchronize()
    return num_runs * num_rows / (time.perf_counter() - began_at)


async def rate_of_engine(runner: DeviceRunner, directory: Path, seconds: float) -> float:
    """Steps a second of sessions over memory://, a run's rows in one message, from numbers to answers."""
    num_rows = runner.max_batch_size
    house = _house(runner, directory, state="memory://", max_sessions=num_rows)
    ids = [f"s{row}" for row in range(num_rows)]
    for session_id in ids:
        await house.sessions.open(runner.manifest.name, session_id=session_id)
    inputs = np.random.default_rng(5).normal(size=(num_rows, NUM_FEATURES)).astype(np.float32)
    columns = Columns.of(ids, inputs, None, {})
    for _ in range(WARM_RUNS):
        await step_columns(house.sessions, house.ledger, house.engine, columns)
    began_at, num_messages = time.perf_counter(), 0
    while time.perf_counter() < began_at + seconds:
        await step_columns(house.sessions, house.ledger, house.engine, columns)
        num_messages += 1
    rate = num_messages * num_rows / (time.perf_counter() - began_at)
    house.engine.close()
    return rate


def _house(runner: DeviceRunner, directory: Path, **settings: Any) -> House:
    loaded = LoadedModel(runner.manifest, runner, 0.0, 0.0)
    return House(directory, loaded, max_queue_rows=runner.max_batch_size, ttl_seconds=0, **settings)


def _of(made: Any, rows: Any) -> Any:
    """Some rows of outputs and states."""
    return made[0][rows], tuple(each[rows] for each in made[1])


def _check(what: str, wanted: Any, made: Any) -> None:
    for one, other in zip([wanted[0], *wanted[1]], [made[0], *made[1]], strict=True):
        _same(what, one, other)


def _same(what: str, one: NDArray[Any], other: NDArray[Any]) -> None:
    if one.tobytes() != other.tobytes():
        raise WrongAnswer(f"{what}: bits differ, by {np.abs(one - other).max():.2g} at most")


def _rate(what: str, rate: float, network: DeviceNetwork) -> str:
    target = f", target {network.target / 1e6:.1f} M ({rate / network.target:.2f} of it)" if network.target else ""
    return f"{what}: {rate / 1e6:.3f} M steps/s, {network.num_rows / rate * 1e6:,.0f} us a run{target}"


if __name__ == "__main__":
    main()
