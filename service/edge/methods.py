"""Methods of a route: those that it takes, and what is answered to any other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial

from ostinato.service.edge.message import Request, Response
from ostinato.service.errors import MethodNotAllowed

READING = ("GET", "HEAD", "OPTIONS")
ALL = ("DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT")


def options(allowed: Sequence[str]) -> Response:
    """The answer to ``OPTIONS``: which methods there are."""
    return Response(204, b"", headers=((b"allow", ", ".join(allowed).encode()),))


def other_handler(method: str, pattern: str, handled: Iterable[str]) -> Callable[[Request], Awaitable[Response]]:
    """The handler of a method for which a route has none: of ``OPTIONS``.

    Args:
        handled: those for which it has one; with ``GET`` it takes ``HEAD``, too.

    Raises:
        MethodNotAllowed: it is any other.
    """
    own = sorted(handled)
    allowed = tuple(sorted({*own, "OPTIONS", *(("HEAD",) if "GET" in own else ())}))
    if method != "OPTIONS":
        raise MethodNotAllowed(f"{pattern} takes {' and '.join(own)}, not {method}", allowed)
    return partial(_tell, allowed)


async def _tell(allowed: Sequence[str], _: Request) -> Response:
    return options(allowed)
