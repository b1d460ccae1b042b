"""The play: everything is started, readings are published, two processes are killed, and the end is judged."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import secrets
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from rich.console import Console
from rich.table import Table

from examples.demo_stream.judge import Verdict, judge, offline
from examples.demo_stream.processes import PATIENCE_SECONDS, connector, listens, mosquitto
from examples.demo_stream.prometheus import QUERIES, PrometheusProcess, prometheus
from examples.demo_stream.receiver import AlertReceiver
from examples.demo_stream.sensors import Message, Sensors, Traffic, applied
from ostinato.errors import CommandError
from ostinato.tools.child_process import ChildProcess
from ostinato.tools.server_process import ServerProcess, free_port

READINGS_PER_SECOND = 120.0


@dataclass(frozen=True)
class Plan:
    """What is played.

    Attributes:
        repository, model: what is served.
        members: feature of the model -> member of a message, where their names differ.
        kill_service_at, kill_connector_at: after this share of the readings.
    """

    repository: Path
    model: str
    sensors: Sensors
    members: Mapping[str, str] = field(default_factory=dict)
    readings_per_second: float = READINGS_PER_SECOND
    kill_service_at: float = 0.35
    kill_connector_at: float = 0.65


@dataclass
class Heard:
    """What came on the output topic: id -> answer; and how many came again, to the bit or otherwise."""

    answers: dict[str, bytes] = field(default_factory=dict)
    num_repeated: int = 0
    num_different: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, own_id: str, value: bytes) -> None:
        """An answer."""
        with self.lock:
            if own_id in self.answers:
                self.num_repeated += 1
                self.num_different += self.answers[own_id] != value
            self.answers.setdefault(own_id, value)


def play(plan: Plan, folder: Path, console: Console) -> bool:
    """Play a plan in a folder, and print what came of it; whether all is as it has to be.

    Raises:
        CommandError: something that is needed is not installed, or does not start.
    """
    port, metrics_port = free_port(), free_port()
    secret = f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
    settings = {"state": f"lmdb://{quote(str(folder / 'state'))}"}
    traffic = plan.sensors.traffic()
    sent, num_duplicates, num_late = applied(traffic.messages)
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(mosquitto(folder, port))
        broker.wait_until(lambda: listens(port), "mosquitto")
        server = stack.enter_context(ServerProcess(plan.repository, folder / "server.log", settings=settings))
        receiver = stack.enter_context(AlertReceiver(secret))
        heard = stack.enter_context(_listener(port))
        with console.status("the service checks its models"):
            server.wait_until_ready()
        config = _config(plan, folder, port, metrics_port, server.url, receiver.url, secret)
        carrier = stack.enter_context(connector(config))
        carrier.wait_until(lambda: _scraped(metrics_port) != "", "the connector")
        service_port = int(server.url.rpartition(":")[2])
        watcher = prometheus(folder, {"service": service_port, "connector": metrics_port})
        if watcher is not None:
            stack.enter_context(watcher).wait_until(watcher.is_ready, "Prometheus")
        console.print(
            f"{plan.sensors.count} sensors publish to mosquitto; `ostinato connect` carries {plan.model} their readings"
        )
        _publish(plan, port, traffic, server, carrier, console)
        expected = offline(plan.repository / plan.model / "1", sent, plan.members)
        num_due = sum(map(len, sent.values()))
        num_events = sum(len(each.events) for told in expected.values() for each in told)
        with contextlib.suppress(CommandError):  # what lacks is told by the judge
            carrier.wait_until(lambda: len(heard.answers) >= num_due, "the answers")
            carrier.wait_until(lambda: len(receiver.events) >= num_events, "the webhooks")
        seen = _seen(plan.model, {"service": service_port, "connector": metrics_port}, watcher)
        carrier.stop()
    verdict = judge(sent, expected, heard.answers.values(), receiver.events.values())
    verdict.num_wrong += heard.num_different
    kinds = [event["event"] for told in expected.values() for each in told for event in each.events]
    rows: dict[str, Any] = {
        "messages published": len(traffic.messages),
        "readings never sent (gaps)": traffic.num_missing,
        "duplicates dropped": num_duplicates,
        "late readings dropped": num_late,
        "readings applied": num_due,
        "answers on the topic": len(heard.answers),
        "answers published again, dropped by id": heard.num_repeated,
        "anomalies that began": kinds.count("anomaly_began"),
        "levels that were crossed": kinds.count("level_began"),
        "webhooks, signed": len(receiver.events),
        "webhooks that came again, dropped by id": receiver.num_repeated,
        "kills -9": "1 service, 1 connector",
        "answers absent, strange": f"{verdict.num_absent}, {verdict.num_strange}",
        "webhooks absent or wrong": verdict.num_wrong_webhooks + receiver.num_refused,
        "answers with wrong bits": verdict.num_wrong,
    }
    console.print(_table("what came of it", rows))
    console.print(_table(f"what {'/metrics' if watcher is None else 'Prometheus'} says, counts since the kills", seen))
    return _say(console, verdict, receiver)


def _say(console: Console, verdict: Verdict, receiver: AlertReceiver) -> bool:
    if verdict.is_good and not receiver.num_refused:
        console.print("[green]promise kept:[/] the topic equals the offline run, to the bit")
        return True
    console.print("[red]promise broken[/]")
    return False


def _publish(
    plan: Plan, port: int, traffic: Traffic, server: ServerProcess, carrier: ChildProcess, console: Console
) -> None:
    """Publish what sensors send, at its pace, and kill the service and the connector on the way."""
    count = len(traffic.messages)
    kills = {int(count * plan.kill_service_at): "service", int(count * plan.kill_connector_at): "connector"}
    client = _client("sensors", port)
    began_at = time.monotonic()
    try:
        for number, message in enumerate(traffic.messages):
            time.sleep(max(0.0, began_at + number / plan.readings_per_second - time.monotonic()))
            _send(client, message)
            if (victim := kills.get(number)) is not None:
                console.print(f"[red]kill -9[/] to the {victim} after message {number}; it is started again")
                for process in [server if victim == "service" else carrier]:
                    process.kill()
                    process.start()
    finally:
        client.disconnect()
        client.loop_stop()


def _send(client: Any, message: Message) -> None:
    info = client.publish(f"sensors/{message.sensor}", message.value, 1)
    info.wait_for_publish(PATIENCE_SECONDS)
    if not info.is_published():
        raise CommandError("mosquitto does not take what sensors publish")


def _client(name: str, port: int) -> Any:
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=paho.MQTTv5)
    client.connect("127.0.0.1", port)
    client.loop_start()
    return client


@contextlib.contextmanager
def _listener(port: int) -> Iterator[Heard]:
    """Hears the output topic."""
    heard, is_there = Heard(), threading.Event()
    client = _client("listener", port)
    client.on_message = lambda _client, _data, message: heard.take(
        dict(message.properties.UserProperty)["id"], message.payload
    )
    client.on_subscribe = lambda *_: is_there.set()
    client.subscribe("forecasts/#", 1)
    is_there.wait(PATIENCE_SECONDS)
    try:
        yield heard
    finally:
        client.disconnect()
        client.loop_stop()


def _config(plan: Plan, folder: Path, port: int, metrics_port: int, service: str, url: str, secret: str) -> Path:
    """The connector's file; the secret is in one of its own."""
    (folder / "webhook.secret").write_text(secret)
    (folder / "webhook.secret").chmod(0o600)
    inputs = ", ".join(f"{json.dumps(feature)} = {json.dumps(member)}" for feature, member in plan.members.items())
    path = folder / "connect.toml"
    path.write_text(
        f"""
[service]
url = "{service}"
model = "{plan.model}"

[source]
kind = "mqtt"
port = {port}
topic = "sensors/+"
offset = "seq"

[sink]
kind = "mqtt"
port = {port}
topic = "forecasts/{{key}}"

[mapping]
key = "sensor"
time = "time"
inputs = {{ {inputs} }}

[dead_letter]
to = "dead-letters"

[metrics]
port = {metrics_port}

[webhook]
url = "{url}"
secret_file = {json.dumps(str(folder / "webhook.secret"))}
outbox = {json.dumps(str(folder / "webhooks.db"))}
"""
    )
    return path


