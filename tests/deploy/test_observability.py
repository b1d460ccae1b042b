from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ostinato.service.metrics.series import SERIES
from tests.tools import run_tool

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yml"
DASHBOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text()) for path in sorted((DEPLOY / "grafana").glob("*.json"))
}
PANELS: dict[str, dict[str, Any]] = {
    f"{name}: {panel['title']} {panel['id']}": panel
    for name, dashboard in DASHBOARDS.items()
    for panel in dashboard["panels"]
    if panel["type"] != "row"
}
QUERIES: list[str] = [target["expr"] for panel in PANELS.values() for target in panel["targets"]]
ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"] if "alert" in rule
]


def series_in(text: str) -> set[str]:
    """The series that an expression reads; a histogram's three parts count as the histogram."""
    names = set(re.findall(r"\bostinato_[a-z0-9_]+", text))
    return {name if name in SERIES else re.sub(r"_(bucket|sum|count)$", "", name) for name in names}


def test_the_dashboards_show_every_series_and_none_that_does_not_exist() -> None:
    assert series_in(" ".join(QUERIES)) == set(SERIES)


def test_the_rules_read_only_series_that_exist() -> None:
    # Read line by line, so that the names of series in comments and runbooks count too.
    assert series_in(RULES.read_text()) <= set(SERIES)


ROWS = {
    "models": ["Inputs", "Forecasts", "Answers", "Promise", "Shadow"],
    "ostinato": ["Traffic", "Latency", "Engine", "Generation", "Sessions", "Store", "Processes", "Models"],
}


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_has_rows_in_which_no_two_panels_overlap(name: str) -> None:
    panels = DASHBOARDS[name]["panels"]
    assert [panel["title"] for panel in panels if panel["type"] == "row"] == ROWS[name]
    cells: list[tuple[int, int]] = []
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        columns, lines = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        cells += [(column, line) for column in columns for line in lines]
    assert len(set(cells)) == len(cells)
    assert len({panel["id"] for panel in panels}) == len(panels)


@pytest.mark.parametrize("name", PANELS)
def test_every_panel_explains_itself_and_takes_the_chosen_data_source(name: str) -> None:
    panel = PANELS[name]
    assert panel["description"].endswith(".")
    assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
    unit = (
        panel["options"]["yAxis"]["unit"]
        if panel["type"] == "heatmap"
        else panel["fieldConfig"]["defaults"].get("unit")
    )
    assert unit is not None or panel["type"] == "table"


@pytest.mark.parametrize("name", DASHBOARDS)
def test_no_two_panels_of_a_dashboard_have_one_title(name: str) -> None:
    titles = [panel["title"] for panel in DASHBOARDS[name]["panels"]]
    assert sorted(titles) == sorted(set(titles))


@pytest.mark.parametrize("name", PANELS)
def test_the_series_of_a_panel_have_names_of_their_own(name: str) -> None:
    panel = PANELS[name]
    if panel["type"] == "timeseries":
        legends = [target["legendFormat"] for target in panel["targets"]]
        assert "" not in legends
        assert len(set(legends)) == len(legends)
        for target in panel["targets"]:  # what the query keeps apart, the name does, too
            kept = re.search(r"\bby \(([\w, ]+)\)", target["expr"])
            labels = set(kept[1].split(", ")) - {"le"} if kept else set()
            assert labels - set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= {"instance"}


@pytest.mark.parametrize("name", [name for name, panel in PANELS.items() if panel["type"] == "table"])
def test_a_table_has_columns_with_names_for_people_and_no_others(name: str) -> None:
    panel = PANELS[name]
    (target,), (organize,) = panel["targets"], panel["transformations"]
    options = organize["options"]
    kept = re.search(r"\bby \(([\w, ]+)\)", target["expr"])
    assert kept is not None
    columns = {*kept[1].split(", "), "Value"}
    assert columns - set(options["excludeByName"]) == set(options["renameByName"])
    assert not [shown for shown in options["renameByName"].values() if "_" in shown or shown == "Value"]
    # A number is left out only where it is 1 for each row.
    is_one = any(f"({name}" in target["expr"] for name in ("ostinato_model_info", "ostinato_version_failed"))
    assert ("Value" in options["excludeByName"]) == is_one


@pytest.mark.parametrize("name", PANELS)
def test_a_share_is_none_of_several_workers_added_up(name: str) -> None:
    panel = PANELS[name]
    if panel["fieldConfig"]["defaults"].get("unit") == "percentunit":
        for target in panel["targets"]:
            assert " / " in target["expr"] or target["expr"].startswith("max ")


