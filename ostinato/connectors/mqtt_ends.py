"""MQTT 5 as source and sink: a session that the broker keeps, and messages that are acknowledged when they are
answered.

A broker that is connected to again delivers again what was not acknowledged. A message that this connector still has
under the same number is not taken twice; after a kill only the messages' own count tells (``[source] offset``).
"""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt import properties as paho_properties
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes

from ostinato.connectors.arrivals import Messages, SourcePosition
from ostinato.connectors.end_settings import MqttSinkSettings, MqttSourceSettings
from ostinato.connectors.ends import AnswerSink, BatchCommit, EndUnreachable, ReadingSource, ReportLine, refusal_json
from ostinato.connectors.waiting import idle_for

SECONDS = 20.0
SESSION_SECONDS = 7 * 86_400
"""For which a broker keeps what comes while nobody is connected."""
MAX_WAITING = 4096
"""Messages that a broker may have under way to us without an acknowledgement."""


def new_client(settings: MqttSourceSettings | MqttSinkSettings, report: ReportLine, *, manual_ack: bool = False) -> Any:
    """A client, not yet connected."""
    client = paho.Client(
        CallbackAPIVersion.VERSION2, client_id=settings.client_id, protocol=paho.MQTTv5, manual_ack=manual_ack
    )
    if settings.username:
        client.username_pw_set(settings.username, settings.password)
    if settings.tls:
        client.tls_set()
    client.reconnect_delay_set(1, 10)
    client.max_queued_messages_set(0)
    where = f"the broker at {settings.host}:{settings.port}"

    def tell(client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        del client, userdata, flags, properties
        if reason.is_failure:
            report(f"MQTT: {where}: {reason}")

    def tell_refusal(client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        del client, userdata, flags, properties
        if reason.is_failure:
            report(f"MQTT: {where} refuses the connection: {reason}")

    client.on_disconnect = tell
    client.on_connect = tell_refusal
    return client


def connect(client: Any, settings: MqttSourceSettings | MqttSinkSettings) -> None:
    """Connect, with a session that the broker keeps.

    Raises:
        EndUnreachable: nobody listens there.
    """
    properties: Any = new_properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = SESSION_SECONDS
    properties.ReceiveMaximum = MAX_WAITING
    try:
        client.connect(settings.host, settings.port, clean_start=False, properties=properties)
    except OSError as error:
        raise EndUnreachable(f"MQTT: no broker answers at {settings.host}:{settings.port} ({error})") from error
    client.loop_start()


def new_properties(kind: int) -> Any:
    """Properties of a packet, whose class has no types."""
    make: Any = paho_properties.Properties
    return make(kind)


class MqttSource(ReadingSource):
    """A topic, or a filter of several.

    Its one partition is ``FILTER/0`` where the messages count themselves. Else its name has this run in it, so that a
    chunk is safe to retry, but not after a kill.
    """

    is_replayable = False

    def __init__(self, settings: MqttSourceSettings, report: ReportLine) -> None:
        self._settings = settings
        self._partition = f"{settings.topic}/{0 if settings.offset else secrets.token_hex(4)}"
        self._client = new_client(settings, report, manual_ack=True)
        self._report = report
        self._client.on_message = self._hear
        self._tell_refusal = self._client.on_connect
        self._client.on_connect = self._subscribe
        self._client.on_subscribe = self._subscribed
        self._arrived: deque[tuple[int, str, bytes]] = deque()
        self._unacknowledged: dict[int, int] = {}
        self._mids: dict[int, tuple[int, int]] = {}
        self._changed = threading.Condition()
        self._count = 0
        self._is_connected = False

    def _subscribe(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._tell_refusal(client, userdata, flags, reason, properties)
        if reason.is_failure:
            return
        if not flags.session_present:
            # The broker counts again: what it delivered before is not to be acknowledged under another's number.
            with self._changed:
                self._unacknowledged.clear()
                self._mids.clear()
        client.subscribe(self._settings.topic, self._settings.qos)

    def _subscribed(self, client: Any, userdata: Any, mid: Any, reasons: Any, properties: Any) -> None:
        del client, userdata, mid, properties
        for reason in reasons:
            if reason.is_failure:
                self._report(f"MQTT: the broker refuses the subscription to {self._settings.topic!r}: {reason}")

    def _hear(self, client: Any, userdata: Any, message: Any) -> None:
        del client, userdata
        with self._changed:
            if message.dup and message.mid in self._unacknowledged:
                return
            number, self._count = self._count, self._count + 1
            if message.qos:
                self._unacknowledged[message.mid] = number
                self._mids[number] = (message.mid, message.qos)
            self._arrived.append((number, message.topic, message.payload))
            self._changed.notify()

    def partitions(self) -> list[str]:
        """See ``ReadingSource``."""
        return [self._partition]

    def start_at(self, positions: Mapping[str, SourcePosition | None]) -> None:
        """See ``ReadingSource``: what was given is not given again."""
        del positions
        if not self._is_connected:
            connect(self._client, self._settings)
            self._is_connected = True

    def poll(self, max_messages: int, seconds: float) -> list[Messages]:
        """See ``ReadingSource``."""
        messages = Messages(self._partition)
        until = time.monotonic() + seconds
        with self._changed:
            while len(messages) < max_messages:
                if self._arrived:
                    number, topic, payload = self._arrived.popleft()
                    messages.offsets.append(number)
                    messages.keys.append(topic.encode())
                    messages.values.append(payload)
                elif (left := until - time.monotonic()) <= 0 or not self._changed.wait(left):
                    break
        return [messages] if len(messages) else []

    def at_end(self) -> set[str]:
        """See ``ReadingSource``."""
        return {self._partition}

    def idle(self, seconds: float) -> None:
        """See ``ReadingSource``."""
        idle_for(seconds)

    def answered(self, commit: BatchCommit) -> None:
        """See ``ReadingSource``: acknowledges what was answered, up to what is still held."""
        position = commit.positions.get(self._partition)
        if position is None:
            return
        with self._changed:
            numbers = [number for number in self._mids if number < position.offset]
            done = [self._mids.pop(number) for number in numbers]
            for mid, _ in done:
                self._unacknowledged.pop(mid, None)
        for mid, qos in done:
            self._client.ack(mid, qos)

    def lags(self, positions: Mapping[str, SourcePosition]) -> dict[str, int]:
        """See ``ReadingSource``."""
        del positions
        return {self._partition: len(self._arrived)}

    def close(self) -> None:
        """See ``ReadingSource``."""
        with contextlib.suppress(OSError):
            self._client.disconnect()
        self._client.loop_stop()


class MqttSink(AnswerSink):
    """A topic, with ``{key}`` in it or without. Each message has a property ``id``, the same each time it comes."""

    def __init__(self, settings: MqttSinkSettings, dead_letters: str, report: ReportLine) -> None:
        self._settings = settings
        self._dead_letters = dead_letters
        self._client = new_client(settings, report)
        self._is_connected = False

    def open(self) -> None:
        """See ``AnswerSink``."""
        if not self._is_connected:
            connect(self._client, self._settings)
            self._is_connected = True

    def commit(self, commit: BatchCommit) -> None:
        """See ``AnswerSink``: waits until the broker has acknowledged all."""
        waiting = [
            self._publish(self._settings.topic.replace("{key}", level_of(one.key)), one.value, one.id)
            for one in commit.answers
        ]
        if self._dead_letters:
            waiting += [
                self._publish(
                    self._dead_letters,
                    json.dumps(refusal_json(refusal)).encode(),
                    f"{refusal.partition}/{refusal.offset}",
                )
                for refusal in commit.refusals
            ]
        give_up_at = time.monotonic() + SECONDS
        for info in waiting:
            try:
                info.wait_for_publish(max(0.01, give_up_at - time.monotonic()))
            except (RuntimeError, ValueError) as error:
                raise EndUnreachable(f"MQTT: {error}") from error
            if not info.is_published():
                raise EndUnreachable("MQTT: the broker does not acknowledge what was published")

    def _publish(self, topic: str, value: bytes, own_id: str) -> Any:
        properties: Any = new_properties(PacketTypes.PUBLISH)
        properties.UserProperty = ("id", property_of(own_id))
        return self._client.publish(topic, value, self._settings.qos, properties=properties)

    def close(self) -> None:
        """See ``AnswerSink``."""
        with contextlib.suppress(OSError):
            self._client.disconnect()
        self._client.loop_stop()


def level_of(key: str) -> str:
    """A key as one level of a topic: what means something there, or may not be there, is written as ``_``."""
    return "".join("_" if sign in "+#/" or not _is_allowed(sign) else sign for sign in key) or "_"


def property_of(text: str) -> str:
    """A text as a property has it: what may not be there is written as Python does, and two are never one."""
    if all(_is_allowed(sign) and sign != "\\" for sign in text):
        return text
    return "".join(
        sign if _is_allowed(sign) and sign != "\\" else sign.encode("unicode_escape").decode() for sign in text
    )


def _is_allowed(sign: str) -> bool:
    """Whether brokers take a character in a text; a packet that has another they refuse, and cut the connection."""
    code = ord(sign)
    is_control = code < 0x20 or 0x7F <= code < 0xA0
    return not (is_control or 0xD800 <= code < 0xE000 or 0xFDD0 <= code < 0xFDF0 or code & 0xFFFE == 0xFFFE)
