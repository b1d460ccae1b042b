"""The handing on of settings to child processes, which so read what their parent has read, whatever became of files.

Workers are started again hours later. By then the configuration file may be another, and a secret's, too: one worker
would speak to another store than the rest.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ostinato.service.config.reading import Configuration
from ostinato.service.config.sources import CONFIG, FILE, NAMES, SECRETS, TRAITS
from ostinato.service.config.traits import variable_of

FILES = {variable_of(name) for name in (CONFIG, *(f"{secret}{FILE}" for secret in SECRETS))}
"""Variables that name files."""
HELD = "/proc/self/fd/"
"""A file without a name, in memory, which only this process and its children have."""


def names_files(environment: Mapping[str, str]) -> bool:
    """Whether a variable names a file that settings are in."""
    return any(name.upper() in FILES for name in environment)


def handed_on(configuration: Configuration, environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """An environment in which no file of the operator's is asked for a setting again, and no path depends on a folder.

    What is no secret becomes a variable. A secret that was in a file is in no variable: it is held in memory, by a
    descriptor that children inherit, until the process ends.

    Args:
        environment: that of this process, which is not changed.
        folder: what paths are written from.
    """
    ours = {variable_of(name) for name in {*NAMES, CONFIG}}
    handed = {name: value for name, value in environment.items() if name.upper() not in ours}
    for name, traits in TRAITS.items():
        given = configuration.given.get(name)
        value = getattr(configuration.settings, name) if given is None else given.value
        if value is None or (given is None and (traits.absolute is None or value == "")):
            continue
        text = str(value) if traits.absolute is None else traits.absolute(str(value), folder)
        if given is None or not given.is_out_of_sight:
            handed[variable_of(name)] = text
        elif str(given.secret_file).startswith(HELD):
            handed[variable_of(f"{name}{FILE}")] = str(given.secret_file)
        else:
            handed[variable_of(f"{name}{FILE}")] = _hold(text)
    return handed


def _hold(secret: str) -> str:
    """The path of a file that holds it, for this process and its children."""
    descriptor = os.memfd_create("ostinato-secret")
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(secret.encode())
    os.set_inheritable(descriptor, True)
    return f"{HELD}{descriptor}"
