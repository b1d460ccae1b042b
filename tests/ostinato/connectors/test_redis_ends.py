"""Redis Streams: entries' ids as offsets."""

from __future__ import annotations

import pytest

from ostinato.connectors.redis_ends import id_before, offset_of
from ostinato.errors import CommandError


def test_an_id_has_an_offset_in_its_order_or_is_refused() -> None:
    assert offset_of(b"5-7") == (5 << 20) + 7
    assert id_before(offset_of(b"5-7") + 1) == "5-7"
    assert offset_of(b"%d-%d" % (2**43 - 1, 2**20 - 1)) == 2**63 - 1
    for chosen in (b"0-1048576", b"%d-0" % 2**43):
        with pytest.raises(CommandError, match="counts by ids that Redis gave"):
            offset_of(chosen)
