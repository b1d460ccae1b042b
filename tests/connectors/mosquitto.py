"""Debian's mosquitto on a port of its own, with a publisher and a listener."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.connectors.stage import listens, wait_until
from tests.redis_server import Started
from tests.server import free_port
from tests.tools import tool
from tests.waiting import PATIENCE_SECONDS


class Mosquitto(Started):
    """A broker that keeps sessions in memory."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_type all\n"
            "max_queued_messages 0\nmax_inflight_messages 0\n"
        )
        self._log = folder / "mosquitto.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            command = [tool("mosquitto"), "-c", str(self._config)]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(lambda: listens(self.port), "mosquitto")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def has_session(self, client_id: str, explain: Callable[[], str]) -> bool:
        """Whether this client has subscribed."""
        del explain
        return f"Sending SUBACK to {client_id}" in self._log.read_text()

    def client(self, name: str) -> Any:
        """A client that is connected."""
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=paho.MQTTv5)
        client.max_inflight_messages_set(1000)
        client.connect("127.0.0.1", self.port)
        client.loop_start()
        return client

    def publish(self, topic: str, values: list[bytes]) -> None:
        """Publish, and wait until the broker has all."""
        client = self.client("devices")
        for info in [client.publish(topic, value, 1) for value in values]:
            info.wait_for_publish(PATIENCE_SECONDS)
            assert info.is_published()
        client.disconnect()
        client.loop_stop()

    @contextlib.contextmanager
    def listener(self, topic: str) -> Iterator[list[tuple[str, bytes]]]:
        """What comes on a topic, with its property ``id``; it grows."""
        heard: list[tuple[str, bytes]] = []
        client = self.client("listener")
        client.on_message = lambda _client, _data, message: heard.append(
            (dict(message.properties.UserProperty)["id"], message.payload)
        )
        client.subscribe(topic, 1)
        wait_until(lambda: "Sending SUBACK to listener" in self._log.read_text(), "the listener")
        try:
            yield heard
        finally:
            client.disconnect()
            client.loop_stop()
