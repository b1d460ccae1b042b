"""The printing of a configuration: a file that ``--config`` takes, and where each value was given."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path

from pydantic import ByteSize

from ostinato.service.config.reading import Configuration, shown_secret
from ostinato.service.config.sources import FILE, TRAITS
from ostinato.service.config.traits import Traits, written


def as_toml(configuration: Configuration) -> str:
    """Every setting as it is in effect, by topics, with its source behind it. Of a secret, the file that holds it is
    named; else it is a comment, without the secret.
    """
    parts = []
    for topic, settings in groupby(TRAITS.values(), lambda each: each.topic):
        parts.append(f"# {topic.value}\n" + "".join(f"{_line(each, configuration)}\n" for each in settings))
    return "\n".join(parts)


def _line(traits: Traits, configuration: Configuration) -> str:
    value = getattr(configuration.settings, traits.name)
    given = configuration.given.get(traits.name)
    source = "default" if given is None else given.source
    if given is not None and given.secret_file is not None:
        return f"{traits.name}{FILE} = {_toml(given.secret_file.absolute())}  # {source}"
    if given is not None and traits.is_secret and (hidden := shown_secret(value)) != value:
        return f"# {traits.name} = {_toml(hidden)}  # {source}; a secret, which is not shown"
    if value is None:
        return f"# {traits.name} is left out: {traits.default}"
    if traits.absolute is not None:
        value = traits.absolute(str(value), Path.cwd())
    return f"{traits.name} = {_toml(value)}  # {source}"


def _toml(value: object) -> str:
    """A value as TOML has it, which is as JSON has it where it is words."""
    if isinstance(value, bool | int | float) and not isinstance(value, ByteSize):
        return written(value)
    return json.dumps(written(value), ensure_ascii=True).replace("\x7f", "\\u007f")
