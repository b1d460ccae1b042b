from __future__ import annotations

import pytest

from ostinato.service.artifact import device_choice
from ostinato.service.artifact.device_choice import open_device
from ostinato.service.artifact.devices import Device


def test_a_process_has_one_device_and_none_for_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(device_choice.OPENERS, "cuda", lambda: Device())
    assert open_device("cpu") is None
    assert open_device("cuda") is open_device("cuda")
