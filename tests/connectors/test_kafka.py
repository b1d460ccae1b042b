"""From topic to topic, over a broker with transactions: kills, rebalances, fencing; and over librdkafka's own mock."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import Producer

from ostinato.connectors.arrivals import SourcePosition
from ostinato.connectors.ends import EndUnreachable
from ostinato.connectors.kafka_sink import KafkaSink
from ostinato.connectors.kafka_source import KafkaSource, kept_places
from ostinato.connectors.settings import settings_of
from tests.connectors import faults
from tests.connectors.faults import GROUP, SINK, SOURCE, Plan, judge, play
from tests.connectors.stage import QUIET, ConnectorProcess, KafkaProcess, reading, wait_until
from tests.server import ServerProcess

HOLDER = """
import sys
from confluent_kafka import Producer
mock = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "x", "log_level": 0})
brokers = mock.list_topics(timeout=30).brokers.values()
print(",".join(f"{one.host}:{one.port}" for one in brokers), flush=True)
sys.stdin.read()
"""
"""Mock brokers live as long as the client that has them."""

pytestmark = pytest.mark.xdist_group("connectors")


def hush(line: str, about: str = "") -> None:
    """Reports are not looked at."""
    del line, about


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[KafkaProcess]:
    """A broker."""
    with KafkaProcess(tmp_path) as running:
        yield running


@pytest.mark.parametrize("rule", ["replay", pytest.param("hold", marks=pytest.mark.long)])
def test_connector_and_service_are_killed_and_every_answer_is_there_once(tmp_path: Path, rule: str) -> None:
    done = play(Plan(seed=4, num_kills=3, rule=rule, window_seconds=3, num_readings=1500), tmp_path)
    assert done["connector"] + done["service"] + done["both"] == 3
    assert done["answers"] > 700
    assert (done["corrections"] > 0) == (rule == "replay")


def test_two_connectors_share_the_partitions_and_one_takes_over(
    server: ServerProcess, directory: Path, kafka: KafkaProcess, tmp_path: Path
) -> None:
    plan = Plan(seed=11, num_kills=0, num_readings=1500)
    messages = plan.messages()
    paths = [tmp_path / "one.toml", tmp_path / "two.toml"]
    for path in paths:
        text = faults.config(kafka, server.url, plan, name=path.stem)
        path.write_text(text.replace("[mapping]", f'[mapping]\nprefix = "{tmp_path.name}."'))
    with ConnectorProcess(paths[0]) as one, ConnectorProcess(paths[1]) as two:
        kafka.produce(SOURCE, messages[:500])
        both = lambda: all(child.log().count("reading readings/") for child in (one, two))  # noqa: E731
        wait_until(both, "both to have partitions", lambda: one.log() + two.log())
        kafka.produce(SOURCE, messages[500:1000])
        before = sum(kafka.ends(SINK).values())
        wait_until(lambda: sum(kafka.ends(SINK).values()) > before, "answers", lambda: one.log() + two.log())
        two.kill()
        kafka.produce(SOURCE, messages[1000:])
        one.wait_until(lambda: kafka.is_done(GROUP, SOURCE), "the end of the readings")
        assert one.terminate() == 0, one.log()
    judge(plan, kafka, directory)


def test_what_comes_after_the_first_start_at_the_end_is_answered_though_nothing_was_committed(
    server: ServerProcess, kafka: KafkaProcess, tmp_path: Path
) -> None:
    messages = [(f"latest {number % 5}", reading(None, (number, 0, 1))) for number in range(150)]
    path = tmp_path / "one.toml"
    text = faults.config(kafka, server.url, Plan(seed=1, num_kills=0))
    path.write_text(text.replace("options =", 'start = "latest"\noptions ='))
    kafka.produce(SOURCE, messages[:100])
    with ConnectorProcess(path) as connector:
        connector.wait_until(
            lambda: sum(max(0, offset) for offset, _ in kafka.committed(GROUP, SOURCE).values()) == 100,
            "the position at the end",
        )
        connector.kill()
        kafka.produce(SOURCE, messages[100:])
        connector.start()
        connector.wait_until(lambda: kafka.is_done(GROUP, SOURCE), "the end of the readings")
        assert connector.terminate() == 0, connector.log()
    assert len(kafka.read(SINK)) == 50


def test_times_of_a_transaction_before_the_position_s_are_waited_for(kafka: KafkaProcess) -> None:
    ends = {"kind": "kafka", "brokers": kafka.brokers, "topic": SOURCE}
    settings = settings_of(
        {
            "service": {"model": "lstm"},
            "source": ends,
            "sink": {"kind": "kafka", "topic": SINK},
            "mapping": {"time": "time"},
        }
    )
    producer = Producer({**QUIET, "bootstrap.servers": kafka.brokers})
    source = KafkaSource(settings.source, hush)
    with closing(source):
        sink = KafkaSink(settings, source, hush, keeps_times=True)
        source.consumer.commit(offsets=kept_places({"readings/0": SourcePosition(5, 5, 9)}), asynchronous=False)
        producer.produce(f"{SINK}-times", "8", "a", partition=0)
        producer.produce(f"{SINK}-times", "4", b"", partition=0)
        producer.flush()
        with pytest.raises(EndUnreachable, match="does not show what was committed of readings/0 yet"):
            sink.kept(["readings/0"])
        producer.produce(f"{SINK}-times", "9", "a", partition=0)
        producer.produce(f"{SINK}-times", "5", b"", partition=0)
        producer.flush()
        assert sink.kept(["readings/0"]) == {"readings/0": (SourcePosition(5, 5, 9), {"a": 9})}


def test_a_second_connector_with_the_same_transactional_id_ends_the_first(
    server: ServerProcess, kafka: KafkaProcess, tmp_path: Path
) -> None:
    plan = Plan(seed=12, num_kills=0, num_readings=400)
    path = tmp_path / "one.toml"
    path.write_text(faults.config(kafka, server.url, plan).replace("[mapping]", '[mapping]\nprefix = "fenced."'))
    messages = plan.messages()
    with ConnectorProcess(path) as first:
        kafka.produce(SOURCE, messages[:200])
        first.wait_until(lambda: kafka.is_done(GROUP, SOURCE), "the first readings")
        other = Producer({**QUIET, "bootstrap.servers": kafka.brokers, "transactional.id": f"{GROUP}-one"})
        other.init_transactions(60)
        kafka.produce(SOURCE, messages[200:])
        assert first.wait() == 1
        assert f"another connector has begun with the transactional id '{GROUP}-one'" in first.log()


def test_over_librdkafka_s_mock_brokers_all_readings_are_answered(
    server: ServerProcess, directory: Path, tmp_path: Path
) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        mock = KafkaProcess(tmp_path)
        mock.brokers = holder.stdout.readline().decode().strip()
        plan = Plan(seed=13, num_kills=0, num_readings=600)
        path = tmp_path / "connect.toml"
        text = faults.config(mock, server.url, plan).replace("[mapping]", '[mapping]\nprefix = "mock."')
        path.write_text("\n".join(line for line in text.splitlines() if not line.startswith("options")))
        mock.produce(SOURCE, plan.messages())
        total = sum(value != b"no reading" for _, value in plan.messages())
        with ConnectorProcess(path) as connector:
            connector.wait_until(lambda: len(mock.read(SINK)) >= total, "all answers")
            assert connector.terminate() == 0, connector.log()
        judge(plan, mock, directory)
    finally:
        holder.kill()
        holder.communicate()  # and its pipes are closed
