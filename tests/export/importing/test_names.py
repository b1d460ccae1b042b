from __future__ import annotations

import pytest

from ostinato.export.importing.names import (
    ALIKE,
    EXACT,
    LETTERS,
    NOTHING,
    WITHOUT_NUMBERS,
    likeness,
    sounds_like_lengths,
    sounds_like_state,
)


@pytest.mark.parametrize(
    ("given", "made", "common"),
    [
        ("h_in", "h_out", EXACT),
        ("cached_len_0", "new_cached_len_0", EXACT),
        ("in_cache", "out_cache", EXACT),
        ("past_key", "present_key", EXACT),
        ("lstm/h_in:0", "lstm/h_out:0", EXACT),
        ("stateN", "state", LETTERS),
        ("initial_h", "Y_h", LETTERS),
        ("h", "hn", LETTERS),
        ("h0", "hn", WITHOUT_NUMBERS),
        ("x", "x.1", WITHOUT_NUMBERS),
        ("hidden", "hidden_state", ALIKE),
        ("h_in", "c_out", NOTHING),
        ("hidden_in", "cell_out", NOTHING),
        ("input_1", "output_1", NOTHING),
        ("12", "12.1", NOTHING),
        ("obs", "actions", NOTHING),
        ("x", "y", NOTHING),
    ],
)
def test_names_have_in_common_what_does_not_say_which_is_which(given: str, made: str, common: int) -> None:
    assert likeness(given, made) == common


def test_names_of_states_and_lengths_are_known() -> None:
    assert [name for name in ("h0", "hidden_in", "cache_3", "obs", "x", "features") if sounds_like_state(name)] == [
        "h0",
        "hidden_in",
        "cache_3",
    ]
    assert [name for name in ("x_lens", "seq_len", "length", "level", "lens_flare") if sounds_like_lengths(name)] == [
        "x_lens",
        "seq_len",
        "length",
        "lens_flare",
    ]
