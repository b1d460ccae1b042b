"""The reading of settings, and the one sentence in which a wrong one is told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from ostinato.service.config.settings import Settings
from ostinato.service.config.sources import SECRETS, GivenValue, gather


@dataclass(frozen=True)
class Configuration:
    """Settings, and where each was given.

    Attributes:
        given: by the settings' names; those that are not there have their defaults.
    """

    settings: Settings
    given: Mapping[str, GivenValue]

    def named(self, sentence: str) -> str:
        """A sentence that begins with flags (``--workers 2: ...``), with what was given in their places."""
        subject, colon, rest = sentence.partition(": ")
        return re.sub(r"--([a-z]+(?:-[a-z]+)*)", self._given_as, subject) + colon + rest

    def _given_as(self, flag: re.Match[str]) -> str:
        given = self.given.get(flag[1].replace("-", "_"))
        return flag[0] if given is None else given.place


def read_configuration(flags: Mapping[str, object], environment: Mapping[str, str]) -> Configuration:
    """The settings that are given, and where: flags go before variables, and these before the configuration file.

    Args:
        flags: by the settings' names; besides ``config``, the path of the file, and ``state_file``.
        environment: the process's.

    Raises:
        ValueError: one of them cannot be; in one sentence, which, what it was and what it may be.
    """
    given, faults = gather(flags, environment)
    values = {name: field.default for name, field in Settings.model_fields.items()}
    try:
        # All of them, or the environment of this process would be asked for the others.
        settings = Settings(**values | {name: each.value for name, each in given.items()})
    except ValidationError as error:
        for fault in error.errors():
            name = str(fault["loc"][0])
            reason = f"{fault['msg'][0].lower()}{fault['msg'][1:]}"
            faults.append(f"{_shown(given[name], str(fault['input']))}: {reason}")
    if faults:
        raise ValueError("; ".join(faults))
    return Configuration(settings, given)


def redacted(text: str) -> str:
    """What may be shown of an address: without what it may hold of a user and of passwords."""
    if text.startswith(("lmdb://", "memory://")):
        return text
    hidden = re.sub(r"^([a-z+]*:/*)?.*@", r"\1***@", text, flags=re.DOTALL | re.IGNORECASE)
    return re.sub(r"((?:pass|secret|token|sig)[a-z_]*=)[^&,\s]*", r"\1***", hidden, flags=re.IGNORECASE)


def shown_secret(text: str) -> str:
    """What may be shown of a setting that may be a secret: of an address all but the secret, and else nothing."""
    if "://" not in text:
        return "***"
    # What is asked of a store are its options; anywhere else it may be a signature.
    shown = redacted(text)
    return shown if text.startswith(("redis", "lmdb:", "memory:")) else re.sub(r"\?[^\s,]*", "?***", shown)


def _shown(given: GivenValue, value: str) -> str:
    """Where a wrong value was given, and what it was."""
    if given.secret_file is not None:
        return f"{given.place} {given.secret_file}"
    return f"{given.place} {(shown_secret if given.setting in SECRETS else redacted)(value)!r}"
