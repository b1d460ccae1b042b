"""The access log: a line for some of the requests that were answered, and for each that failed of us."""

from __future__ import annotations

import logging
import random
from typing import NamedTuple

from ostinato.service.edge.tags import Tag, printable

logger = logging.getLogger("ostinato.access")


class Answered(NamedTuple):
    """A request and how it was answered.

    Attributes:
        route: its pattern; "none" = there is none.
        seconds: from when its body was there.
        num_bytes: of the answer's body; None = it was written as it was made.
        client: who sent it, as ``127.0.0.1:53124``; empty = nobody knows.
        key, tenant: by which it came, and for whom; empty = there are no keys.
    """

    method: str
    path: str
    route: str
    status: int
    seconds: float
    num_bytes: int | None
    tag: Tag
    client: str = ""
    key: str = ""
    tenant: str = ""


class AccessLog:
    """Writes the lines.

    Args:
        share: of the requests that are written down, 0 to 1; those with a status of 500 and more all are.
    """

    def __init__(self, share: float) -> None:
        self._share = share

    def is_due(self, status: int) -> bool:
        """Whether a request that was answered so is to be told."""
        return status >= 500 or self._share >= 1 or random.random() < self._share

    def tell(self, answered: Answered) -> None:
        """Write one line."""
        path = printable(answered.path)
        size = "" if answered.num_bytes is None else f" {answered.num_bytes} bytes"
        source = f" from {answered.client}" if answered.client else ""
        key = f" by key {answered.key}" if answered.key else ""
        fields = {
            "method": answered.method,
            "path": path,
            "route": answered.route.replace("{}", "{name}"),
            "status": answered.status,
            "seconds": round(answered.seconds, 6),
            "bytes": answered.num_bytes,
            "client": answered.client,
            "key": answered.key,
            "tenant": answered.tenant,
        }
        logger.info(
            "%s %s %d in %.2f ms%s%s%s%s",
            answered.method,
            path,
            answered.status,
            answered.seconds * 1e3,
            size,
            source,
            key,
            answered.tag.label,
            extra={name: value for name, value in fields.items() if value not in ("", None)} | answered.tag.fields,
        )