def test_workers_that_are_all_busy_are_busy_for_their_whole_time_and_no_more(tmp_path: Path) -> None:
    # Two replicas of three workers: one whose workers run half of the time, and one whose workers always do.
    (panel,) = [panel for panel in PANELS.values() if panel["title"] == "Time spent running"]
    query = panel["targets"][0]["expr"].replace("$__rate_interval", "1m")
    query = query.replace("$model", ".*").replace("$version", ".*")
    labels = 'instance="{}", model="m", version="1"'
    series = {
        "ostinato_run_seconds_sum{" + labels.format("a") + "}": "0+45x10",  # in each half minute
        "ostinato_run_seconds_sum{" + labels.format("b") + "}": "0+90x10",
        'ostinato_workers{instance="a"}': "3+0x10",
        'ostinato_workers{instance="b"}': "3+0x10",
    }
    sample = {"labels": '{model="m", version="1"}', "value": 1.0}
    file = tmp_path / "share.yml"
    file.write_text(
        yaml.safe_dump(
            {
                "evaluation_interval": "1m",
                "tests": [
                    {
                        "interval": "30s",
                        "input_series": [{"series": name, "values": values} for name, values in series.items()],
                        "promql_expr_test": [{"expr": query, "eval_time": "4m", "exp_samples": [sample]}],
                    }
                ],
            }
        )
    )
    run_tool("promtool", "test", "rules", file)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_asks_for_a_data_source_a_model_and_a_version(name: str) -> None:
    variables = [variable["name"] for variable in DASHBOARDS[name]["templating"]["list"]]
    assert variables == ["datasource", "model", "version"]


def test_the_dashboards_are_two() -> None:
    assert len({dashboard["uid"] for dashboard in DASHBOARDS.values()}) == len(DASHBOARDS) == 2


def test_prometheus_understands_every_query_of_the_dashboards(tmp_path: Path) -> None:
    queries = [query.replace("$__rate_interval", "1m").replace("$model", ".*") for query in QUERIES]
    rules = [{"record": f"panel:query:{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    assert f"SUCCESS: {len(QUERIES)} rules found" in run_tool("promtool", "check", "rules", file)


def test_prometheus_understands_the_rules() -> None:
    run_tool("promtool", "check", "rules", "--lint-fatal", RULES)


def test_each_rule_fires_in_trouble_and_is_silent_in_health() -> None:
    tests = Path(__file__).with_name("rules_test.yml")
    run_tool("promtool", "test", "rules", tests)
    tested = tests.read_text()
    assert [alert["alert"] for alert in ALERTS if tested.count(alert["alert"]) < 2] == []


def test_the_page_for_operators_has_every_alert_and_no_other() -> None:
    page = (DEPLOY.parent / "docs" / "operating.md").read_text()
    assert re.findall(r"^### (Ostinato\w+)$", page, re.MULTILINE) == [alert["alert"] for alert in ALERTS]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_every_alert_says_what_is_wrong_how_bad_and_what_to_do(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["annotations"].keys() == {"summary", "runbook"}


def test_the_scrape_configuration_for_one_machine_is_valid() -> None:
    run_tool("promtool", "check", "config", DEPLOY / "prometheus" / "prometheus.yml")


def test_the_scrape_configuration_for_a_cluster_is_valid(tmp_path: Path) -> None:
    # Debian builds Prometheus without discovery in Kubernetes: all the rest is checked with a target in its place.
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus-kubernetes.yml").read_text())
    (scrape,) = config["scrape_configs"]
    assert scrape.pop("kubernetes_sd_configs") == [{"role": "pod"}]
    scrape["static_configs"] = [{"targets": ["localhost:3000"]}]
    config["rule_files"] = [str(RULES)]
    file = tmp_path / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    run_tool("promtool", "check", "config", file)


def test_no_rule_knows_the_name_of_the_job() -> None:
    assert re.findall(r'job="', RULES.read_text()) == []


def test_every_scrape_configuration_has_one_job() -> None:
    for name in ("prometheus.yml", "prometheus-kubernetes.yml", "prometheus-compose.yml"):
        config = yaml.safe_load((DEPLOY / "prometheus" / name).read_text())
        assert [scrape["job_name"] for scrape in config["scrape_configs"]] == ["ostinato"]
