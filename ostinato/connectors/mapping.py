"""The mapping: messages become readings, each with its key, its time and a row of the model's input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.connectors.arrivals import Messages, Readings, Refusal, no_inputs
from ostinato.connectors.bounds import nearest
from ostinato.connectors.features import ReadingFeatures, check_feature_names
from ostinato.connectors.formats import Faults, Members, format_of
from ostinato.connectors.session_ids import MAX_ID, session_id_of
from ostinato.connectors.settings import UNITS, MappingSettings

MAX_TIME = 2**62


class Mapping:
    """What is a message's key, its time, and each feature.

    Raises:
        InputError: names that the model or the messages do not have.
    """

    def __init__(
        self, settings: MappingSettings, features: ReadingFeatures, offset: str = "", max_id: int = MAX_ID
    ) -> None:
        check_feature_names(features.names, settings.inputs, nearest)
        self.features = features
        self._prefix = settings.prefix
        self._max_id = max_id
        self._unit = UNITS[settings.time_unit]
        self._has_key, self._has_time = bool(settings.key), bool(settings.time)
        extra = [name for name in (settings.key, settings.time, offset) if name]
        self._num_extra = len(extra)
        self._has_offset = bool(offset)
        self.format = format_of(settings, [*extra, *(settings.inputs.get(name, name) for name in features.names)])
        self.format.check()
        self._session_ids: dict[str, str] = {}

    def session_id(self, key: str) -> str:
        """The session of a key that was read."""
        return self._session_ids[key]

    def read(self, messages: Messages) -> tuple[Readings, list[Refusal]]:
        """The readings of a partition's messages, and those that are none."""
        found, faults = self.format.read(messages.values)
        if not faults and self._num_extra == 0:
            inputs = self.features.array(found)
        else:
            inputs = None if faults else self.features.array([row[self._num_extra :] for row in found])
        if inputs is None:
            inputs = self._row_by_row(found, faults)
        keys = self._keys(messages, found, faults)
        times, shown = self._times(found, faults)
        offsets = self._offsets(messages, found, faults)
        faults.update(
            {row: reason for row, reason in self.features.faults(inputs).items() if row not in faults}
            if len(inputs)
            else {}
        )
        indices = list(range(len(messages)))
        if not faults:
            return Readings(messages, offsets, keys, times, shown, inputs, indices), []
        good = [index not in faults for index in indices]
        readings = Readings(
            messages,
            list(compress(offsets, good)),
            list(compress(keys, good)),
            list(compress(times, good)),
            list(compress(shown, good)),
            inputs[np.array(good, bool)],
            list(compress(indices, good)),
        )
        refusals = [
            Refusal(messages.partition, messages.offsets[index], messages.keys[index], messages.values[index], reason)
            for index, reason in sorted(faults.items())
        ]
        return readings, refusals

    def keys_of(self, messages: Messages) -> set[str]:
        """The keys among a partition's messages, those that can be read."""
        readings, _ = self.read(messages)
        return set(readings.keys)

    def _row_by_row(self, found: Sequence[Members], faults: Faults) -> NDArray[Any]:
        width = len(self.features.names)
        inputs = np.zeros((len(found), width), self.features.dtype) if found else no_inputs(width, self.features.dtype)
        for place, members in enumerate(found):
            if place in faults:
                continue
            try:
                with np.errstate(over="ignore"):
                    inputs[place] = self.features.row(members[self._num_extra :])
            except (ValueError, OverflowError) as error:
                faults[place] = str(error)
        return inputs

    def _keys(self, messages: Messages, found: Sequence[Members], faults: Faults) -> list[str]:
        """The key of each; each is given its session's id when it is first met."""
        given: list[Any] = (
            [row[0] if row else None for row in found]
            if self._has_key
            else [None if key is None else key.decode("utf-8", "surrogateescape") for key in messages.keys]
        )
        known = self._session_ids
        keys = [key if type(key) is str else _key_text(key) for key in given]
        for place, key in enumerate(keys):
            if key not in known and place not in faults:
                try:
                    known[key] = session_id_of(key, self._prefix, self._max_id)
                except ValueError as error:
                    faults[place] = "it has no key" if given[place] is None else str(error)
        return keys

    def _times(self, found: Sequence[Members], faults: Faults) -> tuple[list[int], list[Any]]:
        if not self._has_time:
            return [], []
        place = int(self._has_key)
        shown = [row[place] if row else None for row in found]
        times = []
        for index, time in enumerate(shown):
            micros = 0
            if index not in faults:
                try:
                    micros = to_microseconds(time, self._unit)
                except ValueError as error:
                    faults[index] = str(error)
            times.append(micros)
        return times, shown

    def _offsets(self, messages: Messages, found: Sequence[Members], faults: Faults) -> list[int]:
        """The messages' own, or those that a member of each tells."""
        if not self._has_offset:
            return messages.offsets
        offsets = []
        for index, row in enumerate(found):
            offset = row[self._num_extra - 1] if row else 0
            if type(offset) is not int or not 0 <= offset < MAX_TIME:
                faults.setdefault(index, f"{offset!r} is no offset: a whole number from 0 on")
                offset = 0
            offsets.append(offset)
        return offsets


def to_microseconds(time: Any, unit: int = 1_000_000) -> int:
    """A time since 1970: of a number, in units of so many microseconds, or of a text of ISO 8601 (in UTC where it names
    no zone).

    Raises:
        ValueError: it is neither.
    """
    if isinstance(time, str):
        try:
            time = float(time)
        except ValueError:
            return _of_text(time)
    if isinstance(time, bool) or not isinstance(time, int | float) or not math.isfinite(time):
        raise ValueError(f"{str(time)[:60]!r} is no time")
    micros = round(time * unit)
    if abs(micros) > MAX_TIME:
        raise ValueError(f"{str(time)[:60]!r} is no time within reach")
    return micros


def _of_text(time: str) -> int:
    try:
        stamp = datetime.fromisoformat(time)
    except ValueError:
        raise ValueError(f"{time[:60]!r} is no time") from None
    stamp = stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)
    since = stamp - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _key_text(key: Any) -> str:
    """A key that is no text: whole numbers as they are written, all else is none."""
    return str(key) if type(key) is int else ""
