from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.chart import CHART, OPTIONS, templates
from tests.deploy.custom_resources import validate
from tests.deploy.helm_templates import render_template
from tests.deploy.rendering import Document, render_with


def test_the_chart_is_made_of_the_overlays() -> None:
    made = templates()
    assert {path.name for path in (CHART / "templates").iterdir()} == set(made)
    for name, text in made.items():
        assert (CHART / "templates" / name).read_text() == text, "make chart"


def installed(**values: Any) -> dict[str, Document]:
    """What an installation called ``blue`` has, by ``Kind/name``; a generated name without its checksum."""
    given = {**yaml.safe_load((CHART / "values.yaml").read_text()), **values}
    documents: dict[str, Document] = {}
    for path in sorted((CHART / "templates").iterdir()):
        for document in yaml.safe_load_all(render_template(path.read_text(), given, "blue")):
            if document is not None:
                name = re.sub(r"-[a-z0-9]{10}$", "", document["metadata"]["name"])
                key = f"{document['kind']}/{name}"
                assert key not in documents
                documents[key] = document
    return documents


def container_of(documents: dict[str, Document], name: str) -> Document:
    (container,) = documents[name]["spec"]["template"]["spec"]["containers"]
    assert isinstance(container, dict)
    return container


@pytest.mark.parametrize(("store", "overlay"), [("files", "single"), ("redis", "replicas")])
def test_an_installation_without_values_is_the_overlay(store: str, overlay: str, tmp_path: Path) -> None:
    made = installed(store=store)
    labels = [{"pairs": {"app.kubernetes.io/instance": "blue"}, "includeSelectors": True}]
    expected = render_with(tmp_path, overlay, [], namePrefix="blue-", labels=labels).documents
    assert made.keys() == expected.keys()
    workload = "StatefulSet/blue-ostinato" if store == "files" else "Deployment/blue-ostinato"
    for documents in (made, expected):
        container_of(documents, workload)["env"].sort(key=lambda each: each["name"])
    for name, document in expected.items():
        if name not in ("ConfigMap/blue-ostinato-redis", "StatefulSet/blue-ostinato-redis"):  # checksums in names
            assert made[name] == document


@pytest.mark.parametrize("store", ["files", "redis"])
@pytest.mark.parametrize("autoscaling", ["hpa", "keda"])
def test_an_installation_with_every_value_is_valid_and_shut(store: str, autoscaling: str) -> None:
    documents = installed(
        store=store,
        autoscaling=autoscaling,
        models="https://models.example.com/a.tar.gz",
        modelsClaim="a-claim",
        keysSecret="our-keys",
        settings={"OSTINATO_TTL_SECONDS": "600", "OSTINATO_WATCH": "true"},
        grpcService=True,
        monitoring=True,
    )
    for document in documents.values():
        validate(document, "1.30")
    workload = "StatefulSet/blue-ostinato" if store == "files" else "Deployment/blue-ostinato"
    variables = {each["name"]: each["value"] for each in container_of(documents, workload)["env"]}
    assert "OSTINATO_OPEN" not in variables
    assert variables["OSTINATO_KEYS"] == "/run/secrets/ostinato-keys/keys.txt"
    assert variables["OSTINATO_TTL_SECONDS"] == "600"
    volumes = {each["name"]: each for each in documents[workload]["spec"]["template"]["spec"]["volumes"]}
    assert volumes["keys"]["secret"]["secretName"] == "our-keys"
    assert volumes["models"]["persistentVolumeClaim"]["claimName"] == "a-claim"
    (endpoint,) = documents["PodMonitor/blue-ostinato"]["spec"]["podMetricsEndpoints"]
    assert endpoint["authorization"] == {"credentials": {"name": "our-keys", "key": "prometheus"}}


def test_every_value_that_is_asked_for_has_a_default_and_the_other_way_round() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    text = "".join(path.read_text() for path in (CHART / "templates").iterdir())
    asked = set(re.findall(r"\.Values\.(\w+)", text))
    assert asked == set(values)
    assert values["autoscaling"] == "none"
    assert {f"autoscaling-{name}" for name in ("hpa", "keda")} <= set(OPTIONS)
    of_image = set(re.findall(r"\.Values\.image\.(\w+)", text))
    assert of_image == set(values["image"])


def test_the_chart_has_the_version_of_the_project() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    # tests/deploy/test_packaging.py holds the pods' to the project's.
    pod = yaml.safe_load((CHART.parents[1] / "kubernetes" / "components" / "pod" / "kustomization.yaml").read_text())
    assert {chart["version"], chart["appVersion"], values["image"]["tag"]} == {pod["images"][0]["newTag"]}
