from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.config import Settings
from tests.tools import run_tool

BASE = Path(__file__).parents[2] / "deploy" / "base"


@pytest.fixture(scope="module")
def documents() -> dict[str, dict[str, Any]]:
    rendered = run_tool("kubectl", "kustomize", BASE)
    return {document["kind"]: document for document in yaml.safe_load_all(rendered)}


@pytest.fixture(scope="module")
def pod(documents: dict[str, dict[str, Any]]) -> dict[str, Any]:
    spec: dict[str, Any] = documents["Deployment"]["spec"]["template"]["spec"]
    return spec


@pytest.fixture(scope="module")
def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["containers"]
    assert isinstance(only, dict)
    return only


@pytest.fixture
def settings(container: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Settings:
    for variable in container["env"]:
        monkeypatch.setenv(variable["name"], variable["value"])
    return Settings()


def test_the_base_is_a_deployment_with_what_belongs_to_it(documents: dict[str, dict[str, Any]]) -> None:
    assert set(documents) == {"Deployment", "PodDisruptionBudget", "Service", "ServiceAccount"}


@pytest.mark.parametrize("version", ["1.30", kubernetes_validate.latest_version()])
def test_every_document_is_valid_and_has_no_unknown_field(documents: dict[str, dict[str, Any]], version: str) -> None:
    for document in documents.values():
        kubernetes_validate.validate(document, version, strict=True)


def test_no_document_names_a_namespace(documents: dict[str, dict[str, Any]]) -> None:
    assert [kind for kind, document in documents.items() if "namespace" in document["metadata"]] == []


def test_every_selector_finds_the_pods(documents: dict[str, dict[str, Any]]) -> None:
    deployment = documents["Deployment"]["spec"]
    labels = deployment["template"]["metadata"]["labels"].items()
    assert deployment["selector"]["matchLabels"].items() <= labels
    assert documents["Service"]["spec"]["selector"].items() <= labels
    assert documents["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"].items() <= labels
    assert deployment["template"]["spec"]["serviceAccountName"] == documents["ServiceAccount"]["metadata"]["name"]


def test_every_variable_is_a_setting_of_the_service(container: dict[str, Any]) -> None:
    given = {variable["name"] for variable in container["env"] if variable["name"].startswith("OSTINATO_")}
    assert given <= {f"OSTINATO_{name.upper()}" for name in Settings.model_fields}


def test_service_port_probes_and_scraping_meet_the_port_that_the_server_listens_on(
    documents: dict[str, dict[str, Any]], container: dict[str, Any], settings: Settings
) -> None:
    (port,) = container["ports"]
    annotations = documents["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    (service_port,) = documents["Service"]["spec"]["ports"]
    assert settings.host == "0.0.0.0"
    assert settings.port == port["containerPort"] == int(annotations["prometheus.io/port"])
    assert port["name"] == service_port["targetPort"]
    assert annotations["prometheus.io/path"] == "/metrics"
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    assert probes == {
        "startup": {"path": "/livez", "port": port["name"]},
        "readiness": {"path": "/readyz", "port": port["name"]},
        "liveness": {"path": "/livez", "port": port["name"]},
    }


def test_the_grace_period_outlasts_the_wait_and_the_drain(
    pod: dict[str, Any], container: dict[str, Any], settings: Settings
) -> None:
    program, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    assert pod["terminationGracePeriodSeconds"] >= int(seconds) + settings.drain_seconds + 10


def test_sessions_in_memory_have_one_process_and_never_two(
    documents: dict[str, dict[str, Any]], settings: Settings
) -> None:
    assert settings.state == "memory://"
    assert settings.workers == 1
    assert documents["Deployment"]["spec"]["replicas"] == 1
    assert documents["Deployment"]["spec"]["strategy"] == {"type": "Recreate"}
    assert documents["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1


def test_a_service_of_the_same_name_does_not_change_the_settings(
    documents: dict[str, dict[str, Any]], pod: dict[str, Any]
) -> None:
    # Kubernetes would give the pod OSTINATO_PORT=tcp://10.0.0.1:80 and more.
    assert documents["Service"]["metadata"]["name"] == "ostinato"
    assert pod["enableServiceLinks"] is False


def test_the_container_may_do_nothing_but_serve(pod: dict[str, Any], container: dict[str, Any]) -> None:
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def test_what_is_written_goes_to_a_volume(pod: dict[str, Any], container: dict[str, Any]) -> None:
    (mount,) = container["volumeMounts"]
    (volume,) = pod["volumes"]
    assert (mount["name"], "emptyDir" in volume) == (volume["name"], True)
    variables = {variable["name"]: variable["value"] for variable in container["env"]}
    for name in ("HOME", "BENTOML_HOME"):
        assert Path(variables[name]).is_relative_to(mount["mountPath"])


def test_memory_is_bounded_and_the_cpu_is_not_throttled(container: dict[str, Any]) -> None:
    assert set(container["resources"]["requests"]) == {"cpu", "memory"}
    assert set(container["resources"]["limits"]) == {"memory"}
