"""Connectors under kills: ``python -m tests.connectors`` kills connector, service and both, by a seed, and then judges.

Readings come in while processes are killed at drawn moments. In the end the committed answers of each key, in the order
of its partition, equal one offline run of what the late rule lets through, to the bit, and each stands there once.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.connectors.stage import Answer, ConnectorProcess, KafkaProcess, answers_of, check, reading, write_repository
from tests.server import ServerProcess

GROUP, SOURCE, SINK, DEAD = "faults", "readings", "answers", "dead"
VICTIMS = ("connector", "service", "both")


@dataclass(frozen=True)
class Plan:
    """A run.

    Attributes:
        num_kills: of the connector, the service, or both.
        rule: of late readings, with its window in seconds.
        num_keys, num_readings: what is sent, a thousandth of which cannot be read.
    """

    seed: int
    num_kills: int
    rule: str = "apply"
    window_seconds: float = 0.0
    num_keys: int = 24
    num_readings: int = 4000

    def messages(self) -> list[tuple[str, bytes]]:
        """What is sent, in its order: with times that are late now and then, and some that come twice."""
        generator = random.Random(self.seed)
        drawn = np.random.default_rng(self.seed).normal(size=(self.num_readings, 3)).round(3)
        made = []
        for number, row in enumerate(drawn):
            key = f"device {generator.randrange(self.num_keys)}"
            late = generator.choice((0, 0, 0, 0, 1.5, 4, 30))
            at = number * 0.1 - late
            value = b"no reading" if generator.random() < 0.001 else reading(None, row, time=round(at, 3))
            made += [(key, value)] * (1 + (generator.random() < 0.02))
        return made


def config(kafka: KafkaProcess, url: str, plan: Plan, *, name: str = "one") -> str:
    """A connector's file."""
    late = f'[late]\nrule = "{plan.rule}"\n'
    if plan.rule in ("hold", "replay"):
        late += f"window_seconds = {plan.window_seconds}\n"
    time_member = "" if plan.rule == "apply" else 'time = "time"'
    return f"""
[service]
url = "{url}"
model = "lstm"
[source]
kind = "kafka"
brokers = "{kafka.brokers}"
topic = "{SOURCE}"
group = "{GROUP}"
options = {{"session.timeout.ms" = 2000, "heartbeat.interval.ms" = 300}}
[sink]
kind = "kafka"
topic = "{SINK}"
transactional_id = "{GROUP}-{name}"
transaction_seconds = 5
[mapping]
{time_member}
[dead_letter]
to = "{DEAD}"
[batch]
readings = {15 if plan.rule == "replay" else 60}
wait_seconds = 0.01
{late}
"""


def let_through(plan: Plan, messages: list[Any]) -> dict[str, list[tuple[str, int, Any]]]:
    """What the late rule lets through of a topic's messages: key -> source, offset and row, in the order of
    application.

    The rule once more, in as few words as there are: all that is held is looked at after each message.
    """
    found: dict[str, list[tuple[str, int, Any]]] = {}
    partitions: dict[int, list[Any]] = {}
    for message in messages:
        partitions.setdefault(message.partition(), []).append(message)
    for number, part in partitions.items():
        newest = -1e30
        last: dict[str, float] = {}
        held: dict[tuple[str, float], Any] = {}
        for message in part:
            if message.value() == b"no reading":
                continue
            content = json.loads(message.value())
            key, at = message.key().decode(), content["time"]
            entry = (f"{SOURCE}/{number}", message.offset(), [content["x0"], content["x1"], content["x2"]])
            if plan.rule == "apply":
                found.setdefault(key, []).append(entry)
                continue
            if at <= last.get(key, -1e30) or (key, at) in held:
                continue
            held[key, at] = entry
            newest = max(newest, at)
            for (one, when), kept in sorted(held.items(), key=lambda pair: (pair[0][1], pair[1][1])):
                if round((when + plan.window_seconds) * 1e6) <= round(newest * 1e6):
                    last[one] = when
                    found.setdefault(one, []).append(kept)
                    del held[one, when]
        if plan.rule == "replay":  # what waits is answered, too
            for (key, _), entry in sorted(held.items(), key=lambda pair: pair[0][1]):
                found.setdefault(key, []).append(entry)
    return found


def last_answers(answers: list[Answer]) -> list[Answer]:
    """The last of each reading's answers, in the order of their times; the first came once, and each correction of it
    once, behind that.
    """
    last: dict[tuple[str, str, int], Answer] = {}
    given: set[tuple[str, str, int, int | None]] = set()
    for answer in answers:
        place = (answer.key, answer.source, answer.offset)
        assert (answer.correction is None) == (place not in last), answer
        assert (*place, answer.correction) not in given, answer
        given.add((*place, answer.correction))
        last[place] = answer
    return sorted(last.values(), key=lambda answer: (answer.source, answer.time))


def play(plan: Plan, folder: Path, report: Callable[[int, int], None] = lambda _done, _total: None) -> dict[str, int]:
    """Carry a plan out and judge; raises where an answer is not as it has to be. Counts of what was done.

    Args:
        report: is told before each kill how many there were, and how many there are.
    """
    generator = random.Random(f"kills {plan.seed}")
    directory = write_repository(folder / "repository")
    server = ServerProcess(folder / "repository", folder, state=f"lmdb://{folder / 'state'}")
    counts = dict.fromkeys(VICTIMS, 0)
    try:
        with KafkaProcess(folder) as kafka:
            server.wait_until_ready()
            path = folder / "connect.toml"
            path.write_text(config(kafka, server.url, plan))
            messages = plan.messages()
            with ConnectorProcess(path) as connector:
                share = -(-len(messages) // (plan.num_kills + 1))
                for number in range(plan.num_kills + 1):
                    report(number, plan.num_kills)
                    kafka.produce(SOURCE, messages[number * share : (number + 1) * share])
                    if number == plan.num_kills:
                        break
                    # A moment within work: not before the connector has published something of this share.
                    before = sum(kafka.ends(SINK).values())
                    connector.wait_until(lambda seen=before: sum(kafka.ends(SINK).values()) > seen, "an answer")
                    time.sleep(generator.uniform(0, 0.4))
                    victim = generator.choice(VICTIMS)
                    counts[victim] += 1
                    if victim != "service":
                        connector.kill()
                    if victim != "connector":
                        server.kill()
                        server.start()
                    if victim != "service":
                        connector.start()
                connector.wait_until(lambda: kafka.is_done(GROUP, SOURCE), "the end of the readings")
                assert connector.terminate() == 0, connector.log()
            judge(plan, kafka, directory)
            answers = answers_of(message.value() for message in kafka.read(SINK))
            counts["answers"] = len(answers)
            counts["corrections"] = sum(answer.correction is not None for answer in answers)
    finally:
        server.stop()
    return counts


def judge(plan: Plan, kafka: KafkaProcess, directory: Path) -> None:
    """Hold everything that was published to everything that was sent."""
    sent = kafka.read(SOURCE)
    answers = answers_of(message.value() for message in kafka.read(SINK))
    if plan.rule == "replay":
        answers = last_answers(answers)
    check(directory, let_through(plan, sent), answers)
    unreadable = {f"{SOURCE}/{one.partition()}/{one.offset()}" for one in sent if one.value() == b"no reading"}
    if unreadable:
        letters = [dict(one.headers()) for one in kafka.read(DEAD)]
        told = [f"{one['source'].decode()}/{one['offset'].decode()}" for one in letters]
        assert sorted(told) == sorted(unreadable)
        assert all(one["reason"].startswith(b"not JSON") for one in letters)
