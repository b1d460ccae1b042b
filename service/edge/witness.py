"""The witness of one call or stream: what is counted, logged and traced of what came by it."""

from __future__ import annotations

import re
import time
from typing import Any

from ostinato.service.edge.access import Caller
from ostinato.service.edge.access_log import Answered
from ostinato.service.edge.desk import Desk
from ostinato.service.edge.problems import Problem
from ostinato.service.edge.tags import NO_TAG, Tag

_GRPC_KIND = re.compile("^ipv[46]:")
"""What gRPC puts in front of an address."""


class Witness:
    """Sees the requests of one call or stream come and go.

    Args:
        method: how the access log has them, as ``FRAME``.
        route: the pattern of their path, by which they are counted.
        path: as the client has it.
        tag: what the call is called.
        peer: who sends.
        caller: whose call it is; None = nobody knows, or there are no keys.

    Attributes:
        desk: by whose rules the requests go.
        caller: see above; it may be found later.
    """

    def __init__(
        self,
        desk: Desk,
        method: str,
        route: str,
        path: str,
        *,
        tag: Tag = NO_TAG,
        peer: str = "",
        caller: Caller[Any] | None = None,
    ) -> None:
        self.desk = desk
        self._method, self._route, self._path = method, route, path
        self._tag, self._peer, self.caller = tag, _GRPC_KIND.sub("", peer), caller

    def begin(self, arrived_at: float) -> Any:
        """The span of a request, for ``end``, which is the current one from now on; None = it is not traced."""
        return self.desk.begin_span(self._method, self._route, self._tag, arrived_at)

    def refuse(self, error: BaseException, what: str) -> Problem:
        """See ``Desk.refuse``."""
        return self.desk.refuse(error, what, self._tag)

    def end(
        self, status: int, arrived_at: float, span: Any = None, *, code: str = "", num_bytes: int | None = None
    ) -> None:
        """A request was answered.

        Args:
            code: the word of its error; empty = it has none.
            num_bytes: of its answer, where that is known.
        """
        desk = self.desk
        seconds = time.perf_counter() - arrived_at
        desk.observe(self._route, status, seconds)
        if span is not None:
            desk.end_span(span, status, code)
        if desk.access_log is not None:
            asked = self._method, self._path, self._route
            answered = Answered(*asked, status, seconds, num_bytes, self._tag, self._peer)
            desk.tell_answered(answered, caller=self.caller)
