from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import redis
import yaml
from pydantic import ByteSize, TypeAdapter

from ostinato.service.config import Settings
from ostinato.service.state.address import open_store
from ostinato.service.state.lmdb.store import LmdbStore
from ostinato.service.state.redis.address import Login, redis_address
from tests.redis_server import RedisServer
from tests.tools import run_tool

DEPLOY = Path(__file__).parents[2] / "deploy"
SIZE = TypeAdapter(ByteSize)
PROCESS_BYTES = 256 * 1024**2
"""About what a worker takes apart from its sessions, with the parent's share."""

OF_BASE = {"Service/ostinato", "ServiceAccount/ostinato", "PodDisruptionBudget/ostinato"}
OF_REDIS = {"ConfigMap/ostinato-redis", "Service/ostinato-redis", "StatefulSet/ostinato-redis"}
DOCUMENTS = {
    "base": {"Deployment/ostinato", *OF_BASE},
    "redis": {"Deployment/ostinato", *OF_BASE, *OF_REDIS},
    "lmdb": {"StatefulSet/ostinato", *OF_BASE},
}
FOLDERS = tuple(DOCUMENTS)
Document = dict[str, Any]


class Rendered(NamedTuple):
    """What ``kubectl kustomize`` makes of a folder: documents by ``Kind/name``."""

    folder: str
    documents: dict[str, Document]

    @property
    def workload(self) -> Document:
        """What runs the service."""
        name = "StatefulSet/ostinato" if self.folder == "lmdb" else "Deployment/ostinato"
        spec: Document = self.documents[name]["spec"]
        return spec

    @property
    def pod(self) -> Document:
        """The specification of the service's pods."""
        spec: Document = self.workload["template"]["spec"]
        return spec

    @property
    def container(self) -> Document:
        """Their only container."""
        (only,) = self.pod["containers"]
        assert isinstance(only, dict)
        return only

    @property
    def variables(self) -> dict[str, str]:
        """Its environment; a secret's value is its own name."""
        return {each["name"]: each.get("value", each["name"]) for each in self.container["env"]}


@cache
def render(folder: str) -> Rendered:
    text = run_tool("kubectl", "kustomize", DEPLOY / folder)
    documents: dict[str, Document] = {}
    for document in yaml.safe_load_all(text):
        name = document["metadata"]["name"]
        # A generated ConfigMap's name ends with a checksum of what is in it.
        name = name.rpartition("-")[0] if document["kind"] == "ConfigMap" else name
        documents[f"{document['kind']}/{name}"] = document
    return Rendered(folder, documents)


@pytest.fixture(params=FOLDERS)
def rendered(request: pytest.FixtureRequest) -> Rendered:
    return render(request.param)


@pytest.fixture
def base() -> Rendered:
    return render("base")


