from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ostinato.models.kinds.registry import load_kind, write_draft
from ostinato.models.training.fitting import reproducible
from tests.second_device import NAME, SecondDevice
from tests.training import NOBODY


def text(folder: Path) -> Path:
    (folder / "it").write_text("the clouds are in the sky, and the sky is blue.\n" * 12, encoding="utf-8")
    return folder / "it"


def pairs(folder: Path) -> Path:
    (folder / "it.tsv").write_text("\n".join(f"{n}\t{'abcdefghij'[n % 10]}" for n in range(60)), encoding="utf-8")
    return folder / "it.tsv"


def labels(folder: Path) -> Path:
    rows = [f"{n},{step * (1 - n % 2 * 2)},{'xy'[n % 2]}" for n in range(40) for step in range(2 + n % 3)]
    (folder / "it.csv").write_text("id,level,label\n" + "\n".join(rows), encoding="utf-8")
    return folder / "it.csv"


def tags(folder: Path) -> Path:
    (folder / "it.conll").write_text("\n\n".join(f"w{n}\tA\nv{n % 3}\tB" for n in range(40)), encoding="utf-8")
    return folder / "it.conll"


def captions(folder: Path) -> Path:
    rows = [",".join(str((n * place) % 7) for place in range(16)) + f",{'ab'[n % 2]}" for n in range(40)]
    names = ",".join(f"p{place}" for place in range(16))
    (folder / "it.csv").write_text(f"{names},caption\n" + "\n".join(rows), encoding="utf-8")
    return folder / "it.csv"


def frames(folder: Path) -> Path:
    movie = np.random.default_rng(0).integers(0, 255, (20, 4, 6, 6)).astype(np.uint8)
    np.savez(folder / "it.npz", frames=movie, labels=np.arange(20) % 2)
    return folder / "it.npz"


def forecaster(folder: Path) -> Path:
    rows = [f"2024-01-{1 + n // 24:02d}T{n % 24:02d}:00,{n % 12},{'ab'[n % 2]}" for n in range(600)]
    (folder / "it.csv").write_text("time,level,word\n" + "\n".join(rows), encoding="utf-8")
    return folder / "it.csv"


ATTENTION = {
    '"fed_back"': '"attention"\nmemory_steps = 12',
    '"absolute"': '"pinball"',
    "horizon_steps = 1": "horizon_steps = 3",
}
CASES: list[tuple[str, Callable[[Path], Path], dict[str, str]]] = [
    ("text", text, {"max_epochs": "l2 = 1e-4\nmax_epochs"}),
    ("pairs", pairs, {"max_epochs": "sampling_rate = 0.5\nmax_epochs"}),
    ("labels", labels, {"bidirectional = true": "bidirectional = false", '"lstm"': '["clockwork", "gru"]'}),
    ("tags", tags, {}),
    ("captions", captions, {}),
    ("frames", frames, {'"label"': '"next_frame"'}),
    ("forecaster", forecaster, {'cell = "gru"': 'cell = "echo_state"'}),
    ("forecaster", forecaster, ATTENTION),
]


@pytest.mark.parametrize(("kind", "write", "changes"), CASES)
def test_a_kind_trains_on_another_device(
    kind: str, write: Callable[[Path], Path], changes: dict[str, str], tmp_path: Path
) -> None:
    file = write(tmp_path)
    draft = re.sub(r"(?m)^file = .*$", f"file = '{file}'", write_draft(kind, file, None))
    for old, new in [*changes.items(), ("[training]", f'[training]\ndevice = "{NAME}"')]:
        assert old in draft or old == '"label"', draft
        draft = draft.replace(old, new)
    recipe = tmp_path / "recipe.toml"
    short = re.sub(
        r"warm_up_epochs = [\d.]+", "warm_up_epochs = 0.5", re.sub(r"max_epochs = \d+", "max_epochs = 1", draft)
    )
    recipe.write_text(short, encoding="utf-8")
    module = load_kind(kind)
    with SecondDevice() as device:
        plan = module.RECIPE.read(recipe)
        with reproducible(plan.training):
            trained = module.train(plan, NOBODY)
        assert device.num_tensors > 0
        assert all(weight.device.type == "cpu" for weight in trained.network.state_dict().values())
    assert trained.metrics


def test_what_a_real_device_refuses_is_refused() -> None:
    here = torch.ones(2)
    with SecondDevice():
        there = here.to(NAME)
        assert (there.device.type, here.device.type, (2 * there).device.type) == (NAME, "cpu", NAME)
        with pytest.raises(RuntimeError, match="all tensors to be on the same device"):
            there + here
        with pytest.raises(RuntimeError, match="all tensors to be on the same device"):
            here.gather(0, torch.zeros(1, dtype=torch.int64, device=NAME))
        with pytest.raises(TypeError, match="can't convert"):
            there.numpy()
        assert (there.cpu() + here).tolist() == [2, 2]
