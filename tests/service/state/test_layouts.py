from __future__ import annotations

import pytest

from ostinato.service.state.layouts import is_same_layout, layout_checksum
from tests.service.puppet import MANIFEST, framed

H200, HALF = "cuda NVIDIA H200, 4096 x 1", "cuda NVIDIA H200, 2048 x 1"


def test_where_numbers_were_made_is_told_and_changes_no_layout() -> None:
    on_cpu = layout_checksum(MANIFEST, "")
    places = [layout_checksum(MANIFEST, made_on) for made_on in (H200, HALF, "cuda NVIDIA H100, 4096 x 1")]
    assert len({on_cpu, *places}) == 4
    assert all(is_same_layout(one, other) for one in (on_cpu, *places) for other in places)


@pytest.mark.parametrize("made_on", ["", H200])
def test_other_states_are_another_layout(made_on: str) -> None:
    assert not is_same_layout(layout_checksum(MANIFEST, made_on), layout_checksum(framed(4), made_on))


def test_the_layout_of_the_cpu_is_that_of_all_records_so_far() -> None:
    assert layout_checksum(MANIFEST, "") == 199435058, "of records that are on disks by now"
