"""Messages that somebody wrote to do harm: each is answered or a dead letter, and what comes behind it is answered."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from tests.connectors.mosquitto import Mosquitto
from tests.connectors.stage import ConnectorProcess, KafkaProcess, reading
from tests.redis_server import RedisServer
from tests.server import ServerProcess

pytestmark = pytest.mark.xdist_group("connectors")

ROW = (0.5, -0.25, 1.0)
KEYS = ("a\udc80", "b\x01", "c\x7f\x9f", "d\ufffe\ufdd0", "e\U0001ffff/+#", "last")
"""Bytes that are no UTF-8, and characters that MQTT's brokers may refuse; one that is plain."""


def config(folder: Path, server: ServerProcess, text: str) -> Path:
    """A connector's file with this service."""
    path = folder / "connect.toml"
    path.write_text(f'[service]\nurl = "{server.url}"\nmodel = "lstm"\n{text}')
    return path


def source(folder: Path, prefix: str) -> str:
    """A file with a reading of each key."""
    lines = [json.dumps({"key": key, "x0": 0.5, "x1": -0.25, "x2": 1.0}) for key in KEYS]
    (folder / "in.jsonl").write_text("\n".join(lines) + "\n")
    return f'[source]\nkind = "file"\npath = "{folder / "in.jsonl"}"\n[mapping]\nkey = "key"\nprefix = "{prefix}."\n'


def test_any_key_s_answer_is_taken_by_mosquitto(server: ServerProcess, tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, broker.listener("out/#") as heard:
        sink = f'[sink]\nkind = "mqtt"\nport = {broker.port}\ntopic = "out/{{key}}"\n'
        with ConnectorProcess(config(tmp_path, server, source(tmp_path, "mqtt") + sink)) as connector:
            assert connector.wait() == 0, connector.log()
            connector.wait_until(lambda: len(heard) == len(KEYS), "all answers")
    assert [json.loads(value)["key"] for _, value in heard] == list(KEYS)
    assert len({own_id for own_id, _ in heard}) == len(KEYS)


def test_any_key_s_answer_is_taken_by_redis(server: ServerProcess, tmp_path: Path) -> None:
    with RedisServer() as redis, closing(redis.client()) as client:
        sink = f'[sink]\nkind = "redis"\nurl = "{redis.url}"\nstream = "out"\n'
        with ConnectorProcess(config(tmp_path, server, source(tmp_path, "redis") + sink)) as connector:
            assert connector.wait() == 0, connector.log()
        assert client.xlen("out") == len(KEYS)


def test_a_message_as_large_as_kafka_takes_it_is_a_dead_letter_cut_short(server: ServerProcess, tmp_path: Path) -> None:
    with KafkaProcess(tmp_path) as kafka:
        ends = f'[source]\nkind = "kafka"\nbrokers = "{kafka.brokers}"\ntopic = "in"\n'
        ends += '[sink]\nkind = "kafka"\ntopic = "out"\n[dead_letter]\nto = "dead"\n[mapping]\nprefix = "large."\n'
        large = b'{"' + b"n" * 999_890 + b'": 1}'
        kafka.produce("in", [("one", large), ("one", b"x" * 999_890), ("one", reading(None, ROW))])
        with ConnectorProcess(config(tmp_path, server, ends)) as connector:
            connector.wait_until(lambda: kafka.is_done("ostinato", "in"), "the end of the readings")
            assert connector.terminate() == 0, connector.log()
        letters = kafka.read("dead")
        assert [len(one.value()) for one in letters] == [65_536, 65_536]
        told = [dict(one.headers()) for one in letters]
        assert [one["bytes"] for one in told] == [b"999897", b"999890"]
        assert all(len(one["reason"]) < 1000 for one in told)
        assert len(kafka.read("out")) == 1
