from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import redis
import yaml
from pydantic import ByteSize, TypeAdapter

from ostinato.service.config import Settings
from ostinato.service.state.address import open_store
from ostinato.service.state.lmdb.store import LmdbStore
from ostinato.service.state.redis.address import Login, Tls, redis_address
from tests.deploy.custom_resources import validate
from tests.deploy.rendering import DEPLOY, KUBERNETES, Document, Rendered, render, render_with
from tests.redis_server import RedisServer

SIZE = TypeAdapter(ByteSize)
PROCESS_BYTES = 256 * 1024**2
"""About what a worker takes apart from its sessions, with the parent's share."""

OF_BASE = {
    *("Service/ostinato", "ServiceAccount/ostinato", "PodDisruptionBudget/ostinato"),
    "NetworkPolicy/ostinato",
}
OF_REDIS = {
    *("ConfigMap/ostinato-redis", "Service/ostinato-redis", "StatefulSet/ostinato-redis"),
    *("NetworkPolicy/ostinato-redis", "NetworkPolicy/ostinato-to-redis"),
}
OF_COMPONENTS = {
    "grpc": {"Service/ostinato-grpc"},
    "autoscaling-hpa": {"HorizontalPodAutoscaler/ostinato"},
    "autoscaling-keda": {"ScaledObject/ostinato"},
    "monitoring": {"PodMonitor/ostinato", "PodMonitor/ostinato-redis", "PrometheusRule/ostinato"},
    "monitoring-services": {"ServiceMonitor/ostinato"},
    "ingress-nginx": {"Ingress/ostinato"},
    "ingress-nginx-grpc": {"Ingress/ostinato-grpc"},
    "models-fetched": {"NetworkPolicy/ostinato-to-models"},
    "models-volume": {"PersistentVolumeClaim/ostinato-models"},
    "keys": set(),
}
DOCUMENTS = {
    "single": {"StatefulSet/ostinato", "Service/ostinato-pods", *OF_BASE},
    "replicas": {"Deployment/ostinato", *OF_BASE, *OF_REDIS},
    "kserve": {"ServingRuntime/ostinato", "InferenceService/pronunciation", "ServiceAccount/ostinato"},
}
FOLDERS = ("single", "replicas")
VERSIONS = ("1.30", kubernetes_validate.latest_version())
INSTANCE = "app.kubernetes.io/instance"
# What an overlay of a user's own adds, for two of them in one namespace.
BLUE: dict[str, Any] = {
    "namePrefix": "blue-",
    "labels": [{"pairs": {INSTANCE: "blue"}, "includeSelectors": True}],
}


@pytest.fixture(params=FOLDERS)
def rendered(request: pytest.FixtureRequest) -> Rendered:
    return render(request.param)


@pytest.fixture
def blue(tmp_path: Path) -> Rendered:
    """Three replicas with all that goes with them, as one of two installations in one namespace."""
    return render_with(tmp_path, "replicas", [name for name in OF_COMPONENTS if name != "autoscaling-hpa"], **BLUE)


