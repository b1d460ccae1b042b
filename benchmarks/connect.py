"""``make bench-connect``: readings from Kafka to Kafka through a connector and a service, W1's model, 256 keys.

The brokers are librdkafka's mock ones, in a process of their own. What counts is processor time of the connector for
each reading: its part of a core is what it can carry at most. Answers are held to the offline run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import pstats
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
from confluent_kafka import Consumer, Producer, TopicPartition
from rich.console import Console

from benchmarks.errors import SubjectFailed
from benchmarks.workloads import CYCLE_STEPS, MODEL, NUM_FEATURES, Offline, Steps, write_model
from ostinato.commands.progress import late_progress
from ostinato.commands.tables import WholeTable
from ostinato.tools.server_process import ServerProcess, free_port

PARTITIONS = 4
PATIENCE_SECONDS = 120.0
QUIET = {"log_level": 0, "broker.address.family": "v4"}
BROKERS = """
import sys
from confluent_kafka import Producer
mock = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "x", "log_level": 0})
print(",".join(f"{one.host}:{one.port}" for one in mock.list_topics(timeout=30).brokers.values()), flush=True)
sys.stdin.read()
"""
"""Mock brokers live as long as the client that has them; their topics have four partitions."""


class Carried(NamedTuple):
    """What a run came to: seconds of the clock, and of a processor for the connector and for the service."""

    num_readings: int
    seconds: float
    connector_seconds: float
    service_seconds: float


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readings", type=int, default=100_000, help="the brokers keep 5 MiB of each partition")
    parser.add_argument("--keys", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--profile", type=int, default=0, help="show so many functions by their own time; slows it")
    arguments = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory(prefix="ostinato-connect-") as name, _brokers() as brokers:
        folder = Path(name)
        directory = write_model(folder / "repository")
        with ServerProcess(folder / "repository", folder / "server.log", settings={"state": "memory://"}) as server:
            server.wait_until_ready()
            steps = Steps.draw(arguments.keys)
            _produce(brokers, steps, arguments.readings)
            carried = _carry(folder, server, brokers, arguments)
            _check(directory, brokers, steps, arguments.readings)
        _show(console, carried)
        if arguments.profile:
            pstats.Stats(str(folder / "profile")).sort_stats("tottime").print_stats(arguments.profile)


@contextlib.contextmanager
def _brokers() -> Iterator[str]:
    holder = subprocess.Popen([sys.executable, "-c", BROKERS], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        yield holder.stdout.readline().decode().strip()
    finally:
        holder.kill()
        holder.communicate()


def _produce(brokers: str, steps: Steps, num_readings: int) -> None:
    """Readings of all keys in turn, as JSON with a member for each feature; each key in a partition of its own."""
    producer = Producer(
        {**QUIET, "bootstrap.servers": brokers, "queue.buffering.max.messages": 2_000_000, "compression.type": "lz4"}
    )
    num_keys = len(steps.inputs)
    for number in range(num_readings):
        key, step = number % num_keys, number // num_keys % CYCLE_STEPS
        row = steps.inputs[key, step].tolist()
        value = json.dumps({f"x{place}": round(one, 3) for place, one in enumerate(row)})
        producer.produce("readings", value, f"device {key}", partition=key % PARTITIONS)
        if number % 10_000 == 0:
            producer.poll(0)
    if producer.flush(PATIENCE_SECONDS):
        raise SubjectFailed("the brokers do not take what is produced")


def _carry(folder: Path, server: ServerProcess, brokers: str, arguments: argparse.Namespace) -> Carried:
    port = free_port()
    config = folder / "connect.toml"
    config.write_text(
        f'[service]\nurl = "{server.url}"\nmodel = "{MODEL}"\n'
        f'[source]\nkind = "kafka"\nbrokers = "{brokers}"\ntopic = "readings"\n'
        f'[sink]\nkind = "kafka"\ntopic = "answers"\n'
        f"[batch]\nreadings = {arguments.batch}\n[metrics]\nport = {port}\n"
    )
    profile = ["-m", "cProfile", "-o", str(folder / "profile")] if arguments.profile else []
    command = [sys.executable, *profile, "-m", "ostinato.cli", "connect", str(config)]
    log = folder / "connect.log"
    with (
        late_progress(Console(stderr=True), "carrying", "readings") as report,
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output) as process,
    ):
        connector, service = psutil.Process(process.pid), psutil.Process(server.pid)
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        first = (0, time.perf_counter(), _used(connector), _used(service))
        while (count := _answered(port)) < arguments.readings:
            if process.poll() is not None or time.monotonic() > give_up_at:
                raise SubjectFailed(f"the connector came to {count} readings:\n{log.read_text(errors='replace')}")
            report(count, arguments.readings)
            if count and not first[0]:  # from here on it is under way
                first = (count, time.perf_counter(), _used(connector), _used(service))
            time.sleep(0.02)
        done = Carried(
            arguments.readings - first[0],
            time.perf_counter() - first[1],
            _used(connector) - first[2],
            _used(service) - first[3],
        )
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_SECONDS)
    return done


def _answered(port: int) -> int:
    """How many answers are committed, by the connector's metrics."""
    with (
        contextlib.suppress(OSError),
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer,
    ):
        found = re.search(rb"^ostinato_connect_answers_total (\S+)", answer.read(), re.MULTILINE)
        return int(float(found[1])) if found else 0
    return 0