def _scraped(port: int) -> str:
    """What ``/metrics`` of a port says; empty where nobody answers."""
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        return str(answer.read().decode())
    return ""


def _seen(model: str, ports: Mapping[str, int], watcher: PrometheusProcess | None) -> dict[str, str]:
    """A few figures, as Prometheus has them where there is one."""

    def read() -> dict[str, str]:
        return _shown({process: _scraped(port) for process, port in ports.items()}, model)

    if watcher is None:
        return read()

    def has_last() -> bool:
        # What it saw before the kills was more, perhaps.
        answers = float(read()["ostinato_connect_answers_total"])
        return answers > 0 and watcher.value(QUERIES["answers of the connector"]) == answers

    watcher.wait_until(has_last, "Prometheus to scrape the last answers")
    return watcher.shown(model)


def _shown(series: Mapping[str, str], model: str) -> dict[str, str]:
    """A few of the series."""
    wanted = {
        "service": ("ostinato_steps_total", "ostinato_duplicates_total", "ostinato_anomalies_total"),
        "connector": tuple(
            f"ostinato_connect_{name}_total" for name in ("readings", "answers", "late", "duplicates", "webhooks")
        ),
    }
    rows = {}
    for process, names in wanted.items():
        for name in names:
            pattern = rf'^{name}(?:\{{[^}}]*model="{re.escape(model)}"[^}}]*\}})? (\S+)'
            rows[name] = f"{sum(float(each) for each in re.findall(pattern, series[process], re.MULTILINE)):.0f}"
    return rows


def _table(title: str, rows: Mapping[str, Any]) -> Table:
    table = Table("", "", title=title, show_header=False)
    table.columns[1].justify = "right"
    for name, value in rows.items():
        table.add_row(name, str(value))
    return table
