from __future__ import annotations

import numpy as np
import pytest

from ostinato.service.errors import InvalidInput
from ostinato.service.sessions.offsets import NO_OFFSET, ChunkOffset, RowOffsets, check_source, chunk_offset
from ostinato.service.state.reaches import NOWHERE, Reach, Reaches


def test_a_chunk_begins_where_it_says_or_else_where_it_ends() -> None:
    assert chunk_offset("s", None, 0) == ChunkOffset("s", 0, 0)
    assert chunk_offset("s", 3, 3) == ChunkOffset("s", 3, 3)
    with pytest.raises(InvalidInput, match="the first reading is at 4, behind the last at 3"):
        chunk_offset("s", 4, 3)


@pytest.mark.parametrize("source", ["x" * 256, "\0", "a\0"])
def test_what_no_record_can_keep_is_no_source(source: str) -> None:
    with pytest.raises(InvalidInput, match="a source is a text of at most 255 characters, none of them NUL"):
        check_source(source)


@pytest.mark.parametrize(
    ("chunk", "was_applied"),
    [
        (ChunkOffset("s", 5, 5), True),
        (ChunkOffset("s", 0, 4), True),
        (ChunkOffset("s", 5, 9), True),
        (ChunkOffset("s", 6, 9), False),
        (ChunkOffset("t", 0, 9), False),
        (ChunkOffset("", 0, 0), False),
    ],
)
def test_a_chunk_is_new_by_its_first_reading_alone_and_in_a_batch(chunk: ChunkOffset, was_applied: bool) -> None:
    reach = Reach("s", 5, 3)
    assert chunk.was_applied(reach) is was_applied
    assert not chunk.was_applied(NOWHERE)
    rows = RowOffsets(*(np.array([each, each], kind) for each, kind in zip(chunk, (object, int, int), strict=True)))
    reaches = Reaches(np.array(["s", None], object), np.array([5, NO_OFFSET]), np.array([3, 0]))
    assert rows.are_new(reaches).tolist() == [not was_applied, True]
