from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ostinato.service.config import Settings
from ostinato.service.state.redis.address import Login, redis_address
from tests.deploy.rendering import DEPLOY, render
from tests.tools import run_tool

COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def test_everything_of_this_machine_that_is_mounted_is_here_or_made_first() -> None:
    mounts = [mount.split(":") for service in SERVICES.values() for mount in service.get("volumes", [])]
    for place, _, *_ in mounts:
        assert (DEPLOY / place).exists() if place.startswith(".") else place in COMPOSE["volumes"], place
    used = {name for service in SERVICES.values() for name in service.get("secrets", [])}
    assert used == set(COMPOSE["secrets"])
    # deploy/README.md has `make-secrets` make it there.
    assert COMPOSE["secrets"]["redis-password"]["file"] == "../secrets/password"


@pytest.mark.parametrize("name", SERVICES)
def test_no_port_is_open_to_others_than_this_machine_and_no_container_may_do_much(name: str) -> None:
    service = SERVICES[name]
    assert [port for port in service.get("ports", []) if not port.startswith("127.0.0.1:")] == []
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.search(r":v?\d", service["image"]), "a version"


def test_the_service_is_that_of_the_pods(monkeypatch: pytest.MonkeyPatch) -> None:
    service, pod = SERVICES["ostinato"], render("replicas")
    assert service["image"] == pod.container["image"]
    assert service["command"] == pod.container["args"]
    own = {"OSTINATO_STATE", "OSTINATO_WORKERS", "REDIS_HOST"}
    assert {name: value for name, value in service["environment"].items() if name not in own} == {
        name: value for name, value in pod.variables.items() if name not in own
    }
    for name, value in service["environment"].items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    address = redis_address(settings.state)
    assert address.hosts == (("redis", 6379),)
    assert address.login == Login(password_file=f"/run/secrets/{service['secrets'][0]}")
    assert "redis" in service["depends_on"]
    # The image says how its health is checked.
    assert "healthcheck" not in service
    assert int(service["stop_grace_period"].removesuffix("s")) >= settings.drain_seconds + 10
    assert [int(port.rpartition(":")[2]) for port in service["ports"]] == [settings.port, settings.grpc_port]


def test_its_redis_is_set_as_that_of_the_pods() -> None:
    written = "\n".join(SERVICES["redis"]["command"])
    for line in render("replicas").documents["ConfigMap/ostinato-redis"]["data"]["redis.conf"].splitlines():
        if line and not re.match("#|port |tls-", line):
            assert line in written


def test_prometheus_scrapes_the_service_and_grafana_asks_prometheus() -> None:
    (option,) = [word for word in SERVICES["prometheus"]["command"] if word.startswith("--config.file=")]
    file = DEPLOY / "prometheus" / Path(option).name
    run_tool("promtool", "check", "config", file)
    (job,) = yaml.safe_load(file.read_text())["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["ostinato:3000"]}]
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert source["type"] == "prometheus"
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "ostinato.yml").read_text())["providers"]
    targets = [mount.split(":")[1] for mount in SERVICES["grafana"]["volumes"]]
    assert f"{provider['options']['path']}/ostinato.json" in targets
