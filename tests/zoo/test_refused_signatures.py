"""What people get wrong, each refused with its cause, its place and a way out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ostinato.export.errors import ExportError
from ostinato.export.exporter import export_module
from tests.zoo import refused_signatures
from tests.zoo.refused_signatures import Refused

REFUSED = {
    name: function
    for name, function in vars(refused_signatures).items()
    if getattr(function, "__annotations__", {}).get("return") == "Refused"
}


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED)
def test_a_mistake_is_refused_with_its_sentence(refused: Callable[[], Refused], tmp_path: Path) -> None:
    module, options, sentence = refused()
    inputs = options.pop("inputs")
    with pytest.raises(ExportError, match=sentence):
        export_module(module.eval(), inputs, tmp_path, name="net", **options)
    assert not list(tmp_path.glob("*/*"))
