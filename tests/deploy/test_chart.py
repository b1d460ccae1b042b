from __future__ import annotations

import re

import yaml

from tests.deploy.chart import CHART, OPTIONS, templates


def test_the_chart_is_made_of_the_overlays() -> None:
    made = templates()
    assert {path.name for path in (CHART / "templates").iterdir()} == set(made)
    for name, text in made.items():
        assert (CHART / "templates" / name).read_text() == text, "make chart"


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
