from __future__ import annotations

import re
from pathlib import Path

import pytest

from release.hashes import LOCKS, pins_of
from tests.deploy.recipe import CHECKOUT, command, stages, variables
from tests.deploy.rendering import render
from tests.deploy.test_packaging import pins


def test_every_stage_begins_with_one_image_by_its_digest_or_with_a_stage_before() -> None:
    recipe = stages()
    ((word, first),) = recipe.pop("")
    assert word == "ARG"
    assert re.fullmatch(r"PYTHON=docker\.io/library/python:3\.11-slim@sha256:[0-9a-f]{64}", first)
    before = {"${PYTHON}"}
    for name, instructions in recipe.items():
        assert instructions[0][0] == "FROM"
        assert instructions[0][1] in before
        before.add(name)


def test_what_is_built_without_a_target_is_what_runs_and_has_no_models() -> None:
    assert next(reversed(stages())) == "last"
    assert stages()["last"] == [("FROM", "runtime")]
    assert stages()["with-models"] == [("FROM", "runtime"), ("COPY", "repository /models")]


def test_what_runs_has_no_installer_and_no_compiler() -> None:
    recipe = stages()
    done = " ".join(rest for word, rest in recipe["runtime"] if word in ("RUN", "COPY", "ADD"))
    assert re.search(r"\bpip\b|apt|gcc|make\b", done) is None
    # Nothing is compiled where it is built, either: wheels alone, in an environment without pip.
    installing = [
        rest for word, rest in recipe["build"] if word == "RUN" and re.search("pip .*install .*requirement", rest)
    ]
    assert len(installing) == 2
    assert all("--only-binary :all:" in line and "--require-hashes" in line for line in installing)
    # Of a network it asks the index alone.
    assert re.search(r"apt|apk|curl|wget|git\b|https?:|\bADD\b", str(recipe["build"]).replace("/opt", "")) is None
    assert "--without-pip /opt/ostinato" in " ".join(rest for _, rest in recipe["build"])


def test_whatever_is_copied_is_there_and_is_not_left_out() -> None:
    ignored = (CHECKOUT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    for word, rest in [*stages()["build"], *stages()["with-models"]]:
        if word == "COPY":
            for name in rest.split()[:-1]:
                assert (CHECKOUT / name).exists() or name in ("repository", "dist/*.whl")
                kept = {f"!{name}", f"!{Path(name).parent}/*{Path(name).suffix}"}
                assert kept & set(ignored), name


def test_it_is_run_by_the_user_of_the_pods_with_their_arguments() -> None:
    for overlay in ("single", "replicas"):
        pod = render(overlay)
        user = pod.pod["securityContext"]
        assert dict(stages()["runtime"])["USER"] == f"{user['runAsUser']}:{user['runAsGroup']}"
        assert command("CMD") == pod.container["args"]
        assert variables()["OSTINATO_REPOSITORY"] == pod.variables["OSTINATO_REPOSITORY"] == "/models"
    assert command("ENTRYPOINT") == ["ostinato"]
    assert variables()["PATH"].startswith("/opt/ostinato/bin:")


def test_what_makes_it_is_pinned_as_what_tests_it() -> None:
    assert pins("image").items() <= pins("dev").items()
    assert "cyclonedx-bom" in pins("image")


@pytest.mark.parametrize("name", LOCKS)
def test_each_wheel_of_it_has_a_hash(name: str) -> None:
    hashes = pins_of((CHECKOUT / "requirements" / f"{name}.hashes").read_text())
    assert hashes == pins(name)


def test_it_is_not_root_s_and_says_its_version() -> None:
    runtime = dict(stages()["runtime"])
    assert int(runtime["USER"].partition(":")[0]) > 0
    assert runtime["ARG"] == "VERSION=unknown"
    assert 'org.opencontainers.image.version="${VERSION}"' in runtime["LABEL"]
    assert '--build-arg "VERSION=$(VERSION)"' in (CHECKOUT / "Makefile").read_text()
