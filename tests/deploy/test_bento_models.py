"""A Bento that names its models, and has no repository: built, and served from the store that it was built by."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import yaml

from tests.deploy.serving_bento import BENTOML, served_bento
from tests.deploy.test_bento import ROOT
from tests.service.fetching.conftest import plain_environment, tree_of, write_version

pytestmark = pytest.mark.xdist_group("bento_models")

SAVE = """
import sys
from pathlib import Path
from ostinato.export.bentoml_store import save_to_store
print(save_to_store(Path(sys.argv[1])))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    home = tmp_path_factory.mktemp("home")
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    own = {"HOME": str(home), "BENTOML_HOME": str(home / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    return plain_environment() | nowhere | own


@pytest.fixture(scope="module")
def bento(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Path:
    """The folder of a Bento, built in a copy of the project without a repository."""
    project = tmp_path_factory.mktemp("project")
    write_version(project / "exported", "3")
    saved = subprocess.run(
        [sys.executable, "-c", SAVE, str(project / "exported" / "sums" / "3")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert saved.stdout.startswith("sums:"), saved.stderr
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, project)
    for name in ("service", "ostinato", "requirements"):
        shutil.copytree(ROOT / name, project / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("models", "export"):
        (project / name).mkdir()
    said = yaml.safe_load((ROOT / "bentofile.yaml").read_text())
    (project / "bentofile.yaml").write_text(yaml.safe_dump({**said, "models": ["sums:latest"]}))
    done = subprocess.run(
        [str(BENTOML), "build"], cwd=project, env=environment, capture_output=True, text=True, timeout=350, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (Path(environment["BENTOML_HOME"]) / "bentos" / "ostinato").glob("*/")
    return folder


@pytest.fixture
def client(bento: Path, environment: dict[str, str], tmp_path: Path) -> Iterator[httpx2.Client]:
    with served_bento(bento, environment, tmp_path, state="memory://") as client:
        yield client


def test_a_bento_s_models_are_served_and_nothing_is_written_into_it(
    bento: Path, client: httpx2.Client, environment: dict[str, str]
) -> None:
    opened = client.post("/v1/models/sums/sessions", json={}).raise_for_status().json()
    assert opened["version"] == "3"
    body = {"inputs": [[1.0], [2.0]], "seq": 0}
    answer = client.post(f"/v1/sessions/{opened['session_id']}/step", json=body).raise_for_status().json()
    assert answer["outputs"] == [[1.0], [3.0]]
    assert not list(bento.rglob("repository"))
    fetched = Path(environment["BENTOML_HOME"]) / "ostinato" / f"ostinato-{bento.name}"
    assert set(tree_of(fetched)) == {f"sums/3/{name}" for name in ("model.json", "model.onnx", "golden.safetensors")}
    assert [path.name for path in fetched.iterdir()] == ["sums"], "and no hidden folder"
