"""The example of docs/encoder_decoder.md runs as it stands there, and does what it says."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from ostinato.service.catalogue.generation_checks import LoadedGenerator, run_forced
from ostinato.service.catalogue.recurrent_checks import load_version
from ostinato.service.config import Settings

PAGE = Path(__file__).parents[2] / "docs" / "encoder_decoder.md"


@pytest.mark.usefixtures("quick")
def test_the_encoder_decoder_of_the_page_is_exported_and_writes_backwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [example] = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "example.py").write_text(example, encoding="utf-8")
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        runpy.run_path(str(tmp_path / "example.py"))
    finally:
        torch.set_num_threads(num_threads)
    assert capsys.readouterr().out.startswith("repository/backwards/1 max_difference=")
    loaded = load_version(tmp_path / "repository" / "backwards" / "1", Settings(max_batch_size=8))
    assert isinstance(loaded, LoadedGenerator)
    assert loaded.encoder is not None
    source, target = (loaded.manifest.vocabularies[side] for side in ("source", "target"))
    [start] = loaded.encoder.run([np.array(source.encode("Fade", "inputs"))])
    # Fed what it should have written, it scores each next letter highest, and then the stop.
    fed = np.array([[target.symbols.index(symbol) for symbol in ("<start>", *"edaf")]])
    best = run_forced(loaded.decoder, [start], fed, 5)[0].argmax(axis=1)
    assert [target.symbols[code] for code in best] == [*"edaf", "<stop>"]
