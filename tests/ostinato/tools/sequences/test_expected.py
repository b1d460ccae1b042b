from __future__ import annotations

from pathlib import Path

import numpy as np

from ostinato.tools.sequences.drawn import SteppedModel, draw_sequences
from ostinato.tools.sequences.expected import OfflineReference
from tests import tensor_networks


def test_what_is_answered_once_a_run_is_expected_behind_the_last_step_of_every_request(tmp_path: Path) -> None:
    directory = tensor_networks.panel().write(tmp_path)
    reference = OfflineReference(directory)
    manifest = reference.manifest.model_dump(mode="json")
    model = SteppedModel("panel", "1", tuple(manifest["inputs"]), tuple(manifest["context"]))
    [drawn] = draw_sequences(model, 1)
    expected = reference.expected(drawn, 0, 7)
    types = {
        part.name: (part.dtype, part.row_shape) for part in (*reference.manifest.inputs, *reference.manifest.context)
    }
    context = {name: np.array(row, types[name][0]).reshape(types[name][1]) for name, row in drawn.context.items()}
    for first, end in ((0, 1), (1, 4), (4, 7)):
        steps = {
            name: np.array(rows, types[name][0]).reshape(end, *types[name][1])
            for name, rows in drawn.first(end).items()
        }
        offline = tensor_networks.offline(directory, steps, context)
        found = expected(first, end)
        assert found is not None
        assert found["summary"].tolist() == [offline["summary"].tolist()]
        assert found["level"].tolist() == offline["level"][first:end].tolist()
