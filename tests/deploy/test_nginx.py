"""What nginx and ingress-nginx are told; ``make rollout`` has a real nginx do it."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from ostinato.service.config import Settings
from tests.deploy.rendering import DEPLOY, render_with
from tests.deploy.rollout.nginx import NOBODY, configuration

NGINX = (DEPLOY / "nginx" / "nginx.conf").read_text()
PAGE = (DEPLOY.parent / "docs" / "ingress.md").read_text()
MEBIBYTE = 1024**2


def words(text: str) -> list[str]:
    """What nginx reads of it, wherever its lines end."""
    return re.sub(r"#.*", "", text).split()


def maps(text: str) -> dict[str, list[str]]:
    """The variables that it makes."""
    found = re.finditer(r"map (\$\w+) (\$ostinato_\w+) \{(.*?)\}", text, re.DOTALL)
    return {each[2]: [each[1], *words(each[3])] for each in found}


def seconds(name: str) -> list[float]:
    units = {"s": 1, "m": 60, "h": 3600}
    return [int(each[1]) * units[each[2]] for each in re.finditer(rf"\b{name} (\d+)([smh]);", NGINX)]


def test_nginx_waits_longer_than_the_service_and_lets_through_what_that_refuses_better() -> None:
    settings = Settings()
    longest = max(settings.deadline_seconds, settings.stream_ping_seconds * 2)
    assert all(each > longest for name in ("proxy", "grpc") for each in seconds(f"{name}_read_timeout"))
    sizes = [int(each) for each in re.findall(r"client_max_body_size (\d+)m;", NGINX)]
    assert len(sizes) == NGINX.count("        listen ")
    assert all(each * MEBIBYTE > settings.max_body_bytes for each in sizes)
    assert seconds("keepalive_timeout") < [5.0], "after 5 s the service closes it"


def test_no_proxy_sends_a_request_again_that_may_have_been_taken(tmp_path: Path) -> None:
    ingress = render_with(tmp_path, "replicas", ["ingress-nginx"]).documents["Ingress/ostinato"]
    told = ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-next-upstream"]
    assert re.findall(r"proxy_next_upstream (.*);", NGINX) == [told] == ["error timeout"]
    paths = {each["path"] for each in ingress["spec"]["rules"][0]["http"]["paths"]}
    assert paths == {"/v1", "/v2"}
    assert "location ~ ^/v[12](/|$)" in NGINX


def test_the_page_has_ingress_nginx_make_the_key_that_nginx_makes(tmp_path: Path) -> None:
    (block,) = [block for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if "http-snippet" in block]
    snippet = yaml.safe_load(block)["data"]["http-snippet"]
    wanted = {name: each for name, each in maps(NGINX).items() if name != "$ostinato_connection"}
    assert maps(snippet) == wanted
    assert len(wanted) == 3
    ingress = render_with(tmp_path, "replicas", ["ingress-nginx"]).documents["Ingress/ostinato"]
    key = ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/upstream-hash-by"]
    assert f"hash {key} consistent;" in NGINX
    assert key in wanted


def test_a_roll_out_s_nginx_is_what_we_ship_with_other_ports(tmp_path: Path) -> None:
    text = configuration(tmp_path, 1, 2, [7, 8], is_hashing=True)
    assert re.findall(r"server (\S+) max_fails=2", text) == ["127.0.0.1:7", "127.0.0.1:8", NOBODY]
    assert "hash " in text
    assert "hash " not in configuration(tmp_path, 1, 2, [7], is_hashing=False)
    assert re.findall(r"server (\S+) max_fails", configuration(tmp_path, 1, 2, [], is_hashing=True)) == [NOBODY] * 2