def settings_of(rendered: Rendered, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in rendered.variables.items():
        monkeypatch.setenv(name, value)
    return Settings()


@pytest.fixture
def settings(rendered: Rendered, monkeypatch: pytest.MonkeyPatch) -> Settings:
    return settings_of(rendered, monkeypatch)


def test_each_folder_has_what_belongs_to_it(rendered: Rendered) -> None:
    assert set(rendered.documents) == DOCUMENTS[rendered.folder]


@pytest.mark.parametrize("version", ["1.30", kubernetes_validate.latest_version()])
def test_every_document_is_valid_and_has_no_unknown_field(rendered: Rendered, version: str) -> None:
    for document in rendered.documents.values():
        kubernetes_validate.validate(document, version, strict=True)


def test_no_document_names_a_namespace(rendered: Rendered) -> None:
    assert [name for name, document in rendered.documents.items() if "namespace" in document["metadata"]] == []


def test_every_selector_finds_the_pods_of_its_own_and_no_others(rendered: Rendered) -> None:
    workloads = [document for document in rendered.documents.values() if "template" in document.get("spec", {})]
    for document in workloads:
        name, spec = document["metadata"]["name"], document["spec"]
        labels = spec["template"]["metadata"]["labels"]
        assert labels == spec["selector"]["matchLabels"] == {"app.kubernetes.io/name": name}
        assert rendered.documents[f"Service/{name}"]["spec"]["selector"] == labels
    budget = rendered.documents["PodDisruptionBudget/ostinato"]["spec"]
    assert budget["selector"]["matchLabels"] == {"app.kubernetes.io/name": "ostinato"}
    assert budget["maxUnavailable"] == 1
    assert rendered.pod["serviceAccountName"] == rendered.documents["ServiceAccount/ostinato"]["metadata"]["name"]


def test_every_variable_is_a_setting_of_the_service(rendered: Rendered) -> None:
    given = {name for name in rendered.variables if name.startswith("OSTINATO_")}
    assert given <= {f"OSTINATO_{name.upper()}" for name in Settings.model_fields}


def test_each_folder_says_where_the_sessions_are(rendered: Rendered) -> None:
    # The default is a folder next to the code, which is read-only in the pod.
    assert urlsplit(rendered.variables["OSTINATO_STATE"]).scheme == {"base": "memory"}.get(
        rendered.folder, rendered.folder
    )


def test_service_port_probes_and_scraping_meet_the_port_that_the_server_listens_on(
    rendered: Rendered, settings: Settings
) -> None:
    container = rendered.container
    port, grpc_port = container["ports"]
    annotations = rendered.workload["template"]["metadata"]["annotations"]
    service_port, grpc_service_port = rendered.documents["Service/ostinato"]["spec"]["ports"]
    assert settings.host == "0.0.0.0"
    assert settings.port == port["containerPort"] == int(annotations["prometheus.io/port"])
    assert port["name"] == service_port["targetPort"]
    assert settings.grpc_port == grpc_port["containerPort"] == grpc_service_port["port"]
    assert grpc_port["name"] == grpc_service_port["targetPort"]
    assert annotations["prometheus.io/path"] == "/metrics"
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    assert probes == {
        "startup": {"path": "/livez", "port": port["name"]},
        "readiness": {"path": "/readyz", "port": port["name"]},
        "liveness": {"path": "/livez", "port": port["name"]},
    }


def test_the_grace_period_outlasts_the_wait_and_the_drain(rendered: Rendered, settings: Settings) -> None:
    program, seconds = rendered.container["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    assert rendered.pod["terminationGracePeriodSeconds"] >= int(seconds) + settings.drain_seconds + 10


def test_sessions_in_memory_have_one_process_and_never_two(base: Rendered, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings_of(base, monkeypatch).workers == 1
    assert base.workload["replicas"] == 1
    assert base.workload["strategy"] == {"type": "Recreate"}


def test_files_have_one_pod_that_is_gone_before_the_next_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = render("lmdb")
    settings = settings_of(rendered, monkeypatch)
    assert rendered.workload["replicas"] == 1
    assert settings.workers > 1
    (claim,) = rendered.workload["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
    assert rendered.workload["persistentVolumeClaimRetentionPolicy"] == {
        "whenDeleted": "Retain",
        "whenScaled": "Retain",
    }
    # The address is one that the service takes, and a folder on the volume.
    mounts = {mount["name"]: mount["mountPath"] for mount in rendered.container["volumeMounts"]}
    folder = Path(urlsplit(settings.state).path)
    assert settings.state == f"lmdb://{folder}"
    assert folder.is_relative_to(mounts[claim["metadata"]["name"]])
    store = open_store(settings.model_copy(update={"state": f"lmdb://{tmp_path}{folder}"}))
    assert isinstance(store, LmdbStore)


def test_a_worker_that_dies_beside_others_is_replaced() -> None:
    # tests/deploy/test_bento.py runs these arguments through the image's entry point.
    assert "args" not in render("base").container
    arguments = render("lmdb").container["args"]
    assert arguments[:5] == ["env", "-u", "BENTOML_CONTAINERIZED", "bentoml", "serve"]
    # The folder of the Bento in the image, which has the repository, too.
    assert Path(render("lmdb").variables["OSTINATO_REPOSITORY"]).is_relative_to(arguments[5])


def test_the_pod_of_the_files_is_that_of_the_base_but_for_what_files_need(base: Rendered) -> None:
    def common(rendered: Rendered) -> Document:
        pod = {**rendered.pod, "containers": []}
        pod["securityContext"] = {**pod["securityContext"], "fsGroupChangePolicy": "OnRootMismatch"}
        container = {name: value for name, value in rendered.container.items() if name not in ("args", "resources")}
        container["env"] = {
            name: value
            for name, value in rendered.variables.items()
            if name not in ("OSTINATO_STATE", "OSTINATO_WORKERS", "OSTINATO_MEMORY_BUDGET")
        }
        container["volumeMounts"] = [mount for mount in container["volumeMounts"] if mount["name"] != "state"]
        return {"pod": pod, "container": container, "metadata": rendered.workload["template"]["metadata"]}

    assert common(render("lmdb")) == common(base)


def test_replicas_over_redis_are_replaced_one_by_one_with_none_missing() -> None:
    workload = render("redis").workload
    assert workload["replicas"] > 1
    assert workload["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    assert render("redis").documents["PodDisruptionBudget/ostinato"]["spec"]["maxUnavailable"] < workload["replicas"]


def test_the_address_of_redis_is_its_service_s_with_the_password_of_the_secret() -> None:
    rendered = render("redis")
    address = redis_address(rendered.variables["OSTINATO_STATE"])
    service = rendered.documents["Service/ostinato-redis"]
    assert address.hosts == ((service["metadata"]["name"], service["spec"]["ports"][0]["port"]),)
    (server,) = rendered.documents["StatefulSet/ostinato-redis"]["spec"]["template"]["spec"]["containers"]
    (secret,) = [variable["valueFrom"]["secretKeyRef"] for variable in server["env"] if "valueFrom" in variable]
    # The file is the same secret's, under the name of its key.
    places = {mount["name"]: Path(mount["mountPath"]) for mount in rendered.container["volumeMounts"]}
    volumes = rendered.workload["template"]["spec"]["volumes"]
    (mounted,) = [volume for volume in volumes if volume.get("secret", {}).get("secretName") == secret["name"]]
    assert address.login == Login(password_file=str(places[mounted["name"]] / secret["key"]))


def test_a_real_redis_takes_the_configuration(tmp_path: Path) -> None:
    documents = render("redis").documents
    pod = documents["StatefulSet/ostinato-redis"]["spec"]["template"]["spec"]
    (server,) = pod["containers"]
    text = documents["ConfigMap/ostinato-redis"]["data"]["redis.conf"]
    file = tmp_path / "redis.conf"
    file.write_text(text.replace("dir /data", f"dir {tmp_path}"))
    assert f"dir {server['volumeMounts'][0]['mountPath']}\n" in text
    # What is included last counts.
    otherwise = (
        "--appendonly",
        "no",
        "--appendfsync",
        "everysec",
        "--maxmemory-policy",
        "allkeys-lru",
        "--save",
        "9 9",
    )
    with RedisServer(*otherwise, "--include", str(file)) as running, redis.Redis.from_url(running.url) as client:
        wanted = {"appendonly": "yes", "appendfsync": "always", "save": "", "maxmemory-policy": "noeviction"}
        assert {name: client.config_get(name)[name] for name in wanted} == wanted
        maxmemory = int(client.config_get("maxmemory")["maxmemory"])
    assert 2 * maxmemory <= SIZE.validate_python(server["resources"]["limits"]["memory"] + "B")


def test_a_service_of_the_same_name_does_not_change_the_settings(rendered: Rendered) -> None:
    # Kubernetes would give the pod OSTINATO_PORT=tcp://10.0.0.1:80 and more.
    assert "Service/ostinato" in rendered.documents
    assert rendered.pod["enableServiceLinks"] is False


def pods(rendered: Rendered) -> list[Document]:
    return [
        document["spec"]["template"]["spec"]
        for document in rendered.documents.values()
        if "template" in document.get("spec", {})
    ]


def test_no_container_may_do_anything_but_serve(rendered: Rendered) -> None:
    for pod in pods(rendered):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }


def test_what_is_written_goes_to_a_volume(rendered: Rendered) -> None:
    every = rendered.container["volumeMounts"]
    mounts = {mount["name"]: mount["mountPath"] for mount in every if not mount.get("readOnly")}
    (volume,) = [volume for volume in rendered.pod["volumes"] if "secret" not in volume]
    claims = [claim["metadata"]["name"] for claim in rendered.workload.get("volumeClaimTemplates", [])]
    assert "emptyDir" in volume
    assert set(mounts) == {volume["name"], *claims}
    for name in ("HOME", "BENTOML_HOME"):
        assert Path(rendered.variables[name]).is_relative_to(mounts[volume["name"]])


def test_memory_is_bounded_above_what_sessions_may_take_and_the_cpu_is_not_throttled(
    rendered: Rendered, settings: Settings
) -> None:
    for pod in pods(rendered):
        (container,) = pod["containers"]
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        assert set(container["resources"]["limits"]) == {"memory"}
    limit = SIZE.validate_python(rendered.container["resources"]["limits"]["memory"] + "B")
    sessions = 0 if rendered.folder == "base" else settings.workers * settings.memory_budget
    assert limit >= sessions + settings.workers * PROCESS_BYTES
