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
    """What a service would have that is started here: whoever runs its models elsewhere heeds the same limits, and runs
    them on the same device.

    Raises:
        SettingsError: as by ``configuration_of``; or the device is not there.
        ModuleNotFoundError: a library is missing.
    """
    settings = configuration_of({}, os.environ).settings
    if settings.device != "cpu":
        from ostinato.service.startup import check_device

        try:
            check_device(settings)
        except ValueError as error:
            raise SettingsError(str(error)) from error
    return settings


def choose_device(device: str | None) -> None:
    """Run models there in this process and in those that it starts; None = wherever the settings say."""
    if device is not None:
        from ostinato.service.config import variable_of

        os.environ[variable_of("device")] = device
