"""Names: of the session that holds a sequence."""

from __future__ import annotations

import hashlib
import re

from ostinato.service.edge.oip.options import MAX_SEQUENCE_ID
from ostinato.service.errors import InvalidInput
from ostinato.service.sessions.session import SESSION_ID_PATTERN

_SESSION_ID = re.compile(SESSION_ID_PATTERN)
_DIGEST_BYTES = 20


def session_name(model: str, sequence_id: int | str) -> str:
    """The session that holds a sequence of a model: no two sequences have the same, and no model has a colon.

    ``MODEL:n`` of a number, ``MODEL:s:s`` of a text; or with a digest, where that would be no name of a session.

    Raises:
        InvalidInput: the number is negative, or too large.
    """
    if type(sequence_id) is int:
        if not 0 <= sequence_id <= MAX_SEQUENCE_ID:
            raise InvalidInput(f"{sequence_id} is no id: a text, or a number from 0 to 2^64 - 1", "sequence_id")
        name = f"{model}:{sequence_id}"
    else:
        name = f"{model}:s:{sequence_id}"
    if _SESSION_ID.match(name):
        return name
    name = f"{model}:h:{_digest(str(sequence_id))}"
    # A number comes here only of a model whose name is too long for that, too.
    return name if _SESSION_ID.match(name) else f"h:{_digest(f'{model} {sequence_id!r}')}"


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).hexdigest()
