from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import ostinato

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BENTO: dict[str, Any] = yaml.safe_load((ROOT / "bentofile.yaml").read_text())


def pins(name: str) -> dict[str, str]:
    """Package to version; a line that is no comment and no exact pin fails the test that asks."""
    found: dict[str, str] = {}
    for line in (ROOT / "requirements" / f"{name}.lock").read_text().splitlines():
        if not line.startswith("#"):
            match = re.fullmatch(r"([a-z0-9._-]+)==([0-9][0-9a-z.]*)", line)
            assert match, line
            found[canonicalize_name(match[1])] = match[2]
    return found


def asked_for(*extras: str) -> list[str]:
    """The requirements without an extra and with these, and with those that they contain."""
    own = [*PROJECT["dependencies"], *(line for extra in extras for line in PROJECT["optional-dependencies"][extra])]
    contained = [
        extra for line in own for extra in Requirement(line).extras if Requirement(line).name == PROJECT["name"]
    ]
    return [*own, *asked_for(*contained)] if contained else own


def unmet(requirements: list[str], pinned: dict[str, str]) -> list[str]:
    parsed = [Requirement(line) for line in requirements]
    own = [requirement for requirement in parsed if requirement.name != PROJECT["name"]]
    return [str(r) for r in own if not r.specifier.contains(pinned.get(canonicalize_name(r.name), "0"))]


def test_the_locks_hold_what_the_project_asks_for() -> None:
    assert unmet(asked_for("serve", "grpc", "traces", "cloud", "redis"), pins("serving")) == []
    assert unmet(asked_for("dev"), pins("dev")) == []


def test_the_image_has_every_store_and_every_route() -> None:
    assert {"bentoml", "grpcio", "hiredis", "lmdb", "obstore", "pyarrow"} <= pins("serving").keys()


def test_everything_is_in_the_extra_of_developers() -> None:
    # What runs on a GPU lies in the place of what runs everywhere: no environment has both.
    extras = set(PROJECT["optional-dependencies"]) - {"dev", "cuda"}
    assert extras == {
        *("arrow", "cloud", "connect", "evaluate", "export", "grpc", "plot", "ray", "redis", "serve", "traces"),
    }
    assert set(asked_for(*extras)) <= set(asked_for("dev"))


def test_both_locks_agree() -> None:
    assert pins("serving").items() <= pins("dev").items()


def test_serving_installs_nothing_of_training() -> None:
    training = {"torch", "onnx", "onnxscript", "matplotlib", "tokenizers", "pytest"}
    assert training & pins("serving").keys() == set()
    assert pins("dev")["torch"] == "2.13.0"


def test_the_bento_is_made_of_the_service_its_models_and_its_lock() -> None:
    assert BENTO["service"] == "ostinato.service.app:Ostinato"
    assert {"/service/", "/ostinato/", "/repository/"} <= set(BENTO["include"])
    assert BENTO["python"] == {"requirements_txt": "requirements/serving.lock", "lock_packages": False}


def test_project_bento_and_deployment_have_one_version() -> None:
    for folder in ("components/pod", "components/models-fetched", "overlays/kserve"):
        kustomization = yaml.safe_load((ROOT / "deploy" / "kubernetes" / folder / "kustomization.yaml").read_text())
        (image,) = kustomization["images"]
        assert image == {"name": BENTO["name"], "newTag": PROJECT["version"]}
    assert BENTO["labels"]["version"] == ostinato.__version__ == PROJECT["version"]
