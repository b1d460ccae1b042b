"""The sources of settings: flags, then variables, then the configuration file. Of each setting the first one counts."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ostinato.service.config.places import absolute_path
from ostinato.service.config.settings import Settings
from ostinato.service.config.toml_file import ConfigurationFile, read_file
from ostinato.service.config.traits import PREFIX, Traits, flag_of, traits_of, variable_of

CONFIG = "config"
"""No setting, but given as one is: the path of the configuration file."""
FILE = "_file"
"""``state_file`` is the path of a file that holds the setting ``state``; each setting that may be a secret has one."""
OF_CLIENTS = {"url"}
"""What variables of our prefix tell other commands."""
EMPTY = "is empty; give a value, or leave it out"
MAX_SECRET_BYTES = 64 * 1024

TRAITS = traits_of(Settings.model_fields)
SECRETS = {name for name, traits in TRAITS.items() if traits.is_secret}
NAMES = {*TRAITS, *(f"{name}{FILE}" for name in SECRETS)}
"""Whatever a source may give."""


@dataclass(frozen=True)
class GivenValue:
    """What a source says of one setting.

    Attributes:
        name: the setting's, or with ``_file`` at its end that of a file which holds it.
        value: of it; of a file, what is in it as soon as ``read_secret`` was there.
        source: ``--port``, ``OSTINATO_PORT`` or ``ostinato.toml, line 3``.
        is_of_file: whether the configuration file gave it.
        secret_file: the path of the file that holds it; None = it was given as it is.
    """

    name: str
    value: Any
    source: str
    is_of_file: bool = False
    secret_file: Path | None = None

    @property
    def place(self) -> str:
        """What an error names."""
        return f"{self.name} ({self.source})" if self.is_of_file else self.source

    @property
    def setting(self) -> str:
        """The setting's name."""
        return self.name if self.name in TRAITS else self.name.removesuffix(FILE)

    @property
    def is_out_of_sight(self) -> bool:
        """Whether it is a secret that stands in a file, so that nobody finds it in a variable."""
        return self.setting in SECRETS and (self.is_of_file or self.secret_file is not None)


def gather(flags: Mapping[str, object], environment: Mapping[str, str]) -> tuple[dict[str, GivenValue], list[str]]:
    """What is given, by settings, and a sentence for each fault that shows already."""
    faults: list[str] = []
    given: dict[str, GivenValue] = {}
    variables = list(_of_environment(environment, faults))
    try:
        if file := _configuration_file(flags, variables):
            given |= _settled(_of_file(file, faults), faults)
    except ValueError as error:
        faults.append(str(error))
    given |= _settled((each for each in variables if each.name != CONFIG), faults)
    given |= _settled(
        (GivenValue(name, value, flag_of(name)) for name, value in flags.items() if name != CONFIG), faults
    )
    for name, each in list(given.items()):
        try:
            given[name] = _read_secret(each)
            _check(given[name])
        except ValueError as error:
            faults.append(str(error))
            del given[name]
    return given, faults


def unknown_variables(names: Iterable[str]) -> list[str]:
    """A sentence for each variable that has our prefix and is no setting."""
    sentences = []
    for name in sorted(set(names)):
        # A variable is read whatever its case.
        setting = name.lower().removeprefix(PREFIX.lower())
        if setting != name.lower() and setting not in {*NAMES, CONFIG, *OF_CLIENTS}:
            sentences.append(f"{name} is no setting and is not heeded{_meant(setting, variable_of)}")
    return sentences


def _meant(name: str, written: Callable[[str], str]) -> str:
    close = difflib.get_close_matches(name.lower().replace("-", "_"), [*TRAITS, *sorted(NAMES - {*TRAITS})], n=1)
    return f"; did you mean {written(close[0])}?" if close else ""