def settings_of(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return Settings()


@pytest.fixture
def settings(rendered: Rendered, monkeypatch: pytest.MonkeyPatch) -> Settings:
    return settings_of(rendered.variables, monkeypatch)


@pytest.mark.parametrize("folder", DOCUMENTS)
def test_each_overlay_has_what_belongs_to_it_in_no_namespace_and_without_unknown_fields(folder: str) -> None:
    documents = render(folder).documents
    assert set(documents) == DOCUMENTS[folder]
    for document in documents.values():
        assert "namespace" not in document["metadata"]
        for version in VERSIONS:
            validate(document, version)


def test_there_is_no_overlay_and_no_component_but_these() -> None:
    assert {path.name for path in (KUBERNETES / "overlays").iterdir()} == set(DOCUMENTS)
    with_others = {"pod", "disruption", "network-policy", "redis"}
    assert {path.name for path in (KUBERNETES / "components").iterdir()} == {*OF_COMPONENTS, *with_others}


@pytest.mark.parametrize(
    ("folder", "component"),
    [("single", "grpc"), ("replicas", "autoscaling-hpa"), ("single", "models-fetched"), ("replicas", "models-volume")],
)
def test_a_component_goes_with_an_overlay(folder: str, component: str, tmp_path: Path) -> None:
    documents = render_with(tmp_path, folder, [component]).documents
    assert set(documents) == DOCUMENTS[folder] | OF_COMPONENTS[component]
    for name in OF_COMPONENTS[component]:
        validate(documents[name], VERSIONS[0])


def test_every_component_goes_with_the_others_and_changes_its_names_with_a_prefix(blue: Rendered) -> None:
    components = set[str]().union(*(names for name, names in OF_COMPONENTS.items() if name != "autoscaling-hpa"))
    expected = {name.replace("/", "/blue-") for name in DOCUMENTS["replicas"] | components}
    assert set(blue.documents) == expected
    for document in blue.documents.values():
        validate(document, VERSIONS[0])
    deployment = blue.documents["Deployment/blue-ostinato"]["spec"]
    (container,) = deployment["template"]["spec"]["containers"]
    assert {each["name"]: each["value"] for each in container["env"]}["REDIS_HOST"] == "blue-ostinato-redis"
    assert deployment["template"]["spec"]["serviceAccountName"] == "blue-ostinato"
    assert blue.documents["StatefulSet/blue-ostinato-redis"]["spec"]["serviceName"] == "blue-ostinato-redis"
    assert blue.documents["ScaledObject/blue-ostinato"]["spec"]["scaleTargetRef"]["name"] == "blue-ostinato"
    for name in ("ostinato", "ostinato-grpc"):
        (rule,) = blue.documents[f"Ingress/blue-{name}"]["spec"]["rules"]
        assert {path["backend"]["service"]["name"] for path in rule["http"]["paths"]} == {f"blue-{name}"}


def selectors(value: object) -> list[Document]:
    """Every ``matchLabels``, and the selector of every Service, in a document."""
    if isinstance(value, list):
        return [found for each in value for found in selectors(each)]
    if not isinstance(value, dict):
        return []
    found = [found for name, each in value.items() if name != "matchLabels" for found in selectors(each)]
    return [*found, *([value["matchLabels"]] if "matchLabels" in value else [])]


def test_two_installations_in_one_namespace_select_nothing_of_each_other(blue: Rendered) -> None:
    for name, document in blue.documents.items():
        found = selectors(document["spec"]) if "spec" in document else []
        if document["kind"] == "Service":
            found.append(document["spec"]["selector"])
        assert [each for each in found if each.get(INSTANCE) != "blue"] == [], name
    assert selectors(blue.documents["PodMonitor/blue-ostinato"]), "none was looked at"
    # Those of the cluster are of no installation.
    rules = blue.documents["NetworkPolicy/blue-ostinato-to-redis"]["spec"]["egress"]
    (names,) = [peer["podSelector"] for rule in rules for peer in rule["to"] if "namespaceSelector" in peer]
    assert names == {"matchExpressions": [{"key": "k8s-app", "operator": "In", "values": ["kube-dns"]}]}


@pytest.mark.parametrize("component", ["autoscaling-hpa", "autoscaling-keda"])
def test_an_autoscaler_says_how_many_replicas_there_are_and_nobody_else(component: str, tmp_path: Path) -> None:
    rendered = render_with(tmp_path, "replicas", [component])
    assert "replicas" not in rendered.workload
    (name,) = OF_COMPONENTS[component]
    spec = rendered.documents[name]["spec"]
    least, most = (spec.get(f"{end}Replicas", spec.get(f"{end}ReplicaCount")) for end in ("min", "max"))
    assert 1 < render("replicas").workload["replicas"] == least < most
    assert spec["scaleTargetRef"]["name"] == rendered.documents["Deployment/ostinato"]["metadata"]["name"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_with_keys_nobody_is_let_in_without_one_and_prometheus_shows_its_own(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered = render_with(tmp_path, folder, ["monitoring", "monitoring-services", "keys"])
    settings = settings_of(rendered.variables, monkeypatch)
    assert settings.keys is not None
    assert not settings.open
    (mount,) = (each for each in rendered.container["volumeMounts"] if each["name"] == "keys")
    # The folder: a file that is mounted alone stays as it was at the start.
    assert (mount["mountPath"], mount["readOnly"], "subPath" in mount) == (str(settings.keys.parent), True, False)
    (volume,) = (each["secret"] for each in rendered.pod["volumes"] if each["name"] == "keys")
    # The pod's processes have no use for Prometheus' key.
    assert volume["items"] == [{"key": settings.keys.name, "path": settings.keys.name}]
    shown = {"credentials": {"name": volume["secretName"], "key": "prometheus"}}
    for kind, endpoints in (("PodMonitor", "podMetricsEndpoints"), ("ServiceMonitor", "endpoints")):
        (endpoint,) = rendered.documents[f"{kind}/ostinato"]["spec"][endpoints]
        assert endpoint["authorization"] == shown


def test_grpc_s_own_service_and_ingress_lead_to_its_port(tmp_path: Path) -> None:
    rendered = render_with(tmp_path, "replicas", ["grpc", "ingress-nginx-grpc"])
    ports = {port["name"]: port["containerPort"] for port in rendered.container["ports"]}
    service = rendered.documents["Service/ostinato-grpc"]["spec"]
    assert service["clusterIP"] == "None", "clients see each pod"
    (service_port,) = service["ports"]
    assert (service_port["port"], service_port["targetPort"]) == (ports["grpc"], "grpc")
    (of_ingress,) = rendered.documents["Ingress/ostinato-grpc"]["spec"]["rules"][0]["http"]["paths"]
    assert of_ingress["backend"]["service"] == {"name": "ostinato-grpc", "port": {"name": service_port["name"]}}


def test_the_rules_of_the_operator_are_those_of_prometheus(tmp_path: Path) -> None:
    rendered = render_with(tmp_path, "single", ["monitoring"])
    rules = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())
    assert rendered.documents["PrometheusRule/ostinato"]["spec"] == rules, "make rules"
    (endpoint,) = rendered.documents["PodMonitor/ostinato"]["spec"]["podMetricsEndpoints"]
    (relabeling,) = endpoint["relabelings"]
    assert (relabeling["targetLabel"], relabeling["replacement"]) == ("job", "ostinato")


def test_what_scrapes_finds_one_service_and_its_port(tmp_path: Path) -> None:
    documents = render_with(tmp_path, "single", ["grpc", "monitoring-services"]).documents
    spec = documents["ServiceMonitor/ostinato"]["spec"]
    (wanted,) = spec["selector"]["matchExpressions"]
    found = [
        document
        for document in documents.values()
        if document["kind"] == "Service"
        if document["metadata"]["labels"].get(wanted["key"]) in wanted["values"]
        if spec["selector"]["matchLabels"].items() <= document["metadata"]["labels"].items()
    ]
    assert [service["metadata"]["name"] for service in found] == ["ostinato"]
    (endpoint,) = spec["endpoints"]
    assert found[0]["spec"]["ports"][0]["name"] == endpoint["port"] == "http"


def test_the_network_lets_in_who_asks_and_lets_out_to_the_store_only() -> None:
    spec = render("single").documents["NetworkPolicy/ostinato"]["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["egress"] == []
    assert [[port["port"] for port in rule["ports"]] for rule in spec["ingress"]] == [["http", "grpc"]]
    documents = render("replicas").documents
    redis_labels = documents["Service/ostinato-redis"]["spec"]["selector"]
    (out, names) = documents["NetworkPolicy/ostinato-to-redis"]["spec"]["egress"]
    assert out["to"] == [{"podSelector": {"matchLabels": redis_labels}}]
    assert {port["port"] for port in names["ports"]} == {53}
    store, figures = documents["NetworkPolicy/ostinato-redis"]["spec"]["ingress"]
    assert store["from"] == [{"podSelector": documents["NetworkPolicy/ostinato"]["spec"]["podSelector"]}]
    container_ports = {
        port["name"]
        for container in documents["StatefulSet/ostinato-redis"]["spec"]["template"]["spec"]["containers"]
        for port in container["ports"]
    }
    assert {port["port"] for rule in (store, figures) for port in rule["ports"]} == container_ports


def test_kserve_runs_the_pod_of_the_other_overlays(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = render("kserve").documents
    runtime = documents["ServingRuntime/ostinato"]["spec"]
    predictor = documents["InferenceService/pronunciation"]["spec"]["predictor"]
    (container,) = runtime["containers"]
    other = render("replicas")
    same = ("args", "image", "imagePullPolicy", "lifecycle", "resources", "securityContext")
    assert {name: container[name] for name in same} == {name: other.container[name] for name in same}
    of_pod = ("automountServiceAccountToken", "enableServiceLinks", "securityContext", "terminationGracePeriodSeconds")
    assert {name: predictor[name] for name in of_pod} == {name: other.pod[name] for name in of_pod}
    volumes = {volume["name"]: volume for volume in (*predictor["volumes"], *runtime["volumes"])}
    assert volumes == {volume["name"]: volume for volume in other.pod["volumes"]}
    for name in ("startup", "readiness", "liveness"):
        probe = {**container[f"{name}Probe"]}
        port = probe["httpGet"]["port"]
        assert probe == {**other.container[f"{name}Probe"], "httpGet": {**probe["httpGet"], "port": port}}
        assert port == 3000
    variables = {each["name"]: each["value"] for each in (*container["env"], *predictor["model"]["env"])}
    settings = settings_of(variables, monkeypatch)
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {
        "http1": settings.port,
        "h2c": settings.grpc_port,
    }
    assert settings.repository == Path("/mnt/models")
    assert redis_address(settings.state).prefix == documents["InferenceService/pronunciation"]["metadata"]["name"]
    assert predictor["model"]["runtime"] == documents["ServingRuntime/ostinato"]["metadata"]["name"]
    assert predictor["model"]["modelFormat"]["name"] in [each["name"] for each in runtime["supportedModelFormats"]]
    assert predictor["model"]["protocolVersion"] in runtime["protocolVersions"]


def test_every_selector_finds_the_pods_of_its_own_and_no_others(rendered: Rendered) -> None:
    workloads = [document for document in rendered.documents.values() if "template" in document.get("spec", {})]
    for document in workloads:
        name, spec = document["metadata"]["name"], document["spec"]
        assert f"Service/{spec.get('serviceName', name)}" in rendered.documents
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
    schemes = {"single": "lmdb", "replicas": "rediss"}
    assert urlsplit(rendered.variables["OSTINATO_STATE"]).scheme == schemes[rendered.folder]


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


def test_files_have_one_pod_that_is_gone_before_the_next_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = render("single")
    settings = settings_of(rendered.variables, monkeypatch)
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


def test_replicas_are_on_different_nodes_and_in_different_zones_where_there_are_some(rendered: Rendered) -> None:
    spread = {each["topologyKey"]: each for each in rendered.pod["topologySpreadConstraints"]}
    assert spread.keys() == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
    for each in spread.values():
        assert each["labelSelector"]["matchLabels"] == rendered.workload["selector"]["matchLabels"]
        assert each["whenUnsatisfiable"] == "ScheduleAnyway"


def test_a_start_may_take_as_long_as_some_models_do(rendered: Rendered, settings: Settings) -> None:
    probe = rendered.container["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 5 * settings.load_seconds


def test_replicas_over_redis_are_replaced_one_by_one_with_none_missing() -> None:
    workload = render("replicas").workload
    assert workload["replicas"] > 1
    assert workload["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    assert render("replicas").documents["PodDisruptionBudget/ostinato"]["spec"]["maxUnavailable"] < workload["replicas"]


def test_the_address_of_redis_is_its_service_s_with_the_files_of_the_secrets() -> None:
    rendered = render("replicas")
    address = redis_address(rendered.variables["OSTINATO_STATE"])
    service = rendered.documents["Service/ostinato-redis"]
    assert address.hosts == ((service["metadata"]["name"], service["spec"]["ports"][0]["port"]),)
    files = files_of_secrets(rendered.pod, rendered.container)
    assert address.login == Login(password_file=files["ostinato-redis", "password"])
    # The certificate's name is no Service's, which a prefix changes.
    assert address.tls == Tls(ca_file=files["ostinato-redis-tls", "ca.crt"], server_name="ostinato-redis")
    # Redis has the same from the same secrets.
    pod = rendered.documents["StatefulSet/ostinato-redis"]["spec"]["template"]["spec"]
    server, exporter = pod["containers"]
    assert files["ostinato-redis", "password"] in str(server["command"])
    (file,) = [word.partition("=")[2] for word in exporter["args"] if word.startswith("--redis.password-file=")]
    assert file == files_of_secrets(pod, exporter)["ostinato-redis", "exporter.json"]


def files_of_secrets(pod: Document, container: Document) -> dict[tuple[str, str], str]:
    """Where a container finds a key of a Secret."""
    places = {mount["name"]: Path(mount["mountPath"]) for mount in container["volumeMounts"]}
    return {
        (volume["secret"]["secretName"], item["key"]): str(places[volume["name"]] / item["path"])
        for volume in pod["volumes"]
        if volume["name"] in places
        for item in volume.get("secret", {}).get("items", [])
    }


def test_no_secret_is_in_a_variable_or_an_argument(rendered: Rendered) -> None:
    for pod in rendered.pods:
        for container in pod["containers"]:
            assert [each for each in container.get("env", []) if "valueFrom" in each] == []
            assert "--requirepass" not in str(container)


def test_a_real_redis_takes_the_configuration(tmp_path: Path) -> None:
    documents = render("replicas").documents
    server = documents["StatefulSet/ostinato-redis"]["spec"]["template"]["spec"]["containers"][0]
    text = documents["ConfigMap/ostinato-redis"]["data"]["redis.conf"]
    # tests/deploy/test_acting.py has it speak TLS.
    plain = "\n".join(line for line in text.splitlines() if not re.match("(port|tls-)", line))
    file = tmp_path / "redis.conf"
    file.write_text(plain.replace("dir /data", f"dir {tmp_path}"))
    assert f"dir {server['volumeMounts'][0]['mountPath']}\n" in text
    # What is included last counts.
    otherwise = (
        *("--appendonly", "no", "--appendfsync", "everysec"),
        *("--maxmemory-policy", "allkeys-lru", "--save", "9 9"),
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


def test_no_container_may_do_anything_but_serve(rendered: Rendered) -> None:
    for pod in rendered.pods:
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
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
    for pod in rendered.pods:
        for container in pod["containers"]:
            assert set(container["resources"]["requests"]) == {"cpu", "memory", "ephemeral-storage"}
            assert set(container["resources"]["limits"]) == {"memory", "ephemeral-storage"}
    limit = SIZE.validate_python(rendered.container["resources"]["limits"]["memory"] + "B")
    sessions = settings.workers * settings.memory_budget
    assert limit >= sessions + settings.workers * PROCESS_BYTES
