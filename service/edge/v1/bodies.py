"""Bodies in two forms: numbers of one flat input, which are most and quickly read; and all else a model may take."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import msgspec
import numpy as np

from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Input
from ostinato.service.edge.message import Request
from ostinato.service.edge.v1.codec import decode_body
from ostinato.service.edge.v1.large import Check, Convert, read_body
from ostinato.service.edge.v1.schemas import Body
from ostinato.service.errors import InvalidInput

BodyType = TypeVar("BodyType", bound=Body)


@contextmanager
def first(error: InvalidInput) -> Iterator[None]:
    """What cannot be read in the other form, either, nobody knows where, is refused for what was wrong at first."""
    try:
        yield
    except InvalidInput as second:
        if second.field is None:
            raise error from None
        raise


class BodyForms(Generic[BodyType]):
    """The decoders of one route's body.

    Args:
        flat: its type for a model of one flat input.
        nested: the same, where ``member`` may be anything.
        member: where the steps are.
        of_any_version: whether they may be for another version than the one whose inputs are known when they are read,
            and what does not fit this one is for that one to refuse.
    """

    def __init__(
        self, flat: type[BodyType], nested: type[BodyType], member: str = "inputs", *, of_any_version: bool = False
    ) -> None:
        self.flat = msgspec.json.Decoder(flat)
        self.nested = msgspec.json.Decoder(nested)
        self._member = member
        self._of_any_version = of_any_version

    def of(self, given: RowLayout[Input]) -> msgspec.json.Decoder[BodyType]:
        """The decoder for a model of these inputs."""
        return self.flat if given.is_flat else self.nested

    def decode(self, request: Request, given: RowLayout[Input]) -> BodyType:
        """``decode_body`` in the form that fits."""
        try:
            return decode_body(request, self.of(given))
        except InvalidInput as error:
            if not self.may_be_nested(error, given):
                raise
            with first(error):
                return decode_body(request, self.nested)

    async def read(
        self,
        request: Request,
        given: RowLayout[Input],
        begin: Callable[[BodyType], Check],
        *,
        reads_query: bool = False,
        convert: dict[str, Convert] | None = None,
    ) -> BodyType:
        """``read_body`` in the form that fits; ``convert`` is for the flat one."""
        try:
            kept = convert if given.is_flat else None
            return await read_body(request, self.of(given), begin, reads_query=reads_query, convert=kept)
        except InvalidInput as error:
            if not self.may_be_nested(error, given):
                raise
            with first(error):
                return await read_body(request, self.nested, begin, reads_query=reads_query)

    async def read_of(
        self,
        request: Request,
        given: Callable[[], Awaitable[RowLayout[Input]]],
        begin: Callable[[BodyType], Check],
        *,
        convert: dict[str, Convert] | None = None,
    ) -> BodyType:
        """``read`` where the body itself says of which model its steps are: they are taken for flat numbers first, and
        ``given`` is asked where they are none.
        """
        try:
            return await read_body(request, self.flat, begin, convert=convert)
        except InvalidInput as error:
            if not self._is_of_steps(error):
                raise
            layout = await given()
            if layout.is_flat and not self.may_be_nested(error, layout):
                raise
            with first(error):
                return await read_body(request, self.nested, begin)

    def may_be_nested(self, error: InvalidInput, given: RowLayout[Input]) -> bool:
        """Whether what was refused as no row of numbers may be words, true and false, or for another version."""
        if not given.is_flat or not self._is_of_steps(error):
            return False
        return self._of_any_version or bool(given.parts[0].categories) or given.dtype == np.bool_

    def _is_of_steps(self, error: InvalidInput) -> bool:
        return (error.field or "").startswith(self._member)
