from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ostinato.service.catalogue.tried import try_version
from ostinato.service.config import Settings
from tests import networks


def test_a_version_is_tried_on_the_cpu_whatever_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSTINATO_DEVICE", "cuda")  # which the child inherits
    directory = networks.accumulator().write(tmp_path, np.arange(6, dtype=np.float32).reshape(2, 3, 1))
    settings = Settings(repository=tmp_path)
    assert settings.device == "cuda"
    tried = try_version(directory, settings)
    assert (str(tried.manifest.promise), tried.golden_difference) == ("any", 0.0)
