from __future__ import annotations

from ostinato.service.edge.advice import ADVICE
from ostinato.service.edge.problems import CODES


def test_there_is_advice_for_every_code_and_no_other() -> None:
    assert ADVICE.keys() == set(CODES)
