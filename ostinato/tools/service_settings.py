"""Settings of the service, as commands read them: what is wrong is a sentence for the user."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ostinato.errors import SettingsError

if TYPE_CHECKING:
    from ostinato.service.config import Configuration, Settings


def configuration_of(flags: Mapping[str, object], environment: Mapping[str, str]) -> Configuration:
    """What ``ostinato.service.config`` reads.

    Raises:
        SettingsError: a setting cannot be; names what was given.
    """
    from ostinato.service.config import read_configuration

    try:
        return read_configuration(flags, environment)
    except ValueError as error:
        raise SettingsError(str(error)) from None


def settings_of_the_service() -> Settings:
    """What a service would have that is started here: whoever runs its models elsewhere heeds the same limits.

    Raises:
        SettingsError: as by ``configuration_of``.
    """
    return configuration_of({}, os.environ).settings
