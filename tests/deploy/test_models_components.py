"""The components that bring models to a pod: what they add, and acted out with processes of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.acting import ENTRY_POINT, ActedPod, Disk, confined, possible_user
from tests.deploy.rendering import DEPLOY, Document, Rendered, render, render_with
from tests.service.fetching.conftest import packed, write_version
from tests.service.fetching.web_server import files_of, running_web


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that a user without rights may look into, as those of tests may not be."""
    with tempfile.TemporaryDirectory(prefix="ostinato-pod-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def variables_of(container: Document) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container["env"]}


@pytest.mark.parametrize("overlay", ["single", "replicas"])
def test_what_fetches_may_do_no_more_than_what_serves(overlay: str, tmp_path: Path) -> None:
    rendered = render_with(tmp_path, overlay, ["models-fetched"])
    (fetches,) = rendered.pod["initContainers"]
    serves = rendered.container
    for name in ("image", "imagePullPolicy", "securityContext"):
        assert fetches[name] == serves[name]
    assert fetches["image"] == render(overlay).container["image"]
    of_both = variables_of(fetches).items() & rendered.variables.items()
    assert {name for name, _ in of_both} == {"OSTINATO_REPOSITORY", "HOME", "BENTOML_HOME"}
    mounts = [
        {(each["name"], each["mountPath"]): each.get("readOnly", False) for each in one["volumeMounts"]}
        for one in (fetches, serves)
    ]
    assert [each["models", "/models"] for each in mounts] == [False, True], "who serves only reads"
    assert mounts[0].keys() <= mounts[1].keys()
    (volume,) = [each for each in rendered.pod["volumes"] if each["name"] == "models"]
    room = int(volume["emptyDir"]["sizeLimit"].removesuffix("Gi"))
    for one in (fetches, serves):
        assert int(one["resources"]["limits"]["ephemeral-storage"].removesuffix("Gi")) > room


def test_its_pods_may_ask_for_models_and_names_besides(tmp_path: Path) -> None:
    policy = render_with(tmp_path, "single", ["models-fetched"]).documents["NetworkPolicy/ostinato-to-models"]["spec"]
    assert policy["podSelector"] == render("single").documents["NetworkPolicy/ostinato"]["spec"]["podSelector"]
    assert policy["policyTypes"] == ["Egress"]
    models, names = policy["egress"]
    assert models == {"ports": [{"port": 443, "protocol": "TCP"}]}
    assert names == render("replicas").documents["NetworkPolicy/ostinato-to-redis"]["spec"]["egress"][1]


@pytest.mark.parametrize("components", [["models-volume"], ["models-fetched", "models-volume"]])
def test_a_volume_takes_the_place_of_the_folder(components: list[str], tmp_path: Path) -> None:
    rendered = render_with(tmp_path, "replicas", components, namePrefix="blue-")
    pod = rendered.documents["Deployment/blue-ostinato"]["spec"]["template"]["spec"]
    (volume,) = [each for each in pod["volumes"] if each["name"] == "models"]
    assert volume == {"name": "models", "persistentVolumeClaim": {"claimName": "blue-ostinato-models"}}
    claim = rendered.documents["PersistentVolumeClaim/blue-ostinato-models"]["spec"]
    assert claim["accessModes"] == ["ReadWriteMany"]
    (mount,) = [each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "models"]
    assert mount == {"name": "models", "mountPath": "/models", "readOnly": True}


def patched(folder: Path, *sources: str) -> Rendered:
    """The overlay of a user's own, as deploy/README.md has it, with other sources."""
    page = (DEPLOY / "README.md").read_text()
    (text,) = [block for block in page.split("```yaml\n")[1:] if "fetch-models" in block]
    said: Any = yaml.safe_load(text.partition("```")[0])
    (patch,) = said["patches"]
    changed = yaml.safe_load(patch["patch"])
    (container,) = changed["spec"]["template"]["spec"]["initContainers"]
    (variable,) = container["env"]
    assert variable["value"].startswith("s3://models/beijing/2 oci://registry.example.com/team/g2p@sha256:")
    variable["value"] = " ".join(sources)
    patch["patch"] = yaml.safe_dump(changed)
    names = [Path(each).name for each in said["components"]]
    (folder / "overlay").mkdir()
    return render_with(folder / "overlay", "replicas", names, patches=[patch])


def act(container: Document, disk: Disk, user: int | None) -> subprocess.CompletedProcess[str]:
    """An initContainer, run to its end."""
    environment = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONDONTWRITEBYTECODE": "1",
        **{name: disk.here(value) for name, value in variables_of(container).items()},
    }
    command = [*confined(disk.folder, user), ENTRY_POINT, *container["args"]]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=100)


def test_models_are_fetched_into_an_empty_folder_and_served_from_it(folder: Path) -> None:
    write_version(folder / "web" / "origin")
    packed(folder / "web" / "origin", folder / "web" / "sums.tar.gz")
    write_version(folder / "web", "2")
    with running_web(files_of(folder / "web")) as web:
        sources = [f"http://{web.address}/sums.tar.gz", f"http://{web.address}/sums/2"]
        rendered = patched(folder, *sources)
        (container,) = rendered.pod["initContainers"]
        user = possible_user(sys.executable, rendered.pod["securityContext"]["runAsUser"])
        disk = Disk(folder / "pod", user)
        for mount in container["volumeMounts"]:
            disk.add(mount["mountPath"])
        done = act(container, disk, user)
        said = "".join(f"sums/{number}: fetched, from {source}\n" for number, source in enumerate(sources, 1))
        assert (done.returncode, done.stdout, done.stderr) == (0, said, "")
        again = act(container, disk, user)
        assert (again.returncode, again.stdout.count("was there already")) == (0, 2), "as where it is a volume"
    failed = act(container, disk, user)
    assert (failed.returncode, failed.stdout) == (1, ""), "nobody is there"
    assert failed.stderr.startswith(f"error: {sources[0]}: ")
    models = Path(disk.here("/models"))
    assert {path.name for path in models.iterdir()} == {"sums"}
    in_files = render("single")  # over a store that needs nothing else
    pod = ActedPod(in_files, folder / "served", models)
    try:
        told = pod.wait_until_ready().json()
        assert [each["version"] for each in told["models"]] == ["1", "2"]
    finally:
        pod.kill()
