"""Assembly of a connector: its ends by their kinds, and what is checked before the first message is read."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ostinato.connectors.answers import AnswerForm
from ostinato.connectors.connector import Connector, Telling
from ostinato.connectors.counters import Counters
from ostinato.connectors.end_settings import (
    FileSinkSettings,
    FileSourceSettings,
    KafkaSinkSettings,
    KafkaSourceSettings,
    MqttSinkSettings,
    MqttSourceSettings,
    RedisSinkSettings,
    RedisSourceSettings,
)
from ostinato.connectors.ends import AnswerSink, ReadingSource, ReportLine
from ostinato.connectors.features import ReadingFeatures
from ostinato.connectors.feeds import PartitionFeeds
from ostinato.connectors.late import LateRule
from ostinato.connectors.mapping import Mapping
from ostinato.connectors.notices import NoticeForm
from ostinato.connectors.repeats import ReadingRepeats
from ostinato.connectors.replays import ReplaySessions
from ostinato.connectors.reports import GrowingWait
from ostinato.connectors.service_line import ServiceLine, is_passing
from ostinato.connectors.session_ids import MAX_ID, SETTLED
from ostinato.connectors.settings import ConnectorSettings
from ostinato.connectors.waiting import idle_for
from ostinato.connectors.webhooks import WebhookLine
from ostinato.errors import CommandError, InputError


class Ends(NamedTuple):
    """The two ends of a connector."""

    source: ReadingSource
    sink: AnswerSink


def promise_of(settings: ConnectorSettings) -> str:
    """What is promised of each answer, in words."""
    source, sink = settings.source, settings.sink
    if isinstance(source, MqttSourceSettings):
        if source.qos == 0:
            return "at most once: [source] qos 0 loses what comes while nobody listens"
        what = "each reading is applied once" if source.offset else "a reading may be applied twice after a kill"
        return f"at least once; {what}" + ("" if source.offset else " ([source] offset names a count in the messages)")
    if not isinstance(source, KafkaSourceSettings | RedisSourceSettings | FileSourceSettings):
        return "as it comes: standard input cannot be read again after a kill"
    if isinstance(sink, RedisSinkSettings | FileSinkSettings) or (
        isinstance(sink, KafkaSinkSettings) and isinstance(source, KafkaSourceSettings)
    ):
        return "each reading is applied once, and answered once"
    return (
        "each reading is applied once; an answer may be published twice after a kill, with the same source and offset"
    )


def wait_for_model(line: ServiceLine, report: ReportLine, is_stopping: Callable[[], bool]) -> ReadingFeatures | None:
    """The model's features, as soon as the service answers; None = told to stop before.

    Raises:
        CommandError: there is no such model, or it is none for readings.
    """
    wait = GrowingWait()
    while not is_stopping():
        try:
            return ReadingFeatures.of(line.model())
        except CommandError as error:
            if not is_passing(error):
                raise
            report(str(error))
            line.close()
            idle_for(min(0.5, wait.next_seconds()))
    return None


def assemble(
    settings: ConnectorSettings,
    features: ReadingFeatures,
    line: ServiceLine,
    counters: Counters,
    report: ReportLine,
    is_stopping: Callable[[], bool],
) -> Connector:
    """A connector that can run.

    Raises:
        InputError: names of members or features that there are not, or a file that cannot be read.
        ModuleNotFoundError: the library of an end is not installed.
    """
    late = late_rule_of(settings)
    has_header = False
    if isinstance(settings.source, FileSourceSettings) and settings.mapping.format == "csv":
        has_header = not settings.mapping.columns
        settings = _with_header(settings, settings.source) if has_header else settings
    offset = settings.source.offset if isinstance(settings.source, MqttSourceSettings) else ""
    mapping = Mapping(settings.mapping, features, offset, MAX_ID - (len(SETTLED) if late.replays else 0))

    def settled_id(key: str) -> str:
        return mapping.session_id(key) + SETTLED

    has_keys = isinstance(settings.source, KafkaSourceSettings | MqttSourceSettings | RedisSourceSettings)
    if not settings.mapping.key and not has_keys:
        raise InputError("[mapping] key is absent: lines have no key of their own")
    looking = ServiceLine(settings.service)  # what is under way on the other line is not disturbed
    ends = new_ends(settings, report, keeps_times=late.window is not None, has_header=has_header)
    feeds = PartitionFeeds(
        mapping,
        looking.reached,
        settings.batch.readings,
        late,
        settled_id if late.replays else mapping.session_id,
        is_replayable=ends.source.is_replayable,
        repeats=ReadingRepeats(looking.reached, mapping.session_id) if offset else None,
    )
    telling = None
    if settings.webhook is not None:
        form = NoticeForm(settings.webhook, features, settings.service.url, mapping.session_id)
        telling = Telling(form, WebhookLine.of(settings.webhook, counters, report))
    return Connector(
        ends.source,
        ends.sink,
        line,
        feeds,
        AnswerForm(features.outputs),
        counters,
        report,
        is_stopping,
        wait_seconds=settings.batch.wait_seconds,
        telling=telling,
        replays=ReplaySessions(line, mapping.session_id, settled_id) if late.replays else None,
    )


def late_rule_of(settings: ConnectorSettings) -> LateRule:
    """The late rule: where none is named, ``drop`` if there is a time."""
    rule = settings.late.rule or ("drop" if settings.mapping.time else "apply")
    window = None if rule == "apply" else round(settings.late.window_seconds * 1_000_000)
    return LateRule(window, rule == "replay")


def new_ends(settings: ConnectorSettings, report: ReportLine, *, keeps_times: bool, has_header: bool = False) -> Ends:
    """The ends that the settings name; each library is imported where it is asked for."""
    source = _new_source(settings, report, has_header=has_header)
    return Ends(source, _new_sink(settings, source, report, keeps_times=keeps_times))


def _new_source(settings: ConnectorSettings, report: ReportLine, *, has_header: bool) -> ReadingSource:
    own = settings.source
    if isinstance(own, KafkaSourceSettings):
        from ostinato.connectors.kafka_source import KafkaSource

        return KafkaSource(own, report)
    if isinstance(own, RedisSourceSettings):
        from ostinato.connectors.redis_ends import RedisSource

        return RedisSource(own)
    if isinstance(own, MqttSourceSettings):
        from ostinato.connectors.mqtt_ends import MqttSource

        return MqttSource(own, report)
    if isinstance(own, FileSourceSettings):
        from ostinato.connectors.file_ends import FileSource

        keeps_position = not isinstance(settings.sink, FileSinkSettings | RedisSinkSettings)
        return FileSource(own, keeps_position=keeps_position, has_header=has_header)
    from ostinato.connectors.standard_ends import StandardInput

    return StandardInput()


def _new_sink(
    settings: ConnectorSettings, source: ReadingSource, report: ReportLine, *, keeps_times: bool
) -> AnswerSink:
    own, dead_letters = settings.sink, settings.dead_letter.to
    if isinstance(own, KafkaSinkSettings):
        from ostinato.connectors.kafka_sink import KafkaSink
        from ostinato.connectors.kafka_source import KafkaSource

        of_kafka = source if isinstance(source, KafkaSource) else None
        return KafkaSink(settings, of_kafka, report, keeps_times=keeps_times and of_kafka is not None)
    if isinstance(own, RedisSinkSettings):
        from ostinato.connectors.redis_ends import RedisSink

        return RedisSink(own, getattr(settings.source, "group", "") or f"ostinato-{own.stream}", dead_letters)
    if isinstance(own, MqttSinkSettings):
        from ostinato.connectors.mqtt_ends import MqttSink

        return MqttSink(own, dead_letters, report)
    if isinstance(own, FileSinkSettings):
        from ostinato.connectors.file_ends import FileSink

        return FileSink(own, dead_letters)
    from ostinato.connectors.standard_ends import StandardOutput

    return StandardOutput(dead_letters)


def _with_header(settings: ConnectorSettings, source: FileSourceSettings) -> ConnectorSettings:
    """The settings with the columns of a file's first line."""
    try:
        with Path(source.path).open(encoding="utf-8-sig", newline="") as file:
            columns = next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"[source] path: {source.path}: {error}") from error
    return replace(settings, mapping=replace(settings.mapping, columns=tuple(columns)))