def _used(process: psutil.Process) -> float:
    """Processor seconds of a process and its children."""
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return float(sum(one.user + one.system for one in times))


def _check(directory: Path, brokers: str, steps: Steps, num_readings: int) -> None:
    """Hold the answers of a few keys to the offline run, to the bit."""
    reader = Consumer({**QUIET, "bootstrap.servers": brokers, "group.id": "judge", "enable.partition.eof": True})
    reader.assign([TopicPartition("answers", number, 0) for number in range(PARTITIONS)])
    answers: dict[str, list[Any]] = {}
    num_ends = 0
    while num_ends < PARTITIONS:
        for message in reader.consume(10_000, 1.0):
            if message.error() is not None:
                num_ends += 1
                continue
            told = json.loads(message.value() or b"")
            answers.setdefault(told["key"], []).append(list(told["outputs"].values()))
    reader.close()
    for key in (0, len(steps.inputs) - 1):
        count = len(range(key, num_readings, len(steps.inputs)))
        rows = steps.inputs[key, np.arange(count) % CYCLE_STEPS]
        assert rows.shape == (count, NUM_FEATURES)
        outputs, _, _ = Offline(directory).run(rows[None])
        if not np.array_equal(np.array(answers[f"device {key}"], np.float32), outputs[0]):
            raise SubjectFailed(f"the answers of device {key} are not those of the offline run")


def _show(console: Console, carried: Carried) -> None:
    table = WholeTable("", "", title="Kafka to Kafka, W1", show_header=False)
    table.columns[1].justify = "right"
    processor_seconds = carried.connector_seconds + carried.service_seconds
    microseconds = 1e6 / carried.num_readings
    for name, value in (
        ("readings", f"{carried.num_readings:,}"),
        ("readings a second, by the clock", f"{carried.num_readings / carried.seconds:,.0f}"),
        ("connector, µs of a processor for each", f"{carried.connector_seconds * microseconds:.1f}"),
        ("service, the same", f"{carried.service_seconds * microseconds:.1f}"),
        ("connector's share of a core", f"{carried.connector_seconds / carried.seconds:.0%}"),
        ("readings a second that a core carries", f"{carried.num_readings / carried.connector_seconds:,.0f}"),
        ("the same, the service on it too", f"{carried.num_readings / processor_seconds:,.0f}"),
    ):
        table.add_row(name, value)
    console.print(table)


if __name__ == "__main__":
    main()
