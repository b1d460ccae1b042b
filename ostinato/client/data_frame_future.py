"""Known future of sessions, in a data frame: of each id, or of all alike where it has no such column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ostinato.client.data_frame import GivenDataFrame
from ostinato.client.data_frame_rows import FrameRows, id_text
from ostinato.client.shapes import ModelTensors
from ostinato.errors import InputError


class KnownFuture:
    """The steps ahead of some ids, the first ``horizon`` rows of each. Columns that are no input of the model, or that
    it forecasts itself, are passed over.

    Attributes:
        has_moments: whether it has the times of the steps ahead.

    Raises:
        InputError: it has too few rows of an id, or nothing that the model takes; a value cannot be read.
    """

    def __init__(
        self,
        frame: Any,
        shape: ModelTensors,
        model: str,
        ids: Sequence[Any],
        horizon: int,
        *,
        id: str,  # noqa: A002
        time: str | None,
    ) -> None:
        self._rows: dict[str, list[int]] = {}
        self._values: dict[str, list[Any]] = {}
        self._moments: list[Any] = []
        self.has_moments = frame is not None and time is not None
        if frame is None:
            return
        given = GivenDataFrame(frame)
        names = [name for name in shape.known_features if name in given]
        if not names and time is None:
            known = ", ".join(shape.known_features) or "none"
            raise InputError(f"known_future has no input whose future {model!r} takes; there are: {known}")
        rows = FrameRows(given, id if id in given else None, time)
        for name in map(id_text, ids):
            found = rows.positions.get(name if id in given else "", [])
            if len(found) < horizon:
                raise InputError(f"known_future has {len(found)} rows of {name!r}, and the horizon is {horizon}")
            self._rows[name] = found[:horizon]
        parts = {name: part for part in shape.inputs for name in part.features or ()}
        self._values = {name: rows.column(name, parts[name]).tolist() for name in names}
        self._moments = [] if time is None else given.values(time)

    def alike(self, names: Sequence[Any]) -> list[tuple[dict[str, list[Any]], list[int]]]:
        """What is known of the future, feature -> its values, and the places of the ids of which just that is known."""
        found: dict[str, tuple[dict[str, list[Any]], list[int]]] = {}
        for place, name in enumerate(names):
            rows = self._rows.get(id_text(name), [])
            known = {feature: [values[row] for row in rows] for feature, values in self._values.items()}
            found.setdefault(repr(known), (known, []))[1].append(place)
        return list(found.values())

    def moments(self, name: Any) -> list[Any]:
        """The times of the steps ahead of an id."""
        return [self._moments[row] for row in self._rows[id_text(name)]]
