"""A connector's file: what is wrong in it is told with the nearest name."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from ostinato.connectors.end_settings import KafkaSinkSettings
from ostinato.connectors.settings import read_settings, settings_of
from ostinato.errors import InputError


def whole(**sections: dict[str, Any]) -> dict[str, Any]:
    """A file with a few sections changed."""
    content: dict[str, Any] = {
        "service": {"model": "m"},
        "source": {"kind": "kafka", "brokers": "b:1", "topic": "in"},
        "sink": {"kind": "kafka", "topic": "out"},
    }
    for name, members in sections.items():
        content[name] = {**content.get(name, {}), **members}
    return content


def test_what_is_left_out_has_its_default() -> None:
    settings = settings_of(whole())
    assert settings.sink == KafkaSinkSettings("out")
    assert (settings.source.group, settings.batch.readings, settings.metrics.port) == ("ostinato", 4096, 0)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"sorce": {}}, "the file has no section 'sorce'; did you mean source?"),
        ({"source": {"broker": "b"}}, r"\[source\] has no member 'broker'; did you mean brokers"),
        ({"source": {"kind": "kafak"}}, r"\[source\] kind: 'kafak' is none; did you mean kafka"),
        ({"mapping": {"format": "jsn"}}, r"\[mapping\] format: 'jsn' is none; did you mean json"),
        ({"late": {"rule": "hold"}}, "needs a time"),
        ({"mapping": {"time": "t"}, "late": {"rule": "hold"}}, "window_seconds"),
        ({"mapping": {"time": "t"}, "late": {"rule": "drop", "window_seconds": 1}}, "window_seconds is for rules"),
        ({"batch": {"readings": 8193}}, "not from 1 to 8192"),
        ({"batch": {"readings": "many"}}, r"\[batch\] readings: not a whole number: 'many'"),
        ({"batch": {"wait_seconds": -1}}, r"\[batch\] wait_seconds: -1.0 is not from 0 to 60"),
        ({"service": {"timeout_seconds": 0}}, r"timeout_seconds: 0.0 is not from 0.01"),
        ({"service": {"timeout_seconds": math.inf}}, r"timeout_seconds: inf is not from 0.01"),
        ({"service": {"version": "7"}}, "has no member 'version'"),
        ({"sink": {"transaction_seconds": math.nan}}, "nan is not from 0.1 to 900"),
        ({"source": {"start": "erliest"}}, "'erliest' is none; did you mean earliest"),
        ({"mapping": {"time": "t"}, "late": {"rule": "hold", "window_seconds": math.inf}}, "inf is not from 0"),
        ({"mapping": {"time": "t", "time_unit": "min"}}, "time_unit: 'min' is none"),
        ({"metrics": {"port": 70_000}}, "70000 is not from 0 to 65535"),
        ({"metrics": {"port": True}}, "not a whole number: True"),
        ({"mapping": {"format": "binary"}}, "layout is absent"),
        ({"source": {"kind": "stdin", "brokers": 1}}, "has no member 'brokers'"),
    ],
)
def test_what_cannot_be_is_refused_by_its_place(changed: dict[str, dict[str, Any]], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        settings_of(whole(**changed))


def test_a_sink_needs_brokers_where_the_source_has_none() -> None:
    content = whole()
    content["source"] = {"kind": "stdin"}
    with pytest.raises(InputError, match=r"\[sink\] brokers is absent"):
        settings_of(content)


def test_lines_are_no_binary_messages() -> None:
    content = whole(mapping={"format": "binary", "layout": "x:<f4", "key": "x"})
    content["source"] = {"kind": "file", "path": "x"}
    with pytest.raises(InputError, match="'binary' is for messages"):
        settings_of(content)


def test_a_file_is_named_in_what_is_wrong_with_it(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    for content, sentence in (
        ("[service", "not TOML"),
        ("[service]\n", "section .source. is absent"),
        (None, "No such"),
    ):
        if content is None:
            path.unlink()
        else:
            path.write_text(content)
        with pytest.raises(InputError, match=rf"{path}.*{sentence}"):
            read_settings(path)


def test_passwords_are_in_no_picture_of_the_settings() -> None:
    told = repr(settings_of(whole(service={"key": "secret-1"}, source={"options": {"sasl.password": "secret-2"}})))
    assert "secret" not in told


WEBHOOK = {"url": "https://hooks.example/very-secret", "secret_file": "secret"}


def test_a_webhook_has_its_defaults_and_its_address_is_not_shown() -> None:
    webhook = settings_of(whole(webhook=WEBHOOK)).webhook
    assert webhook is not None
    assert (webhook.events, webhook.link, webhook.outbox) == ((), "{service}/v1/sessions/{session}", "webhooks.db")
    assert "very-secret" not in repr(webhook)
    assert settings_of(whole()).webhook is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"url": "hooks.example/x"}, "[webhook] url: not http://HOST/PATH"),
        ({"url": "https://me:very-secret@hooks.example"}, "[webhook] url: not http://HOST/PATH"),
        ({"url": "https://hooks.example/very secret"}, "[webhook] url: not http://HOST/PATH"),
        ({"url": "https://hooks..example/very-secret"}, "[webhook] url: not http://HOST/PATH"),
        ({"url": "https://[hooks/very-secret"}, "[webhook] url: not http://HOST/PATH"),
        ({"events": ["anomaly_begin"]}, "[webhook] events: 'anomaly_begin' is none; did you mean anomaly_began"),
        ({"link": "https://g/{sesion}"}, "[webhook] link: there is no {sesion}; there is {service}, {session}"),
        ({"timeout_seconds": 0}, "[webhook] timeout_seconds: 0.0 is not from 0.01 to"),
        ({"max_waiting": 0}, "[webhook] max_waiting: 0 is not from 1 to"),
        ({"secret": "x"}, "[webhook] has no member 'secret'; did you mean secret_file or"),
    ],
)
def test_what_a_webhook_cannot_be_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as told:
        settings_of(whole(webhook={**WEBHOOK, **changes}))
    assert sentence in str(told.value)
    assert "very-secret" not in str(told.value)


def test_a_count_of_the_messages_and_held_readings_do_not_go_together() -> None:
    content = whole(mapping={"time": "t"}, late={"rule": "hold", "window_seconds": 1.0})
    content["source"] = {"kind": "mqtt", "topic": "in/+"}
    content["sink"] = {"kind": "stdout"}
    assert settings_of(content).late.rule == "hold"
    content["source"]["offset"] = "seq"
    with pytest.raises(InputError, match="do not go together"):
        settings_of(content)
