"""Beginnings of a foreign graph's states: what one row of each begins with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.export.errors import ExportError
from ostinato.export.importing.layouts import AxisRoles, normal


def first_row(given: NDArray[Any] | None, name: str, roles: AxisRoles, dtype: str) -> NDArray[Any]:
    """What one row of a state begins with, in its sizes without the batch.

    Args:
        given: a number, a row, or a batch in the file's axes, of which the first counts; None = zeros.

    Raises:
        ExportError: it has another shape.
    """
    shape = tuple(size for size in normal(roles) if isinstance(size, int))
    if given is None:
        return np.zeros(shape, dtype)
    row = given
    if row.shape != shape and row.ndim == len(roles) and "B" in roles:
        row = np.take(row, 0, axis=roles.index("B"))
    if row.size == 1:
        return np.full(shape, row.ravel()[0]).astype(dtype)
    if row.shape != shape:
        raise ExportError(f"what state {name!r} begins with has shape {list(given.shape)}, and one row {list(shape)}")
    return row.astype(dtype)
