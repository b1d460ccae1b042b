"""Captions of pictures in files of one's own: a recipe by ``--init``, trained, exported, served, and as by itself."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ostinato.export.runs.registry import export_run
from ostinato.models.kinds.captions import load_run
from ostinato.models.kinds.registry import write_draft
from ostinato.models.networks.caption import spell
from tests.server import ServerProcess, running_server
from tests.training import train_run

pytestmark = [pytest.mark.xdist_group("trained-captions"), pytest.mark.long]

WHERE = ("top", "left", "middle")


def drawn(number: int) -> tuple[np.ndarray, str]:
    """A picture of 10 x 12 pixels with a bar in red or blue somewhere, and what it shows."""
    generator = np.random.default_rng(number)
    place, colour = WHERE[number % 3], ("red", "blue")[number % 2]
    pixels = generator.integers(0, 40, (10, 12, 3)).astype(np.uint8)
    bar = {"top": pixels[0], "left": pixels[:, 0], "middle": pixels[5, 3:8]}[place]
    bar[:, 0 if colour == "red" else 2] = 255
    return pixels, f"a {colour} bar at the {place}"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("captions")
    lines = ["file\tcaption"]
    for number in range(120):
        pixels, text = drawn(number)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        lines.append(f"{number}.png\t{text}")
    (folder / "list.tsv").write_text("\n".join(lines), encoding="utf-8")
    recipe = folder / "recipes" / "bars.toml"
    text = write_draft("captions", folder / "list.tsv", recipe)
    recipe.write_text(text.replace("num_channels = 32", "num_channels = 8"), encoding="utf-8")
    directory, (table,) = train_run(recipe, folder / "run")
    assert float(table.rows[0][1].rstrip("%")) >= 90 > float(table.rows[3][1].rstrip("%"))
    return directory


@pytest.fixture(scope="module")
def server(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    repository = tmp_path_factory.mktemp("repository")
    export_run(run, repository, name="bars")
    with running_server(repository, tmp_path_factory.mktemp("server"), require_models=True) as running:
        yield running


@pytest.mark.parametrize(
    "method", [{}, {"method": "sample", "seed": 7, "temperature": 1.5}, {"method": "beam", "num_beams": 3}]
)
def test_concurrent_clients_are_answered_as_each_alone(
    server: ServerProcess, run: Path, method: dict[str, Any]
) -> None:
    pictures = [np.moveaxis(drawn(number)[0], -1, 0).astype(np.float32) for number in range(200, 224)]

    def ask(number: int) -> Any:
        with server.client() as client:
            body = {"inputs": [pictures[number].tolist()], **method}
            answer = client.post("/v1/models/bars/generate", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    alone = [ask(number) for number in range(len(pictures))]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ask, range(len(pictures))))
    # JSON has each number in the digits that tell it from its neighbours.
    assert together == alone
    if not method:
        network, content = load_run(run).network, load_run(run).content
        symbols = content["vocabularies"]["target"]["symbols"]
        codes = spell(network, torch.from_numpy(np.stack(pictures)), 0, 0, 20)
        assert [answer["outputs"][0] for answer in alone] == [" ".join(symbols[code] for code in row) for row in codes]
