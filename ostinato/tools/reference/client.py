"""Page of the Python client: its classes with their verbs, what they take and give, and what they raise."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Any

from ostinato.tools.reference.markdown import described, page

INTRODUCTION = """`from ostinato import Client, AsyncClient`. Both have the same verbs; those of `AsyncClient` are
awaited. The client needs no extra: `pip install` of the project alone brings it."""
DATA = """What the verbs give, and the options that they take by name."""
RAISED = """All of these are in `ostinato`, can be pickled, and say in a sentence what happened."""
WIDTH = 76
_NOISE = re.compile(r"\b(?:ostinato|numpy|collections|typing|datetime|httpx2)(?:\.\w+)*\.(?=[A-Za-z_])|~")


def client_page() -> str:
    """The page."""
    from ostinato import errors
    from ostinato.client import answers, forecasts, generation, offsets
    from ostinato.client.async_client import AsyncClient
    from ostinato.client.async_session import AsyncSession
    from ostinato.client.async_stream import AsyncStream
    from ostinato.client.client import Client
    from ostinato.client.session import Session
    from ostinato.client.stream import Stream

    data: list[type] = [
        answers.SessionInfo,
        answers.SessionInfoPage,
        answers.Stepped,
        answers.ManyStepped,
        answers.RowError,
        offsets.InSource,
        forecasts.ForecastOptions,
        forecasts.Forecast,
        forecasts.Interval,
        forecasts.ManyForecasts,
        generation.GenerateOptions,
        generation.Generation,
        generation.GeneratedOutput,
        generation.GeneratedStep,
        generation.Scored,
    ]
    raised = [
        errors.CommandError,
        errors.ServiceError,
        errors.SeqConflict,
        errors.TimeConflict,
        errors.UnexpectedAnswer,
        errors.ServiceUnreachable,
        errors.RowsFailed,
        errors.MissingExtra,
    ]
    return page(
        "Python client",
        INTRODUCTION,
        *(_class(each) for each in (Client, AsyncClient, Session, AsyncSession, Stream, AsyncStream)),
        f"## Answers and options\n\n{DATA}",
        *(f"### {each.__name__}\n\n{described(each.__doc__)}" for each in data),
        f"## Errors\n\n{RAISED}",
        *(f"### {each.__name__}\n\n`{_base(each)}`. {described(each.__doc__)}" for each in raised),
    )


def _base(error: type) -> str:
    return f"{error.__name__}({error.__bases__[0].__name__})"


def _class(kind: type) -> str:
    head = [f"## {kind.__name__}", described(_docstring(kind)), _signature(kind.__name__, vars(kind)["__init__"])]
    return "\n\n".join((*head, *_members(kind)))


def _docstring(kind: type) -> str:
    """A class's own docstring, and what its base adds about attributes."""
    own = inspect.cleandoc(kind.__doc__ or "")
    inherited = inspect.cleandoc(kind.__mro__[1].__doc__ or "")
    _, mark, attributes = inherited.partition("Attributes:")
    return own if not mark or "Attributes:" in own else f"{own}\n\n{mark}{attributes}"


def _members(kind: type) -> Iterable[str]:
    """The public verbs and properties of a class, in the order of its source, those of its bases behind."""
    seen: set[str] = set()
    for owner in kind.__mro__:
        for name, member in vars(owner).items():
            if name.startswith("_") or name in seen or not owner.__module__.startswith("ostinato."):
                continue
            seen.add(name)
            if isinstance(member, property):
                yield f"### {kind.__name__}.{_bare(name)}\n\n{described(member.__doc__)}"
            elif inspect.isfunction(member):
                signature = _signature(name, member)
                yield f"### {kind.__name__}.{_bare(name)}\n\n{signature}\n\n{described(member.__doc__)}"


def _bare(name: str) -> str:
    return name.replace("_", r"\_")


def _signature(name: str, function: Any) -> str:
    """A call as a block of Python that is looked at and not run."""
    signature = inspect.signature(function)
    parameters = [each for each in signature.parameters.values() if each.name != "self"]
    shown = _NOISE.sub("", str(signature.replace(parameters=parameters)).replace("'", ""))
    shown = re.sub(r"<(?:function|built-in function|built-in method|bound method) (?:\w+\.)*(\w+).*?>", r"\1", shown)
    if name[:1].isupper():
        shown = shown.removesuffix(" -> None")
    before = "async def " if inspect.iscoroutinefunction(function) else "" if name[:1].isupper() else "def "
    line = f"{before}{name}{shown}"
    if len(line) > WIDTH:
        line = _broken(before + name, shown)
    return f"```python signature\n{line}\n```"


def _broken(head: str, shown: str) -> str:
    """A call with a line for each of its parameters."""
    depth, parts, begin = 0, [], 1
    for place, sign in enumerate(shown):
        depth += (sign in "([{") - (sign in ")]}")
        if depth == 1 and sign == ",":
            parts.append(shown[begin:place])
            begin = place + 1
        if depth == 0:
            parts.append(shown[begin:place])
            lines = "".join(f"    {part.strip()},\n" for part in parts)
            return f"{head}(\n{lines}){shown[place + 1 :]}"
    return head + shown
