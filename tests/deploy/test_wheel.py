"""The wheel in environments that have what it asks for and no more: a client's, a trainer's, a server's."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest
from packaging.utils import canonicalize_name

from docs.site.links import repository
from ostinato.cli import COMMANDS
from release.distributions import ROOT, build, copy_project, faults_of, unpack
from release.readme import readme_of_index
from tests.deploy.test_packaging import pins
from tests.environments import Environment
from tests.networks import accumulator
from tests.server import ServerProcess, free_port, running_server

# One process runs these, since they share what takes long to start.
pytestmark = pytest.mark.xdist_group("wheel")

EXAMPLES = ROOT / "examples"
NEEDED = "error: 'ostinato {command}' needs the extra {extra}: pip install 'ostinato[{extra}]'\n"

# A user's own network, in folders that have the names of ours: what it answers is nobody else's.
NETWORK = """
import torch
from models.sizes import FACTOR
from torch import nn

class Total(nn.Module):
    def initial_state(self, batch_size):
        return torch.zeros(batch_size, 1, dtype=torch.float64)

    def forward(self, x, total):
        totals = total.unsqueeze(1) + torch.cumsum(FACTOR * x.double(), dim=1)
        return totals.float(), totals[:, -1]

def total():
    return Total()
"""

NewEnvironment = Callable[..., Environment]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("source") / "project")


@pytest.fixture(scope="module")
def wheel(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", project, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def new_environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> NewEnvironment:
    def new(*extras: str) -> Environment:
        return Environment(tmp_path_factory.mktemp("environment"), wheel, *extras)

    return new


@pytest.fixture(scope="module")
def client(new_environment: NewEnvironment) -> Environment:
    """What ``pip install ostinato`` gives."""
    return new_environment()


@pytest.fixture(scope="module")
def server(new_environment: NewEnvironment) -> Environment:
    """What ``pip install 'ostinato[serve]'`` gives."""
    return new_environment("serve")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A service to ask: a running total, and spelling to phonemes."""
    repository = tmp_path_factory.mktemp("repository")
    accumulator().write(repository, np.arange(6, dtype=np.float32).reshape(2, 3, 1))
    shutil.copytree(EXAMPLES / "cmudict" / "repository", repository, dirs_exist_ok=True)
    with running_server(repository, tmp_path_factory.mktemp("home")) as process:
        yield process


def contents(wheel: Path) -> set[str]:
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


def sources(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*.py")}


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_wheel_is_one_package_that_holds_all_parts(project: Path, wheel: Path) -> None:
    parts = {f"ostinato/{name}" for part in ("service", "models", "export") for name in sources_in(project, part)}
    own = {f"ostinato/{name}" for name in sources(project / "ostinato")}
    protos = {f"ostinato/service/edge/oip/grpc/inference.{kind}" for kind in ("proto", "binpb")}
    page = {f"ostinato/service/edge/openapi/page.{kind}" for kind in ("css", "js")}
    console = "service/edge/console/page"
    files = {f"ostinato/{console}/{name}" for name in files_of(project / console)}
    assert {
        f"ostinato/{console}/{name}" for name in ("index.html", "views/stream.js", "vendor/uplot.LICENSE.txt")
    } < files
    # `make check` has built it before; a test alone may run without it.
    site = {"ostinato/service/edge/site/site.zip"} if (project / "service/edge/site/site.zip").exists() else set()
    assert contents(wheel) == own | parts | protos | page | files | site | {"ostinato/py.typed"}


def test_an_index_shows_the_readme(wheel: Path) -> None:
    (name,) = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".dist-info/METADATA")]
    head, _, description = zipfile.ZipFile(wheel).read(name).decode().partition("\n\n")
    assert "Description-Content-Type: text/markdown" in head.splitlines()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert description == readme_of_index(readme, repository())


def sources_in(project: Path, part: str) -> set[str]:
    return {f"{part}/{name}" for name in sources(project / part)}


def test_a_source_distribution_makes_the_same_wheel(
    project: Path, wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # As `make dist` names its folder, which is not the backend's.
    source = build("sdist", project, Path("dist"))
    made = build("wheel", unpack(source, tmp_path / "unpacked"), Path("dist"))
    assert contents(made) == contents(wheel)
    assert [faults_of(each) for each in (source, made)] == [[], []]


def test_a_client_is_light(client: Environment) -> None:
    assert client.libraries.keys() >= {"httpx2", "numpy", "websockets", "typer"}
    assert len(client.libraries) <= 21
    heavy = {"bentoml", "onnxruntime", "pyarrow", "torch", "uvicorn"}
    assert client.libraries.keys() & heavy == set()


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)], ids=" ".join)
def test_a_client_s_command_line_explains_every_command(
    command: tuple[str, ...], client: Environment, tmp_path: Path
) -> None:
    done = client.run("ostinato", *command, "--help", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("serve",), "serve"),
        (("verify", "no-such-folder"), "serve"),
        (("bench", "--repository", ".", "--model", "accumulator"), "serve"),
        (("train", "no-such.toml"), "export"),
        (("export", "runs/a"), "export"),
        (("export", "models.mine:total"), "export"),
        (("generate", "g2p", "word", "--plot", "a.png"), "plot"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else value,
)
def test_a_missing_extra_is_one_sentence_that_names_it(
    arguments: tuple[str, ...], extra: str, client: Environment, tmp_path: Path
) -> None:
    """It comes before all else that may be wrong."""
    done = client.run("ostinato", *arguments, folder=tmp_path)
    assert (done.returncode, done.stderr) == (1, NEEDED.format(command=arguments[0], extra=extra))


