from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ostinato.export.contracts.recurrent import inspect_module
from ostinato.export.contracts.windows import in_frames_of, steps_found, windows_of
from ostinato.export.errors import ExportError
from ostinato.export.exporter import export_module
from ostinato.export.version_directory import Exported
from ostinato.service.artifact.framing import Framing
from ostinato.service.artifact.tensors import FeatureRange, Input
from ostinato.service.catalogue.recurrent_checks import load_model
from ostinato.service.config import Settings
from ostinato.service.engine.recurrent.offline import run_offline
from ostinato.service.inputs.framing import Framer

STEPS = Input(name="x", dtype="float32", shape=("B", "T", 2), features=("left", "right"))


class WindowCell(nn.Module):
    """Answers from a whole window, and from what it remembers of those before."""

    def __init__(self, window: int) -> None:
        super().__init__()
        torch.manual_seed(window)
        self.look = nn.Linear(2 * window, 5)
        self.cell = nn.GRUCell(5, 4)
        self.head = nn.Linear(4, 3)

    def initial_state(self, batch_size: int) -> tuple[Tensor]:
        return (torch.zeros(batch_size, 4),)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = self.cell(torch.tanh(self.look(x.flatten(1))), h)
        return self.head(h), h


def answers_of(module: WindowCell, steps: Tensor, window: int, hop: int) -> Tensor:
    """What it answers to steps ``[n, 2]`` window by window, ``[k, 3]``; zeros stand before the first."""
    padded = torch.cat([torch.zeros(max(window, hop), 2), steps])
    (h,) = module.initial_state(1)
    made = []
    for end in range(max(window, hop) + hop, len(padded) + 1, hop):
        with torch.no_grad():
            y, h = module(padded[None, end - window : end], h)
        made.append(y[0])
    return torch.stack(made)


@pytest.mark.parametrize(("window", "hop"), [(6, 4), (4, 4), (3, 4), (9, 2)])
def test_a_module_of_windows_answers_the_same_frame_by_frame(window: int, hop: int) -> None:
    module, framing = WindowCell(window), Framing(window=window, hop=hop)
    contract = in_frames_of(inspect_module(module, windows_of([STEPS], framing)), [STEPS], framing)
    assert [part.shape for part in contract.given] == [("B", hop, 2)]
    assert [state.shape for state in contract.states] == [("B", 4), *[("B", window - hop, 2)] * (window > hop)]
    steps = torch.from_numpy(np.random.default_rng(0).standard_normal((5 * hop, 2)).astype(np.float32))
    states: Any = contract.initial_states(1)
    for frame, expected in enumerate(answers_of(module, steps, window, hop)):
        given = steps[None, frame * hop : (frame + 1) * hop].numpy()
        y, *states = contract.run_module([given], states)
        assert np.array_equal(y[0], expected.numpy())


def test_a_module_whose_first_window_is_a_whole_one_is_given_its_windows() -> None:
    framing = Framing(window=6, hop=4, begin="full")
    module = WindowCell(6)
    contract = in_frames_of(inspect_module(module, windows_of([STEPS], framing)), [STEPS], framing)
    assert [part.shape for part in contract.given] == [("B", 6, 2)]
    assert [state.name for state in contract.states] == ["h"]
    window = np.random.default_rng(0).standard_normal((1, 6, 2)).astype(np.float32)
    y, _ = contract.run_module([window], contract.initial_states(1))
    with torch.no_grad():
        assert np.array_equal(y, module(torch.from_numpy(window), torch.zeros(1, 4))[0].numpy())


@pytest.mark.parametrize(
    ("part", "why"),
    [
        (STEPS.model_copy(update={"shape": ("B", 2)}), "no 'T' in its shape"),
        (STEPS.model_copy(update={"shape": ("B", 2, "T")}), "comes before all sizes"),
    ],
)
def test_what_is_no_input_of_steps_has_no_windows(part: Input, why: str) -> None:
    with pytest.raises(ExportError, match=why):
        windows_of([part], Framing(window=2, hop=1))


def test_what_a_feature_may_be_is_what_it_may_be_everywhere_in_a_window() -> None:
    (window,) = windows_of([STEPS], Framing(window=2, hop=1))
    ranges = {"left_0": FeatureRange(least=0, most=9), "left_1": FeatureRange(least=2, most=12)}
    found = steps_found(STEPS, window.model_copy(update={"ranges": ranges}))
    assert found.ranges == {"left": FeatureRange(least=2, most=9)}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    framing = Framing(window=6, hop=4)
    return export_module(WindowCell(6), STEPS, tmp_path_factory.mktemp("models"), name="windows", framing=framing)


def test_a_module_of_windows_is_exported_as_a_model_of_steps(exported: Exported) -> None:
    manifest = exported.manifest
    assert manifest.framing == Framing(window=6, hop=4)
    assert [(part.shape, part.features) for part in manifest.inputs] == [(("B", "T", 2), ("left", "right"))]
    assert [state.name for state in manifest.states] == ["h", "x_past"]
    assert manifest.limits.max_chunk_steps == 40_000


def test_the_offline_run_of_the_exported_model_is_that_of_the_module(exported: Exported) -> None:
    loaded = load_model(exported.directory, Settings())
    steps = np.random.default_rng(1).standard_normal((30, 2)).astype(np.float32)
    made, _ = run_offline(loaded.runner, Framer(loaded.manifest).whole(steps)[None])
    expected = answers_of(WindowCell(6), torch.from_numpy(steps), 6, 4)
    assert made.shape == (1, 7, 3)
    np.testing.assert_allclose(made[0], expected.numpy(), atol=1e-5)


class Strided(nn.Module):
    """Answers once in two steps, any number of them at once."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv1d(2, 4, 2, stride=2)
        self.gru = nn.GRU(4, 3, batch_first=True)

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        made: tuple[Tensor, Tensor] = self.gru(self.conv(x.transpose(1, 2)).transpose(1, 2), h)
        return made


def test_a_module_of_many_frames_is_exported_with_what_a_session_is_sent(tmp_path: Path) -> None:
    exported = export_module(
        Strided(), STEPS, tmp_path, name="strided", steps_per_answer=2, framing=Framing(window=2, hop=2)
    )
    manifest = exported.manifest
    assert manifest.framing == Framing(window=2, hop=2, many=True)
    assert manifest.inputs[0].shape == ("B", "T", 2)
    assert manifest.of_graph.inputs[0].shape == ("B", "T", 2, 2)
    loaded = load_model(exported.directory, Settings())
    steps = np.random.default_rng(1).standard_normal((9, 2)).astype(np.float32)
    made, _ = run_offline(loaded.runner, Framer(loaded.manifest).whole(steps)[None])
    with torch.no_grad():
        expected, _ = Strided()(torch.from_numpy(steps[None, :8]))
    np.testing.assert_allclose(made, expected.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"steps_per_answer": 2, "framing": Framing(window=4, hop=2)}, "the framing is 2:2"),
        ({"feedback": {"a": "b"}, "framing": Framing(window=4, hop=2)}, "does not forecast"),
    ],
)
def test_a_framing_that_says_something_else_than_the_module_is_refused(
    options: dict[str, Any], why: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=why):
        export_module(Strided(), STEPS, tmp_path, name="strided", **options)
    assert not list(tmp_path.iterdir())