def _configuration_file(flags: Mapping[str, object], variables: Iterable[GivenValue]) -> ConfigurationFile | None:
    named = next((each for each in variables if each.name == CONFIG), None)
    if CONFIG in flags:
        named = GivenValue(CONFIG, flags[CONFIG], flag_of(CONFIG))
    if named is None:
        return None
    path = str(named.value)
    if not path.strip():
        raise ValueError(f"{named.place} {EMPTY}")
    try:
        return read_file(Path(path))
    except OSError as error:
        raise ValueError(f"{named.place} {path}: {(error.strerror or str(error)).lower()}") from None


def _of_environment(environment: Mapping[str, str], faults: list[str]) -> Iterable[GivenValue]:
    found: dict[str, GivenValue] = {}
    for variable in sorted(environment):  # OSTINATO_PORT before ostinato_port, which is read, too
        name = variable.lower().removeprefix(PREFIX.lower())
        if name == variable.lower() or name not in {*NAMES, CONFIG}:
            continue
        value = GivenValue(name, environment[variable], variable)
        if name in found and found[name].value != value.value:
            faults.append(f"{found[name].source} and {variable} differ; one of them is enough")
        found.setdefault(name, value)
    return found.values()


def _of_file(file: ConfigurationFile, faults: list[str]) -> Iterable[GivenValue]:
    for name, value in file.members.items():
        place = file.place_of(name)
        if isinstance(value, dict):
            faults.append(f"{place}: {_plain(name)} is a table; settings are in none")
        elif name not in NAMES:
            meant = _meant(name.lower().removeprefix(PREFIX.lower()), str)
            faults.append(f"{place}: {_plain(name)} is no setting{meant}")
        else:
            yield GivenValue(name, _from_folder(name, value, file.folder), place, is_of_file=True)


def _plain(name: str) -> str:
    """A name in one line, whatever it is made of."""
    return name if name.isidentifier() else repr(name)


def _from_folder(name: str, value: Any, folder: Path) -> Any:
    """A member as it is for whoever does not know where the file is."""
    traits = TRAITS.get(name)
    absolute = absolute_path if traits is None else traits.absolute
    if isinstance(value, str) and value and absolute is not None:
        return absolute(value, folder)
    is_list = isinstance(value, list) and all(isinstance(each, str) for each in value)
    if is_list and traits is not None and traits.kind is str and not traits.is_secret:
        return ",".join(value)
    return value


def _settled(given: Iterable[GivenValue], faults: list[str]) -> dict[str, GivenValue]:
    """One source's values by their settings, of which each is given once."""
    settled: dict[str, GivenValue] = {}
    for each in given:
        other = settled.get(each.setting)
        if other is not None:
            faults.append(f"{other.place} and {each.place} give the same setting; leave one of them out")
        settled[each.setting] = each
    return settled


def _read_secret(given: GivenValue) -> GivenValue:
    """It with what is in its file, where it names one: one line, as ``echo`` writes it.

    Raises:
        ValueError: the file cannot be read, or is not of this form; in one sentence, with nothing of what is in it.
    """
    if given.name in TRAITS:
        return given
    if not str(given.value).strip():
        raise ValueError(f"{given.place} {EMPTY}")
    path = Path(str(given.value))
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1)
        secret = content.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError(f"{given.place} {path}: it is no UTF-8") from None
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise ValueError(f"{given.place} {path}: {reason}") from None
    if not secret or len(content) > MAX_SECRET_BYTES or "\n" in secret:
        raise ValueError(f"{given.place} {path}: it is to hold one line, and nothing else")
    return replace(given, value=secret, secret_file=path)


def _check(given: GivenValue) -> None:
    """See that a value is one, and of the form that its setting has; what it may be is said by ``Settings``.

    Raises:
        ValueError: it is not.
    """
    traits: Traits = TRAITS[given.setting]
    value = given.value
    if isinstance(value, str) and not value.strip() and not traits.may_be_empty:
        raise ValueError(f"{given.place} {EMPTY}")
    if isinstance(value, str) and "\0" in value:
        raise ValueError(f"{given.place}: there is a NUL in it")
    if isinstance(value, bool) and traits.kind is not bool:
        raise ValueError(f"{given.place} {str(value).lower()}: it is no switch")
