"""pyarrow without pandas, which it imports with its first array where it is installed: no worker has a use for it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

import pyarrow as pa

HIDDEN = "pandas"


class Hiding:
    """Finds no pandas, where Python would."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See ``importlib.abc.MetaPathFinder``.

        Raises:
            ModuleNotFoundError: pandas is asked for.
        """
        del path, target
        if fullname.partition(".")[0] == HIDDEN:
            raise ModuleNotFoundError(f"{HIDDEN} is not asked for here", name=fullname)
        return None


def settle() -> None:
    """Have pyarrow look for pandas now, once and without success, unless somebody has imported it; for others it is
    there.

    It would take a worker 0.3 s of its start, and 40 MB.
    """
    if HIDDEN in sys.modules:
        return
    hiding = Hiding()
    sys.meta_path.insert(0, hiding)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(hiding)