def test_what_the_image_is_made_of_is_listed_whole(new_environment: NewEnvironment, tmp_path: Path) -> None:
    # As deploy/Dockerfile has it done.
    inside = new_environment("serve", "grpc", "traces", "cloud", "redis")
    lister = Path(sys.executable).with_name("cyclonedx-py")
    listing = tmp_path / "sbom.cdx.json"
    subprocess.run(
        [str(lister), "environment", "--output-reproducible", "--output-file", str(listing), str(inside.python)],
        check=True,
    )
    components = {canonicalize_name(each["name"]): each for each in json.loads(listing.read_text())["components"]}
    assert {name: each["version"] for name, each in components.items() if name != "ostinato"} == pins("serving")
    assert components[canonicalize_name("ostinato")]["version"] == importlib.metadata.version("ostinato")


def test_a_server_names_the_extra_of_a_store(server: Environment, tmp_path: Path) -> None:
    repository = EXAMPLES / "cmudict" / "repository"
    arguments = ("--repository", repository, "--state", f"redis://127.0.0.1:{free_port()}/0")
    done = server.run("ostinato", "serve", *arguments, folder=tmp_path)
    assert (done.returncode, done.stderr) == (1, NEEDED.format(command="serve", extra="redis"))


def test_an_exporter_names_the_extra_of_the_model_store(new_environment: NewEnvironment, tmp_path: Path) -> None:
    trainer = new_environment("export")
    done = trainer.run("ostinato", "export", "runs/a", "--bentoml", folder=tmp_path)
    assert (done.returncode, done.stderr) == (1, NEEDED.format(command="export", extra="serve"))


PROGRAM = """
import sys, asyncio
import numpy as np
from ostinato import AsyncClient, Client

url = sys.argv[1]
with Client(url) as client, client.session("accumulator") as session:
    print(session.step([[1.0], [2.0]])[-1, 0])
    with client.stream("accumulator", create_missing=True) as stream:
        print(stream.step("streamed", [[5.0]])[-1, 0])

async def main():
    async with AsyncClient(url) as client:
        print((await client.generate("g2p", ["word"])).firsts[0].value)

asyncio.run(main())
heavy = {"bentoml", "onnxruntime", "pyarrow", "pydantic", "torch", "httpx"} & set(sys.modules)
assert not heavy, heavy
"""


def test_a_client_speaks_to_a_service(client: Environment, service: ServerProcess, tmp_path: Path) -> None:
    done = client.run("python", "-c", PROGRAM, service.url, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "3.0\n5.0\nW ER D\n"


def test_a_client_s_commands_ask_a_service(client: Environment, service: ServerProcess, tmp_path: Path) -> None:
    def ask(*arguments: object) -> str:
        done = client.run("ostinato", *arguments, "--url", service.url, folder=tmp_path)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        return done.stdout

    opened = httpx2.post(f"{service.url}/v1/models/accumulator/sessions", json={"session_id": "one"})
    assert opened.status_code == 201
    assert "one" in ask("sessions", "list")
    assert "accumulator" in ask("sessions", "show", "one")
    ask("sessions", "export", "one", "--output", "states")
    ask("sessions", "close", "one")
    ask("sessions", "import", "states/one.safetensors", "--session-id", "two")
    assert "W ER D" in ask("generate", "g2p", "word")
    ask("bench", "--model", "accumulator", "--seconds", "0.2", "--sessions", "2")


def test_a_user_s_network_is_exported_and_served_beside_folders_of_our_names(
    new_environment: NewEnvironment, server: Environment, tmp_path: Path
) -> None:
    for name, text in {
        "models/__init__.py": "",
        "models/mine.py": NETWORK,
        "models/sizes.py": "FACTOR = 3.0",
        "service/__init__.py": "raise AssertionError('the service of the user')",
        "export/__init__.py": "raise AssertionError('the export of the user')",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    trainer = new_environment("export")
    options = ("--input-shape", "B,T,1", "--features", "load", "--repository", "repository")
    exported = trainer.run("ostinato", "export", "models.mine:total", *options, folder=tmp_path)
    assert exported.returncode == 0, exported.stdout + exported.stderr
    assert list((tmp_path / "repository").glob("total/1/model.json"))
    port = free_port()
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [str(server.folder / "bin" / "ostinato"), "serve", "--repository", "repository", "--port", str(port)],
            cwd=tmp_path,
            env=server.variables(tmp_path),
            stdout=log,
            stderr=log,
        )
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False) as http:
            wait_until_ready(http, process, tmp_path / "server.log")
            body = {"sequences": [[[1.0], [2.0], [4.0]]]}
            answer = http.post("/v1/models/total/predict", json=body).raise_for_status().json()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=40)
    assert answer["outputs"] == [[[3.0], [9.0], [21.0]]]


def wait_until_ready(http: httpx2.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up_at = time.monotonic() + 60
    while time.monotonic() < give_up_at and process.poll() is None:
        try:
            if http.get("/readyz").status_code == 200:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.1)
    pytest.fail(f"the service is not ready:\n{log.read_text()}")


def test_the_version_of_the_wheel_is_the_project_s(client: Environment, tmp_path: Path) -> None:
    done = client.run("ostinato", "--version", folder=tmp_path)
    assert done.stdout == f"ostinato {importlib.metadata.version('ostinato')}\n"
