"""Back-fills on Ray: its actors make the parts, by the code that makes them without Ray, on one machine or on many.

All machines see the files and the folder of the output under the same names, as on a shared disk.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ostinato.errors import CommandError
from ostinato.tools.backfill.asked import Backfill
from ostinato.tools.backfill.workers import Done

LOCAL = "local"
OBJECT_STORE_BYTES = 150_000_000
"""Of a Ray that is started here: nothing goes through it but the numbers of parts."""


@contextmanager
def connected(address: str, num_workers: int) -> Iterator[None]:
    """A connection to a cluster, or to one that is started here and ends with it; where there is one, it is taken.

    Raises:
        CommandError: nobody answers there.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address == LOCAL:
        options |= {
            "num_cpus": num_workers,
            "object_store_memory": OBJECT_STORE_BYTES,
            "include_dashboard": False,
        }
    try:
        _begin(address, options)
        yield
    finally:
        ray.shutdown()


def _begin(address: str, options: dict[str, Any]) -> None:
    import ray

    try:
        ray.init(address, **options)
    except Exception as error:  # what Ray raises of a start that took it too long has no class of its own
        raise CommandError(f"--ray {address}: {str(error).partition(chr(10))[0]}") from error


def make_parts_on_ray(asked: Backfill, indices: Sequence[int], num_workers: int, done: Done) -> None:
    """Make parts by actors of the cluster that this process is connected to.

    ``num_workers``: actors, of one processor each; all that the cluster has, where it is 0.

    Raises:
        CommandError: a part could not be made; says why.
    """
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    if not indices:
        return
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.verbose_progress = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    cores = int(ray.cluster_resources().get("CPU", 1))  # type: ignore[no-untyped-call]
    size = max(1, min(num_workers or cores, cores, len(indices)))
    parts = ray.data.from_items([{"part": index} for index in indices], override_num_blocks=len(indices))
    made = parts.map_batches(
        RayPartMaker, fn_constructor_args=(asked,), batch_size=1, compute=ActorPoolStrategy(size=size), num_cpus=1
    )
    for row in made.iter_rows():
        if row["error"]:
            raise CommandError(row["error"])
        done(int(row["rows"]))


class RayPartMaker:
    """An actor of Ray Data, to which batches are parts of the file: whole sequences, by their ids."""

    def __init__(self, asked: Backfill) -> None:
        from ostinato.tools.backfill.part_maker import PartMaker

        self._asked, self._maker = asked, PartMaker(asked)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """The rows that were done of each part, or why they were not: what Ray makes of an exception is for those who
        know Ray.
        """
        from ostinato.errors import CommandError
        from ostinato.service.errors import OstinatoError

        rows, errors = [], []
        for index in map(int, batch["part"]):
            error = ""
            try:
                self._maker.make(index)
            except (CommandError, OstinatoError) as found:
                error = str(found)
            rows.append(self._asked.cuts[index + 1] - self._asked.cuts[index])
            errors.append(error)
        return {"rows": rows, "error": errors}
